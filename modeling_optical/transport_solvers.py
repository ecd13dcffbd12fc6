"""The solvers behind `solve_transport`, and what they share: the walk over a batch, and the measures of a solution."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from .transport_problems import FORBIDDEN, Bucket, Problems, Solution, SolverSettings
from .transport_proximal import ipot
from .transport_sinkhorn import sinkhorn

_CHECK_EVERY = 5


def solve_batch(
    problems: Problems, solver: str, settings: SolverSettings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solves a padded batch.

    Returns:
        Plan (batch, rows, columns), cost (batch,), error, iterations, and whether each problem is solved to the tolerance.

    Raises:
        ValueError: where a cost that counts is not finite.
    """
    if solver == "partial":
        return _partial(problems, settings)
    cost, dtype, device = problems.cost, problems.a.dtype, problems.cost.device
    batch = cost.shape[0]
    plan = torch.zeros(cost.shape, dtype=dtype, device=device)
    value, error = torch.zeros(batch, dtype=dtype, device=device), torch.zeros(batch, dtype=dtype, device=device)
    iterations = torch.zeros(batch, dtype=torch.int64, device=device)
    converged = torch.ones(batch, dtype=torch.bool, device=device)
    if not plan.numel():
        return plan, value, error, iterations, converged
    # Sums of rounded numbers carry a rounding of their own, however exact the plan.
    enough = max(settings.tolerance, 8 * torch.finfo(dtype).eps)
    for bucket, solution in _SOLVERS[solver](problems, settings):
        index, moved = bucket.index, solution.plan.to(dtype)
        off = _marginal_error(moved, bucket) if solution.error is None else solution.error
        met = off <= enough
        if moved.shape == plan.shape:
            plan = moved
        else:
            plan[index, bucket.rows, bucket.columns] = moved
        value[index] = (moved * bucket.cost).sum((1, 2))
        error[index], iterations[index] = off, solution.iterations
        converged[index] = met if solution.optimal is None else met & solution.optimal
    return plan, value, error, iterations, converged


def _by_bucket(
    solve: Callable[[Bucket, SolverSettings], Solution],
) -> Callable[[Problems, SolverSettings], Iterator[tuple[Bucket, Solution]]]:
    def walk(problems: Problems, settings: SolverSettings) -> Iterator[tuple[Bucket, Solution]]:
        for bucket in problems.buckets():
            yield bucket, solve(bucket, settings)

    return walk


def exact(problems: Problems, settings: SolverSettings) -> Iterator[tuple[Bucket, Solution]]:
    """Network simplex in float64 on the CPU, the problems of a bucket on threads (POT, `ot.emd`)."""
    try:
        import ot  # here, because importing POT takes seconds and only this solver needs it
    except ImportError as error:
        raise ImportError('solver="exact" needs POT: pip install "POT>=0.9.5"') from error

    def solve(problem: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        cost, a, b = (t.contiguous().numpy() for t in problem)
        return torch.from_numpy(ot.emd(a / a.sum(), b / b.sum(), cost, numItermax=1_000_000))

    with ThreadPoolExecutor(max_workers=min(torch.get_num_threads(), os.cpu_count() or 1)) as threads:
        for bucket in problems.buckets():
            plan = torch.zeros_like(bucket.cost)
            cost, a, b = (t.double().cpu() for t in (bucket.cost, bucket.a, bucket.b))
            places = [(x.nonzero()[:, 0], y.nonzero()[:, 0]) for x, y in zip(a, b, strict=True)]
            dense = [(cost[i][rows][:, columns], a[i, rows], b[i, columns]) for i, (rows, columns) in enumerate(places)]
            for i, solution in enumerate(threads.map(solve, dense)):
                rows, columns = places[i]
                plan[i, rows.unsqueeze(1).to(plan.device), columns.to(plan.device)] = solution.to(plan)
            yield bucket, Solution(plan, _no_iterations(bucket))


def greedy(bucket: Bucket, settings: SolverSettings) -> Solution:
    """All mass of a row to its nearest column, the first of several (the alignment of DR.DECR, arXiv 2112.08185)."""
    nearest = bucket.cost.masked_fill(bucket.b.unsqueeze(1) == 0, torch.inf).argmin(2, keepdim=True)
    plan = torch.zeros_like(bucket.cost).scatter_(2, nearest, bucket.a.unsqueeze(2))
    return Solution(plan, _no_iterations(bucket), error=(plan.sum(2) - bucket.a).abs().sum(1))


def unbalanced(bucket: Bucket, settings: SolverSettings) -> Solution:
    """Entropic transport whose marginals are held by a Kullback-Leibler penalty, on logarithms.

    For `<P, C> + epsilon KL(P | a b^T) + penalty (KL(P 1 | a) + KL(P^T 1 | b))` each update of a potential is the balanced one
    times `penalty / (penalty + epsilon)` (Chizat, Peyré, Schmitzer and Vialard, arXiv 1607.05816). The error is the L1 distance
    of the row sums from what the row potentials ask for; the columns meet theirs.
    """
    power = settings.marginal_penalty / (settings.marginal_penalty + settings.epsilon)
    tolerance = max(settings.tolerance, 8 * torch.finfo(bucket.a.dtype).eps)
    exponent = torch.where(bucket.support(), bucket.cost / settings.epsilon, FORBIDDEN).clamp_(max=FORBIDDEN)
    a, b = bucket.a, bucket.b
    log_a, log_b = a.log(), b.log()
    plan = torch.zeros_like(exponent)
    iterations, errors = _no_iterations(bucket), torch.zeros_like(a[:, 0])
    active = torch.arange(exponent.shape[0], device=exponent.device)
    g = torch.zeros_like(b)
    for iteration in range(1, settings.max_iterations + 1):
        f = torch.where(a > 0, -power * torch.logsumexp((g + log_b).unsqueeze(1) - exponent, 2), 0)
        g = torch.where(b > 0, -power * torch.logsumexp((f + log_a).unsqueeze(2) - exponent, 1), 0)
        if iteration % _CHECK_EVERY and iteration < settings.max_iterations:
            continue
        row_sums = (log_a + f + torch.logsumexp((g + log_b).unsqueeze(1) - exponent, 2)).exp()
        error = (row_sums - a * (f * (1 - 1 / power)).exp()).abs().sum(1)
        done = (error <= tolerance) | (iteration >= settings.max_iterations)
        if bool(done.any()):
            index = active[done]
            plan[index] = ((f + log_a)[done].unsqueeze(2) + (g + log_b)[done].unsqueeze(1) - exponent[done]).exp()
            iterations[index], errors[index] = iteration, error[done]
            if bool(done.all()):
                break
            active, exponent, a, b, log_a, log_b, f, g = (t[~done] for t in (active, exponent, a, b, log_a, log_b, f, g))
    return Solution(plan, iterations, errors)


def _partial(
    problems: Problems, settings: SolverSettings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A share of the mass moves: Sinkhorn with one more row and column that take the rest (Chapel et al., arXiv 2002.08276)."""
    share = settings.moved_share
    if share == 1:
        return solve_batch(problems, "sinkhorn", settings)
    a, b = problems.a, problems.b
    live = (a.any(1) & b.any(1)).unsqueeze(1)
    inside = torch.where((a > 0).unsqueeze(2) & (b > 0).unsqueeze(1), problems.cost.to(a.dtype), 0)
    cost = torch.nn.functional.pad(inside, (1, 0, 1, 0))
    # Any constant serves as the cost of staying; the mean keeps the exponents small. At the cost of the corner, a share of e^-20
    # of the mass goes from rest to rest.
    mean = (inside * (a.unsqueeze(2) * b.unsqueeze(1))).sum((1, 2))
    cost[:, 0, :] = cost[:, :, 0] = mean.unsqueeze(1)
    cost[:, 0, 0] = 2 * mean - inside.amin((1, 2)) + 20 * settings.epsilon
    rest = torch.full_like(a[:, :1], 1 - share) * live
    widened = Problems(cost, torch.cat([rest, a], 1), torch.cat([rest, b], 1))
    solved, _, _, iterations, converged = solve_batch(widened, "sinkhorn", settings)
    plan = solved[:, 1:, 1:].contiguous()
    too_much = torch.stack([(plan.sum(2) - a).clamp_min(0).sum(1), (plan.sum(1) - b).clamp_min(0).sum(1)]).amax(0)
    error = torch.maximum(too_much, (plan.sum((1, 2)) - share * live[:, 0].to(plan)).abs())
    return plan, (plan * inside).sum((1, 2)), error, iterations, converged


_SOLVERS = {
    "sinkhorn": sinkhorn,
    "ipot": _by_bucket(ipot),
    "exact": exact,
    "greedy": _by_bucket(greedy),
    "unbalanced": _by_bucket(unbalanced),
}


def _marginal_error(plan: torch.Tensor, bucket: Bucket) -> torch.Tensor:
    rows, columns = (plan.sum(2) - bucket.a).abs().sum(1), (plan.sum(1) - bucket.b).abs().sum(1)
    return torch.maximum(rows, columns)


def _no_iterations(bucket: Bucket) -> torch.Tensor:
    return torch.zeros(bucket.a.shape[0], dtype=torch.int64, device=bucket.a.device)
