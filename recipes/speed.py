"""How fast this machine encodes and trains, measured in seconds, and what a run will take by that."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date

import torch
from transformers import BertConfig, BertModel

from modeling_optical.checkpoints.backends import cache_folder
from modeling_optical.files.atomic_write import write_text
from modeling_optical.precision import Precision, choose_precision, fastest_device

# Texts and tokens of a batch: short ones, as names, queries and sentences are.
_TEXTS, _TOKENS = 32, 16
# How much longer than its processor time over its threads a round takes where threads merely wait for each other.
_BUSY = 1.6
# The shape of all-MiniLM-L6-v2, the quickstart's teacher.
_SHAPE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}


@dataclass(frozen=True)
class Speed:
    """Speed of this machine with a model of MiniLM's shape (6 layers, hidden size 384) and short texts, when it is quiet.

    Attributes:
        precision: what it computes in, and why.
        device: what it computes on.
        encoded, trained: texts of 16 tokens per second.
        busy: whether other programs used the processor during the measurement, which are counted out.
    """

    precision: Precision
    device: str
    encoded: float
    trained: float
    busy: bool = False


def measure_speed(seconds: float = 5.0, precision: str = "auto") -> Speed:
    """Encodes and trains a random model for some seconds.

    Args:
        seconds: of the measurement, after the model is made.
        precision: one of `PRECISIONS`.
    """
    device = fastest_device()
    chosen = choose_precision(precision, device)
    encode, train = workload(chosen.name, _TEXTS, _TOKENS)
    encoding, encoded_beside = _least_seconds(encode, 0.4 * seconds)
    training, trained_beside = _least_seconds(train, 0.6 * seconds)
    return Speed(chosen, device, _TEXTS / encoding, _TEXTS / training, encoded_beside or trained_beside)


def workload(precision: str, texts: int, tokens: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """One batch of a random model: encoding, and a step of training, with the attention that is fast in the precision.

    Args:
        precision: `"bf16"`, `"fp16"` or `"fp32"`.
        texts, tokens: of the batch.
    """
    device = fastest_device()
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    # A state of the random generator that the caller has stays as it is.
    with torch.random.fork_rng(devices=[]):
        attention = "eager" if precision == "bf16" and device == "cpu" else "sdpa"
        model = BertModel(BertConfig(vocab_size=1000, attn_implementation=attention, **_SHAPE)).to(device)
        ids = torch.randint(1000, (texts, tokens), device=device)
    optimizer = torch.optim.AdamW(model.parameters())

    def computed() -> torch.Tensor:
        with torch.autocast(device, dtype=kind) if kind else nullcontext():
            return model(input_ids=ids).last_hidden_state

    def encode() -> None:
        model.eval()
        with torch.inference_mode():
            float(computed().sum())  # waits for a GPU

    def train() -> None:
        model.train()
        loss = computed().float().pow(2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())

    return encode, train


def _least_seconds(work: Callable[[], None], seconds: float) -> tuple[float, bool]:
    """The least time of a round, and whether other programs were in its way.

    They count with the clock and not in processor time. So the processor time of our threads, over their number, takes the
    clock's place where that is much longer.
    """
    work()  # the first time allocates and chooses kernels
    least, least_processor, began = math.inf, math.inf, time.perf_counter()
    while least == math.inf or time.perf_counter() - began < seconds:
        started, started_processor = time.perf_counter(), time.process_time()
        work()
        least = min(least, time.perf_counter() - started)
        least_processor = min(least_processor, time.process_time() - started_processor)
    if fastest_device() != "cpu":
        return least, False
    quiet = least_processor / min(torch.get_num_threads(), os.cpu_count() or 1)
    busy = least > _BUSY * quiet
    return quiet if busy else least, busy


@dataclass(frozen=True)
class Work:
    """The work of a run, in texts of about 16 tokens.

    Attributes:
        encoded: texts that are encoded, by all models together.
        trained: texts that are trained on, by all systems together.
        other: seconds for the rest (imports, vocabulary, search, pictures).
        size: layers × hidden size², against MiniLM's.
    """

    encoded: float
    trained: float
    other: float = 20.0
    size: float = 1.0

    def seconds(self, speed: Speed) -> float:
        """How long it takes at a speed. Objectives, optimizer and data take as long again as a third of the training."""
        return self.other + self.size * (self.encoded / speed.encoded + _OVERHEAD * self.trained / speed.trained)


_OVERHEAD = 1.35
# `recipes/quickstart/swahili.yaml`: two systems, 150 updates of 32 names each; 4,500 teacher vectors; five systems evaluated on
# 383 names and 1,964 descriptions, which are half as long as the texts measured with.
QUICKSTART = Work(encoded=7_000, trained=4_800)


BUSY = "Other programs use the processor now: on a quiet machine"


def in_words(seconds: float) -> str:
    """`3 minutes`, `40 seconds`."""
    if seconds < 90:
        return f"{max(round(seconds, -1), 10):.0f} seconds"
    return f"{seconds / 60:.0f} minutes"


def speed_of_this_machine(precision: str = "auto") -> Speed:
    """As `measure_speed`, in a second; measured once a day, when the machine is quiet, and kept in the cache folder."""
    device = fastest_device()
    chosen = choose_precision(precision, device)
    parts = [platform.node(), device, chosen.name, str(torch.get_num_threads()), torch.__version__, str(date.today())]
    record = cache_folder() / "speed" / f"{'-'.join(parts)}.json"
    if not record.is_file():
        speed = measure_speed(1.0, precision)
        if speed.busy:
            return speed
        write_text(record, json.dumps({"encoded": speed.encoded, "trained": speed.trained}) + "\n")
    return Speed(chosen, device, **json.loads(record.read_text(encoding="utf-8")))
