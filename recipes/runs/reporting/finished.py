"""The card of a run that has ended, written anew: after a change of licence or name, or with results that came later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modeling_optical.evaluation import ResultRow, read_results, write_results
from modeling_optical.files.atomic_write import write_text

from ..recipe.distillation import Recipe
from ..run_folder import RECORD, RECORD_HEAD, is_run, read_record, student_of, write_record
from .card import write_student_card

ADDED_RESULTS = "added_results.json"


def finished_run(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    """Recipe and record of a distillation that has ended.

    Raises:
        ValueError: if the folder holds none; the message says what to do.
    """
    if not is_run(folder):
        inside = folder.name == "student" and is_run(folder.parent)
        hint = f"give {folder.parent}" if inside else "give the folder of `optical run` or `optical distill`"
        raise ValueError(f"{folder} is not the folder of a run: {hint}.")
    record = read_record(folder)
    if record is None or not (student_of(folder, "optical") / "config.json").is_file():
        raise ValueError(f"the run in {folder} has not ended: start its command again, then write the card.")
    return Recipe.load(folder / RECORD), record


def differs(recipe: Recipe, record: dict[str, Any]) -> bool:
    """Whether a recipe is another one than a record's, be it by a name or a licence alone; `output` does not count."""
    plain = json.loads(json.dumps(recipe.to_dict()))
    return plain | {"output": None} != record["recipe"] | {"output": None}


def results_of(folder: Path) -> list[ResultRow]:
    """The results of a run and those that were added to its card; an added one replaces the run's."""
    added = read_results(folder / ADDED_RESULTS) if (folder / ADDED_RESULTS).is_file() else []
    return merged_rows(read_results(folder / "results.json"), added)


def merged_rows(rows: Sequence[ResultRow], later: Sequence[ResultRow]) -> list[ResultRow]:
    """Results with later ones in the place of those of the same system, collection, language and metric."""
    found = {(row.system, row.collection, row.language, row.metric): row for row in (*rows, *later)}
    return list(found.values())


def rewrite_card(recipe: Recipe, folder: Path, record: dict[str, Any], added: Sequence[ResultRow] = ()) -> Path:
    """Writes recipe, record and card of a finished run anew; what the run cost and found stays as it is.

    Args:
        recipe: the run's, perhaps with another name or other licences.
        folder: of the run.
        record: its `run.json`.
        added: results that came later; they are kept for the next time.
    """
    if added:
        there = folder / ADDED_RESULTS
        write_results(there, merged_rows(read_results(there) if there.is_file() else [], added))
    record = record | {"recipe": recipe.to_dict()}
    write_text(folder / RECORD, RECORD_HEAD + recipe.to_yaml())
    write_record(folder, record)
    report = folder / "report.md"
    if report.is_file():
        _, *lines = report.read_text(encoding="utf-8").split("\n")
        write_text(report, "\n".join([f"# {recipe.name}, {recipe.language}", *lines]))
    return write_student_card(recipe, record, folder, results_of(folder))
