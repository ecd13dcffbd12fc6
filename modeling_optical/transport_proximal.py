"""The proximal point method on batches of problems (IPOT): the linear programme's plan without a simplex."""

from __future__ import annotations

import torch

from .transport_newton import newton
from .transport_problems import FORBIDDEN, Bucket, Solution, SolverSettings

# Proximal steps (IPOT): scalings a step, the largest exponent of one, the range of exponents between two foldings of the
# scalings into the kernel, the steps between two tests, and the relative gap to a lower bound at which the cost is optimal.
_SCALINGS = 3
_LONGEST_PROXIMAL_STEP = 10.0
_NEAR_ENOUGH = 0.03
_RANGE_BETWEEN_FOLDS = 60.0
_CHECK_EVERY = 10
_SMALLEST_MASS = 1e-30
_GAP = 5e-4
_NEWTON_FROM = 65
_NEWTON_STEPS = 12


def ipot(bucket: Bucket, settings: SolverSettings) -> Solution:
    """Proximal point method on the linear programme (IPOT, Xie, Wang, Wang and Zha, arXiv 1802.04307, algorithm 1).

    Each proximal step multiplies the plan by `exp(-cost / beta)`, beta being `settings.epsilon`, and scales it back to the
    marginals, warm-started. After t steps the plan is that of epsilon = beta / t, so it tends to an optimal plan of the linear
    programme for every beta. A problem takes its next step when its marginals are nearly met, and Newton's method meets them
    where scalings do not. It is solved when its marginals are met and the relative gap between the
    cost and a bound below it from the potentials is at most `_GAP`.
    """
    exponent, largest = _exponents(bucket, settings.epsilon)
    # A longer step than the range of the dtype holds is shortened: the limit does not depend on it.
    shortened = _LONGEST_PROXIMAL_STEP / largest.clamp_min(_LONGEST_PROXIMAL_STEP)
    exponent *= shortened.view(-1, 1, 1)
    scale = shortened / settings.epsilon
    reach = (largest * shortened).clamp_min(1e-3)
    fold_every = min(_CHECK_EVERY, max(1, int(_RANGE_BETWEEN_FOLDS / float(reach.max()))))
    plan = torch.empty_like(exponent)
    iterations = torch.zeros(exponent.shape[0], dtype=torch.int64, device=exponent.device)
    optimal = torch.zeros(exponent.shape[0], dtype=torch.bool, device=exponent.device)
    active = torch.arange(exponent.shape[0], device=exponent.device)
    cost, a, b = bucket.cost, bucket.a, bucket.b
    step = (-exponent).exp_()
    kernel = torch.ones_like(step)
    f = torch.zeros_like(a)
    u, v = torch.ones_like(a), torch.ones_like(b)
    tiny = torch.finfo(a.dtype).tiny
    product = torch.empty_like(kernel)
    spent = torch.zeros_like(iterations)
    proximal_steps = torch.zeros_like(a[:, 0])
    last_f, last_steps = f, proximal_steps.clone()
    ready = torch.ones_like(active, dtype=torch.bool)
    iteration = rounds = 0
    while True:
        rounds += 1
        if bool(ready.all()):
            kernel *= step
        elif bool(ready.any()):
            kernel[ready] *= step[ready]
        proximal_steps += ready
        for _ in range(min(_SCALINGS, settings.max_iterations - iteration)):
            iteration += 1
            kernel_v = torch.mul(kernel, v.unsqueeze(1), out=product).sum(2).clamp_min_(tiny)
            before, u = u, a / kernel_v
            v = b / torch.bmm(u.unsqueeze(1), kernel).squeeze(1).clamp_min_(tiny)
        # The next step waits until the marginals have come near, else the plan would freeze at marginals of its own.
        ready = (before * kernel_v).sub_(a).abs_().sum(1) <= _NEAR_ENOUGH
        exhausted = iteration + spent >= settings.max_iterations
        last = iteration >= settings.max_iterations
        check = last or rounds % _CHECK_EVERY == 0
        if not check and rounds % fold_every:
            continue
        # The kernel becomes the plan; nothing that may carry mass later is lost for good.
        kernel.mul_(u.unsqueeze(2)).mul_(v.unsqueeze(1)).clamp_min_(_SMALLEST_MASS)
        f += u.log()
        u, v = torch.ones_like(a), torch.ones_like(b)
        if not check:
            continue
        support = (a > 0).unsqueeze(2) & (b > 0).unsqueeze(1) & (exponent < FORBIDDEN * 1e-6)
        moved = torch.where(support, kernel, 0)
        error = moved.sum(2).sub_(a).abs_().sum(1)
        # Mass in the wrong place shifts the cost by up to the range of the costs: no more of it than the gap allows.
        value = scale * (moved * cost).sum((1, 2)).abs()
        enough = (_GAP * value / reach).clamp(8 * torch.finfo(a.dtype).eps, settings.tolerance)
        behind = ((error > enough) & ~exhausted).nonzero()[:, 0]
        if iteration >= _NEWTON_FROM and behind.numel():
            problem = exponent[behind].double() * proximal_steps[behind].view(-1, 1, 1), a[behind].double(), b[behind].double()
            budget = (settings.max_iterations - iteration - spent[behind]).clamp(0, _NEWTON_STEPS)
            potential, solved, rest, steps = newton(*problem, f[behind].double(), enough[behind].double() / 2, budget)
            f[behind], moved[behind], error[behind] = potential.to(f.dtype), solved.to(f.dtype), rest.to(f.dtype)
            kernel[behind] = moved[behind].clamp_min(_SMALLEST_MASS)
            spent[behind] += steps
            ready[behind] = rest <= _NEAR_ENOUGH
        # Potentials grow as `t phi + constant`, with phi those of the linear programme: their growth since the last test has
        # lost the constant, and bounds the cost far better than `f / t` once t is large. Any potentials give a bound.
        bound = _lower_bound(exponent, a, b, f / proximal_steps.unsqueeze(1))
        grown = (f - last_f) / (proximal_steps - last_steps).clamp_min(1).unsqueeze(1)
        bound = torch.maximum(bound, _lower_bound(exponent, a, b, grown))
        last_f, last_steps = f.clone(), proximal_steps.clone()
        gap = (moved * exponent).sum((1, 2)) - bound
        closed = (gap.abs() <= _GAP * value + 1e-6) & (error <= enough)
        leaving = closed | exhausted
        if bool(leaving.any()):
            plan[active[leaving]] = moved[leaving]
            iterations[active[leaving]] = iteration + spent[leaving]
            optimal[active[leaving]] = closed[leaving]
            rest = (~leaving).nonzero()[:, 0]
            if rest.numel() == 0:
                return Solution(plan, iterations, optimal=optimal)
            active, cost, exponent, step, kernel, a, b, f, last_f, u, v = (
                t[rest] for t in (active, cost, exponent, step, kernel, a, b, f, last_f, u, v)
            )
            scale, reach, spent, proximal_steps, last_steps, ready = (
                t[rest] for t in (scale, reach, spent, proximal_steps, last_steps, ready)
            )
            product = torch.empty_like(kernel)


def _lower_bound(exponent: torch.Tensor, a: torch.Tensor, b: torch.Tensor, potential: torch.Tensor) -> torch.Tensor:
    """Value of the linear programme's dual at row potentials and the best column potentials for them."""
    potential = torch.where(a > 0, potential, 0)
    return (a * potential).sum(1) + (b * (exponent - potential.unsqueeze(2)).amin(1)).sum(1)


def _exponents(bucket: Bucket, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """`cost / epsilon` with every row and column shifted to a minimum of 0, which leaves a balanced plan as it is.

    Returns:
        (problems, rows, columns), `FORBIDDEN` outside of the support, and the largest exponent of each problem.
    """
    support = bucket.support()
    exponent = torch.where(support, bucket.cost, torch.inf)
    for dim in (2, 1):
        smallest = exponent.amin(dim, keepdim=True)
        exponent -= smallest.masked_fill_(torch.isinf(smallest), 0)
    exponent /= epsilon
    exponent.clamp_(max=FORBIDDEN)
    return exponent, torch.where(support, exponent, 0).amax((1, 2))
