"""Batched optimal transport between the token vectors of two texts.

Cost, marginals, plan and loss have a name each (METHOD: `docs/method.md`). Every function takes masks; what stands in a padded
place, NaN included, never reaches the arithmetic.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

SOLVERS = ("sinkhorn", "exact")
TOKEN_SETS = ("content", "with_markers", "with_expansion")
MARGINALS = ("uniform", "idf", "norm", "attention")
PLAN_SOURCES = ("student", "ema", "lexical")

# Above this value of max(cost) / epsilon the kernel exp(-cost / epsilon) and its scalings leave the range of the dtype, and the
# solver works on logarithms. float32 holds e^88, float64 e^709; the scalings need the rest of the range.
_LARGEST_KERNEL_EXPONENT = {torch.float32: 60.0, torch.float64: 500.0}
_CHECK_EVERY = 5

EPSILON = 0.05
MAX_ITERATIONS = 5000
TOLERANCE = 1e-5


@dataclass(frozen=True)
class TransportOptions:
    """Options of the transport loss (METHOD §3), stored in `OpticalConfig.transport`.

    Args:
        solver: `"sinkhorn"` (entropic, Cuturi 2013) or `"exact"` (network simplex of POT, one problem at a time on the CPU).
        epsilon: entropic regularisation, in units of the cost.
        max_iterations: the most Sinkhorn iterations.
        tolerance: L1 error of the marginals at which a problem is solved. Both this and `max_iterations` are looser than the
            defaults of `solve_transport`: a training step needs the plan less exactly than an analysis does.
        tokens: which tokens take mass: `"content"` (no special, marker or expansion token), `"with_markers"` (all that score),
            `"with_expansion"` (all, both sides padded with mask tokens to the same number, as a bijection needs it).
        marginals: what a token's mass is proportional to: `"uniform"`, `"idf"` (inverse document frequency of the token in the
            training bitext), `"norm"` (length of the vector before normalisation), `"attention"` (attention that the token
            receives in the last layer, mean over heads).
        plan_from: what the cost comes from that the plan is solved on: `"student"`, `"ema"` (a moving average of the student),
            `"lexical"` (`1 - p` with the translation table's probabilities). The loss always takes the student's cost.
        ema_decay: of the moving average, per update.
        position_prior: weight w >= 0 of `w * (i/n - j/m)^2`, added to the cost when solving only, never to the loss.
        lexical_prior: weight w >= 0 of a translation table, subtracted from the cost when solving only, never in the loss.

    Raises:
        ValueError: naming the option, its value and what is allowed.
    """

    solver: str = "sinkhorn"
    epsilon: float = EPSILON
    max_iterations: int = 1000
    tolerance: float = 1e-3
    tokens: str = "content"
    position_prior: float = 0.0
    lexical_prior: float = 0.0
    marginals: str = "uniform"
    plan_from: str = "student"
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        _check_choice("transport.solver", self.solver, SOLVERS)
        _check_choice("transport.tokens", self.tokens, TOKEN_SETS)
        _check_choice("transport.marginals", self.marginals, MARGINALS)
        _check_choice("transport.plan_from", self.plan_from, PLAN_SOURCES)
        _check_solver_arguments(self.epsilon, self.max_iterations, self.tolerance)
        for name in ("position_prior", "lexical_prior"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
                raise ValueError(f"transport.{name} is {value!r}; it must be a number of at least 0.")
        if isinstance(self.ema_decay, bool) or not isinstance(self.ema_decay, (int, float)) or not 0 <= self.ema_decay < 1:
            raise ValueError(f"transport.ema_decay is {self.ema_decay!r}; it must be a number from 0 to below 1.")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TransportOptions:
        """Options from a mapping; an unknown key is an error that lists the known ones."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown transport option {unknown[0]!r}; known: {', '.join(sorted(known))}.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values, for `config.json`."""
        return asdict(self)


@dataclass
class TransportPlan:
    """Solution of a batch of transport problems.

    Attributes:
        plan: (batch, rows, columns), mass moved between each pair of tokens; 0 wherever a token is masked.
        cost: (batch,), the transport cost `<P, C>` of each problem, without the regulariser.
        marginal_error: (batch,), the larger of the L1 errors of the row and the column marginals.
        iterations: (batch,), int64, iterations that each problem took (0 for `exact` and for empty problems).
        converged: (batch,), bool, whether `marginal_error` is within the tolerance asked for.
    """

    plan: torch.Tensor
    cost: torch.Tensor
    marginal_error: torch.Tensor
    iterations: torch.Tensor
    converged: torch.Tensor


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
    dtype = _compute_dtype(torch.promote_types(student.dtype, teacher.dtype))
    with torch.autocast(student.device.type, enabled=False):
        return 1.0 - torch.bmm(student.to(dtype), teacher.to(dtype).transpose(1, 2))


def position_cost(row_mask: torch.Tensor, column_mask: torch.Tensor) -> torch.Tensor:
    """Squared distance of relative positions `(i/n - j/m)^2`, counted over unmasked tokens (METHOD §3).

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
    *,
    row_weights: torch.Tensor | None = None,
    column_weights: torch.Tensor | None = None,
    solver: str = "sinkhorn",
    epsilon: float = EPSILON,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> TransportPlan:
    """Solves a batch of masked transport problems. No gradient is recorded; see `transport_cost` for a differentiable value.

    `sinkhorn` minimises `<P, C> + epsilon * KL(P || a b^T)` over plans with marginals a and b (Cuturi 2013); it works on the
    kernel `exp(-C / epsilon)` or, where that would underflow, on logarithms. `exact` solves the linear programme with POT.
    Each problem stops on its own, so a batch gives what its items give one by one.

    Args:
        cost: (batch, rows, columns); float64 is solved in float64, everything else in float32.
        row_mask: (batch, rows) bool, True = the token counts. None: all count.
        column_mask: (batch, columns) bool.
        row_weights: (batch, rows), non-negative; normalised to sum to 1 over unmasked rows. None: uniform.
        column_weights: (batch, columns), alike.
        solver: one of `SOLVERS`.
        epsilon: regularisation in units of the cost; not used by `exact`.
        max_iterations: the most iterations.
        tolerance: L1 error of the marginals at which a problem counts as solved.

    Returns:
        A `TransportPlan`, in the dtype that the problem was solved in. A problem without tokens or without mass on a side
        has plan and cost 0 and counts as converged.

    Raises:
        ValueError: on shapes that do not fit, an unknown solver, or a number out of range; on the CPU also for negative or
            non-finite weights and a non-finite cost between unmasked tokens.
        ImportError: if `solver="exact"` and POT is not installed.
    """
    _check_choice("solver", solver, SOLVERS)
    _check_solver_arguments(epsilon, max_iterations, tolerance)
    if cost.dim() != 3:
        raise ValueError(f"cost must be (batch, rows, columns); got {tuple(cost.shape)}.")
    batch, rows, columns = cost.shape
    dtype = _compute_dtype(cost.dtype)
    with torch.no_grad(), torch.autocast(cost.device.type, enabled=False):
        a = _marginal(row_mask, row_weights, (batch, rows), dtype, cost.device, "row")
        b = _marginal(column_mask, column_weights, (batch, columns), dtype, cost.device, "column")
        live = (a.sum(1) > 0) & (b.sum(1) > 0)
        a, b = a * live.unsqueeze(1), b * live.unsqueeze(1)
        support = (a > 0).unsqueeze(2) & (b > 0).unsqueeze(1)
        clean = torch.where(support, cost.detach().to(dtype), 0)
        if cost.device.type == "cpu" and not bool(torch.isfinite(clean).all()):
            bad = int((~torch.isfinite(clean)).flatten(1).any(1).nonzero()[0])
            raise ValueError(f"the cost between unmasked tokens of problem {bad} is not finite.")
        if clean.numel() == 0:
            plan, iterations = clean, torch.zeros(batch, dtype=torch.int64, device=cost.device)
        elif solver == "exact":
            plan = _solve_exact(clean, a, b)
            iterations = torch.zeros(batch, dtype=torch.int64, device=cost.device)
        else:
            plan, iterations = _solve_sinkhorn(clean, support, a, b, float(epsilon), max_iterations, tolerance)
        row_error = (plan.sum(2) - a).abs().sum(1)
        column_error = (plan.sum(1) - b).abs().sum(1)
        error = torch.maximum(row_error, column_error)
        # Sums of float32 numbers carry rounding of their own, however exact the plan.
        floor = 8 * torch.finfo(dtype).eps
        return TransportPlan(
            plan=plan,
            cost=(plan * clean).sum((1, 2)),
            marginal_error=error,
            iterations=iterations,
            converged=error <= max(tolerance, floor),
        )


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
    *,
    solving_cost: torch.Tensor | None = None,
    regularized: bool = False,
    **solver_arguments: Any,
) -> tuple[torch.Tensor, TransportPlan]:
    """Transport cost of each problem, differentiable with respect to `cost` with the plan held fixed (METHOD §2).

    The gradient is the plan. For `regularized=True` the value is `<P, C> + epsilon * KL(P || a b^T)`, whose gradient that is
    exactly (envelope theorem); `<P, C>` itself takes it as a surrogate under entropy, and exactly for `exact`.

    Args:
        cost: (batch, rows, columns).
        row_mask, column_mask: as for `solve_transport`.
        solving_cost: (batch, rows, columns), the cost that the plan is solved on where it differs from `cost` (priors).
        regularized: whether the value includes the entropic term.
        **solver_arguments: as for `solve_transport`.

    Returns:
        Values (batch,) and the plan. A problem without tokens has value 0 and gradient 0.
    """
    plan = solve_transport(cost if solving_cost is None else solving_cost, row_mask, column_mask, **solver_arguments)
    with torch.no_grad():
        moved = plan.plan > 0
        value = torch.where(moved, plan.plan * cost.to(plan.plan.dtype), 0).sum((1, 2))
        if regularized:
            # KL between the plan and the product of its marginals; the mass is 1, so no linear terms remain.
            product = plan.plan.sum(2, keepdim=True) * plan.plan.sum(1, keepdim=True)
            ratio = torch.where(moved, plan.plan / product.clamp_min(torch.finfo(product.dtype).tiny), 1)
            value = value + solver_arguments.get("epsilon", EPSILON) * (plan.plan * ratio.log()).sum((1, 2))
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
    epsilon: float | None = None,
) -> tuple[torch.Tensor, TransportPlan]:
    """The OPTICAL loss: mean over the batch of the transport cost between student and teacher token vectors.

    Args:
        student: (batch, n, dim) unit vectors, differentiable.
        teacher: (batch, m, dim) unit vectors.
        student_mask: (batch, n) bool, the student tokens that take mass.
        teacher_mask: (batch, m) bool.
        row_weights, column_weights: as for `solve_transport`.
        solving_bonus: (batch, n, m), subtracted from the cost when solving only, for instance a translation table's entries.
        solving_vectors: (batch, n, dim) unit vectors in place of the student's when solving; for `plan_from="ema"`.
        options: solver and its settings; the defaults of `TransportOptions` if None.
        epsilon: takes the place of `options.epsilon` (annealing).

    Returns:
        A scalar loss and the plan. A pair without tokens on a side adds 0 and has zero gradient, and counts in the mean.

    Raises:
        ValueError: if `plan_from` asks for what is not given.

    Source: METHOD §2; OPTICAL, arXiv 2301.12566.
    """
    options = options or TransportOptions()
    # Zero out what is masked before the product: NaN there would reach the gradient as NaN * 0.
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
        solving_cost=solving_cost,
        row_weights=row_weights,
        column_weights=column_weights,
        solver=options.solver,
        epsilon=options.epsilon if epsilon is None else epsilon,
        max_iterations=options.max_iterations,
        tolerance=options.tolerance,
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
    """The cost that the plan is solved on, before priors (METHOD §3, plan from)."""
    if options.plan_from == "student":
        return cost
    if options.plan_from == "lexical":
        if solving_bonus is None:
            raise ValueError("plan_from='lexical' needs solving_bonus, the translation table's entries.")
        return torch.ones_like(cost)
    if solving_vectors is None:
        raise ValueError("plan_from='ema' needs solving_vectors, the token vectors of the student's moving average.")
    return cosine_cost(torch.where(student_mask.unsqueeze(2), solving_vectors.detach(), 0), teacher.detach())


def _compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(map(repr, allowed))}.")


def _check_solver_arguments(epsilon: float, max_iterations: int, tolerance: float) -> None:
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 < epsilon < float("inf"):
        raise ValueError(f"epsilon is {epsilon!r}; it must be a number above 0.")
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
        raise ValueError(f"max_iterations is {max_iterations!r}; it must be a whole number of at least 1.")
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < float("inf"):
        raise ValueError(f"tolerance is {tolerance!r}; it must be a number of at least 0.")


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


def _solve_exact(cost: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Network simplex, one problem at a time in float64 (POT, `ot.emd`)."""
    try:
        import ot  # here, because importing POT takes seconds and only this solver needs it
    except ImportError as error:
        raise ImportError('solver="exact" needs POT: pip install "POT>=0.9.5"') from error
    plan = torch.zeros_like(cost)
    for index in range(cost.shape[0]):
        rows, columns = a[index].nonzero()[:, 0], b[index].nonzero()[:, 0]
        if rows.numel() == 0 or columns.numel() == 0:
            continue
        weights_a, weights_b = (w.double() / w.double().sum() for w in (a[index, rows], b[index, columns]))
        problem = cost[index, rows][:, columns].double()
        solution = ot.emd(
            weights_a.cpu().numpy(), weights_b.cpu().numpy(), problem.cpu().contiguous().numpy(), numItermax=1_000_000
        )
        plan[index, rows.unsqueeze(1), columns] = torch.as_tensor(solution).to(plan)
    return plan


def _solve_sinkhorn(
    cost: torch.Tensor,
    support: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    epsilon: float,
    max_iterations: int,
    tolerance: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sinkhorn's algorithm, kernel domain where the exponents allow it, else log domain; each problem by its own exponents."""
    # Shift every row and column to a minimum of 0: the same plan, a smaller range of exponents.
    infinity = torch.finfo(cost.dtype).max
    exponent = torch.where(support, cost / epsilon, infinity)
    exponent = torch.where(support, exponent - exponent.amin(2, keepdim=True), infinity)
    exponent = torch.where(support, exponent - exponent.amin(1, keepdim=True), infinity)
    largest = torch.where(support, exponent, 0).amax((1, 2))
    plan = torch.zeros_like(cost)
    iterations = torch.zeros(cost.shape[0], dtype=torch.int64, device=cost.device)
    live = support.flatten(1).any(1)
    in_kernel_domain = largest <= _LARGEST_KERNEL_EXPONENT[cost.dtype]
    for chosen, solve in ((live & in_kernel_domain, _kernel_domain), (live & ~in_kernel_domain, _log_domain)):
        index = chosen.nonzero()[:, 0]
        if index.numel():
            plan[index], iterations[index] = solve(exponent[index], a[index], b[index], max_iterations, tolerance)
    return plan, iterations


def _kernel_domain(
    exponent: torch.Tensor, a: torch.Tensor, b: torch.Tensor, max_iterations: int, tolerance: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`u = a / Kv`, `v = b / K'u` until each problem meets its marginals; solved problems leave the working set."""
    tiny = torch.finfo(exponent.dtype).tiny
    kernel = (-exponent).exp()
    plan = torch.empty_like(kernel)
    iterations = torch.empty(kernel.shape[0], dtype=torch.int64, device=kernel.device)
    active = torch.arange(kernel.shape[0], device=kernel.device)
    u, v = a, torch.ones_like(b)
    product = torch.empty_like(kernel)
    for iteration in range(1, max_iterations + 1):
        torch.mul(kernel, v.unsqueeze(1), out=product)
        kernel_v = product.sum(2)
        # The columns are met after every update of v, so the rows alone tell how far the plan is.
        if iteration > 1 and iteration % _CHECK_EVERY == 1:
            solved = (u * kernel_v - a).abs().sum(1) <= tolerance
            if bool(solved.any()):
                done = solved.nonzero()[:, 0]
                plan[active[done]] = u[done].unsqueeze(2) * product[done]
                iterations[active[done]] = iteration - 1
                rest = (~solved).nonzero()[:, 0]
                if rest.numel() == 0:
                    return plan, iterations
                active, kernel, a, b, u, v, kernel_v = (t[rest] for t in (active, kernel, a, b, u, v, kernel_v))
                product = torch.empty_like(kernel)
        u = a / kernel_v.clamp_min(tiny)
        torch.mul(kernel, u.unsqueeze(2), out=product)
        v = b / product.sum(1).clamp_min(tiny)
    plan[active] = u.unsqueeze(2) * kernel * v.unsqueeze(1)
    iterations[active] = max_iterations
    return plan, iterations


def _log_domain(
    exponent: torch.Tensor, a: torch.Tensor, b: torch.Tensor, max_iterations: int, tolerance: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same iteration on logarithms, for exponents that the kernel cannot hold."""
    log_kernel = torch.where(exponent < torch.finfo(exponent.dtype).max, -exponent, -torch.inf)
    plan = torch.empty_like(log_kernel)
    iterations = torch.empty(log_kernel.shape[0], dtype=torch.int64, device=log_kernel.device)
    active = torch.arange(log_kernel.shape[0], device=log_kernel.device)
    log_a, log_b = a.log(), b.log()
    log_u, log_v = log_a, torch.where(b > 0, 0.0, -torch.inf).to(log_kernel)
    for iteration in range(1, max_iterations + 1):
        log_kernel_v = torch.logsumexp(log_kernel + log_v.unsqueeze(1), dim=2)
        if iteration > 1 and iteration % _CHECK_EVERY == 1:
            mass = torch.where(a > 0, (log_u + log_kernel_v).exp(), 0)
            solved = (mass - a).abs().sum(1) <= tolerance
            if bool(solved.any()):
                done = solved.nonzero()[:, 0]
                plan[active[done]] = (log_u[done].unsqueeze(2) + log_kernel[done] + log_v[done].unsqueeze(1)).exp()
                iterations[active[done]] = iteration - 1
                rest = (~solved).nonzero()[:, 0]
                if rest.numel() == 0:
                    return plan, iterations
                active, log_kernel, a, b, log_a, log_b, log_u, log_v, log_kernel_v = (
                    t[rest] for t in (active, log_kernel, a, b, log_a, log_b, log_u, log_v, log_kernel_v)
                )
        log_u = torch.where(a > 0, log_a - log_kernel_v, -torch.inf)
        log_kernel_u = torch.logsumexp(log_kernel + log_u.unsqueeze(2), dim=1)
        log_v = torch.where(b > 0, log_b - log_kernel_u, -torch.inf)
    plan[active] = (log_u.unsqueeze(2) + log_kernel + log_v.unsqueeze(1)).exp()
    iterations[active] = max_iterations
    return plan, iterations
