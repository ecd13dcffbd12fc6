"""Entropic transport with relaxed marginals, on logarithms: unbalanced (penalised) and partial (a share of the mass moves)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from .transport_options import TransportOptions
from .transport_problems import FORBIDDEN, Bucket, Solution
from .transport_sinkhorn import LARGEST_KERNEL_EXPONENT

_CHECK_EVERY = 5


def unbalanced(bucket: Bucket, options: TransportOptions) -> Solution:
    """Marginals held by a Kullback-Leibler penalty (Chizat, Peyré, Schmitzer and Vialard, arXiv 1607.05816).

    For `<P, C> + epsilon KL(P ‖ a b^T) + penalty (KL(P 1 ‖ a) + KL(P^T 1 ‖ b))` each update of a potential is the balanced one
    times `penalty / (penalty + epsilon)`.
    """
    power = options.marginal_penalty / (options.marginal_penalty + options.epsilon)
    return _alternate(bucket, options, lambda balanced: power * balanced, None)


def partial(bucket: Bucket, options: TransportOptions) -> Solution:
    """`<P, C> + epsilon KL(P ‖ a b^T)` over plans of mass `moved_share` with marginals at most a and b.

    Each update maximises the dual over one of the row potentials, the column potentials (neither above 0) and the potential of
    the mass. The scalings are those of Benamou, Carlier, Cuturi, Nenna and Peyré, arXiv 1412.5154, section 5; the problem is
    that of Chapel, Alaya and Gasso, arXiv 2002.08276.
    """
    return _alternate(bucket, options, lambda balanced: balanced.clamp(max=0), options.moved_share)


def _alternate(
    bucket: Bucket, options: TransportOptions, relax: Callable[[torch.Tensor], torch.Tensor], mass: float | None
) -> Solution:
    """Alternating updates of the potentials until each problem's next update would move no more mass than the tolerance.

    Args:
        relax: makes the potential that the relaxed problem asks for of the one that would meet the marginal.
        mass: of the plan, if it is prescribed.

    Returns:
        A solution whose error is the mass, in rows or in columns, that the next update would move.
    """
    tolerance = max(options.tolerance, 8 * torch.finfo(bucket.a.dtype).eps)
    cost, support = bucket.cost, bucket.support()
    # Where the mass is prescribed, a constant changes no plan; costs below 0 would keep the potentials at their bound.
    lowest = torch.where(support, cost, torch.inf).amin((1, 2)) if mass is not None else torch.zeros_like(cost[:, 0, 0])
    exponent = torch.where(support, (cost - lowest.view(-1, 1, 1)).double() / options.epsilon, FORBIDDEN).clamp_(max=FORBIDDEN)
    a, b = bucket.a, bucket.b
    # As `sinkhorn`: in the problems' own precision where it holds the kernel, else in double precision.
    within = bool(torch.where(support, exponent, 0).abs().amax() <= LARGEST_KERNEL_EXPONENT[a.dtype])
    a, b = (t if within else t.double() for t in (a, b))
    exponent = exponent.to(a.dtype)
    log_a, log_b = a.log(), b.log()
    plan, potentials = torch.zeros_like(cost), (torch.zeros_like(bucket.a), torch.zeros_like(bucket.b))
    iterations = torch.zeros(a.shape[0], dtype=torch.int64, device=a.device)
    errors = torch.zeros_like(bucket.a[:, 0])
    active = torch.arange(a.shape[0], device=a.device)
    g, level = torch.zeros_like(b), torch.zeros_like(a[:, :1])
    over_columns = torch.logsumexp(log_b.unsqueeze(1) - exponent, 2)
    for iteration in range(1, options.max_iterations + 1):
        f = torch.where(a > 0, relax(-over_columns - level), 0)
        over_rows = torch.logsumexp((f + log_a).unsqueeze(2) - exponent, 1)
        g = torch.where(b > 0, relax(-over_rows - level), 0)
        if mass is not None:
            level = math.log(mass) - torch.logsumexp(g + log_b + over_rows, 1, keepdim=True)
        over_columns = torch.logsumexp((g + log_b).unsqueeze(1) - exponent, 2)
        if iteration % _CHECK_EVERY and iteration < options.max_iterations:
            continue
        # Exponents are added before they become masses: alone, a potential may be beyond what the dtype holds.
        moved = [
            torch.where(w > 0, w * ((over + level + old).exp() - (over + level + relax(-over - level)).exp()).abs(), 0).sum(1)
            for w, old, over in ((a, f, over_columns), (b, g, over_rows))
        ]
        error = torch.maximum(*moved)
        done = (error <= tolerance) | (iteration >= options.max_iterations)
        if bool(done.any()):
            index = active[done]
            rows, columns = (f + log_a + level)[done].unsqueeze(2), (g + log_b)[done].unsqueeze(1)
            plan[index] = (rows + columns - exponent[done]).exp().to(plan.dtype)
            iterations[index], errors[index] = iteration, error[done].to(errors.dtype)
            of_rows = torch.where(a > 0, options.epsilon * (f + level) + lowest[active].unsqueeze(1), 0)
            potentials[0][index] = of_rows[done].to(plan.dtype)
            potentials[1][index] = (options.epsilon * g[done]).to(plan.dtype)
            if bool(done.all()):
                break
            active, exponent, a, b, log_a, log_b, f, g, level, over_columns = (
                t[~done] for t in (active, exponent, a, b, log_a, log_b, f, g, level, over_columns)
            )
    return Solution(plan, iterations, errors, potentials=potentials)
