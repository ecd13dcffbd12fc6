"""Kills runs of a recipe at random moments, starts each again, and compares what comes out with the undisturbed run.

    python benchmarks/killed_runs.py tiny --output benchmarks/killed_runs.json
    python benchmarks/killed_runs.py RECIPE key=value … --moments 20 --output FILE

A run counts as equal if the student's weights are the same bits and the results the same numbers. `tiny` is the small recipe of
the tests, with all stages of the quickstart. The recipe's `output` is the folder that the runs are made in.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# Imported here, so that a forked run begins with its work: a moment that is drawn falls into a run, not into imports.
import recipes.runs.distillation_run
from modeling_optical.evaluation import read_results
from modeling_optical.files.atomic_write import write_text
from recipes.runs.recipe.distillation import Recipe

ROOT = Path(__file__).resolve().parents[1]


def carry_out(recipe: Recipe, log: Path, kill_after: float | None = None) -> tuple[int, float]:
    """The run in a process of its own, killed after so many seconds of its own time, in which other programs have no part.

    Returns its exit status (-9 if killed) and those seconds.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        status = 1
        try:
            recipes.runs.distillation_run.Run(recipe)()
            status = 0
        finally:
            os._exit(status)
    seconds = 0.0
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), seconds
        seconds = own_seconds(child)
        if kill_after is not None and seconds >= kill_after:
            os.kill(child, signal.SIGKILL)
            kill_after = None
        time.sleep(0.01)


def own_seconds(process: int) -> float:
    """What a child, which may have ended but was not waited for, has used of the processor."""
    used = psutil.Process(process).cpu_times()
    return used.user + used.system


def totals(record: list[dict[str, Any]]) -> dict[str, Any]:
    """The record with its sums before it."""
    return {
        "runs": len(record),
        "killed": sum(bool(one["kills"]) for one in record),
        "kills": sum(len(one["kills"]) for one in record),
        "equal": sum(one["equal"] for one in record),
        "record": record,
    }


def tiny_recipe() -> str:
    """The recipe of the tests, on a random teacher, in a folder of its own."""
    sys.path += [str(ROOT / "tests" / "invariants"), str(ROOT / "tests")]
    from conftest import save_backbone
    from tiny_workshop import make_workshop

    folder = Path(tempfile.mkdtemp(prefix="killed-runs-"))
    return str(make_workshop(folder, save_backbone("bert", folder / "backbone")) / "recipe.yaml")


def outcome(folder: Path) -> tuple[dict[str, bytes], list[tuple[str, str, str, str, float]]]:
    """Weights of the student as bytes by name, and the results."""
    weights = {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "student" / "model.safetensors").items()}
    rows = read_results(folder / "results.json")
    return weights, sorted((row.system, row.language, row.collection, row.metric, row.value) for row in rows)


def stage(folder: Path) -> str:
    """How far a killed run had come, told by what it left."""
    if (folder / "results.json").is_file():
        return "after the evaluation"
    if (folder / "student").is_dir():
        return "evaluation"
    checkpoints = sorted(folder.glob("checkpoints/*/checkpoint-*"))
    if any(not (checkpoint / "trainer_state.json").is_file() for checkpoint in checkpoints):
        return "inside the saving of a checkpoint"
    if checkpoints:
        return "training, with a checkpoint"
    if (folder / "start").is_dir():
        return "training, without a checkpoint"
    return "before the training"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a YAML file, or `tiny`")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--moments", type=int, default=20, help="runs that are killed (20)")
    parser.add_argument("--again", type=float, default=0.3, help="chance that a run is killed again when it goes on (0.3)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--output", type=Path, required=True, help="a JSON file for the record")
    options = parser.parse_intermixed_args()
    name = Path(options.recipe).name
    if options.recipe == "tiny":
        options.recipe = tiny_recipe()
        options.overrides = ["baselines={}", "evaluation.examples=0", "training.max_steps=12", *options.overrides]
    generator = random.Random(options.seed)
    base = Path(Recipe.load(options.recipe, options.overrides).output)
    base.mkdir(parents=True, exist_ok=True)
    log = base / "log.txt"

    def recipe(name: str) -> Recipe:
        return Recipe.load(options.recipe, [*options.overrides, f"output={base / name}"])

    status, seconds = carry_out(recipe("undisturbed"), log)
    if status:
        raise SystemExit(f"the undisturbed run failed; see {log}")
    wanted = outcome(base / "undisturbed")
    record: list[dict[str, Any]] = []
    for number in range(options.moments):
        run = base / f"killed-{number}"
        kills = []
        moment: float | None = generator.uniform(0, seconds)
        while True:
            status, _ = carry_out(recipe(run.name), log, moment)
            if status != -signal.SIGKILL:
                break
            kills.append({"after_seconds": round(moment or 0, 2), "during": stage(run)})
            moment = generator.uniform(0, seconds) if generator.random() < options.again else None
        equal = status == 0 and outcome(run) == wanted
        left_over = sorted(path.name for path in run.glob(".*"))
        record.append({"kills": kills, "status": status, "equal": equal, "left_over": left_over})
        print(f"{run.name}: {kills or 'ended before its moment'}: {'equal' if equal else 'DIFFERENT'}", flush=True)
        if equal:
            shutil.rmtree(run)
        summary = {"recipe": name, "seconds_undisturbed": round(seconds, 1)} | totals(record)
        write_text(options.output, json.dumps(summary, indent=1) + "\n")
    print(f"{summary['equal']} of {summary['runs']} equal, {summary['kills']} kills")
    return 0 if summary["equal"] == summary["runs"] and not any(one["left_over"] for one in record) else 1


if __name__ == "__main__":
    sys.exit(main())
