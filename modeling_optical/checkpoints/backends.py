"""Backends that run a model: PyTorch, or onnxruntime or OpenVINO on a graph that is exported when it is first needed."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.utils import logging

from ..files.atomic_write import replacing_folder, write_text
from ..files.fingerprint import digest_of_weights, model_fingerprint
from ..files.lock import locked
from ..modeling_optical import OpticalModel, OpticalModelOutput
from ..precision import SMALL_BATCH, choose_precision, fastest_device
from ..processing_optical import OpticalProcessor
from ..text_encoding import TextEncoder
from . import onnx

logger = logging.get_logger(__name__)

BACKENDS = ("torch", "onnx", "onnx-int8", "openvino", "auto")
TOLERANCE = 0.05
"""Largest distance between a token's unit vector and PyTorch's in fp32 at which a backend is the same encoder.

bf16 stays below 0.03 and moves RR@10 by less than 0.002 (`python benchmarks/encoding.py` measures it)."""
_ROUNDS = 5
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


class BackendChoice(TextEncoder, nn.Module):
    """One model in two backends: one for a few short texts, one for all other batches.

    Args:
        small: for batches of fewer than `SMALL_BATCH` tokens.
        large: for the others.
    """

    def __init__(self, small: TextEncoder, large: TextEncoder):
        super().__init__()
        self.small, self.large = small, large
        self.config, self.dtype, self.precision = large.config, large.dtype, large.precision
        self.casts_weights = small.casts_weights
        self.kept_digest = large.kept_digest or small.kept_digest  # one of them is a graph
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where batches are made."""
        return self.large.device

    def get_processor(self) -> OpticalProcessor:
        """Tokenizer and masks."""
        return self.large.get_processor()

    def forward(self, input_ids: torch.Tensor, *arguments: torch.Tensor, **keywords: Any) -> OpticalModelOutput:
        """The output of the encoder that is faster for this number of tokens."""
        encoder = self.small if input_ids.numel() < SMALL_BATCH else self.large
        return encoder(input_ids, *arguments, **keywords)


def with_backend(model: OpticalModel, backend: str) -> TextEncoder:
    """A model as a backend runs it, with the same interface.

    Args:
        model: as PyTorch loads it.
        backend: one of `BACKENDS`. `auto` takes what a measurement on this machine found fastest within `TOLERANCE`; the
            measurement is made once and kept in the cache folder. On a GPU it is PyTorch.

    Raises:
        ValueError: for an unknown name. ImportError: if the export or onnxruntime needs packages that are missing.
        RuntimeError: if the exported graph gives other vectors than PyTorch.
    """
    check_backend(backend)
    if backend == "torch":
        return model
    if backend == "auto":
        return _fastest(model)
    return _exported(model, backend)


def check_backend(backend: str) -> None:
    """Raises ValueError unless the name is one of `BACKENDS`."""
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; allowed: {', '.join(BACKENDS)}.")


def cache_folder() -> Path:
    """Where this package keeps what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modeling-optical"


def _exported(model: OpticalModel, backend: str) -> onnx.GraphEncoder:
    folder = _export_folder(model)
    with locked(folder.parent):
        if not (folder / onnx.GRAPH).is_file():
            logger.warning(f"exporting {model.config._name_or_path} to ONNX, once, into {folder}")
            with replacing_folder(folder) as scratch:
                onnx.write(model, scratch)
        distance = 0.0 if backend == "onnx" else _distance(folder, backend)
    encoder = _open(folder, backend)
    encoder.config._name_or_path = model.config._name_or_path
    encoder.precision = model.precision
    encoder.kept_digest = digest_of_weights(model)
    if distance > TOLERANCE:
        encoder.kept_digest.update(backend.removeprefix("onnx-").encode())
    return encoder


def _open(folder: Path, backend: str) -> onnx.GraphEncoder:
    if backend == "openvino":
        return onnx.OpenVinoEncoder(folder)
    return onnx.OnnxEncoder(folder, quantized=backend == "onnx-int8")


def _distance(folder: Path, backend: str) -> float:
    """Greatest distance of a token's vector to that of the fp32 graph in onnxruntime; measured once, kept beside the graph."""
    record = folder / f"{backend.removeprefix('onnx-')}.json"
    if not record.is_file():
        if backend == "onnx-int8":
            worst = onnx.quantize(folder).greatest_distance
        else:
            exact = _vectors(_open(folder, "onnx"), onnx.TEXTS)
            worst = float(np.linalg.norm(_vectors(_open(folder, backend), onnx.TEXTS, precision="auto") - exact, axis=1).max())
        write_text(record, json.dumps({"greatest_distance": worst}) + "\n")
    return float(json.loads(record.read_text(encoding="utf-8"))["greatest_distance"])


def _export_folder(model: OpticalModel) -> Path:
    """In the model's own folder if it can be written, else in the cache; installed packages are left alone."""
    key = model_fingerprint(model, "onnx")[:16]
    own = Path(model.config._name_or_path or "/")
    installed = own.is_relative_to(sysconfig.get_paths()["purelib"])
    if model.config._name_or_path and own.is_dir() and os.access(own, os.W_OK) and not installed:
        return own / ".onnx" / key
    return cache_folder() / "onnx" / key


def _fastest(model: OpticalModel) -> TextEncoder:
    if fastest_device() != "cpu" or not all(importlib.util.find_spec(name) for name in _PACKAGES):
        logger.info(f"backend auto: torch (there is a GPU, or one of {', '.join(_PACKAGES)} is missing)")
        return model
    candidates: dict[str, Callable[[], TextEncoder]] = {
        "torch": lambda: model,
        **{name: partial(_exported, model, name) for name in ("onnx", "onnx-int8")},
    }
    if importlib.util.find_spec("openvino"):
        candidates["openvino"] = partial(_exported, model, "openvino")
    record = cache_folder() / "backends" / f"{_measured_for(model)}.json"
    if not record.is_file():
        write_text(record, json.dumps(_measure(model, candidates), indent=1) + "\n")
    measured = json.loads(record.read_text(encoding="utf-8"))
    small, large = (min(measured[size], key=measured[size].get) for size in ("small", "large"))
    said = f"backend auto: {large}" + (f", and {small} for single short texts" if small != large else "")
    logger.info(f"{said} (milliseconds: {measured})")
    if small == large:
        return candidates[large]()
    return BackendChoice(candidates[small](), candidates[large]())


def _measured_for(model: OpticalModel) -> str:
    """Names what a measurement depends on: the model's shape, this machine, its threads and versions, the precision."""
    precision = choose_precision(model.precision or "fp32", "cpu").name
    parts = [model_fingerprint(model, "onnx")[:16], platform.node(), str(torch.get_num_threads()), precision]
    runtimes = [metadata.version(name) for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]
    return "-".join([*parts, torch.__version__, *runtimes]).replace("/", "_")


def _measure(model: OpticalModel, candidates: Mapping[str, Callable[[], TextEncoder]]) -> dict[str, dict[str, float]]:
    """Milliseconds of processor time of each backend that stays within the tolerance, in turns, on few and on many tokens."""
    encoders = {}
    for name, make in candidates.items():
        try:
            encoders[name] = make()
        except RuntimeError as error:
            logger.warning(f"backend {name} is left out: {error}")
    exact = _vectors(model, onnx.TEXTS, precision="fp32")
    kept = {
        name: encoder
        for name, encoder in encoders.items()
        if np.linalg.norm(_vectors(encoder, onnx.TEXTS) - exact, axis=1).max() <= TOLERANCE
    }
    texts = {"small": [onnx.TEXTS[0]], "large": [" ".join(onnx.TEXTS[:2])] * 32}
    measured: dict[str, dict[str, float]] = {size: {} for size in texts}
    for size, own in texts.items():
        for round_ in range(_ROUNDS + 1):
            for name, encoder in kept.items():
                started = time.process_time()
                encoder.encode(own, "query" if size == "small" else "document", show_progress_bar=False)
                if round_:  # the first one warms up
                    taken = 1e3 * (time.process_time() - started)
                    measured[size][name] = min(taken, measured[size].get(name, taken))
    logger.warning(f"measured the backends of {model.config._name_or_path} once, milliseconds of processor time: {measured}")
    return measured


def _vectors(encoder: TextEncoder, texts: Sequence[str], **settings: Any) -> np.ndarray:
    return np.concatenate([*encoder.encode_query(texts, **settings), *encoder.encode_document(texts, **settings)])
