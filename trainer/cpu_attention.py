"""The attention that trains fastest on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel, TrainingArguments


@contextmanager
def fast_cpu_attention(model: PreTrainedModel, arguments: TrainingArguments) -> Iterator[None]:
    """Trains with `eager` attention in place of `sdpa` where that is faster: in bf16 on a CPU.

    PyTorch's fused attention has no bf16 matrix instructions in its backward pass on CPUs, which then takes longer than the
    rest of the layer; two matrix products and a softmax use them (`benchmarks/cpu_attention.py`). Texts of bitext are short, so
    the attention weights are small. The model leaves with the implementation that it came with.

    Args:
        model: the model, not wrapped.
        arguments: of the training; their device and precision decide.
    """
    config = model.config
    if arguments.device.type != "cpu" or not arguments.bf16 or config._attn_implementation != "sdpa":
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation("sdpa")
