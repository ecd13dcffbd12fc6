"""What `precision: auto` trains in, against fp32 and bf16: a training step in each, in turns, in processor time.

    python benchmarks/training_precision.py [--isa AVX2] [--output benchmarks/training_precision]

The step is a forward and backward pass and an update of a random encoder of MiniLM's shape, with the attention that this
package's trainers choose. `--isa AVX2` measures again with the instructions of most laptops. `auto` may take at most 5 % longer
than the faster of the two.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from modeling_optical.files.atomic_write import write_text
from modeling_optical.precision import choose_precision
from recipes.speed import workload

SLOWER = 1.05


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a step in each precision, for texts of each length, with the instructions that this process has."""
    torch.set_num_threads(options.threads)
    chosen = choose_precision("auto", "cpu")
    found: dict[str, dict[str, float]] = {}
    for tokens in options.tokens:
        steps = {name: workload(name, options.texts, tokens)[1] for name in ("fp32", "bf16")}
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for round_ in range(options.rounds + 1):
            for name, step in steps.items():
                started = time.process_time()
                step()
                if round_:  # the first one allocates and chooses kernels
                    taken[name].append(1e3 * (time.process_time() - started))
        own = {name: min(values) for name, values in taken.items()}
        found[str(tokens)] = own | {"auto": own[chosen.name], "auto to the best": own[chosen.name] / min(own.values())}
    return {"auto": str(chosen), "texts": options.texts, "threads": options.threads, "tokens": found}


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Precision of training",
        "",
        "Milliseconds of processor time of a training step (forward, backward, update) of an encoder of MiniLM's shape (6 "
        "layers, hidden size 384).",
        "",
        "| instructions | `auto` | texts × tokens | fp32 | bf16 | auto to the better one |",
        "|---|---|---|---|---|---|",
    ]
    for isa, measured in results.items():
        for tokens, own in measured["tokens"].items():
            figures = f"{own['fp32']:,.0f} | {own['bf16']:,.0f} | {own['auto to the best']:.2f}"
            lines.append(f"| {isa} | {measured['auto']} | {measured['texts']} × {tokens} | {figures} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--tokens", type=int, nargs="+", default=[8, 48])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", action="append", default=[], help="instructions to measure with, too, for instance AVX2")
    parser.add_argument("--output", help="PREFIX of PREFIX.md and PREFIX.json")
    parser.add_argument("--held-to", help=argparse.SUPPRESS)
    options = parser.parse_args()
    results = {options.held_to or "all": measure(options)}
    for isa in [] if options.held_to else options.isa:
        environment = os.environ | {"ONEDNN_MAX_CPU_ISA": isa, "ATEN_CPU_CAPABILITY": isa.lower()}
        with tempfile.TemporaryDirectory() as scratch:
            command = [
                sys.executable,
                __file__,
                *sys.argv[1:],
                "--rounds",
                "1",
                "--held-to",
                isa,
                "--output",
                f"{scratch}/held",
            ]
            subprocess.run(command, env=environment, check=True)
            results |= json.loads(Path(scratch, "held.json").read_text(encoding="utf-8"))
    print(report(results))
    if options.output:
        write_text(Path(f"{options.output}.md"), report(results))
        write_text(Path(f"{options.output}.json"), json.dumps(results, indent=1) + "\n")
    slow = [isa for isa, own in results.items() if any(t["auto to the best"] > SLOWER for t in own["tokens"].values())]
    print(f"auto is slower than it may be at: {', '.join(slow)}" if slow else "All targets are met.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
