"""One run alone and several at once on the same cores, with threads that spin while they wait and with threads that sleep.

    python benchmarks/threads.py [--at-once 3] [--output benchmarks/threads] [-- KEY=VALUE …]

A run is the quickstart's recipe, short: 10 updates, no baseline, no pictures. `ACTIVE` is what OpenMP does unless it is told
otherwise, `PASSIVE` what the `optical` command sets. Several runs at once should take at most as long as one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from modeling_optical.files.atomic_write import write_text

ROOT = Path(__file__).resolve().parents[1]
SHORT = (
    "training.max_steps=10",
    "training.save_steps=10",
    "baselines={}",
    "evaluation.examples=0",
    "data.max_training_pairs=640",
)


def runs(count: int, policy: str | None, overrides: list[str]) -> dict[str, float]:
    """Seconds until all of them have ended, and their processor seconds."""
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    environment |= {"PYTHONPATH": str(ROOT)} | ({} if policy is None else {"OMP_WAIT_POLICY": policy})
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, str(ROOT / "recipes/command.py"), "run", str(ROOT / "recipes/quickstart/swahili.yaml")]
        before, started = _processor_seconds(), time.perf_counter()
        processes = [
            subprocess.Popen(
                [*command, f"output={scratch}/{number}", *SHORT, *overrides], env=environment, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number in range(count)
        ]  # fmt: skip
        statuses = [process.wait() for process in processes]
        if any(statuses):
            raise SystemExit(f"runs ended with {statuses}: start one by hand to see why: {' '.join([*command, *SHORT])}")
        return {"seconds": time.perf_counter() - started, "processor seconds": _processor_seconds() - before}


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Threads that wait",
        "",
        f"The quickstart's recipe with {', '.join(f'`{word}`' for word in (*SHORT, *results['overrides']))}, on "
        f"{results['cores']} cores.",
        "",
        "| `OMP_WAIT_POLICY` | runs at once | seconds | processor seconds of each | against one after the other |",
        "|---|---|---|---|---|",
    ]
    for policy, own in results["policies"].items():
        for count, found in own.items():
            share = found["seconds"] / (int(count) * own["1"]["seconds"])
            each = found["processor seconds"] / int(count)
            lines.append(f"| {policy} | {count} | {found['seconds']:.0f} | {each:.0f} | {share:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--policies", nargs="+", default=["PASSIVE", "ACTIVE"])
    parser.add_argument("--output", help="PREFIX of PREFIX.md and PREFIX.json")
    parser.add_argument("overrides", nargs="*", help="further KEY=VALUE for the recipe, after --")
    options = parser.parse_args()
    measured = {
        policy: {str(count): runs(count, policy, options.overrides) for count in (1, options.at_once)}
        for policy in options.policies
    }
    results = {"cores": os.cpu_count(), "overrides": options.overrides, "policies": measured}
    print(report(results))
    if options.output:
        write_text(Path(f"{options.output}.md"), report(results))
        write_text(Path(f"{options.output}.json"), json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
