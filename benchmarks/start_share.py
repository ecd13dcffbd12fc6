"""What `training.start_share` does to students that are there: means of their start's weights and their own.

    python benchmarks/start_share.py RUN [RUN …] --collections FOLDER/flores200_articles FOLDER/flores200 \\
        --systems optical pooled_mse --shares 0.5 --output DIR

RUN is the folder of an `optical run` (in a study: a cell, kept with keep_models=true) with `start/`, `student/`, `baselines/`
and its `recipe.yaml`, trained with `start_share` 0. The mean of a start and a student is the student that the same run ends
with under that `start_share`, so nothing is trained here. Shares 0 and 1, the student and its start, are always told. The
recipe's teacher encodes the documents.

Writes DIR/runs/LANGUAGE/*.trec with their judgements (`optical compare` reads such a folder) and DIR/start_share.json and .md.
What has a run there, or in RUN/runs, is not searched again.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

from modeling_optical import load_checkpoint
from modeling_optical.evaluation import (
    PairedComparison,
    compare_paired,
    encode_corpus_in_memory,
    load_collection,
    per_query,
    read_run,
    retrieve,
    save_run,
)
from modeling_optical.evaluation.trec import run_name
from modeling_optical.files.atomic_write import write_text
from recipes.runs.recipe.distillation import Recipe
from recipes.runs.run_folder import student_of
from trainer.start_interpolation import interpolate

METRICS = ["AP@100", "RR@10"]


@dataclass
class Row:
    """One mean of weights on one collection: means of the metrics, and the first one against the student as trained."""

    language: str
    collection: str
    system: str
    share: float
    queries: int
    values: dict[str, float]
    against_trained: PairedComparison


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--collections", nargs="+", required=True)
    parser.add_argument("--systems", nargs="+", default=["optical"])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 0.75])
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    rows: list[Row] = []
    for run in options.runs:
        rows += measure(run, options.collections, options.systems, options.shares, options.output / "runs")
        write_text(options.output / "start_share.json", json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    write_text(options.output / "start_share.md", markdown(rows))
    print(markdown(rows))


def measure(run: Path, collections: list[str], systems: list[str], shares: list[float], output: Path) -> list[Row]:
    """Rows of one run."""
    recipe = Recipe.load(run / "recipe.yaml")
    teacher = load_checkpoint(recipe.teacher.model).eval()
    for system in systems:
        own = recipe if system == "optical" else recipe.baseline(system)
        if share := own.training.get("start_share"):
            raise SystemExit(f"{run}: {system} ended with start_share {share} already. Train it with training.start_share=0.")
    start = dict(load_checkpoint(run / "start").named_parameters())
    folder = output / recipe.language
    rows = []
    for path in collections:
        collection = load_collection(path, language=recipe.language)
        documents = None
        for system in systems:
            values = {}
            for share in [0.0, *shares, 1.0]:
                name = "start" if share == 1 else system if share == 0 else f"{system}_{share:g}"
                file = folder / f"{name}.{run_name(collection)}.trec"
                if not file.is_file() and share in (0, 1) and (there := run / "runs" / file.name).is_file():
                    save_run(folder, name, collection, read_run(there))
                if not file.is_file():
                    documents = documents or encode_corpus_in_memory(teacher, collection.corpus)
                    student = load_checkpoint(student_of(run, system)).eval()
                    interpolate(student, start, share)
                    save_run(folder, name, collection, retrieve(student, collection.queries, documents))
                values[share] = per_query(collection.qrels, read_run(file), METRICS)
            trained = values[0.0][METRICS[0]]
            for share, found in values.items():
                own = found[METRICS[0]]
                compared = compare_paired([own[query] for query in trained], list(trained.values()))
                means = {metric: mean(by_query.values()) for metric, by_query in found.items()}
                rows.append(Row(recipe.language, collection.name, system, share, len(trained), means, compared))
    return rows


def markdown(rows: list[Row]) -> str:
    """A table for each collection: systems and shares down, languages across."""
    parts = []
    for collection in dict.fromkeys(row.collection for row in rows):
        here = [row for row in rows if row.collection == collection]
        languages = list(dict.fromkeys(row.language for row in here))
        lines = [f"{collection}, {METRICS[0]}; in brackets p of the difference from the student as trained (randomisation)", ""]
        lines += ["| system | share of the start | " + " | ".join(languages) + " |", "|---|---" + "|---" * len(languages) + "|"]
        for system, share in dict.fromkeys((row.system, row.share) for row in here):
            own = {row.language: row for row in here if (row.system, row.share) == (system, share)}
            cells = [f"{own[code].values[METRICS[0]]:.3f}{told(own[code])}" if code in own else "" for code in languages]
            lines.append(f"| {system} | {share:g} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def told(row: Row) -> str:
    """p of a row that is not the student as trained."""
    p = row.against_trained.randomisation
    return "" if row.share == 0 or p is None else f" ({p:.3f})"


if __name__ == "__main__":
    main()
