"""The solvers behind `solve_transport`, and what they share: the walk over a batch, and the measures of a solution."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from .transport_options import TransportOptions
from .transport_problems import Bucket, Problems, Solution
from .transport_proximal import ipot
from .transport_relaxed import partial, unbalanced
from .transport_sinkhorn import sinkhorn


def solve_batch(
    problems: Problems, options: TransportOptions
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solves a padded batch.

    Returns:
        The fields of a `TransportPlan`.

    Raises:
        ValueError: where a cost that counts is not finite.
    """
    cost, dtype, device = problems.cost, problems.a.dtype, problems.cost.device
    batch = cost.shape[0]
    plan: torch.Tensor | None = None
    rows, columns = torch.zeros_like(problems.a), torch.zeros_like(problems.b)
    value, error = torch.zeros(batch, dtype=dtype, device=device), torch.zeros(batch, dtype=dtype, device=device)
    iterations = torch.zeros(batch, dtype=torch.int64, device=device)
    converged = torch.ones(batch, dtype=torch.bool, device=device)
    # Sums of rounded numbers carry a separate rounding, however exact the plan.
    enough = max(options.tolerance, 8 * torch.finfo(dtype).eps)
    for bucket, solution in SOLVER_FUNCTIONS[options.solver](problems, options) if cost.numel() else ():
        index, moved = bucket.index, solution.plan.to(dtype)
        off = _marginal_error(moved, bucket) if solution.error is None else solution.error
        met = off <= enough
        value[index] = torch.bmm(moved.flatten(1).unsqueeze(1), bucket.cost.flatten(1).unsqueeze(2)).view(-1)
        error[index], iterations[index] = off, solution.iterations
        converged[index] = met if solution.optimal is None else met & solution.optimal
        if solution.potentials is not None:
            rows[index, bucket.rows], columns[index, bucket.columns] = (p.to(dtype) for p in solution.potentials)
        if moved.shape == cost.shape:
            return moved, value, error, iterations, converged, rows, columns
        if plan is None:
            plan = torch.zeros(cost.shape, dtype=dtype, device=device)
        plan[index, bucket.rows, bucket.columns] = moved
    if plan is None:
        plan = torch.zeros(cost.shape, dtype=dtype, device=device)
    return plan, value, error, iterations, converged, rows, columns


def by_bucket(
    solve: Callable[[Bucket, TransportOptions], Solution],
) -> Callable[[Problems, TransportOptions], Iterator[tuple[Bucket, Solution]]]:
    """A solver of whole batches from one of single buckets."""

    def walk(problems: Problems, options: TransportOptions) -> Iterator[tuple[Bucket, Solution]]:
        for bucket in problems.buckets():
            yield bucket, solve(bucket, options)

    return walk


def exact(bucket: Bucket, options: TransportOptions) -> Solution:
    """Network simplex in float64 on the CPU (POT, `ot.emd`), one problem after the other.

    It holds Python's lock: on threads it was slower.
    """
    try:
        import ot  # here, because importing POT takes seconds and only this solver needs it
    except ImportError as error:
        raise ImportError('solver="exact" needs POT: pip install "POT>=0.9.5"') from error
    plan, potentials = torch.zeros_like(bucket.cost), (torch.zeros_like(bucket.a), torch.zeros_like(bucket.b))
    cost, masses_a, masses_b = (t.double().cpu() for t in (bucket.cost, bucket.a, bucket.b))
    for index in range(plan.shape[0]):
        rows, columns = masses_a[index].nonzero()[:, 0], masses_b[index].nonzero()[:, 0]
        a, b = masses_a[index, rows], masses_b[index, columns]
        costs = cost[index, rows][:, columns]
        # The network simplex finds nothing where all costs are far below 0; a constant changes no plan.
        lowest = costs.min()
        problem = (costs - lowest).contiguous().numpy()
        solution, dual = ot.emd((a / a.sum()).numpy(), (b / b.sum()).numpy(), problem, numItermax=1_000_000, log=True)
        dual["u"] = dual["u"] + lowest.item()
        places = rows.unsqueeze(1).to(plan.device), columns.to(plan.device)
        plan[index, *places] = torch.as_tensor(solution).to(plan)
        for side, place, values in zip(potentials, (rows, columns), (dual["u"], dual["v"]), strict=True):
            side[index, place.to(plan.device)] = torch.as_tensor(values).to(plan)
    return Solution(plan, _no_iterations(bucket), potentials=potentials)


def greedy(bucket: Bucket, options: TransportOptions) -> Solution:
    """All mass of a row to its nearest column, the first of several (the alignment of DR.DECR, arXiv 2112.08185)."""
    nearest = bucket.cost.masked_fill(bucket.b.unsqueeze(1) == 0, torch.inf).argmin(2, keepdim=True)
    plan = torch.zeros_like(bucket.cost).scatter_(2, nearest, bucket.a.unsqueeze(2))
    return Solution(plan, _no_iterations(bucket), error=(plan.sum(2) - bucket.a).abs().sum(1))


SOLVER_FUNCTIONS: dict[str, Callable[[Problems, TransportOptions], Iterator[tuple[Bucket, Solution]]]] = {
    "sinkhorn": sinkhorn,
    "ipot": ipot,
    "exact": by_bucket(exact),
    "greedy": by_bucket(greedy),
    "unbalanced": by_bucket(unbalanced),
    "partial": by_bucket(partial),
}


def _marginal_error(plan: torch.Tensor, bucket: Bucket) -> torch.Tensor:
    rows, columns = (plan.sum(2) - bucket.a).abs().sum(1), (plan.sum(1) - bucket.b).abs().sum(1)
    return torch.maximum(rows, columns)


def _no_iterations(bucket: Bucket) -> torch.Tensor:
    return torch.zeros(bucket.a.shape[0], dtype=torch.int64, device=bucket.a.device)
