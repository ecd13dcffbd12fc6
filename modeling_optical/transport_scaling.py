"""Scaling algorithms on a bucket of problems: Sinkhorn, its unbalanced form, and the proximal point method (IPOT)."""

from __future__ import annotations

import torch

from .transport_newton import newton
from .transport_problems import FORBIDDEN, Bucket, Solution, SolverSettings, exponents

# Above this exponent the kernel exp(-cost / epsilon) and its scalings leave the range of the dtype, and a problem starts on
# logarithms. float32 holds e^88, float64 e^709; the scalings need the rest of the range.
LARGEST_KERNEL_EXPONENT = {torch.float32: 60.0, torch.float64: 500.0}
# Scalings beyond this are folded into the kernel, long before they leave the range of float32.
_LARGEST_SCALING = 1e15
_LOG_STEPS = 10
_MOST_RELAXATION = 1.95
# The error of a relaxed iteration falls in waves; growth per iteration beyond this is no wave.
_GROWTH = 1.05
_RELAXED_UNTIL = 1000
_NEWTON_FROM = 65
_NEWTON_STEPS = 12
# Newton's steps cost about as much as so many iterations: a product and a factorisation against two passes over the kernel.
_NEWTON_PAYS_FROM = 30
_NEWTON_PAYS_FROM_PER_TOKEN = 3
# Below this many entries a problem is too small for a matrix product of its own.
_SMALL_PROBLEM = 640
# Proximal steps (IPOT): scalings a step, the largest exponent of one, the range of exponents between two foldings of the
# scalings into the kernel, the steps between two tests, and the relative gap to a lower bound at which the cost is optimal.
_SCALINGS = 3
_LONGEST_PROXIMAL_STEP = 10.0
_NEAR_ENOUGH = 0.03
_RANGE_BETWEEN_FOLDS = 60.0
_CHECK_EVERY = 10
_SMALLEST_MASS = 1e-30
_GAP = 5e-4
# The share of a working set that is still unsolved from which taking it out costs less than iterating on the rest.
_WORTH_CLOSING_UP = 0.6


class _BatchFirst:
    """Kernels of large problems; vectors are (problems, tokens)."""

    tokens = 1

    def __init__(self, kernel: torch.Tensor) -> None:
        # A row vector times a matrix is the fast product, so the kernel is kept both ways.
        self.kernel, self.turned = kernel, kernel.transpose(1, 2).contiguous()

    def times(self, v: torch.Tensor) -> torch.Tensor:
        return torch.bmm(v.unsqueeze(1), self.turned).squeeze(1)

    def transposed_times(self, u: torch.Tensor) -> torch.Tensor:
        return torch.bmm(u.unsqueeze(1), self.kernel).squeeze(1)

    def plan(self, u: torch.Tensor, v: torch.Tensor, index: torch.Tensor | None = None) -> torch.Tensor:
        kernel = self.kernel
        if index is not None:
            kernel, u, v = kernel[index], u[index], v[index]
        return (kernel * u.unsqueeze(2)).mul_(v.unsqueeze(1))

    def select(self, index: torch.Tensor) -> None:
        self.kernel, self.turned = self.kernel[index], self.turned[index]


class _BatchLast:
    """Kernels of small problems; vectors are (tokens, problems), so that every operation runs along the problems."""

    tokens = 0

    def __init__(self, kernel: torch.Tensor) -> None:
        self.kernel = kernel.permute(1, 2, 0).contiguous()

    def times(self, v: torch.Tensor) -> torch.Tensor:
        return (self.kernel * v).sum(1)

    def transposed_times(self, u: torch.Tensor) -> torch.Tensor:
        return (self.kernel * u.unsqueeze(1)).sum(0)

    def plan(self, u: torch.Tensor, v: torch.Tensor, index: torch.Tensor | None = None) -> torch.Tensor:
        kernel = self.kernel
        if index is not None:
            kernel, u, v = kernel[..., index], u[:, index], v[:, index]
        return (kernel * u.unsqueeze(1)).mul_(v).permute(2, 0, 1)

    def select(self, index: torch.Tensor) -> None:
        self.kernel = self.kernel[..., index].contiguous()


def sinkhorn(bucket: Bucket, settings: SolverSettings) -> Solution:
    """Sinkhorn's algorithm (Cuturi 2013) with over-relaxation and a Newton finish.

    In the kernel domain where the exponents allow it; otherwise it starts on logarithms and goes on with a kernel that has the
    potentials folded in (Schmitzer, arXiv 1610.06519).
    """
    exponent, largest = exponents(bucket, settings.epsilon)
    f, g = torch.zeros_like(bucket.a), torch.zeros_like(bucket.b)
    spent = torch.zeros(exponent.shape[0], dtype=torch.int64, device=exponent.device)
    on_logarithms = largest > LARGEST_KERNEL_EXPONENT[exponent.dtype]
    if settings.annealing == "geometric":
        f, g, spent = _annealed(exponent, bucket.a, bucket.b, largest, settings)
        on_logarithms = torch.ones_like(on_logarithms)
    index = on_logarithms.nonzero()[:, 0]
    if index.numel():
        steps = max(1, min(_LOG_STEPS, settings.max_iterations - int(spent.max())))
        part = exponent[index], bucket.a[index], bucket.b[index]
        f[index], g[index] = _log_steps(*part, g[index], steps)
        spent[index] += steps
    return _Scaling(exponent, bucket, f, g, spent, settings).solve()


class _Scaling:
    """The iteration on a working set of problems.

    What is solved keeps its scalings of that moment, and leaves the working set when enough others have.
    """

    def __init__(
        self,
        exponent: torch.Tensor,
        bucket: Bucket,
        f: torch.Tensor,
        g: torch.Tensor,
        spent: torch.Tensor,
        settings: SolverSettings,
    ) -> None:
        self.settings, self.bucket = settings, bucket
        self.exponent, self.f, self.g = exponent, f, g
        self.plan = torch.empty_like(exponent)
        self.iterations = torch.zeros_like(spent)
        self.spent = spent
        self.layout = _BatchLast if exponent.shape[1] * exponent.shape[2] < _SMALL_PROBLEM else _BatchFirst
        self.active = torch.arange(exponent.shape[0], device=exponent.device)
        self.relaxation = torch.ones(exponent.shape[0], dtype=exponent.dtype, device=exponent.device)
        self.most_relaxation = torch.full_like(self.relaxation, _MOST_RELAXATION)
        self.last_error = torch.full_like(self.relaxation, torch.inf)
        self.failed: list[torch.Tensor] = []

    def solve(self) -> Solution:
        tolerance, most = self.settings.tolerance, self.settings.max_iterations
        most_spent = int(self.spent.max())
        iteration = last_adapted = 0
        newton_at = _NEWTON_FROM
        relaxed = False
        self._load()
        while True:
            iteration += 1
            kernel_v = self.kernel.times(self.v)
            self.u = self._update(self.u, self.a, kernel_v, relaxed)
            kernel_u = self.kernel.transposed_times(self.u)
            if _is_time_to_check(iteration) or iteration + most_spent >= most:
                error = (self.v * kernel_u).sub_(self.b).abs_().sum(self.kernel.tokens)
                if relaxed:
                    error = torch.maximum(error, (self.u * kernel_v).sub_(self.a).abs_().sum(self.kernel.tokens))
                solved = error <= tolerance
                if iteration + most_spent >= most:
                    solved |= self.spent[self.active] + iteration >= most
                self._retire(solved & self.alive, iteration)
                broken = ~torch.isfinite(error) & self.alive
                if bool(broken.any()):
                    self.failed.append(self.active[broken])
                    self.alive &= ~broken
                left = int(self.alive.sum())
                if left == 0:
                    break
                if _is_time_to_adapt(iteration):
                    rate = (error / self.last_error).pow_(1 / (iteration - last_adapted))
                    self.last_error, last_adapted = error, iteration
                    if iteration >= newton_at:
                        newton_at = 2 * iteration
                        if self._finish(error, rate, iteration):
                            if self.active.numel() == 0:
                                break
                            most_spent = int(self.spent[self.active].max())
                            continue
                    self._relax(rate, iteration)
                    relaxed = bool((self.relaxation > 1).any())
                if float(torch.maximum(self.u.amax(), self.v.amax())) > _LARGEST_SCALING:
                    self._fold()
                    continue
                if left < _WORTH_CLOSING_UP * self.active.numel():
                    kernel_u = self._close_up(kernel_u)
            self.v = self._update(self.v, self.b, kernel_u, relaxed)
        self._write()
        if self.failed:
            index = torch.cat(self.failed)
            part = self.exponent[index], self.bucket.a[index], self.bucket.b[index]
            self.plan[index], self.iterations[index], _ = log_domain(*part, 1.0, self.settings)
        return Solution(self.plan, self.iterations)

    def _load(self) -> None:
        """The kernel of the working set, potentials folded in, and scalings of one."""
        index = self.active
        if index.numel() == self.exponent.shape[0]:
            f, g, exponent, self.a, self.b = self.f, self.g, self.exponent, self.bucket.a, self.bucket.b
        else:
            f, g, exponent, self.a, self.b = (t[index] for t in (self.f, self.g, self.exponent, self.bucket.a, self.bucket.b))
        self.kernel = self.layout((f.unsqueeze(2) + g.unsqueeze(1)).sub_(exponent).exp_())
        if self.kernel.tokens == 0:
            self.a, self.b = self.a.t().contiguous(), self.b.t().contiguous()
        self.u, self.v = torch.ones_like(self.a), torch.ones_like(self.b)
        self.u_solved, self.v_solved = self.u, self.v
        self.alive = torch.ones_like(index, dtype=torch.bool)
        self.retired = torch.zeros_like(self.alive)

    def _update(self, scaling: torch.Tensor, marginal: torch.Tensor, product: torch.Tensor, relaxed: bool) -> torch.Tensor:
        tiny = torch.finfo(marginal.dtype).tiny
        if not relaxed:
            return marginal / product.clamp_min(tiny)
        ratio = marginal / (scaling * product).clamp_min_(tiny)
        return ratio.pow_(self.relaxation.unsqueeze(self.kernel.tokens)).mul_(scaling)

    def _relax(self, rate: torch.Tensor, iteration: int) -> None:
        """Relaxation for the convergence seen (Young's formula; Lehmann, von Renesse, Sambale and Uschmajew, arXiv 2012.12562).

        A relaxed iteration at the rate r has a plain rate of `(r + w - 1)^2 / (r w^2)` below it, for which
        `2 / (1 + sqrt(1 - plain rate))` is best. Where the error has grown, the problem goes back to plain iterations and may
        never again be relaxed so far; and relaxation fades in the long run. So every problem ends with plain iterations, which
        always converge (compare Thibault, Chizat, Dossal and Papadakis, arXiv 1711.01851).
        """
        w = self.relaxation
        grew = ~(rate < _GROWTH)
        self.most_relaxation = torch.where(grew & (w > 1), 1 + 0.8 * (w - 1), self.most_relaxation)
        if iteration > _RELAXED_UNTIL:
            faded = 1 + 0.8 * (self.most_relaxation - 1)
            self.most_relaxation = torch.where(faded > 1.01, faded, 1)
        rate = rate.clamp(max=1 - 1e-4)
        plain = ((rate + w - 1).square_() / (rate * w * w)).clamp_(0, 1 - 1e-7)
        best = 2 / (1 + (1 - plain).sqrt_())
        self.relaxation = torch.where(grew, 1, torch.where(rate > w - 1, best, w).minimum(self.most_relaxation))

    def _retire(self, solved: torch.Tensor, iteration: int) -> None:
        """Keeps the scalings of what is solved now; its plan is written with those of others."""
        if not bool(solved.any()):
            return
        if bool(self.retired.any()):
            along = solved.unsqueeze(self.kernel.tokens)
            self.u_solved = torch.where(along, self.u, self.u_solved)
            self.v_solved = torch.where(along, self.v, self.v_solved)
        else:
            self.u_solved, self.v_solved = self.u, self.v
        self.retired |= solved
        self.alive &= ~solved
        where = self.active[solved]
        self.iterations[where] = self.spent[where] + iteration

    def _write(self) -> None:
        """Plans of what has retired since the kernel was last loaded or closed up."""
        if bool(self.retired.all()) and self.active.numel() == self.plan.shape[0]:
            self.plan = self.kernel.plan(self.u_solved, self.v_solved)
        elif bool(self.retired.any()):
            index = self.retired.nonzero()[:, 0]
            self.plan[self.active[index]] = self.kernel.plan(self.u_solved, self.v_solved, index)

    def _close_up(self, kernel_u: torch.Tensor) -> torch.Tensor:
        """Takes what is no longer alive out of the working set."""
        self._write()
        index = self._drop()
        self.kernel.select(index)
        along = 1 - self.kernel.tokens
        self.a, self.b, self.u, self.v, kernel_u = (
            t.index_select(along, index) for t in (self.a, self.b, self.u, self.v, kernel_u)
        )
        self.u_solved, self.v_solved = self.u, self.v
        return kernel_u

    def _drop(self) -> torch.Tensor:
        index = self.alive.nonzero()[:, 0]
        self.active, self.relaxation, self.most_relaxation, self.last_error = (
            t[index] for t in (self.active, self.relaxation, self.most_relaxation, self.last_error)
        )
        self.alive = torch.ones_like(index, dtype=torch.bool)
        self.retired = torch.zeros_like(self.alive)
        return index

    def _fold(self) -> None:
        """Writes the scalings into the potentials, and loads what is alive again."""
        self._write()
        u, v = (self.u.t(), self.v.t()) if self.kernel.tokens == 0 else (self.u, self.v)
        self.f[self.active] += u.log()
        self.g[self.active] += v.log()
        self._drop()
        self._load()

    def _finish(self, error: torch.Tensor, rate: torch.Tensor, iteration: int) -> bool:
        """Newton's method where it is the shorter way. Whether it ran; what it has not solved goes on from where it stopped."""
        needed = (self.settings.tolerance / error).log_() / rate.clamp(max=1 - 1e-7).log_()
        shortest = torch.minimum((self.bucket.a > 0).sum(1), (self.bucket.b > 0).sum(1))[self.active]
        pays = self.alive & (needed > _NEWTON_PAYS_FROM + _NEWTON_PAYS_FROM_PER_TOKEN * shortest)
        if not bool(pays.any()):
            return False
        where = self.active[pays]
        self._fold()
        exponent, a, b = (t[where].double() for t in (self.exponent, self.bucket.a, self.bucket.b))
        turned = a.shape[1] > b.shape[1]
        start = (self.g if turned else self.f)[where].double()
        if turned:
            exponent, a, b = exponent.transpose(1, 2), b, a
        budget = (self.settings.max_iterations - self.spent[where] - iteration).clamp(0, _NEWTON_STEPS)
        potential, plan, rest, steps = newton(exponent, a, b, start, self.settings.tolerance, budget)
        other = b.log() - torch.logsumexp(potential.unsqueeze(2) - exponent, 1)
        if turned:
            plan, potential, other = plan.transpose(1, 2), other, potential
        self.f[where], self.g[where] = potential.to(self.f.dtype), other.to(self.g.dtype)
        self.spent[where] += steps
        done = (rest <= self.settings.tolerance) | (self.spent[where] + iteration >= self.settings.max_iterations)
        solved = where[done]
        self.plan[solved] = plan[done].to(self.plan.dtype)
        self.iterations[solved] = self.spent[solved] + iteration
        self.alive = ~torch.isin(self.active, solved)
        self.last_error = torch.full_like(self.last_error, torch.inf)
        self._drop()
        self._load()
        return True


def _is_time_to_check(iteration: int) -> bool:
    return iteration % (2 if iteration <= 8 else 5) == 0


def _is_time_to_adapt(iteration: int) -> bool:
    """Early, to be relaxed soon; then rarely, because the error of a relaxed iteration falls in waves."""
    return iteration in (4, 6, 8) or iteration % 15 == 5


def _log_steps(
    exponent: torch.Tensor, a: torch.Tensor, b: torch.Tensor, g: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """So many iterations on logarithms; the column marginal is met after the last."""
    log_a, log_b = a.log(), b.log()
    f = torch.zeros_like(a)
    for _ in range(steps):
        f = log_a - torch.logsumexp(g.unsqueeze(1) - exponent, 2)
        g = log_b - torch.logsumexp(f.unsqueeze(2) - exponent, 1)
    return f, g


def _annealed(
    exponent: torch.Tensor, a: torch.Tensor, b: torch.Tensor, largest: torch.Tensor, settings: SolverSettings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Potentials from a few iterations at each of epsilon's multiples 2^k .. 2, from where the largest exponent is about 1."""
    g = torch.zeros_like(b)
    f = torch.zeros_like(a)
    spent = torch.zeros(a.shape[0], dtype=torch.int64, device=a.device)
    halvings = largest.clamp(1, 2**20).log2().ceil().to(torch.int64)
    for level in range(int(halvings.max()), 0, -1):
        index = ((halvings >= level) & (spent + 5 < settings.max_iterations)).nonzero()[:, 0]
        if index.numel() == 0:
            continue
        # Potentials in units of epsilon: a multiple of epsilon divides exponents and potentials alike.
        scale = 2.0**-level
        part = exponent[index] * scale, a[index], b[index]
        f_level, g_level = _log_steps(*part, g[index] * scale, 5)
        f[index], g[index] = f_level / scale, g_level / scale
        spent[index] += 5
    return f, torch.where(b > 0, g, 0), spent


def log_domain(
    exponent: torch.Tensor, a: torch.Tensor, b: torch.Tensor, power: float, settings: SolverSettings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Iteration on logarithms alone, balanced (power 1) or with marginals relaxed by a Kullback-Leibler term (below 1).

    For `<P, C> + epsilon KL(P | a b^T) + penalty (KL(P 1 | a) + KL(P^T 1 | b))` the power is `penalty / (penalty + epsilon)`
    (Chizat, Peyré, Schmitzer and Vialard, arXiv 1607.05816).

    Returns:
        Plan, iterations, and the L1 distance of the row sums from what the row potentials ask for (the columns meet theirs).
    """
    log_a, log_b = a.log(), b.log()
    plan = torch.zeros_like(exponent)
    iterations = torch.zeros(exponent.shape[0], dtype=torch.int64, device=exponent.device)
    errors = torch.zeros(exponent.shape[0], dtype=exponent.dtype, device=exponent.device)
    active = torch.arange(exponent.shape[0], device=exponent.device)
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    for iteration in range(1, settings.max_iterations + 1):
        f = torch.where(a > 0, -power * torch.logsumexp((g + log_b).unsqueeze(1) - exponent, 2), 0)
        g = torch.where(b > 0, -power * torch.logsumexp((f + log_a).unsqueeze(2) - exponent, 1), 0)
        if iteration % 5 and iteration < settings.max_iterations:
            continue
        row_sums = (log_a + f + torch.logsumexp((g + log_b).unsqueeze(1) - exponent, 2)).exp()
        wanted = a * (f * (1 - 1 / power)).exp()
        error = (row_sums - wanted).abs().sum(1)
        done = (error <= settings.tolerance) | (iteration >= settings.max_iterations)
        if bool(done.any()):
            index = done.nonzero()[:, 0]
            row_scores, column_scores = (f + log_a)[index].unsqueeze(2), (g + log_b)[index].unsqueeze(1)
            plan[active[index]] = (row_scores + column_scores - exponent[index]).exp()
            iterations[active[index]] = iteration
            errors[active[index]] = error[index]
            rest = (~done).nonzero()[:, 0]
            if rest.numel() == 0:
                break
            active, exponent, a, b, log_a, log_b, f, g = (t[rest] for t in (active, exponent, a, b, log_a, log_b, f, g))
    return plan, iterations, errors


def ipot(bucket: Bucket, settings: SolverSettings) -> Solution:
    """Proximal point method on the linear programme (IPOT, Xie, Wang, Wang and Zha, arXiv 1802.04307, algorithm 1).

    Each proximal step multiplies the plan by `exp(-cost / beta)`, beta being `settings.epsilon`, and scales it back to the
    marginals, warm-started. After t steps the plan is that of epsilon = beta / t, so it tends to an optimal plan of the linear
    programme for every beta. A problem takes its next step when its marginals are nearly met, and Newton's method meets them
    where scalings do not. It is solved when its marginals are met and the relative gap between the
    cost and a bound below it from the potentials is at most `_GAP`.
    """
    exponent, largest = exponents(bucket, settings.epsilon)
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
