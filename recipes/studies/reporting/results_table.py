"""The results table of a study: a row per run, system, language, collection and metric, and the values of every query."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from modeling_optical.evaluation import per_query
from modeling_optical.evaluation.comparison import read_judged_runs
from modeling_optical.evaluation.questions import ACCURACY, read_answers
from modeling_optical.files.atomic_write import replacing_file, write_text
from modeling_optical.files.json_files import read_json, write_json

from ...runs.provenance import machine, package_versions
from ...runs.reporting.report import HELD_OUTS
from ..cells import Cell, Places
from ..reference_systems import COLLECTIONS, NOT_RUN
from ..study import Study
from .training_costs import training_costs

CELL_VALUES = "per_query.parquet"
CELL_RECORD = "cell.json"
REFERENCE_SEED = -1
"""Seed of untrained systems."""
_KEYS = ["system", "collection", "language", "query"]
NOISE = "noise"
"""Folder of a cell with the results under noise, and column that names the kind of noise."""
CLEAN = "clean"
"""The kind of noise of queries as they are; their level is 0."""
NOISE_COUNTS = "counts.json"
_NOISE_COLUMNS = ["student", "seed", "collection", "language", NOISE, "level", "queries", "applicable", "changed", "seen",
                  "units", "why_not"]  # fmt: skip


def cell_values(study: Study, cell: Cell) -> pd.DataFrame:
    """Measures what a cell has found: a row per system, collection, language and query, a column per metric.

    Raises:
        ValueError: if the cell has measured nothing.
    """
    folder = Places(study.root).cell(cell)
    rows: list[dict[str, Any]] = []
    retrieval = [metric for metric in study.metrics if metric != ACCURACY]
    for judged in read_judged_runs([folder]) if retrieval else ():
        collection, _, language = judged.collection.rpartition(".")
        if collection in HELD_OUTS:
            continue  # other seeds hold out other pairs
        for system, run in judged.runs.items():
            name = _system(cell, system, judged.runs)
            if name is None:
                continue
            values = per_query(judged.qrels, run, retrieval)
            for query in judged.qrels:
                row = dict(zip(_KEYS, (name, collection, language, query), strict=True))
                rows.append(row | {metric: values[metric][query] for metric in retrieval})
    answered = read_answers(folder) if ACCURACY in study.metrics else []
    for answers in answered:
        name = _system(cell, answers.system, {one.system for one in answered})
        if name is not None:
            keys = (name, answers.collection, answers.language)
            rows += [
                dict(zip(_KEYS, (*keys, query), strict=True)) | {ACCURACY: value} for query, value in answers.accuracy.items()
            ]
    if not rows:
        what = "the run has measured nothing on a test collection; set `evaluation.collections` or `evaluation.questions`."
        raise ValueError(f"{folder}: {what}")
    return pd.DataFrame(rows)


def write_cell_values(study: Study, cell: Cell, values: pd.DataFrame) -> None:
    """Keeps the values of a cell beside it, together with those that were measured under noise."""
    folder = Places(study.root).cell(cell)
    if study.query_noise is not None:
        noisy = [pd.read_parquet(file) for file in sorted((folder / NOISE).glob("*.parquet"))]
        values = pd.concat([values.assign(noise=CLEAN, level=0.0), *noisy], ignore_index=True)
    write_frame(folder / CELL_VALUES, values)


def _keys(study: Study) -> list[str]:
    return [*_KEYS, *([NOISE, "level"] if study.query_noise is not None else [])]


def _system(cell: Cell, system: str, measured: Container[str]) -> str | None:
    """The system's name in the table; None for what another cell measures."""
    if cell.stage == "causal":
        return f"causal_{system}"
    if cell.stage == "fine_tune":
        return cell.system if system == "trained" else None
    if cell.stage == "distil" and system == "floor":
        return None if "start" in measured else "start"  # a backbone whose vocabulary is not adapted starts as it comes
    return None if cell.stage == "distil" and system == "ceiling" else system


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Writes a Parquet file under a temporary name and moves it into place."""
    with replacing_file(path) as scratch:
        frame.to_parquet(scratch, index=False)


@dataclass
class StudyResults:
    """The results that a report is made from.

    Attributes:
        study: the study.
        queries: a row per cell, system, collection, language and query, a column per metric. `stage`, `student` (the language
            that was trained), `seed` (-1 for a reference) and the factors, as texts (`all` for no limit), tell the run. With
            `query_noise` also `noise` (the kind, or `clean`) and `level`.
        cells: a row per cell: its keys, `state`, `seconds`, `error`.
        not_run: references that were not run: system, language, collection, reason.
        provenance: versions, machine, data.
        runs_of: the study whose runs these are, where it is another one.
        noise: with `query_noise`, a row per student, seed, collection, language, kind and level: how many queries were changed.
    """

    study: Study
    queries: pd.DataFrame
    cells: pd.DataFrame
    not_run: list[dict[str, str]]
    provenance: dict[str, Any]
    noise: pd.DataFrame = field(default_factory=pd.DataFrame)
    runs_of: Study | None = None

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.study.root


def factor_text(value: Any) -> str:
    """A factor's value as tables show it."""
    return "all" if value is None else str(value)


def gather(study: Study, cells: list[Cell]) -> None:
    """Writes `queries.parquet`, `results.csv`, `cells.csv` and `provenance.json` from the cells that are there."""
    places = Places(study.root)
    frames: list[pd.DataFrame] = []
    states: list[dict[str, Any]] = []
    noise: list[dict[str, Any]] = []
    found: dict[str, Any] = {"files": {}, "training pairs": {}, "trainings": [], "not run": []}
    for cell in cells:
        folder, keys = places.cell(cell), _cell_keys(study, cell)
        record = read_record(folder)
        state = {"state": record.get("state", "to do"), "seconds": record.get("seconds"), "error": record.get("error", "")}
        states.append(keys | state)
        if record.get("state") != "done":
            continue
        own = {"student": cell.language, "seed": cell.seed}
        frames.append(pd.read_parquet(folder / CELL_VALUES).assign(**keys))
        noise += [own | one for one in _read_if_there(folder / NOISE / NOISE_COUNTS).get("counts", [])]
        found["not run"] += _read_if_there(folder / NOT_RUN)
        found["files"] |= _read_if_there(folder / COLLECTIONS)
        if run := _read_if_there(folder / "run.json"):
            found["files"] |= run.get("files", {})
            if cell.stage == "distil":
                found["trainings"] += [own | one for one in training_costs(record["recipe"], run["seconds"])]
            found["training pairs"][cell.name] = run["data"].get("training pairs", run["data"].get("training examples", 0))
    if not frames:
        raise ValueError(f"{places.root}: no run of the study has ended well, so there is nothing to report.")
    order = ["cell", "stage", "student", "seed", *study.factors, *_keys(study), *study.metrics]
    queries = pd.concat(frames, ignore_index=True)[order]
    write_frame(places.root / "queries.parquet", queries)
    tables = {"results.csv": _tidy(study, queries), "cells.csv": pd.DataFrame(states)}
    if study.query_noise is not None:
        tables["noise.csv"] = pd.DataFrame(noise, columns=_NOISE_COLUMNS)
    for name, table in tables.items():
        write_text(places.root / name, table.to_csv(index=False))
    write_json(places.root / "provenance.json", {"versions": package_versions(), "machine": machine()} | found)


def _read_if_there(path: Path) -> Any:
    return read_json(path) if path.is_file() else {}


def _cell_keys(study: Study, cell: Cell) -> dict[str, Any]:
    own = dict(cell.factors)
    factors = {name: factor_text(own.get(name, left_out)) for name, left_out in study.factors.items()}
    seed = REFERENCE_SEED if cell.seed is None else cell.seed
    return {"cell": cell.name, "stage": cell.stage, "student": cell.language, "seed": seed} | factors


def _tidy(study: Study, queries: pd.DataFrame) -> pd.DataFrame:
    """A row per run, system, language, collection and metric: the mean over queries and their number."""
    keys = ["cell", "stage", "student", "seed", *study.factors, *(key for key in _keys(study) if key != "query")]
    long = queries.melt(id_vars=[*keys, "query"], value_vars=study.metrics, var_name="metric", value_name="value")
    # A question has an accuracy, a query the other metrics.
    grouped = long.dropna(subset=["value"]).groupby([*keys, "metric"], sort=False)["value"]
    return grouped.agg(value="mean", queries="size").reset_index().round({"value": 6})


def read_record(folder: Path) -> dict[str, Any]:
    """The outcome of a cell; empty if it was not begun, or its record is damaged."""
    try:
        return read_json(folder / CELL_RECORD)
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def read_results_table(study: Study) -> StudyResults:
    """Reads what `gather` has written.

    Raises:
        FileNotFoundError: if it has not.
    """
    folder = study.root
    noise_file = ["noise.csv"] if study.query_noise is not None else []
    for name in ("queries.parquet", "cells.csv", "provenance.json", *noise_file):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: {name} is missing; run the study first.")
    provenance = read_json(folder / "provenance.json")
    cells = pd.read_csv(folder / "cells.csv", dtype=dict.fromkeys(study.factors, str), keep_default_na=False)
    noise = pd.read_csv(folder / "noise.csv", keep_default_na=False) if noise_file else pd.DataFrame()
    not_run = provenance.pop("not run")
    return StudyResults(study, pd.read_parquet(folder / "queries.parquet"), cells, not_run, provenance, noise)


def with_question(results: StudyResults, study: Study) -> StudyResults:
    """The same runs under another study's question, systems and languages; the report goes into that study's folder.

    Raises:
        ValueError: if the runs vary other factors, or have none of the study's systems or metrics.
    """
    theirs = results.study
    if set(theirs.factors) != set(study.factors):
        raise ValueError(
            f"{results.folder}: its runs vary {', '.join(theirs.factors) or 'nothing'}, {study.name} varies "
            f"{', '.join(study.factors) or 'nothing'}: they cannot answer its question."
        )
    metrics = [metric for metric in study.metrics if metric in theirs.metrics]
    systems = {name: shown for name, shown in study.systems.items() if name in set(results.queries["system"])}
    if not systems or not metrics:
        raise ValueError(
            f"{results.folder}: it has the systems {', '.join(theirs.systems)} and the metrics {', '.join(theirs.metrics)}; "
            f"{study.name} is about {', '.join(study.systems)} and {', '.join(study.metrics)}."
        )
    references = results.queries["seed"] == REFERENCE_SEED
    queries = results.queries[references | results.queries["system"].isin([*systems, "start"])]
    queries = queries[queries["language"].isin([*study.languages])]
    if NOISE in queries:
        queries = queries[queries[NOISE] == CLEAN]
    study = replace(study, metrics=metrics, systems=systems)
    return replace(results, study=study, queries=queries.reset_index(drop=True), runs_of=theirs)
