"""Batched optimal transport between the token vectors of two texts.

Cost, marginals, plan and loss are named as in `docs/method.md`. Every function takes masks; padded entries, NaN included, never
reach the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .transport_options import TransportOptions
from .transport_problems import Problems, compute_dtype, marginals
from .transport_solvers import solve_batch

_PRECISE = TransportOptions(max_iterations=5000, tolerance=1e-5)


@dataclass
class TransportPlan:
    """Solution of a batch of transport problems.

    Attributes:
        plan: (batch, rows, columns), mass moved between each pair of tokens; 0 wherever a token is masked.
        cost: (batch,), the transport cost `<P, C>` of each problem, without the regulariser.
        marginal_error: (batch,), the larger of the L1 errors of the row and the column marginals.
            `greedy` has row marginals only. For `unbalanced` and `partial`, the mass that the next update of the potentials
            would move, in rows or in columns.
        iterations: (batch,), int64, iterations that each problem took (0 for `exact`, `greedy` and empty problems). A step of
            Newton's method counts as one.
        converged: (batch,), bool, whether `marginal_error` is within the tolerance asked for; for `ipot` also whether the cost
            is within 0.1 % of the exact one. This is counted from the least entry: a constant in the cost changes nothing.
        row_potentials: (batch, rows), f in units of the cost; 0 where a token is masked. The plan of `sinkhorn`, `unbalanced`
            and `partial` is `a_i b_j exp((f_i + g_j - C_ij) / epsilon)`. `exact` has the dual solution of the linear programme,
            `ipot` the potentials of its last proximal step, before rounding, and `greedy` has none (zeros).
        column_potentials: (batch, columns), g.
    """

    plan: torch.Tensor
    cost: torch.Tensor
    marginal_error: torch.Tensor
    iterations: torch.Tensor
    converged: torch.Tensor
    row_potentials: torch.Tensor
    column_potentials: torch.Tensor


def cosine_cost(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Cosine distance `C[i, j] = 1 - <H[i], T[j]>`, in [0, 2] for unit vectors (OPTICAL, arXiv 2301.12566).

    Args:
        student: (batch, n, dim) unit vectors.
        teacher: (batch, m, dim) unit vectors.

    Returns:
        (batch, n, m), float32 for half precision input, else the input's dtype. Differentiable.

    Raises:
        ValueError: if batch or dimension differ.
    """
    if student.dim() != 3 or teacher.dim() != 3:
        raise ValueError(f"token vectors must be (batch, tokens, dim); got {tuple(student.shape)} and {tuple(teacher.shape)}.")
    if student.shape[0] != teacher.shape[0]:
        raise ValueError(f"batch sizes differ: {student.shape[0]} student texts, {teacher.shape[0]} teacher texts.")
    if student.shape[2] != teacher.shape[2]:
        raise ValueError(
            f"token vectors differ in dimension: the student has {student.shape[2]}, the teacher {teacher.shape[2]}. "
            "Give the student the teacher's dimension (embedding_dim)."
        )
    dtype = compute_dtype(torch.promote_types(student.dtype, teacher.dtype))
    with torch.autocast(student.device.type, enabled=False):
        return 1.0 - torch.bmm(student.to(dtype), teacher.to(dtype).transpose(1, 2))


def position_cost(row_mask: torch.Tensor, column_mask: torch.Tensor) -> torch.Tensor:
    """Squared distance of relative positions `(i/n - j/m)^2`, counted over unmasked tokens (docs/method.md §3).

    Args:
        row_mask: (batch, rows) bool.
        column_mask: (batch, columns) bool.

    Returns:
        (batch, rows, columns) float32, in [0, 1].
    """

    def relative(mask: torch.Tensor) -> torch.Tensor:
        rank = mask.cumsum(dim=1) - 1
        return rank.float() / mask.sum(dim=1, keepdim=True).clamp_min(1)

    return (relative(row_mask).unsqueeze(2) - relative(column_mask).unsqueeze(1)).square()


# Its iterations depend on the data: compiled, they would be traced and guarded step by step.
@torch.compiler.disable
def solve_transport(
    cost: torch.Tensor,
    row_mask: torch.Tensor | None = None,
    column_mask: torch.Tensor | None = None,
    options: TransportOptions | None = None,
    *,
    row_weights: torch.Tensor | None = None,
    column_weights: torch.Tensor | None = None,
    **settings: Any,
) -> TransportPlan:
    """Solves a batch of masked transport problems. No gradient is recorded; see `transport_cost` for a differentiable value.

    | solver | minimises | source |
    |---|---|---|
    | `sinkhorn` | `<P, C> + epsilon KL(P ‖ a b^T)` over plans with marginals a and b | Cuturi 2013 |
    | `ipot` | `<P, C>` over the same plans, by proximal steps of length epsilon | arXiv 1802.04307 |
    | `exact` | the same, by the network simplex | POT |
    | `greedy` | `<P, C>` over plans with row marginal a | arXiv 2112.08185 |
    | `unbalanced` | `<P, C> + epsilon KL(P ‖ a b^T) + marginal_penalty (KL(P1 ‖ a) + KL(P^T1 ‖ b))` | arXiv 1607.05816 |
    | `partial` | `<P, C>` with entropy, over plans of mass `moved_share` with marginals at most a and b | arXiv 2002.08276 |

    Each problem stops separately, so a batch gives the same plans as its items one by one. `docs/transport.md` compares the
    solvers. On a CUDA device, `sinkhorn` runs as one Triton kernel where Triton is installed and no side has more than 256
    tokens, and does not wait for the device; everything else does.

    Args:
        cost: (batch, rows, columns); float64 is solved in float64, everything else in float32.
        row_mask: (batch, rows) bool, True = the token counts. None: all count.
        column_mask: (batch, columns) bool.
        row_weights: (batch, rows), non-negative; normalised to sum to 1 over unmasked rows. None: uniform.
        column_weights: (batch, columns), likewise.
        options: the solver and its settings. Their tokens, marginals and priors are not read: the other arguments hold those.
            None: those of `TransportOptions`, but with a tolerance of 1e-5 within 5000 iterations.
        **settings: `SOLVER_SETTINGS` by name, instead of those in `options`.

    Returns:
        A `TransportPlan`, in the dtype that the problem was solved in. A problem without tokens or without mass on a side
        has plan and cost 0 and counts as converged.

    Raises:
        ValueError: on shapes that do not fit, an unknown solver, or a number out of range; on the CPU also for negative or
            non-finite weights and a non-finite cost between unmasked tokens.
        ImportError: if `solver="exact"` and POT is not installed.
    """
    options = (options or _PRECISE).solving(**settings)
    if cost.dim() != 3:
        raise ValueError(f"cost must be (batch, rows, columns); got {tuple(cost.shape)}.")
    with torch.no_grad(), torch.autocast(cost.device.type, enabled=False):
        a, b = marginals(cost, row_mask, column_mask, row_weights, column_weights)
        if options.solver == "sinkhorn" and options.annealing == "none" and cost.device.type == "cuda":
            from .transport_triton import can_solve, solve_fused  # here, because importing Triton takes time

            if can_solve(cost):
                return TransportPlan(*solve_fused(cost.detach(), a, b, options))
        return TransportPlan(*solve_batch(Problems(cost.detach(), a, b), options))


class _TransportCost(torch.autograd.Function):
    """Value of a transport problem with the plan as its gradient: nothing but the plan is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, cost: torch.Tensor, plan: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(plan)
        ctx.cost_dtype = cost.dtype
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (plan,) = ctx.saved_tensors
        return (plan * grad_outputs[0].to(plan.dtype)[:, None, None]).to(ctx.cost_dtype), None, None


def transport_cost(
    cost: torch.Tensor,
    row_mask: torch.Tensor | None = None,
    column_mask: torch.Tensor | None = None,
    options: TransportOptions | None = None,
    *,
    row_weights: torch.Tensor | None = None,
    column_weights: torch.Tensor | None = None,
    solving_cost: torch.Tensor | None = None,
    regularized: bool = False,
    **settings: Any,
) -> tuple[torch.Tensor, TransportPlan]:
    """Transport cost of each problem, differentiable with respect to `cost` with the plan held fixed (docs/method.md §2).

    The gradient is the plan. For `regularized=True` the value includes the solver's regulariser, and the plan is its gradient
    exactly (envelope theorem); `<P, C>` itself takes it as a surrogate under entropy, and exactly for `exact`.

    Args:
        cost: (batch, rows, columns).
        row_mask, column_mask, options, row_weights, column_weights, **settings: as for `solve_transport`.
        solving_cost: (batch, rows, columns), the cost that the plan is solved on where it differs from `cost` (priors).
        regularized: whether the value includes the regulariser of `sinkhorn` or `unbalanced`.

    Returns:
        Values (batch,) and the plan. A problem without tokens has value 0 and gradient 0.

    Raises:
        ValueError: as `solve_transport`, and for `regularized` with a solver whose objective is `<P, C>`.
    """
    options = (options or _PRECISE).solving(**settings)
    if regularized and options.solver not in ("sinkhorn", "unbalanced"):
        raise ValueError(
            f"regularized=True has a meaning for the solvers 'sinkhorn' and 'unbalanced', not for {options.solver!r}."
        )
    solved = cost if solving_cost is None else solving_cost
    weights = {"row_weights": row_weights, "column_weights": column_weights}
    plan = solve_transport(solved, row_mask, column_mask, options, **weights)
    with torch.no_grad():
        value = plan.cost
        if solving_cost is not None:
            value = torch.where(plan.plan > 0, plan.plan * cost.to(plan.plan.dtype), 0).sum((1, 2))
        if regularized:
            a, b = marginals(cost, row_mask, column_mask, row_weights, column_weights)
            product = a.unsqueeze(2) * b.unsqueeze(1)
            value = value + options.epsilon * _divergence(plan.plan, product).sum((1, 2))
            if options.solver == "unbalanced":
                off = _divergence(plan.plan.sum(2), a).sum(1) + _divergence(plan.plan.sum(1), b).sum(1)
                value = value + options.marginal_penalty * off
    return _TransportCost.apply(cost, plan.plan, value), plan


def transport_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    student_mask: torch.Tensor,
    teacher_mask: torch.Tensor,
    *,
    row_weights: torch.Tensor | None = None,
    column_weights: torch.Tensor | None = None,
    solving_bonus: torch.Tensor | None = None,
    solving_vectors: torch.Tensor | None = None,
    options: TransportOptions | None = None,
) -> tuple[torch.Tensor, TransportPlan]:
    """The OPTICAL loss: mean over the batch of the transport cost between student and teacher token vectors.

    Args:
        student: (batch, n, dim) unit vectors, differentiable.
        teacher: (batch, m, dim) unit vectors.
        student_mask: (batch, n) bool, the student tokens that take mass.
        teacher_mask: (batch, m) bool.
        row_weights, column_weights: as for `solve_transport`.
        solving_bonus: (batch, n, m), subtracted from the cost when solving only, for instance a translation table's entries.
        solving_vectors: (batch, n, dim) unit vectors instead of the student's when solving; for `plan_from="ema"`.
        options: solver and its settings; the defaults of `TransportOptions` if None.

    Returns:
        A scalar loss and the plan. A pair without tokens on a side adds 0 and has zero gradient, and counts in the mean.

    Raises:
        ValueError: if `plan_from` needs an argument that is not given.

    Source: docs/method.md §2; OPTICAL, arXiv 2301.12566.
    """
    options = options or TransportOptions()
    # Zero out masked entries before the product: NaN there would reach the gradient as NaN * 0.
    student = torch.where(student_mask.unsqueeze(2), student, 0)
    teacher = torch.where(teacher_mask.unsqueeze(2), teacher, 0)
    cost = cosine_cost(student, teacher.detach())
    solving_cost = _solving_cost(cost.detach(), teacher, student_mask, options, solving_bonus, solving_vectors)
    if options.position_prior:
        solving_cost = solving_cost + options.position_prior * position_cost(student_mask, teacher_mask)
    if solving_bonus is not None:
        solving_cost = solving_cost - solving_bonus
    values, plan = transport_cost(
        cost,
        student_mask,
        teacher_mask,
        options,
        row_weights=row_weights,
        column_weights=column_weights,
        solving_cost=solving_cost,
    )
    return values.mean(), plan


def _solving_cost(
    cost: torch.Tensor,
    teacher: torch.Tensor,
    student_mask: torch.Tensor,
    options: TransportOptions,
    solving_bonus: torch.Tensor | None,
    solving_vectors: torch.Tensor | None,
) -> torch.Tensor:
    """The cost that the plan is solved on, before priors (docs/method.md §3, plan from)."""
    if options.plan_from == "student":
        return cost
    if options.plan_from == "lexical":
        if solving_bonus is None:
            raise ValueError("plan_from='lexical' needs solving_bonus, the translation table's entries.")
        return torch.ones_like(cost)
    if solving_vectors is None:
        raise ValueError("plan_from='ema' needs solving_vectors, the token vectors of the student's moving average.")
    return cosine_cost(torch.where(student_mask.unsqueeze(2), solving_vectors.detach(), 0), teacher.detach())


def _divergence(x: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Terms of the Kullback-Leibler divergence of masses, `x log(x / r) - x + r`."""
    ratio = torch.where(x > 0, x / reference.clamp_min(torch.finfo(x.dtype).tiny), 1)
    return x * ratio.log() - x + reference
