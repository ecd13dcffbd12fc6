"""The last steps of a slow Sinkhorn problem: Newton's method on the semi-dual, in double precision."""

from __future__ import annotations

import torch

_SMALLEST_STEP = 2.0**-10
# The most that a potential may change in one step, in units of epsilon: further out the quadratic model says nothing.
_LONGEST_STEP = 12.0


def newton(
    exponent: torch.Tensor, a: torch.Tensor, b: torch.Tensor, f: torch.Tensor, tolerance: float, budget: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Maximises the semi-dual `a.f - sum_j b_j log sum_i exp(f_i - X_ij)` by Newton steps that never lower it.

    Its Hessian is the Laplacian of a graph between the rows, `diag(P 1) - P diag(1/b) P^T`. The diagonal is taken as the sum of
    the other entries, so that nearly one-to-one plans, whose Laplacian nearly vanishes, lose no digits (Sinkhorn-Newton:
    Brauer, Clason, Lorenz and Wirth, arXiv 1710.06635).

    Args:
        exponent: (problems, rows, columns) float64.
        a, b: marginals, float64.
        f: (problems, rows) float64, where to start; -inf or anything else at rows without mass.
        tolerance: L1 error of the row marginal to stop at; the column marginal is met exactly.
        budget: (problems,) int64, the most steps of each problem.

    Returns:
        Potentials (problems, rows), plan, L1 error, steps taken. A problem whose step finds no ascent stops where it is.
    """
    counted = a > 0
    f = torch.where(counted, f, 0)
    log_b = b.log()
    ground = torch.nn.functional.one_hot(a.argmax(1), a.shape[1]).to(a.dtype)
    value, plan = _semi_dual(exponent, a, b, log_b, f)
    steps = torch.zeros_like(budget)
    stuck = torch.zeros_like(budget, dtype=torch.bool)
    while True:
        residual = a - plan.sum(2)
        error = residual.abs().sum(1)
        moving = ((error > tolerance) & (steps < budget) & ~stuck).nonzero()[:, 0]
        if moving.numel() == 0:
            return f, plan, error, steps
        direction = _direction(plan[moving], b[moving], residual[moving], ground[moving], counted[moving])
        slope = (residual[moving] * direction).sum(1)
        size = _LONGEST_STEP / direction.abs().amax(1).clamp_min(_LONGEST_STEP)
        solvable = torch.isfinite(size)
        stuck[moving[~solvable]] = True
        trying = solvable.nonzero()[:, 0]
        while trying.numel():
            rows = moving[trying]
            candidate = f[rows] + size[trying].unsqueeze(1) * direction[trying]
            new_value, new_plan = _semi_dual(exponent[rows], a[rows], b[rows], log_b[rows], candidate)
            rounding = 1e-14 * (1 + value[rows].abs())
            accepted = new_value >= value[rows] + 1e-4 * size[trying] * slope[trying] - rounding
            good = rows[accepted]
            f[good], value[good], plan[good] = candidate[accepted], new_value[accepted], new_plan[accepted]
            steps[good] += 1
            trying = trying[~accepted]
            size[trying] /= 2
            too_small = size[trying] < _SMALLEST_STEP
            stuck[moving[trying[too_small]]] = True
            trying = trying[~too_small]


def _semi_dual(
    exponent: torch.Tensor, a: torch.Tensor, b: torch.Tensor, log_b: torch.Tensor, f: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and plan at row potentials, the column potentials being the best ones for them."""
    scores = f.unsqueeze(2) - exponent
    total = torch.logsumexp(scores, 1)
    plan = (scores + (log_b - total).unsqueeze(1)).exp()
    return (a * f).sum(1) - torch.where(b > 0, b * total, 0).sum(1), plan


def _direction(
    plan: torch.Tensor, b: torch.Tensor, residual: torch.Tensor, ground: torch.Tensor, counted: torch.Tensor
) -> torch.Tensor:
    share = plan / torch.where(b > 0, b, 1).unsqueeze(1)
    coupling = torch.bmm(share, plan.transpose(1, 2))
    coupling.diagonal(dim1=1, dim2=2).zero_()
    degree = coupling.sum(2)
    # One row held to the ground takes away the null space of constants; the residual sums to 0, so nothing flows there. The
    # least bit on top keeps parts of the graph that are connected by less than the smallest number solvable.
    degree = degree * (1 + ground + 1e-14) + torch.where(counted, torch.finfo(plan.dtype).tiny ** 0.5, 1.0)
    laplacian = torch.diag_embed(degree) - coupling
    factor, _ = torch.linalg.cholesky_ex(laplacian)
    return torch.cholesky_solve(residual.unsqueeze(2), factor).squeeze(2)
