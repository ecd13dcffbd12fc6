"""`optical card`: the model card of a finished run, written anew."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeling_optical.evaluation import ResultRow

    from ..runs.recipe.distillation import Recipe


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    card = commands.add_parser(
        "card",
        help="write the model card of a finished run anew",
        description="Adds a licence, a name or results of `optical evaluate` to the card of a finished run. Nothing is "
        "trained, and what you wrote into the card stays.",
    )
    card.add_argument("run", help="folder of `optical run` or `optical distill`")
    card.add_argument("--license", help="licence of the student, for instance apache-2.0")
    card.add_argument(
        "--bitext-license", nargs="+", metavar="LICENCE", help="licence of the bitext: one for all sources, or one for each"
    )
    card.add_argument("--teacher-license", metavar="LICENCE", help="licence of the teacher, where its own card states none")
    card.add_argument("--name", help="what the model is called")
    card.add_argument(
        "--add-results", nargs="+", default=[], metavar="FOLDER", help="output of `optical evaluate`, or a results.json"
    )
    card.add_argument("--system", help="what these results call the student (default: student, or the name of the run)")
    card.set_defaults(work=_card)


def _card(options: argparse.Namespace) -> int:
    from ..runs.reporting.finished import finished_run, rewrite_card

    folder = Path(options.run).expanduser()
    recipe, record = finished_run(folder)
    added = [row for place in options.add_results for row in _results(Path(place).expanduser(), recipe, options.system)]
    set_licences(recipe, options)
    recipe.name = options.name or recipe.name
    if options.teacher_license:
        recipe.teacher.license = options.teacher_license
    path = rewrite_card(recipe, folder, record, added)
    measured = sorted({row.collection for row in added})
    print(f"Card: {path}" + (f" with results on {', '.join(measured)}" if measured else ""))
    if recipe.license is None:
        print("It names no licence: --license LICENCE.")
    return 0


def set_licences(recipe: Recipe, options: argparse.Namespace) -> None:
    """Takes `--license` and `--bitext-license` into a recipe.

    Raises:
        ValueError: if there is another number of licences than of sources.
    """
    for given in (options.license, *(options.bitext_license or [])):
        if given is not None and given.casefold() in ("licence", "license"):
            raise ValueError(f"{given} stands for a licence: give its name, such as cc-by-4.0 or apache-2.0.")
    recipe.license = options.license or recipe.license
    given, sources = options.bitext_license or [], recipe.data.bitext
    if len(given) > 1 and len(given) != len(sources):
        raise ValueError(f"--bitext-license names {len(given)} licences, and the run has {len(sources)} sources of bitext.")
    for source, licence in zip(sources, given * len(sources) if len(given) == 1 else given, strict=False):
        source.license = licence


def _results(place: Path, recipe: Recipe, system: str | None) -> list[ResultRow]:
    """Rows of a results file, its systems called as a run calls them.

    Raises:
        FileNotFoundError, ValueError: if there is none, or the student is not among its systems.
    """
    from modeling_optical.evaluation import read_results

    from ..runs.run_folder import differing_keys, read_record

    file = place / "results.json" if place.is_dir() else place
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: give the --output of `optical evaluate`, or its results.json.")
    other = read_record(file.parent)
    if other is not None and differing_keys(other["recipe"], recipe.to_dict()):
        raise ValueError(f"{file.parent} is another student's run: give the --output of `optical evaluate` on this student.")
    rows = [_named(row, recipe, [system] if system else ["optical", "student", recipe.name]) for row in read_results(file)]
    if not any(row.system in ("optical", "floor", "start", "ceiling") for row in rows):
        there = ", ".join(sorted({row.system for row in rows}))
        raise ValueError(f"{file} has no results of this student (systems there: {there}). Say which it is: --system NAME.")
    return rows


def _named(row: ResultRow, recipe: Recipe, student: Sequence[str]) -> ResultRow:
    name = row.system
    if name in student:
        name = "optical"
    elif name == Path(recipe.teacher.model.rstrip("/")).name:
        name = "ceiling" if row.language == recipe.teacher.language else "floor"
    return replace(row, system=name)
