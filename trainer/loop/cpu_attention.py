"""The attention that trains fastest on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel, TrainingArguments

# Tokens of a text up to which it was measured to be faster (`benchmarks/cpu_attention.py`).
_LONGEST = 160


@contextmanager
def fast_cpu_attention(model: PreTrainedModel, arguments: TrainingArguments, longest: int) -> Iterator[None]:
    """Trains with `eager` attention instead of `sdpa` where that is faster: short texts, in bf16 on a CPU.

    The backward pass of PyTorch's fused attention is slow in bf16 on CPUs. Two matrix products and a softmax use the
    processor's matrix instructions, and for short texts the attention weights that they keep are small. On exit the model has
    its previous implementation.

    Args:
        model: the model, not wrapped.
        arguments: of the training; their device and precision decide.
        longest: tokens of the longest text that it may be given.
    """
    config = model.config
    fused = config._attn_implementation == "sdpa"
    if arguments.device.type != "cpu" or not arguments.bf16 or not fused or longest > _LONGEST:
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation("sdpa")
