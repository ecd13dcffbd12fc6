"""Other solvers behind one interface, for `benchmarks/transport.py`."""

import importlib.util
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Peer:
    """A solver to compare with.

    Attributes:
        name: as it stands in the table.
        run: (batch, epsilon, setting) -> plan (batch, rows, columns).
        settings: of a marginal error, the settings to try from loose to strict.
        missing: why it cannot run here, or an empty string.
        seconds: time of the last run as the solver's own process measured it, in place of the time from outside.
    """

    name: str
    run: Callable[[Any, float, float], torch.Tensor]
    settings: Callable[[float], Sequence[float]]
    missing: Callable[[], str]
    seconds: Callable[[], float] | None = None


def _needs(module: str, install: str) -> Callable[[], str]:
    return lambda: "" if importlib.util.find_spec(module) else f"pip install {install}"


def _tolerances(error: float) -> list[float]:
    return [error * factor for factor in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)]


def _iterations(_: float) -> list[float]:
    return [10, 20, 50, 100, 200, 500, 1000]


def _pot_batch(method: str) -> Callable[[Any, float, float], torch.Tensor]:
    def run(batch: Any, epsilon: float, tolerance: float) -> torch.Tensor:
        import ot

        # Rows and columns without mass get none in either domain, whatever their cost.
        arguments = {"max_iter": 50_000, "tol": tolerance, "method": method, "grad": "detach"}
        return ot.batch.solve_batch(batch.cost, reg=epsilon, a=batch.a, b=batch.b, **arguments).plan

    return run


def _pot_loop(batch: Any, epsilon: float, tolerance: float) -> torch.Tensor:
    import ot

    plan = torch.zeros_like(batch.cost)
    for i, (cost, a, b) in enumerate(zip(*(t.cpu().numpy() for t in (batch.cost, batch.a, batch.b)), strict=True)):
        rows, columns = int((a > 0).sum()), int((b > 0).sum())
        arguments = {"numItermax": 50_000, "stopThr": tolerance, "warn": False}
        solved = ot.sinkhorn(a[:rows], b[:columns], cost[:rows, :columns], epsilon, **arguments)
        plan[i, :rows, :columns] = torch.from_numpy(solved)
    return plan


def _geomloss(batch: Any, epsilon: float, iterations: float) -> torch.Tensor:
    from geomloss import ot

    # It takes no masks: padded tokens get a mass that is too small to matter.
    a, b = (w.clamp_min(1e-12) for w in (batch.a, batch.b))
    solution = ot.solve_batch(batch.cost, reg=epsilon, a=a, b=b, max_iter=int(iterations))
    return solution.plan


def _compiled() -> Callable[[Any, float, float], torch.Tensor]:
    def loop(cost: torch.Tensor, a: torch.Tensor, b: torch.Tensor, epsilon: float, steps: int) -> torch.Tensor:
        kernel = (-cost / epsilon).exp()
        u, v = torch.ones_like(a), torch.ones_like(b)
        for _ in range(steps):
            u = a / (kernel * v.unsqueeze(1)).sum(2)
            v = b / (kernel * u.unsqueeze(2)).sum(1)
        return u.unsqueeze(2) * kernel * v.unsqueeze(1)

    compiled = torch.compile(loop)
    return lambda batch, epsilon, iterations: compiled(batch.cost, batch.a, batch.b, epsilon, int(iterations))


def _flash_sinkhorn(batch: Any, epsilon: float, iterations: float) -> torch.Tensor:
    from flash_sinkhorn import SamplesLoss

    # Half the squared distance of unit vectors is the cosine cost. Ragged problems go one by one.
    solve = SamplesLoss(
        eps=epsilon, n_iters=int(iterations), use_epsilon_scaling=False, half_cost=True, potentials=True,
        backend="alternating", allow_tf32=False,
    )  # fmt: skip
    plan = torch.zeros_like(batch.cost)
    for i in range(len(plan)):
        a, b = batch.a[i][batch.row_mask[i]], batch.b[i][batch.column_mask[i]]
        f, g = solve(a, batch.student[i, : len(a)], b, batch.teacher[i, : len(b)])
        scores = (f.view(-1, 1) + g.view(1, -1) - batch.cost[i, : len(a), : len(b)]) / epsilon
        plan[i, : len(a), : len(b)] = scores.exp() * a.unsqueeze(1) * b
    return plan


PEERS = [
    Peer("POT batch, kernel", _pot_batch("sinkhorn"), _tolerances, _needs("ot", "POT")),
    Peer("POT batch, log", _pot_batch("log_sinkhorn"), _tolerances, _needs("ot", "POT")),
    Peer("POT loop", _pot_loop, _tolerances, _needs("ot", "POT")),
    Peer("geomloss", _geomloss, _iterations, _needs("geomloss", "geomloss")),
]
GPU_PEERS = [
    Peer("torch.compile", _compiled(), lambda _: [10, 20, 50, 100, 200, 500], lambda: ""),
    Peer("flash-sinkhorn", _flash_sinkhorn, _iterations, _needs("flash_sinkhorn", "flash-sinkhorn")),
]

_OTT = """
import sys, time
import jax, numpy as np
from ott.geometry import geometry
from ott.problems.linear import linear_problem
from ott.solvers.linear import sinkhorn

with np.load(sys.argv[1]) as data:
    cost, a, b, epsilon, threshold, goal = (data[k] for k in ("cost", "a", "b", "epsilon", "threshold", "goal"))

for threshold in threshold:
    def solve(cost, a, b):
        geom = geometry.Geometry(cost_matrix=cost, epsilon=float(epsilon))
        solver = sinkhorn.Sinkhorn(threshold=float(threshold), max_iterations=50_000)
        return solver(linear_problem.LinearProblem(geom, a=a, b=b)).matrix

    run = jax.jit(jax.vmap(solve))
    plan = np.asarray(run(cost, a, b))
    error = max(np.abs(plan.sum(2) - a).sum(1).max(), np.abs(plan.sum(1) - b).sum(1).max())
    if error <= goal:
        break
start = time.perf_counter()
run(cost, a, b).block_until_ready()
np.savez(sys.argv[2], plan=plan, seconds=time.perf_counter() - start)
"""


def ott_jax(python: str) -> Peer:
    """OTT-JAX in an environment of its own, which looks for the threshold itself, and times after compilation."""
    last = {"seconds": 0.0}

    def run(batch: Any, epsilon: float, error: float) -> torch.Tensor:
        with tempfile.TemporaryDirectory() as scratch:
            problem, solution = (str(Path(scratch) / name) for name in ("problem.npz", "solution.npz"))
            arrays = {name: getattr(batch, name).cpu().numpy() for name in ("cost", "a", "b")}
            np.savez(problem, **arrays, epsilon=epsilon, threshold=_tolerances(error)[:4], goal=error)
            subprocess.run([python, "-c", _OTT, problem, solution], check=True)
            with np.load(solution) as result:
                last["seconds"] = float(result["seconds"])
                return torch.from_numpy(result["plan"]).to(batch.cost)

    return Peer("OTT-JAX", run, lambda error: [error], lambda: "", lambda: last["seconds"])
