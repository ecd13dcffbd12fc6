"""The solvers behind `solve_transport`, each on a bucket of problems, and what they share: cutting, checking, measuring."""

from __future__ import annotations

import dataclasses

import torch

from .transport_problems import FORBIDDEN, Bucket, Solution, SolverSettings, cut_into_buckets
from .transport_scaling import ipot, log_domain, sinkhorn


def solve_batch(
    cost: torch.Tensor, a: torch.Tensor, b: torch.Tensor, solver: str, settings: SolverSettings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solves a padded batch bucket by bucket.

    Args:
        cost: (batch, rows, columns), of any content where a row or a column has no mass.
        a: (batch, rows), mass of each row: sums to 1, or to 0 where nothing counts.
        b: (batch, columns).

    Returns:
        Plan (batch, rows, columns), cost (batch,), error, iterations, and whether each problem is solved to the tolerance.

    Raises:
        ValueError: where a cost that counts is not finite.
    """
    batch = cost.shape[0]
    plan = torch.zeros(cost.shape, dtype=a.dtype, device=cost.device)
    value, error = torch.zeros_like(a[:, 0]), torch.zeros_like(a[:, 0])
    iterations = torch.zeros(batch, dtype=torch.int64, device=cost.device)
    converged = torch.ones(batch, dtype=torch.bool, device=cost.device)
    # Sums of rounded numbers carry a rounding of their own, however exact the plan.
    enough = max(settings.tolerance, 8 * torch.finfo(a.dtype).eps)
    for index, rows, columns, bucket in cut_into_buckets(cost, a, b):
        finite = torch.isfinite(bucket.cost.sum((1, 2)))
        if not bool(finite.all()):
            _refuse_infinite(bucket, index)
        solution = _SOLVERS[solver](bucket, settings)
        off = _marginal_error(solution.plan, bucket) if solution.error is None else solution.error
        met = off <= enough
        plan[index, rows, columns] = solution.plan
        value[index] = (solution.plan * bucket.cost).sum((1, 2))
        error[index], iterations[index] = off, solution.iterations
        converged[index] = met if solution.optimal is None else met & solution.optimal
    return plan, value, error, iterations, converged


def exact(bucket: Bucket, settings: SolverSettings) -> Solution:
    """Network simplex, one problem at a time in float64 on the CPU (POT, `ot.emd`, which holds Python's lock: no threads)."""
    try:
        import ot  # here, because importing POT takes seconds and only this solver needs it
    except ImportError as error:
        raise ImportError('solver="exact" needs POT: pip install "POT>=0.9.5"') from error
    plan = torch.zeros_like(bucket.cost)
    for index in range(plan.shape[0]):
        rows, columns = bucket.a[index].nonzero()[:, 0], bucket.b[index].nonzero()[:, 0]
        a, b = (w.double() / w.double().sum() for w in (bucket.a[index, rows], bucket.b[index, columns]))
        problem = bucket.cost[index, rows][:, columns].double().cpu().contiguous().numpy()
        solution = ot.emd(a.cpu().numpy(), b.cpu().numpy(), problem, numItermax=1_000_000)
        plan[index, rows.unsqueeze(1), columns] = torch.as_tensor(solution).to(plan)
    return Solution(plan, _no_iterations(bucket))


def greedy(bucket: Bucket, settings: SolverSettings) -> Solution:
    """All mass of a row to its nearest column, the first of several (the alignment of DR.DECR, arXiv 2112.08185)."""
    nearest = torch.where(bucket.support, bucket.cost, torch.inf).argmin(2, keepdim=True)
    plan = torch.zeros_like(bucket.cost).scatter_(2, nearest, bucket.a.unsqueeze(2))
    return Solution(plan, _no_iterations(bucket), error=(plan.sum(2) - bucket.a).abs().sum(1))


def unbalanced(bucket: Bucket, settings: SolverSettings) -> Solution:
    """Entropic transport whose marginals are held by a Kullback-Leibler penalty (Chizat et al., arXiv 1607.05816)."""
    # No shifts here: they would change what the penalty weighs against.
    exponent = torch.where(bucket.support, bucket.cost / settings.epsilon, FORBIDDEN).clamp_(max=FORBIDDEN)
    power = settings.marginal_penalty / (settings.marginal_penalty + settings.epsilon)
    plan, iterations, error = log_domain(exponent, bucket.a, bucket.b, power, settings)
    return Solution(plan, iterations, error)


def partial(bucket: Bucket, settings: SolverSettings) -> Solution:
    """A share of the mass moves: Sinkhorn with one more row and column that take the rest (Chapel et al., arXiv 2002.08276)."""
    share = settings.moved_share
    widened = [torch.nn.functional.pad(t, (1, 0, 1, 0)) for t in (bucket.cost, bucket.support)]
    cost, support = widened
    support[:, 0, 1:], support[:, 1:, 0] = bucket.b > 0, bucket.a > 0
    # Any constant serves as the cost of staying; the mean keeps the exponents small.
    mean = bucket.cost.sum((1, 2)) / bucket.support.sum((1, 2)).clamp_min(1)
    cost[:, 0, :] = cost[:, :, 0] = mean.unsqueeze(1)
    cost = torch.where(support, cost, 0)
    stays = torch.full_like(bucket.a[:, :1], 1 - share)
    a, b = torch.cat([stays, bucket.a], 1), torch.cat([stays, bucket.b], 1)
    solution = sinkhorn(Bucket(cost, support, True, a, b), settings)
    plan = solution.plan[:, 1:, 1:].contiguous()
    too_much = torch.stack([(plan.sum(2) - bucket.a).clamp_min(0).sum(1), (plan.sum(1) - bucket.b).clamp_min(0).sum(1)])
    error = torch.maximum(too_much.amax(0), (plan.sum((1, 2)) - share).abs())
    return dataclasses.replace(solution, plan=plan, error=error)


_SOLVERS = {
    "sinkhorn": sinkhorn,
    "ipot": ipot,
    "exact": exact,
    "greedy": greedy,
    "unbalanced": unbalanced,
    "partial": partial,
}


def _marginal_error(plan: torch.Tensor, bucket: Bucket) -> torch.Tensor:
    rows, columns = (plan.sum(2) - bucket.a).abs().sum(1), (plan.sum(1) - bucket.b).abs().sum(1)
    return torch.maximum(rows, columns)


def _no_iterations(bucket: Bucket) -> torch.Tensor:
    return torch.zeros(bucket.a.shape[0], dtype=torch.int64, device=bucket.a.device)


def _refuse_infinite(bucket: Bucket, index: torch.Tensor) -> None:
    """Raises for the first problem with a cost that is not finite; returns where only the sum of the costs is not."""
    bad = (~torch.isfinite(bucket.cost)).flatten(1).any(1)
    if bool(bad.any()):
        raise ValueError(f"the cost between unmasked tokens of problem {int(index[bad].min())} is not finite.")
