"""The proximal point method on batches of problems (IPOT): the linear programme's plan by scalings, with a certificate."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .transport_options import TransportOptions
from .transport_problems import Bucket, Problems, Solution
from .transport_sinkhorn import solve_from

# The gap between the cost and a bound below it at which a plan is optimal, relative to what the cost has above its least entry:
# a constant changes neither.
_GAP = 5e-4
# What rounding may add to the gap, in units of the largest cost and of its dtype's precision.
_ROUNDING = 2
# A step is solved as exactly as its regularisation is small, within these bounds.
_STEP_TOLERANCE = (1e-4, 1e-2)
_MOST_STEPS = 40


def ipot(problems: Problems, options: TransportOptions) -> Iterator[tuple[Bucket, Solution]]:
    """Proximal point method on the linear programme (IPOT, Xie, Wang, Wang and Zha, arXiv 1802.04307).

    Step t minimises `<P, C> + beta_t KL(P ‖ P_t)`: it scales `P_t exp(-C / beta_t)` to the marginals, from where the last
    scaling ended. Its solution is the entropic plan at `1 / (sum_s 1 / beta_s)`, so it tends to an optimal plan of the linear
    programme. The first step has the length `options.epsilon`, and every further one the remaining regularisation, which it
    halves. (The paper's constant length, with one scaling a step, stalls at wrong marginals where the sides differ in size.)
    The plan is rounded to the marginals. It is solved when the gap between its cost and a lower bound from the potentials is at
    most `_GAP` of the cost above its least entry.
    """
    pending = problems.with_mass()
    spent = torch.zeros(problems.cost.shape[0], dtype=torch.int64, device=problems.cost.device)
    g = torch.zeros_like(problems.b, dtype=torch.float64)
    epsilon = options.epsilon
    for step in range(_MOST_STEPS):
        smallest, largest = _STEP_TOLERANCE
        tolerance = min(options.tolerance, largest, max(epsilon / options.epsilon * largest, smallest))
        inner = options.solving(epsilon=epsilon, tolerance=tolerance)
        left = []
        for bucket, solution in solve_from(problems, pending, g, spent, inner, 0):
            plan = round_to_marginals(solution.plan.to(bucket.a.dtype), bucket.a, bucket.b)
            value = (plan * bucket.cost).sum((1, 2))
            gap = value - _lower_bound(bucket, g[bucket.index, bucket.columns] * epsilon)
            least = bucket.cost.masked_fill(~bucket.support(), torch.inf).amin((1, 2))
            rounding = _ROUNDING * torch.finfo(bucket.cost.dtype).eps * bucket.cost.abs().amax((1, 2))
            optimal = gap <= _GAP * (value - least) + rounding
            finished = optimal | (solution.iterations >= options.max_iterations) | (step == _MOST_STEPS - 1)
            if bool(finished.any()):
                assert solution.potentials is not None
                kept = solution.potentials[0][finished], solution.potentials[1][finished]
                spent_on = solution.iterations[finished]
                yield bucket.select(finished), Solution(plan[finished], spent_on, None, optimal[finished], kept)
            left.append(bucket.index[~finished])
        pending = torch.cat(left) if left else pending[:0]
        if not pending.numel():
            return
        epsilon /= 2
        g *= 2


def round_to_marginals(plan: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A plan with the marginals a and b near one that almost has them.

    Source: Altschuler, Weed and Rigollet, arXiv 1705.09634, Alg. 2.

    Args:
        plan: (problems, rows, columns), non-negative; 0 where a row or a column has no mass.
        a: (problems, rows).
        b: (problems, columns).
    """
    tiny = torch.finfo(plan.dtype).tiny
    plan = plan * (a / plan.sum(2).clamp_min_(tiny)).clamp_(max=1).unsqueeze(2)
    plan *= (b / plan.sum(1).clamp_min_(tiny)).clamp_(max=1).unsqueeze(1)
    rows, columns = (a - plan.sum(2)).clamp_min_(0), (b - plan.sum(1)).clamp_min_(0)
    columns /= columns.sum(1, keepdim=True).clamp_min_(tiny)
    return plan.add_(rows.unsqueeze(2) * columns.unsqueeze(1))


def _lower_bound(bucket: Bucket, g: torch.Tensor) -> torch.Tensor:
    """Value of the linear programme's dual at column potentials, in units of the cost, and the best row potentials for them."""
    # Centred, so that single precision suffices.
    g = torch.where(bucket.b > 0, g - (bucket.b * g).sum(1, keepdim=True), -torch.inf).to(bucket.cost.dtype)
    f = (bucket.cost - g.unsqueeze(1)).amin(2)
    return (bucket.a * f).sum(1) + torch.where(bucket.b > 0, bucket.b * g, 0).sum(1)
