"""The table of the students of recipes/students, out of the folders of their runs.

    optical run recipes/students/sw.yaml paths.bitext=FOLDER paths.collections=FOLDER     # and so, tl, mr, all
    optical run recipes/students/sw.yaml … seed=1 output=runs/students/sw-seed-1          # more seeds
    optical evaluate … --output runs/students/sw-questions                                # more collections of a student
    python benchmarks/students.py runs/students

Writes students/results.json (the rows of all runs, and the means over seeds) and the table of students/README.md, between its
marks. What the folder has no run of stays as it was. The difference to the best rival is tested with seeds and queries both as
samples.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from modeling_optical.evaluation import per_query, read_results
from modeling_optical.evaluation.comparison import JudgedRuns, read_judged_runs
from recipes.studies.statistics.non_inferiority import mean_difference

FOLDER = Path(__file__).parent / "students"
KEPT = ("AP@100", "nDCG@10", "RR@10", "Success@1")
SHOWN = {"tydiqa_goldp": "TyDi QA"}
METRICS = {"flores200_articles": "AP@100", "flores200": "Success@1"}
RIVALS = {
    "bm25": "BM25",
    "structured_queries": "structured queries",
    "multilingual-e5-small": "e5, averaged",
    "multilingual-e5-small-tokens": "e5, MaxSim",
    "floor": "teacher, no bitext",
}
STUDENT = "optical"
# `so`, `so-seed-1` (the same with another seed), `so-questions` (the first one on further collections).
NAME = re.compile(r"(?P<student>[a-z]+)(?:-seed-(?P<seed>\d+)|-\w+)?")
MARKS = "<!-- students -->\n", "<!-- /students -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder that holds the students' run folders")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    lines: list[str] = []
    rows: list[dict[str, Any]] = []
    folders = sorted(file.parent for file in options.runs.glob("*/results.json"))
    for student, own in groupby(folders, key=lambda folder: _name(folder)[0]):
        of_student = list(own)
        rows += _rows(of_student, student)
        lines += _lines(of_student, student)
    file = FOLDER / "results.json"
    again = {_measured(row) for row in rows}
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    kept = [row for row in before if _measured(row) not in again]
    rows = sorted([*kept, *rows], key=lambda row: (row["student"], row["seed"]))
    file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    head = ["student", "collection", "metric", *RIVALS.values(), "**student**", "ceiling", "against the best of them", "seeds"]
    page = FOLDER / "README.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else "".join(MARKS)
    start, rest = text.split(MARKS[0])
    there, after = rest.split(MARKS[1])
    by_place = {_place(line): line for line in [*there.splitlines()[2:], *lines]}
    shown = [by_place[place] for place in sorted(by_place)]
    table = "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *shown]) + "\n"
    page.write_text(start + MARKS[0] + table + MARKS[1] + after, encoding="utf-8")
    print(table)


def _name(folder: Path) -> tuple[str, str]:
    """Student and seed of a run folder."""
    found = NAME.fullmatch(folder.name)
    if found is None:
        raise SystemExit(f"{folder}: a folder is called STUDENT, STUDENT-seed-N or STUDENT-COLLECTIONS.")
    return found["student"], found["seed"] or "0"


def _measured(row: dict[str, Any]) -> tuple[str, str, str]:
    """Whose measurement a row of the results is, and on what."""
    return row["student"], row["collection"], row["language"]


def _place(line: str) -> tuple[str, str]:
    """Student and collection of a line of the table, in its order."""
    student, collection = (cell.strip() for cell in line.split("|")[1:3])
    return student, collection.lower()


def _rows(folders: list[Path], student: str) -> Iterator[dict[str, Any]]:
    """A row per seed, system, collection and metric, and the mean over the seeds as seed `mean`."""
    values: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for folder in folders:
        _, seed = _name(folder)
        for row in read_results(folder / "results.json"):
            if row.metric in KEPT:
                yield {"student": student, "seed": seed} | asdict(row)
                values[row.system, row.language, row.collection, row.metric].append(row.value)
    for (system, language, collection, metric), own in values.items():
        place = {"system": system, "language": language, "collection": collection, "metric": metric}
        yield {"student": student, "seed": "mean"} | place | {"value": round(sum(own) / len(own), 6), "seeds": len(own)}


def _lines(folders: list[Path], name: str) -> Iterator[str]:
    found: dict[str, list[JudgedRuns]] = defaultdict(list)
    for folder in folders:
        for one in read_judged_runs([folder]):
            found[one.collection].append(one)
    for place, runs in found.items():
        collection, _, language = place.rpartition(".")
        metric = METRICS.get(collection, "RR@10")
        by_seed = [_values(one, metric) for one in runs]
        students = [own[STUDENT] for own in by_seed if STUDENT in own]
        first = {system: values for own in by_seed for system, values in own.items()}
        rivals = {system: mean(first[system]) for system in RIVALS if system in first}
        if not students or not rivals or collection == "held_out_bitext":
            continue
        best = max(rivals, key=lambda rival: rivals[rival])
        test = mean_difference(np.array(students) - np.array(first[best]))
        tops = [_values(one, metric) for one in found.get(f"{collection}.en", [])]
        ceiling = next((f"{mean(own['ceiling']):.3f}" for own in tops if "ceiling" in own), "")
        shown = [f"{rivals[rival]:.3f}" if rival in rivals else "" for rival in RIVALS]
        p = "" if test.p_different() is None else f" (p = {test.p_different():.2g})"
        cells = [name, f"{SHOWN.get(collection, collection)}, {language}", metric, *shown, f"**{np.mean(students):.3f}**"]
        cells += [ceiling, f"{test.mean:+.3f}{p}", str(len(students))]
        yield "| " + " | ".join(cells) + " |"


def _values(one: JudgedRuns, metric: str) -> dict[str, list[float]]:
    """System to the metric's value of every query."""
    return {system: list(per_query(one.qrels, run, [metric])[metric].values()) for system, run in one.runs.items()}


if __name__ == "__main__":
    main()
