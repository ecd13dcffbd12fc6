"""The table of the students of recipes/students, out of the folders of their runs.

    optical run recipes/students/sw.yaml paths.bitext=FOLDER paths.collections=FOLDER     # and so, tl, mr, all
    python benchmarks/students.py runs/students

Writes students/results.json (the rows of all runs, each with its student) and the table of students/README.md, between its
marks. `optical evaluate … --output runs/students/<name>-more` adds collections to a student's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from modeling_optical.evaluation import UNJUDGED, compare_paired, per_query, read_results
from modeling_optical.evaluation.comparison import read_judged_runs

FOLDER = Path(__file__).parent / "students"
METRICS = {"flores200_articles": "AP@100", "flores200": "Success@1"}
RIVALS = {
    "bm25": "BM25",
    "structured_queries": "structured queries",
    "multilingual-e5-small": "e5, averaged",
    "multilingual-e5-small-tokens": "e5, MaxSim",
    "floor": "teacher, no bitext",
}
STUDENT = "optical"
MARKS = "<!-- students -->\n", "<!-- /students -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder that holds the students' run folders")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    lines: list[str] = []
    rows: list[dict[str, object]] = []
    for run in sorted(file.parent for file in options.runs.glob("*/results.json")):
        student = run.name.removesuffix("-more")
        rows += [{"student": student} | asdict(row) for row in read_results(run / "results.json") if row.metric != UNJUDGED]
        lines += _lines(run, student)
    (FOLDER / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    head = ["student", "collection", "metric", *RIVALS.values(), "**student**", "ceiling", "against the best of them"]
    table = "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *lines]) + "\n"
    page = FOLDER / "README.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else "".join(MARKS)
    before, rest = text.split(MARKS[0])
    page.write_text(before + MARKS[0] + table + MARKS[1] + rest.split(MARKS[1])[1], encoding="utf-8")
    print(table)


def _lines(run: Path, name: str) -> Iterator[str]:
    judged = {one.collection: one for one in read_judged_runs([run])}
    for place, one in judged.items():
        collection, _, language = place.rpartition(".")
        rivals = [rival for rival in RIVALS if rival in one.runs]
        if STUDENT not in one.runs or not rivals or collection == "held_out_bitext":
            continue
        metric = METRICS.get(collection, "RR@10")
        values = {system: per_query(one.qrels, found, [metric])[metric] for system, found in one.runs.items()}
        means = {system: sum(own.values()) / len(own) for system, own in values.items()}
        best = max(rivals, key=lambda rival: means[rival])
        test = compare_paired(list(values[STUDENT].values()), [values[best][query] for query in one.qrels])
        shown = [f"{means[rival]:.3f}" if rival in means else "" for rival in RIVALS]
        top = judged.get(f"{collection}.en")
        ceiling = ""
        if top is not None and "ceiling" in top.runs:
            own = per_query(top.qrels, top.runs["ceiling"], [metric])[metric]
            ceiling = f"{sum(own.values()) / len(own):.3f}"
        p = "" if test.randomisation is None else f" (p = {test.randomisation:.2g})"
        cells = [name, f"{collection}, {language}", metric, *shown, f"**{means[STUDENT]:.3f}**", ceiling]
        yield "| " + " | ".join([*cells, f"{test.difference:+.3f}{p}"]) + " |"


if __name__ == "__main__":
    main()
