"""A padded batch of transport problems as buckets of similar size: a small problem does not pay for a large one's padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

# What one more bucket costs per iteration, and the most that a bucket holds, in entries of the cost. The first is the dispatch
# of an iteration's operators in units of their arithmetic; the second keeps the working set small.
_BUCKET_OVERHEAD = 100_000
_BUCKET_ENTRIES = 2**18
_BLOCKS = 20

# Exponents stand for "no mass here" from this value on; finite, so that differences of two stay a number.
FORBIDDEN = 1e30


class NonFiniteCostError(ValueError):
    """A cost between unmasked tokens is infinite or not a number."""


@dataclass(frozen=True)
class Bucket:
    """Problems of similar size, cut out of a batch.

    Attributes:
        index: (problems,), where they are in the batch.
        rows, columns: window of the batch's rows and columns that holds all of their mass.
        cost: (problems, rows, columns), finite; 0 in rows and columns without mass.
        a: (problems, rows), mass of each row; 0 for rows that do not count.
        b: (problems, columns).
    """

    index: torch.Tensor
    rows: slice
    columns: slice
    cost: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor

    def select(self, chosen: torch.Tensor) -> Bucket:
        """The problems that a (problems,) bool mask chooses."""
        if bool(chosen.all()):
            return self
        return Bucket(self.index[chosen], self.rows, self.columns, self.cost[chosen], self.a[chosen], self.b[chosen])

    def potentials(self, f: torch.Tensor, g: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Potentials as a `TransportPlan` keeps them, from those of a plan `exp(f_i + g_j - C_ij / epsilon)`."""
        a, b = self.a.to(f.dtype), self.b.to(g.dtype)
        return torch.where(a > 0, epsilon * (f - a.log()), 0), torch.where(b > 0, epsilon * (g - b.log()), 0)

    def support(self) -> torch.Tensor:
        """(problems, rows, columns) bool, where mass may move."""
        return (self.a > 0).unsqueeze(2) & (self.b > 0).unsqueeze(1)


@dataclass(frozen=True)
class Solution:
    """A solver's result for a bucket.

    Attributes:
        plan: (problems, rows, columns).
        iterations: (problems,) int64.
        error: (problems,), replaces the marginal error for solvers that do not meet both marginals.
        optimal: (problems,) bool, a further condition of convergence.
        potentials: (problems, rows) and (problems, columns), see `TransportPlan`.
    """

    plan: torch.Tensor
    iterations: torch.Tensor
    error: torch.Tensor | None = None
    optimal: torch.Tensor | None = None
    potentials: tuple[torch.Tensor, torch.Tensor] | None = None


@dataclass(frozen=True)
class Problems:
    """A padded batch of problems.

    Attributes:
        cost: (batch, rows, columns), of any content where a row or a column has no mass.
        a: (batch, rows), mass of each row: sums to 1, or to 0 where nothing counts.
        b: (batch, columns).
    """

    cost: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor

    def with_mass(self) -> torch.Tensor:
        """Indices of the problems that have mass."""
        return (self.a.any(1) & self.b.any(1)).nonzero()[:, 0]

    def buckets(self, chosen: torch.Tensor | None = None) -> Iterator[Bucket]:
        """Buckets of the problems at the indices `chosen`, of all with mass if None.

        Raises:
            ValueError: where a cost that counts is not finite.
        """
        # In the batch's order, so that a bucket of all problems is the batch itself.
        index = self.with_mass() if chosen is None else chosen.sort()[0]
        rows, columns = self.cost.shape[1:]
        if index.numel() * rows * columns <= _BUCKET_OVERHEAD:
            if index.numel():
                yield self._cut(index, slice(0, rows), slice(0, columns))
            return
        row_first, row_end = _extent(self.a[index] > 0)
        column_first, column_end = _extent(self.b[index] > 0)
        spans = (row_end - row_first).tolist(), (column_end - column_first).tolist()
        for members in _partition(*spans):
            window = [
                slice(int(first[members].min()), int(end[members].max()))
                for first, end in ((row_first, row_end), (column_first, column_end))
            ]
            yield self._cut(index[members.sort()[0]], *window)

    def _cut(self, index: torch.Tensor, rows: slice, columns: slice) -> Bucket:
        cost, a, b = self.cost[:, rows, columns], self.a[:, rows], self.b[:, columns]
        if index.numel() < self.cost.shape[0]:
            cost, a, b = cost[index], a[index], b[index]
        counted_rows, counted_columns = a > 0, b > 0
        # Arithmetic, because selecting entry by entry costs twenty times as much.
        inside = cost * counted_rows.to(a.dtype).unsqueeze(2)
        inside *= counted_columns.to(a.dtype).unsqueeze(1)
        if not bool(torch.isfinite(inside.sum())):
            inside = torch.where(counted_rows.unsqueeze(2) & counted_columns.unsqueeze(1), cost.to(a.dtype), 0)
            bad = (~torch.isfinite(inside)).flatten(1).any(1)
            if bool(bad.any()):
                raise NonFiniteCostError(f"the cost between unmasked tokens of problem {int(index[bad].min())} is not finite.")
        return Bucket(index, rows, columns, inside, a, b)


def _partition(rows: list[int], columns: list[int]) -> list[torch.Tensor]:
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


def _extent(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and one past the last True of each row of a mask that has one."""
    width = mask.shape[1]
    position = torch.arange(width, device=mask.device)
    return torch.where(mask, position, width).amin(1), torch.where(mask, position + 1, 0).amax(1)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The precision that a problem of a given dtype is solved in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def marginals(
    cost: torch.Tensor,
    row_mask: torch.Tensor | None,
    column_mask: torch.Tensor | None,
    row_weights: torch.Tensor | None,
    column_weights: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both marginals of each problem; both are 0 where one side has nothing that counts."""
    batch, rows, columns = cost.shape
    dtype = compute_dtype(cost.dtype)
    a = _marginal(row_mask, row_weights, (batch, rows), dtype, cost.device, "row")
    b = _marginal(column_mask, column_weights, (batch, columns), dtype, cost.device, "column")
    live = (a.sum(1, keepdim=True) > 0) & (b.sum(1, keepdim=True) > 0)
    return a * live, b * live


def _marginal(
    mask: torch.Tensor | None,
    weights: torch.Tensor | None,
    shape: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
    side: str,
) -> torch.Tensor:
    """Weights over unmasked tokens that sum to 1 in each problem, or to 0 where nothing counts."""
    for name, value in ((f"{side}_mask", mask), (f"{side}_weights", weights)):
        if value is not None and tuple(value.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}; the cost asks for {shape}.")
    if mask is None:
        mask = torch.ones(shape, dtype=torch.bool, device=device)
    elif mask.dtype != torch.bool:
        mask = mask != 0
    if weights is None:
        weights = mask.to(dtype)
    else:
        weights = torch.where(mask, weights.detach().to(dtype), 0)
        if device.type == "cpu" and not bool(((weights >= 0) & torch.isfinite(weights)).all()):
            raise ValueError(f"{side}_weights must be finite and not negative where {side}_mask is True.")
    if 0 in shape:
        return weights
    # Divide by the largest first: the sum of huge weights may overflow, tiny ones may vanish.
    weights = weights / weights.amax(1, keepdim=True).clamp_min(torch.finfo(dtype).tiny)
    return weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(dtype).tiny)
