"""Sinkhorn's algorithm on batches of problems: short rounds on kernels, extrapolated, with Newton's method for slow ones."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from .transport_newton import newton
from .transport_options import TransportOptions
from .transport_problems import FORBIDDEN, Bucket, Problems, Solution

# Beyond this exponent of the kernel exp(-cost / epsilon), rows shifted to 0, a problem starts on logarithms and goes on in
# double precision. float32 holds e^±87, float64 e^±708; the scalings need the rest of the range.
LARGEST_KERNEL_EXPONENT = {torch.float32: 70.0, torch.float64: 500.0}
# Scalings beyond this are folded into the kernel, long before they leave the range of float32.
_LARGEST_SCALING = 1e15
_LOG_STEPS = 10
_ANNEALING_STEPS = 5
# Iterations of the rounds; after each, the unsolved problems form new buckets. Newton's method comes between the later ones.
_ROUNDS = (20, 40, 100)
_NEWTON_STEPS = 15
# Iterations from one test and extrapolation to the next, and differences of iterates that an extrapolation sees.
CHECK_EVERY = 5
_MEMORY = 3
RIDGE = 1e-4
LONGEST_STEP = 20.0
EXTRAPOLATED_UNTIL = 1000
# Below this many entries the batched matrix product goes problem by problem in scalar code.
_SMALL_PROBLEM = 400


def sinkhorn(problems: Problems, options: TransportOptions) -> Iterator[tuple[Bucket, Solution]]:
    """Entropic transport by Sinkhorn's algorithm (Cuturi 2013).

    In the kernel domain where the exponents allow it; otherwise a few iterations on logarithms come first, and the kernel has
    their potentials folded in (Schmitzer, arXiv 1610.06519).
    """
    pending = problems.with_mass()
    spent = torch.zeros(problems.cost.shape[0], dtype=torch.int64, device=problems.cost.device)
    g = torch.zeros_like(problems.b, dtype=torch.float64)
    if options.annealing == "geometric":
        for bucket in problems.buckets(pending):
            annealed, steps = _annealed(bucket, options)
            g[bucket.index, bucket.columns] = annealed
            spent[bucket.index] = steps
    yield from solve_from(problems, pending, g, spent, options, _LOG_STEPS)


def solve_from(
    problems: Problems, pending: torch.Tensor, g: torch.Tensor, spent: torch.Tensor, options: TransportOptions, log_steps: int
) -> Iterator[tuple[Bucket, Solution]]:
    """Solves from given potentials, in the problems' own precision where it holds the kernel, else in double precision.

    Args:
        pending: (problems,), indices of the problems to solve.
        g: (batch, columns) float64, column potentials in units of epsilon; kept up to date.
        spent: (batch,) iterations so far; kept up to date.
        log_steps: iterations on logarithms that come first where the kernel does not fit.
    """
    own = g.to(problems.b.dtype)
    far: list[torch.Tensor] = []
    for bucket, solution in _rounds(problems, pending, own, spent, options, far):
        g[bucket.index, bucket.columns] = own[bucket.index, bucket.columns].to(g.dtype)
        yield bucket, solution
    if not far:
        return
    pending = torch.cat(far)
    # One iteration is left for the round after.
    steps = max(0, min(log_steps, options.max_iterations - int(spent[pending].max()) - 1))
    if steps:
        for bucket in problems.buckets(pending):
            start = g[bucket.index, bucket.columns]
            g[bucket.index, bucket.columns] = _log_steps(bucket, options.epsilon, start, steps)
            spent[bucket.index] += steps
    yield from _rounds(problems, pending, g, spent, options, None)


def _rounds(
    problems: Problems,
    pending: torch.Tensor,
    g: torch.Tensor,
    spent: torch.Tensor,
    options: TransportOptions,
    far: list[torch.Tensor] | None,
) -> Iterator[tuple[Bucket, Solution]]:
    """Rounds of iterations until each problem is solved or has spent its iterations.

    Args:
        pending: (problems,), indices of the problems to solve.
        g: (batch, columns), logarithms of the column scalings to start from, in the dtype to compute in; kept up to date.
        spent: (batch,) iterations so far; kept up to date.
        far: takes the indices of problems whose exponents the dtype does not hold; None: there are none.
    """
    done = 0
    while pending.numel():
        length = _ROUNDS[min(done, len(_ROUNDS) - 1)]
        with_newton = done >= len(_ROUNDS)
        left = []
        for whole in problems.buckets(pending):
            bucket, (kernel, shift) = whole, _kernel(whole, g[whole.index, whole.columns], options.epsilon)
            if done == 0 and far is not None:
                within = _largest_exponent(bucket, kernel) <= LARGEST_KERNEL_EXPONENT[kernel.dtype]
                if not bool(within.all()):
                    far.append(bucket.index[~within])
                    bucket, kernel, shift = bucket.select(within), kernel[within], shift[within]
                    if not bucket.index.numel():
                        continue
            if with_newton:
                finished, solution = _newton_round(bucket, g, spent, options)
            else:
                finished, solution = _kernel_round(bucket, kernel.exp_(), shift, g, spent, options, length)
            del kernel
            if solution is not None:
                yield bucket.select(finished), solution
            left.append(bucket.index[~finished])
        pending = torch.cat(left) if left else pending[:0]
        done = done - 1 if with_newton else done + 1


def _kernel(bucket: Bucket, g: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logarithm of the kernel with the potentials g folded in, every row with a maximum of 0; -inf in columns without mass.
    And (problems, rows), what the rows were before that."""
    scores = bucket.cost.to(g.dtype) * (-1 / epsilon)
    scores += torch.where(bucket.b > 0, g, -torch.inf).unsqueeze(1)
    shift = scores.amax(2)
    return scores.sub_(shift.unsqueeze(2)), shift


def _largest_exponent(bucket: Bucket, log_kernel: torch.Tensor) -> torch.Tensor:
    return torch.where(bucket.b > 0, -log_kernel.amin(1), 0).amax(1)


def _kernel_round(
    bucket: Bucket,
    kernel: torch.Tensor,
    shift: torch.Tensor,
    g: torch.Tensor,
    spent: torch.Tensor,
    options: TransportOptions,
    length: int,
) -> tuple[torch.Tensor, Solution | None]:
    """A round of iterations. Which problems are finished, and their solution."""
    index = bucket.index
    budget = options.max_iterations - spent[index]
    tolerance = max(options.tolerance, 8 * torch.finfo(bucket.a.dtype).eps)
    extrapolate = int(spent[index].min()) < EXTRAPOLATED_UNTIL
    a, b = bucket.a.to(kernel.dtype), bucket.b.to(kernel.dtype)
    u, v, iterations, solved = _iterate(kernel, a, b, budget.clamp(max=length), tolerance, extrapolate)
    finished = solved | (iterations >= budget)
    spent[index] += iterations
    g[index, bucket.columns] += v.clamp_min(torch.finfo(v.dtype).tiny).log().nan_to_num_(0)
    if not bool(finished.any()):
        return finished, None
    f, own = bucket.potentials(u.log() - shift, g[index, bucket.columns], options.epsilon)
    if not bool(finished.all()):
        kernel, u, v, f, own, index = (tensor[finished] for tensor in (kernel, u, v, f, own, index))
    return finished, Solution(kernel.mul_(u.unsqueeze(2)).mul_(v.unsqueeze(1)), spent[index], potentials=(f, own))


def _iterate(
    kernel: torch.Tensor, a: torch.Tensor, b: torch.Tensor, limit: torch.Tensor, tolerance: float, extrapolate: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """`u = a / Kv`, `v = b / K'u` from v = 1, extrapolated every `CHECK_EVERY` iterations.

    A problem keeps its scalings of the moment when it is solved, reaches its limit, or has scalings that are too large. It is
    still iterated along with the others until the last of them stops.

    Args:
        kernel: (problems, rows, columns).
        limit: (problems,) int64, the most iterations of each.
        tolerance: L1 error of the column marginal at which a problem is solved; the row marginal is met exactly.

    Returns:
        u (problems, rows), v (problems, columns), iterations, whether solved.
    """
    tiny = torch.finfo(kernel.dtype).tiny
    small = kernel.shape[1] * kernel.shape[2] < _SMALL_PROBLEM
    turned = kernel.transpose(1, 2)
    a, b = a.unsqueeze(1), b.unsqueeze(1)
    v = torch.ones_like(b)
    history = [v]
    limits = set(limit.tolist())
    most = max(limits)
    alive = torch.ones_like(limit, dtype=torch.bool)
    kept: tuple[torch.Tensor, ...] = ()
    last_error = torch.full_like(b[:, 0, 0], torch.inf)
    iteration = 0
    while True:
        iteration += 1
        u = a / torch.bmm(v, turned).clamp_min_(tiny)
        kernel_u = (kernel * u.transpose(1, 2)).sum(1, keepdim=True) if small else torch.bmm(u, kernel)
        regular = iteration % CHECK_EVERY == 0
        if regular or iteration in limits:
            error = (v * kernel_u).sub_(b).abs_().sum((1, 2))
            solved = error <= tolerance
            latest = u, v, solved, torch.full_like(limit, iteration)
            # Everything that is still alive is written again at the next test.
            kept = tuple(_choose(alive, x, y) for x, y in zip(latest, kept, strict=True)) if kept else latest
            alive = alive & ~solved & (v.amax((1, 2)) <= _LARGEST_SCALING)
            if iteration in limits:
                alive &= limit > iteration
            if iteration >= most or not bool(alive.any()):
                u, v, solved, iterations = kept
                return u.squeeze(1), v.squeeze(1), iterations, solved
        v = b / kernel_u.clamp_min_(tiny)
        if extrapolate:
            history.append(v)
            if regular:
                # Where the error has grown, plain iterations bring it down again.
                v = v * _extrapolation(history[-_MEMORY - 2 :], b).mul_((error < last_error).view(-1, 1, 1)).exp_()
                last_error = error
                history = [v]


def _choose(mask: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.where(mask.view(-1, *[1] * (x.dim() - 1)), x, y)


def _extrapolation(history: list[torch.Tensor], b: torch.Tensor) -> torch.Tensor:
    """Step of Anderson's acceleration in the logarithms of the scalings, from consecutive plain iterates.

    The combination of the latest differences that makes the residual smallest (Anderson 1965; taken every few iterations as in
    Pratapa, Suryanarayana and Pask, arXiv 1606.08740). Weighted by the marginal, regularised.

    Args:
        history: of (problems, 1, columns).
        b: (problems, 1, columns).

    Returns:
        (problems, 1, columns).
    """
    x = torch.cat(history, 1).clamp_min_(torch.finfo(b.dtype).tiny).log_()
    residual = x[:, 1:] - x[:, :-1]
    weights = b.sqrt()
    difference = (residual[:, 1:] - residual[:, :-1]).mul_(weights)
    gram = torch.bmm(difference, difference.transpose(1, 2))
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal += diagonal.sum(1, keepdim=True).mul_(RIDGE).add_(torch.finfo(b.dtype).tiny)
    right = torch.bmm(difference, (residual[:, -1:] * weights).transpose(1, 2))
    coefficients = torch.linalg.solve_ex(gram, right)[0]
    step = torch.bmm(coefficients.transpose(1, 2), residual[:, 1:]).nan_to_num_(0).neg_()
    longest = torch.linalg.vector_norm(step, torch.inf, 2, keepdim=True)
    return step.div_(longest.div_(LONGEST_STEP).clamp_min_(1))


def _newton_round(
    bucket: Bucket, g: torch.Tensor, spent: torch.Tensor, options: TransportOptions
) -> tuple[torch.Tensor, Solution | None]:
    """Newton's method on what iterations solve slowly. Which problems are finished, and their solution."""
    index = bucket.index
    tolerance = max(options.tolerance, 8 * torch.finfo(bucket.a.dtype).eps)
    a, b = bucket.a.double(), bucket.b.double()
    exponent = torch.where(bucket.support(), bucket.cost.double() / options.epsilon, FORBIDDEN)
    start = g[index, bucket.columns].double()
    turned = a.shape[1] <= b.shape[1]
    budget = (options.max_iterations - spent[index]).clamp(max=_NEWTON_STEPS)
    if turned:
        start = a.log() - torch.logsumexp(start.masked_fill(b == 0, -torch.inf).unsqueeze(1) - exponent, 2)
        potential, plan, error, steps = newton(exponent, a, b, start, tolerance, budget)
        other = b.log() - torch.logsumexp(potential.unsqueeze(2) - exponent, 1)
        potentials = bucket.potentials(potential, other, options.epsilon)
    else:
        other, plan, error, steps = newton(exponent.transpose(1, 2), b, a, start, tolerance, budget)
        plan = plan.transpose(1, 2)
        rows = a.log() - torch.logsumexp(other.unsqueeze(1) - exponent, 2)
        potentials = bucket.potentials(rows, other, options.epsilon)
    spent[index] += steps
    finished = (error <= tolerance) | (spent[index] >= options.max_iterations)
    # Only differences matter; a small mean keeps the exponents of the kernel precise.
    other = torch.where(b > 0, other, 0)
    other = torch.where(b > 0, other - (b * other).sum(1, keepdim=True), 0)
    g[index, bucket.columns] = other.to(g.dtype)
    if not bool(finished.any()):
        return finished, None
    kept = potentials[0][finished], potentials[1][finished]
    return finished, Solution(plan[finished].to(bucket.a.dtype), spent[index[finished]], potentials=kept)


def _log_steps(bucket: Bucket, epsilon: float, g: torch.Tensor, steps: int, scale: float = 1.0) -> torch.Tensor:
    """Column potentials, in units of epsilon, after `steps` iterations on logarithms with exponents times `scale`."""
    exponent = torch.where(bucket.support(), bucket.cost.to(g.dtype) * (scale / epsilon), FORBIDDEN)
    a, b = bucket.a.to(g.dtype), bucket.b.to(g.dtype)
    log_a, log_b = a.log(), b.log()
    g = torch.where(b > 0, g, -torch.inf)
    for _ in range(steps):
        f = log_a - torch.logsumexp(g.unsqueeze(1) - exponent, 2)
        g = log_b - torch.logsumexp(f.unsqueeze(2) - exponent, 1)
    return torch.where(b > 0, g, 0)


def _annealed(bucket: Bucket, options: TransportOptions) -> tuple[torch.Tensor, int]:
    """Column potentials from a few iterations at each of epsilon's multiples 2^k .. 2, and how many iterations that took.

    The largest multiple is the one at which a cost of 2, the largest cosine distance, has an exponent of about 1.
    """
    g = torch.zeros_like(bucket.b, dtype=torch.float64)
    spent = 0
    for level in range(max(1, math.ceil(math.log2(2 / options.epsilon))), 0, -1):
        if spent + _ANNEALING_STEPS >= options.max_iterations:
            break
        # Potentials in units of epsilon: a multiple of epsilon divides both exponents and potentials.
        scale = 2.0**-level
        g = _log_steps(bucket, options.epsilon, g * scale, _ANNEALING_STEPS, scale) / scale
        spent += _ANNEALING_STEPS
    return g, spent
