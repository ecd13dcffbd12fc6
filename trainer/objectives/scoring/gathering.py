"""The batches of all processes as one batch, with gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as distributed
from torch.nn import functional


@dataclass
class GatheredVectors:
    """Token vectors of all processes, in the order of their ranks.

    Attributes:
        vectors: (all texts, tokens, dim), padded to the longest text of all; gradients flow back to the process they are from.
        mask: (all texts, tokens) bool.
        first: position of this process's first text.
    """

    vectors: torch.Tensor
    mask: torch.Tensor
    first: int


def process_count() -> int:
    """How many processes train together; 1 without a process group."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather_vectors(vectors: torch.Tensor, mask: torch.Tensor) -> GatheredVectors:
    """Gathers token vectors; processes may differ in the number of texts and of tokens.

    Args:
        vectors: (batch, tokens, dim).
        mask: (batch, tokens) bool.
    """
    if process_count() == 1:
        return GatheredVectors(vectors, mask, 0)
    sizes = _sizes(vectors)
    texts, tokens = int(sizes[:, 0].max()), int(sizes[:, 1].max())
    padding = (0, tokens - vectors.shape[1], 0, texts - vectors.shape[0])
    gathered = _AllGather.apply(functional.pad(vectors, (0, 0, *padding)))
    masks = _all_gather(functional.pad(mask, padding).to(torch.uint8)).bool()
    counts = sizes[:, 0].tolist()
    return GatheredVectors(
        torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)]),
        torch.cat([part[:count] for part, count in zip(masks, counts, strict=True)]),
        sum(counts[: distributed.get_rank()]),
    )


def gather_rows(values: torch.Tensor) -> torch.Tensor:
    """Gathers a tensor (batch, …) without gradient along its first dimension, whose size may differ between processes."""
    if process_count() == 1:
        return values
    counts = _sizes(values)[:, 0].tolist()
    padded = values.new_zeros((max(counts), *values.shape[1:]))
    padded[: values.shape[0]] = values
    return torch.cat([part[:count] for part, count in zip(_all_gather(padded), counts, strict=True)])


def count_rows(values: torch.Tensor) -> int:
    """Rows of a tensor (batch, …) on all processes together."""
    if process_count() == 1:
        return values.shape[0]
    count = torch.tensor(values.shape[0], device=values.device)
    distributed.all_reduce(count)
    return int(count)


def _sizes(values: torch.Tensor) -> torch.Tensor:
    """(processes, 2): the first two dimensions of the tensor on every process."""
    second = values.shape[1] if values.dim() > 1 else 1
    return _all_gather(torch.tensor([values.shape[0], second], device=values.device))


def _all_gather(tensor: torch.Tensor) -> torch.Tensor:
    """(processes, …) of tensors of one shape, without gradient."""
    parts = [torch.empty_like(tensor) for _ in range(process_count())]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.stack(parts)


class _AllGather(torch.autograd.Function):
    """All-gather whose backward sums what all processes say about a tensor and hands it to its owner.

    `torch.distributed.nn.functional.all_gather` does the same by an all-to-all, which gloo lacks.
    """

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return _all_gather(tensor)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> torch.Tensor:
        gradient = grad_outputs[0].contiguous().clone()
        distributed.all_reduce(gradient)
        return gradient[distributed.get_rank()]
