"""The device and the precision that this machine computes fastest with, and how texts are encoded in it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache

import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)

PRECISIONS = ("auto", "bf16", "fp16", "fp32")
VARIABLE = "OPTICAL_PRECISION"
"""Environment variable that names what `auto` is on this machine."""
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# oneDNN's names of instruction sets without bf16 products, which ONEDNN_MAX_CPU_ISA may hold the processor to.
_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
# Below this many tokens in a batch, casting the weights takes longer than bf16 saves (benchmarks/encoding.py).
SMALL_BATCH = 64


@dataclass(frozen=True)
class Precision:
    """A precision and why it was chosen.

    Attributes:
        name: `"bf16"`, `"fp16"` or `"fp32"`.
        why: the reason, for people.
    """

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} ({self.why})"


def fastest_device() -> str:
    """`"cuda"` or Apple's `"mps"` where there is one, else `"cpu"`."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_precision(precision: str) -> None:
    """Raises ValueError unless the name is one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; allowed: {', '.join(PRECISIONS)}.")


def choose_precision(precision: str, device: torch.device | str) -> Precision:
    """The effective precision on a device. `auto` is bf16 where the hardware multiplies in bf16, else fp32.

    Without such instructions PyTorch emulates bf16 on a CPU, which takes several times as long as fp32. The environment
    variable `OPTICAL_PRECISION` names what `auto` is.

    Args:
        precision: one of `PRECISIONS`.
        device: where the model runs.

    Raises:
        ValueError: for an unknown name, here or in the variable.
    """
    check_precision(precision)
    if precision != "auto":
        return Precision(precision, "as asked for")
    named = os.environ.get(VARIABLE, "auto")
    if named not in PRECISIONS:
        raise ValueError(f"the environment variable {VARIABLE} is {named!r}; allowed: {', '.join(PRECISIONS)}.")
    if named != "auto":
        return Precision(named, f"{VARIABLE}={named}")
    return _fastest(torch.device(device).type)


@cache
def _fastest(device: str) -> Precision:
    chosen = _on_cpu() if device == "cpu" else _on_gpu() if device == "cuda" else None
    chosen = chosen or Precision("fp32", f"bf16 was never measured on a device of type {device!r}")
    logger.info(f"precision auto on {device}: {chosen}")
    return chosen


def _on_gpu() -> Precision:
    name = torch.cuda.get_device_name()
    if torch.version.hip is not None or torch.cuda.get_device_capability() >= (8, 0):
        return Precision("bf16", f"{name} multiplies in bf16")
    return Precision("fp32", f"{name} has no bf16 units")


def _on_cpu() -> Precision:
    """Which instructions the processor has, and whether oneDNN may use them."""
    found = torch.cpu.get_capabilities()
    names = ("amx_bf16", "avx512_bf16") if platform.machine().lower() in ("x86_64", "amd64") else ("bf16", "arm_bf16")
    instructions = next((name for name in names if found.get(name)), None)
    if instructions is None:
        return Precision("fp32", "this processor has no bf16 instructions")
    if not torch.backends.mkldnn.is_available():
        return Precision("fp32", "this PyTorch was built without oneDNN, which has the bf16 products")
    for variable in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        limit = os.environ.get(variable, "").upper()
        if limit in _WITHOUT_BF16:
            return Precision("fp32", f"{variable}={limit} forbids the processor's {instructions}")
    return Precision("bf16", f"this processor has {instructions}")


def autocast(
    precision: str | None, device: torch.device, dtype: torch.dtype, tokens: int | None
) -> AbstractContextManager[object]:
    """The context that a batch is encoded in.

    Args:
        precision: one of `PRECISIONS`; None: as the weights are.
        device: where the model is.
        dtype: of its weights. Weights in half precision stay as they are and decide the precision.
        tokens: of the batch, padding included. Small batches on a CPU are encoded in fp32, which is faster there. None: of
            any size.
    """
    if precision is None or dtype != torch.float32:
        return nullcontext()
    name = choose_precision(precision, device).name
    if name == "fp32" or (precision == "auto" and device.type == "cpu" and tokens is not None and tokens < SMALL_BATCH):
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype=_TYPES[name])


@contextmanager
def keeping_casts() -> Iterator[None]:
    """Weights that `autocast` has converted for one batch serve the next ones, too, until the block ends.

    By itself it converts them for every batch, which takes as long as some hundred tokens. Weights without gradient are
    converted every time in any case.
    """
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
