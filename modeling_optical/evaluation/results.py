"""The results file: one row per system, language, collection and metric."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from ..files.atomic_write import write_text

_RESAMPLES = 2000


@dataclass
class ResultRow:
    """A mean over queries with its interval.

    Attributes:
        system: its name, for instance `optical` or `pooled_mse`.
        language: language code of the queries.
        collection: name of the collection.
        metric: as `ir_measures` writes it.
        value: mean over the queries.
        low, high: 95 % interval, percentile bootstrap over queries.
        queries: how many.
    """

    system: str
    language: str
    collection: str
    metric: str
    value: float
    low: float
    high: float
    queries: int

    def __str__(self) -> str:
        """Value and interval, as tables show them."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_interval(values: Sequence[float], *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (scipy); a single value or a constant gives that value twice."""
    from scipy.stats import bootstrap

    array = np.asarray(values, dtype=float)
    if array.size == 0:
        raise ValueError("an interval needs at least one value.")
    if array.size == 1 or np.all(array == array[0]):
        return float(array[0]), float(array[0])
    interval = bootstrap(
        (array,), np.mean, n_resamples=_RESAMPLES, batch=100, confidence_level=level, method="percentile", rng=seed
    ).confidence_interval
    return float(interval.low), float(interval.high)


def result_rows(system: str, language: str, collection: str, per_query: Mapping[str, Mapping[str, float]]) -> list[ResultRow]:
    """Rows for one run: the mean of every metric with its interval."""
    rows = []
    for metric, values in per_query.items():
        numbers = list(values.values())
        low, high = bootstrap_interval(numbers)
        mean = float(np.mean(numbers))
        rows.append(ResultRow(system, language, collection, metric, mean, low, high, len(numbers)))
    return rows


def write_results(path: str | os.PathLike, rows: Sequence[ResultRow]) -> Path:
    """Writes `results.json`: a list of rows."""
    rounded = [
        {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(row).items()} for row in rows
    ]
    return write_text(path, json.dumps(rounded, indent=1, ensure_ascii=False) + "\n")


def read_results(path: str | os.PathLike) -> list[ResultRow]:
    """Reads `results.json`.

    Raises:
        ValueError: if the file is not a list of rows with the known keys.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
        names = {field.name for field in fields(ResultRow)}
        return [ResultRow(**{key: row[key] for key in names}) for row in rows]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a results file ({type(error).__name__}: {error}).") from None


@dataclass
class NotRun:
    """A system that was asked for and could not be measured, and why (`no model`)."""

    system: str
    language: str
    collection: str
    reason: str


def format_table(rows: Sequence[ResultRow], metrics: Sequence[str], not_run: Sequence[NotRun] = ()) -> str:
    """A plain-text table with a line per system, language and collection, and `value [low, high]` per metric that was measured;
    systems that were not run are at the end, with the reason."""
    metrics = [metric for metric in metrics if any(row.metric == metric for row in rows)] or metrics
    keys = list(dict.fromkeys((row.system, row.language, row.collection, row.queries) for row in rows))
    cells = {(row.system, row.language, row.collection, row.metric): row for row in rows}
    header = ["system", "language", "collection", "queries", *metrics]
    table = [header]
    for system, language, collection, queries in keys:
        line = [system, language, collection, f"{queries:,}"]
        for metric in metrics:
            row = cells.get((system, language, collection, metric))
            line.append("-" if row is None else str(row))
        table.append(line)
    for one in not_run:
        blank = [""] * (len(header) - 5)
        table.append([one.system, one.language, one.collection, "-", f"not run: {one.reason}", *blank])
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table)
