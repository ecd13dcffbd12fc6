"""Carries out a study: shows what it will cost, runs or resumes each cell, records failures and goes on, writes the report."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any

import torch

from modeling_optical.files.atomic_write import write_text
from modeling_optical.files.json_files import read_json, write_json

from ..checked_yaml import PACKAGE_FOLDER, build, read_values
from ..runs.causal_run import CausalRun
from ..runs.distillation_run import Run
from ..runs.recipe.causal import CausalRecipe
from ..runs.recipe.distillation import Recipe
from ..runs.recipe.retrieval import RetrievalRecipe
from ..runs.retrieval_run import RetrievalRun
from ..runs.run_folder import RUN_RECORD, differing_keys
from ..runs.stopwatch import TOTAL
from .cells import STAGES, AnyRecipe, Cell, Places, cells_of, recipe_of, source_of
from .image_text_cells import check_image_text, measure_image_text, prepare_images
from .made_data import made_data
from .noisy_queries import check_same_noise, measure_under_noise, prepare_word_translations
from .prepared_data import prepare_collections
from .reference_systems import measure_references
from .reporting.results_table import (
    CELL_RECORD,
    cell_values,
    gather,
    read_record,
    read_results_table,
    write_cell_values,
)
from .reporting.write_report import check_report, write_report
from .study import Study

_WEIGHTS = ("student", "start", "baselines", "model", "checkpoints", "teacher_cache")
_RUNS: dict[type, Any] = {Recipe: Run, CausalRecipe: CausalRun, RetrievalRecipe: RetrievalRun}
"""Kind of a recipe to what carries it out."""


class StudyRun:
    """Runs one study in one folder. A restart skips finished cells, resumes stopped ones and repeats failed ones.

    Args:
        study: the study.
        jobs: runs at the same time, each in a separate process; 1: one after the other, in this process.
    """

    def __init__(self, study: Study, *, jobs: int = 1):
        if jobs < 1:
            raise ValueError(f"--jobs is {jobs}; it must be at least 1.")
        self.study, self.jobs, self.places = study, jobs, Places(study.root)
        self._made = made_data(study)
        for made in self._made:
            study.paths |= made.paths
        self.cells = cells_of(study)
        self.recipes = {cell: recipe_of(study, cell) for cell in self.cells}
        # Where there are several GPUs, each job has a different one.
        self._devices: SimpleQueue[int | None] = SimpleQueue()
        for number in range(jobs):
            self._devices.put(number % torch.cuda.device_count() if torch.cuda.device_count() > 1 else None)

    def __call__(self) -> int:
        """Runs the pending cells and writes the report; returns how many cells failed.

        Raises:
            ValueError, FileNotFoundError: before anything is computed, for an error in the study or its data; also if no cell
                succeeded.
        """
        for made in self._made:
            made.make()
        self._check()
        write_text(self.places.root / "study.yaml", self.study.to_yaml())
        print(self.plan(), flush=True)
        if self._to_do():
            prepare_collections(self.study, print)
            prepare_images(self.study, print)
            prepare_word_translations(self.study, print)
            for stage in STAGES:
                self._run_stage([cell for cell in self._to_do() if cell.stage == stage])
        if not self._to_do() and not self.study.keep_models:
            shutil.rmtree(self.places.root / "teacher_cache", ignore_errors=True)
        gather(self.study, self.cells)
        print(f"\n{write_report(read_results_table(self.study))}")
        return sum(self._state(cell) == "failed" for cell in self.cells)

    def plan(self) -> str:
        """The parts of the study, how much of it is done, and how long the rest will take as far as that is known."""
        lines = [f"Study {self.study.name}, profile {self.study.profile}, in {self.places.root}", f"  {self.study.question}"]
        left: list[float | None] = []
        for stage in STAGES:
            own = [cell for cell in self.cells if cell.stage == stage]
            if not own:
                continue
            done = Counter(self._state(cell) for cell in own)
            seconds = [s for cell in own if (s := read_record(self.places.cell(cell)).get("seconds")) and self._is_done(cell)]
            if to_do := len(own) - done["done"]:
                left.append(median(seconds) * to_do / self.jobs if seconds else None)
            each = f", {_duration(median(seconds))} each" if seconds else ""
            failed = f", {done['failed']} failed" if done["failed"] else ""
            cost = _cost([self.recipes[cell] for cell in own]) if stage != "reference" else "no training"
            lines.append(f"  {stage:10} {len(own):4} runs, {done['done']} done{failed}{each}; {cost}")
        known = [one for one in left if one is not None]
        if not left:
            lines.append("  Nothing is left to run.")
        elif len(known) == len(left):
            lines.append(f"  About {_duration(sum(known))} left.")
        else:
            lines.append("  How long it takes is known when one run of each kind has ended.")
        return "\n".join(lines)

    def _check(self) -> None:
        """Checks everything that can be checked before hours of work."""
        check_report(self.study)
        check_image_text(self.study)
        for cell, recipe in self.recipes.items():
            if cell.stage != "reference":
                _RUNS[type(recipe)].check_training(recipe)
            if cell.stage != "reference" and not isinstance(recipe, RetrievalRecipe):
                for bitext in recipe.data.bitext:
                    bitext.files()
            self._check_unchanged(cell)
        for recipe in self.recipes.values():
            own = recipe.evaluation
            for name in [*(one.path for one in own.collections), *(one.path for one in own.questions)]:
                path = Path(name).expanduser()
                if path.is_absolute() and self.places.prepared not in path.parents and not path.is_dir():
                    raise FileNotFoundError(f"collection folder {name!r} does not exist.")

    def _check_unchanged(self, cell: Cell) -> None:
        folder = self.places.cell(cell)
        check_same_noise(self.study, folder)
        if self._is_done(cell):
            record = read_record(folder)
            there = record["recipe"]
            measured = record.get("study", {})  # that of older records is not known
            now = _measured_by(self.study, cell)
            differing = [key for key, value in measured.items() if key != "metrics" and now[key] != value]
            if lacking := [metric for metric in now["metrics"] if metric not in measured.get("metrics", [metric])]:
                differing.append(f"metrics ({', '.join(lacking)})")
            if differing:
                raise ValueError(
                    f"{folder} was measured with other settings of the study (different: {', '.join(differing)}). Choose "
                    "another folder with --output, or remove that one to run it again."
                )
        elif (folder / "start").is_dir() and (folder / "recipe.yaml").is_file():
            there = _plain(read_values(folder / "recipe.yaml")[0])
        else:
            return
        differing = differing_keys(there, _plain(self.recipes[cell].to_dict()))
        if differing:
            raise ValueError(
                f"{folder} was run with other settings (different: {', '.join(differing[:6])}). Choose another "
                "folder with --output, or remove that one to run it again."
            )

    def _state(self, cell: Cell) -> str:
        return read_record(self.places.cell(cell)).get("state", "to do")

    def _is_done(self, cell: Cell) -> bool:
        return self._state(cell) == "done"

    def _to_do(self) -> list[Cell]:
        """Cells that are not done, and those whose students are needed again but were removed."""
        missing = {cell for cell in self.cells if not self._is_done(cell)}
        again = {
            source
            for cell in missing
            if (source := source_of(self.study, cell)) is not None
            and not (self.places.student(source, str(cell.system)) / "config.json").is_file()
        }
        return [cell for cell in self.cells if cell in again or cell in missing]

    def _run_stage(self, cells: Sequence[Cell]) -> None:
        def work(numbered: tuple[int, Cell]) -> None:
            number, cell = numbered
            title = f"[{cell.stage} {number}/{len(cells)}] {cell.name}"
            print(f"\n{title}", flush=True)
            (carry_out if self.jobs == 1 else self._in_a_process)(self.study, cell)
            record = read_record(self.places.cell(cell))
            ending = "" if record["state"] == "done" else f": {record['error']}"
            print(f"{title} {record['state']} in {_duration(record['seconds'])}{ending}", flush=True)
            self._remove_weights(cell)

        if self.jobs == 1:
            for numbered in enumerate(cells, 1):
                work(numbered)
        else:
            with ThreadPoolExecutor(self.jobs) as pool:
                list(pool.map(work, enumerate(cells, 1)))

    def _in_a_process(self, study: Study, cell: Cell) -> None:
        folder = self.places.cell(cell)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CELL_RECORD).unlink(missing_ok=True)
        began = time.monotonic()
        command = [sys.executable, str(PACKAGE_FOLDER / "command.py"), "study", str(study.root / "study.yaml"), "--cell"]
        device = self._devices.get()
        environment = os.environ | ({} if device is None else {"CUDA_VISIBLE_DEVICES": str(device)})
        try:
            with open(folder / "log.txt", "ab") as log:
                status = subprocess.run(
                    [*command, cell.name], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
                ).returncode
        finally:
            self._devices.put(device)
        if not read_record(folder):
            how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
            _record(folder, "failed", began, error=f"its process was {how}; see {folder / 'log.txt'}")

    def _remove_weights(self, cell: Cell) -> None:
        """Removes what no cell needs any more: checkpoints, and students from which nothing is still to be fine-tuned."""
        if self.study.keep_models or not self._is_done(cell):
            return
        distil = source_of(self.study, cell) if cell.stage == "fine_tune" else cell
        waiting = any(not self._is_done(one) and source_of(self.study, one) == distil for one in self.cells)
        for done in {one for one in (cell, distil) if one is not None}:
            for name in ("checkpoints",) if waiting and done == distil else _WEIGHTS:
                shutil.rmtree(self.places.cell(done) / name, ignore_errors=True)


def carry_out(study: Study, cell: Cell) -> None:
    """Runs one cell in this process; its outcome is in its `cell.json`."""
    places, began = Places(study.root), time.monotonic()
    folder = places.cell(cell)
    try:
        source = source_of(study, cell)
        if source is not None and read_record(places.cell(source)).get("state") != "done":
            raise ValueError(f"it starts from {source.name}, which has failed.")
        recipe = recipe_of(study, cell)
        if cell.stage != "reference":
            _RUNS[type(recipe)](recipe)()
            began = min(began, time.monotonic() - read_json(folder / RUN_RECORD)["seconds"][TOTAL])  # all its starts
        elif study.image_text is None:
            measure_references(study, cell)
        if study.image_text is None:
            values = cell_values(study, cell)
            measure_under_noise(study, cell, values)
            write_cell_values(study, cell, values)
        else:
            measure_image_text(study, cell)
    except Exception as error:  # whatever it is, it is recorded with its trace, and the other cells are run
        _record(folder, "failed", began, error=f"{type(error).__name__}: {error}", trace=traceback.format_exc())
    else:
        _record(folder, "done", began, recipe=_plain(recipe.to_dict()), study=_measured_by(study, cell))
    gc.collect()


def carry_out_by_name(folder: Path, name: str) -> int:
    """Runs a cell of the study in `folder`; returns 0 if it ended well."""
    study = read_study(folder)
    cell = next(cell for cell in cells_of(study) if cell.name == name)
    carry_out(study, cell)
    return 0 if read_record(Places(study.root).cell(cell))["state"] == "done" else 1


def read_study(folder: Path, overrides: Sequence[str] = ()) -> Study:
    """The study whose folder it is, as it was last started, with `key=value` overrides laid over it.

    Raises:
        FileNotFoundError: if it is not a study's folder.
    """
    file = folder / "study.yaml"
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is no folder of a study: study.yaml is missing. Run the study first.")
    study = build(Study, read_values(file, overrides)[0], "")
    study.output = str(folder)  # it may have been moved
    return study


def _measured_by(study: Study, cell: Cell) -> dict[str, Any]:
    """Settings of the study, beside the cell's recipe, that its values depend on."""
    settings: dict[str, Any] = {"metrics": study.metrics}
    if study.image_text is not None:
        settings["image_text"] = dataclasses.asdict(study.image_text)
    if cell.stage == "reference":
        settings["references"] = dataclasses.asdict(study.references)
    return _plain(settings)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON has them, without tuples."""
    return json.loads(json.dumps(values))


def _record(folder: Path, state: str, began: float, **more: Any) -> None:
    write_json(folder / CELL_RECORD, {"state": state, "seconds": round(time.monotonic() - began, 1)} | more)


def _cost(recipes: Sequence[AnyRecipe]) -> str:
    """How many trainings these are, and how long each is."""
    trainings = 0
    for recipe in recipes:
        trainings += 1 + len(recipe.baselines) if isinstance(recipe, Recipe) else 1
        trainings += len(recipe.systems) - 1 if isinstance(recipe, CausalRecipe) else 0
    training = recipes[0].training
    if training.get("max_steps", 0) > 0:
        return f"{trainings} trainings of {training['max_steps']:,} updates"
    epochs = training.get("num_train_epochs")
    return f"{trainings} trainings of " + ("as many epochs as the pairs need" if epochs is None else f"{epochs} epochs")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
