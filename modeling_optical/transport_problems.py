"""A padded batch of transport problems as buckets of similar size: a small problem does not pay for a large one's padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

# What one more bucket costs per iteration, and the most that a bucket holds, in entries of the cost. The first is the dispatch
# of an iteration's operators in units of their arithmetic; the second keeps the working set small.
_BUCKET_OVERHEAD = 40_000
_BUCKET_ENTRIES = 2**18
_BLOCKS = 24

# Exponents stand for "no mass here" from this value on; finite, so that differences of two stay a number.
FORBIDDEN = 1e30


@dataclass(frozen=True)
class SolverSettings:
    """Settings of a solver; their meaning is told by `solve_transport`."""

    epsilon: float
    max_iterations: int
    tolerance: float
    annealing: str
    marginal_penalty: float
    moved_share: float


@dataclass(frozen=True)
class Bucket:
    """Problems of similar size, cut out of a batch.

    Attributes:
        cost: (problems, rows, columns), 0 outside of `support`.
        support: (problems, rows, columns) bool, where mass may move.
        padded: whether any entry is outside of the support.
        a: (problems, rows), mass of each row; 0 for rows that do not count.
        b: (problems, columns).
    """

    cost: torch.Tensor
    support: torch.Tensor
    padded: bool
    a: torch.Tensor
    b: torch.Tensor


@dataclass(frozen=True)
class Solution:
    """What a solver makes of a bucket.

    Attributes:
        plan: (problems, rows, columns), 0 outside of the support.
        iterations: (problems,) int64.
        error: (problems,), how far the conditions of the solver's problem are from being met, L1; None for the plain error of
            the marginals.
        optimal: (problems,) bool, whether the solver's own test of optimality holds; None where the error is the whole test.
    """

    plan: torch.Tensor
    iterations: torch.Tensor
    error: torch.Tensor | None = None
    optimal: torch.Tensor | None = None


def cut_into_buckets(
    cost: torch.Tensor, a: torch.Tensor, b: torch.Tensor
) -> Iterator[tuple[torch.Tensor, slice, slice, Bucket]]:
    """Buckets of a batch with where they stand in it: problems, window of rows, window of columns.

    Args:
        cost: (batch, rows, columns), of any content where a row or a column has no mass.
        a: (batch, rows), mass of each row.
        b: (batch, columns).

    Problems without mass are left out.
    """
    has_row, has_column = a > 0, b > 0
    live = (has_row.any(1) & has_column.any(1)).nonzero()[:, 0]
    if live.numel() == 0:
        return
    has_row, has_column = has_row[live], has_column[live]
    row_first, row_end = _extent(has_row)
    column_first, column_end = _extent(has_column)
    spans = (row_end - row_first).tolist(), (column_end - column_first).tolist()
    for members in partition(*spans):
        rows = slice(int(row_first[members].min()), int(row_end[members].max()))
        columns = slice(int(column_first[members].min()), int(column_end[members].max()))
        index = live[members]
        counted_rows, counted_columns = has_row[members, rows], has_column[members, columns]
        support = counted_rows.unsqueeze(2) & counted_columns.unsqueeze(1)
        padded = not (bool(counted_rows.all()) and bool(counted_columns.all()))
        inside = cost[:, rows, columns][index].to(a.dtype)
        if padded:
            inside = torch.where(support, inside, 0)
        yield index, rows, columns, Bucket(inside, support, padded, a[index, rows], b[index, columns])


def partition(rows: list[int], columns: list[int]) -> list[torch.Tensor]:
    """Cuts problems, sorted by size, where the padding saved is worth one more bucket (dynamic programme over blocks)."""
    sizes = torch.tensor([r + c for r, c in zip(rows, columns, strict=True)])
    order = torch.argsort(sizes, stable=True)
    area = max(rows) * max(columns)
    per_block = max(1, min(-(-len(rows) // _BLOCKS), _BUCKET_ENTRIES // area))
    blocks = order.split(per_block)
    shapes = [(max(rows[i] for i in block), max(columns[i] for i in block)) for block in (b.tolist() for b in blocks)]
    best = [0.0]
    cut = [0]
    for end in range(1, len(blocks) + 1):
        cheapest, start_of_cheapest = float("inf"), end - 1
        tall = wide = count = 0
        for start in range(end - 1, -1, -1):
            tall, wide = max(tall, shapes[start][0]), max(wide, shapes[start][1])
            count += blocks[start].numel()
            entries = count * tall * wide
            if entries > _BUCKET_ENTRIES and start < end - 1:
                break
            if best[start] + entries + _BUCKET_OVERHEAD < cheapest:
                cheapest, start_of_cheapest = best[start] + entries + _BUCKET_OVERHEAD, start
        best.append(cheapest)
        cut.append(start_of_cheapest)
    buckets = []
    end = len(blocks)
    while end:
        buckets.append(torch.cat(blocks[cut[end] : end]))
        end = cut[end]
    return buckets


def exponents(bucket: Bucket, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """`cost / epsilon` with every row and column shifted to a minimum of 0, which leaves a balanced plan as it is.

    Returns:
        (problems, rows, columns), `FORBIDDEN` outside of the support, and the largest exponent of each problem.
    """
    exponent = torch.where(bucket.support, bucket.cost, torch.inf) if bucket.padded else bucket.cost.clone()
    for dim in (2, 1):
        smallest = exponent.amin(dim, keepdim=True)
        exponent -= smallest.masked_fill_(torch.isinf(smallest), 0)
    exponent /= epsilon
    exponent.clamp_(max=FORBIDDEN)
    return exponent, (torch.where(bucket.support, exponent, 0) if bucket.padded else exponent).amax((1, 2))


def _extent(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and one past the last True of each row of a mask that has one."""
    width = mask.shape[1]
    position = torch.arange(width, device=mask.device)
    return torch.where(mask, position, width).amin(1), torch.where(mask, position + 1, 0).amax(1)
