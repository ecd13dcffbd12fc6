"""Values with intervals over seeds and queries, as numbers and as texts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..statistics.seeds_and_queries import nested_bootstrap

MISSING = "–"
Interval = tuple[float, float] | None
Row = dict[str, Any]
"""A row of a table, column to value; an `Estimate` is a value with its interval on the page, and three columns of the CSV."""


def number(value: float | None, interval: tuple[float, float] | None = None, *, sign: bool = False, places: int = 3) -> str:
    """A value with its interval as a text; a dash for what there is not."""
    if value is None or not math.isfinite(value):
        return MISSING

    def written(one: float) -> str:
        # What rounds to nothing is not below nothing.
        return f"{one if round(one, places) else 0.0:{'+' if sign else ''}.{places}f}"

    return written(value) if interval is None else f"{written(value)} [{written(interval[0])}, {written(interval[1])}]"


def chance(p: float | None) -> str:
    """A p as a text."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over seeds and queries; false if there is no value.

    Attributes:
        value: NaN if not measured.
        interval: None for a single query.
        seeds, queries: how many.
    """

    value: float = math.nan
    interval: Interval = None
    seeds: int = 0
    queries: int = 0

    def __bool__(self) -> bool:
        return math.isfinite(self.value)

    def __str__(self) -> str:
        return number(self.value, self.interval)

    @property
    def signed(self) -> str:
        """As a text, with its sign."""
        return number(self.value, self.interval, sign=True)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def size(self) -> Row:
        """How many seeds and queries, as columns of a table."""
        return {"seeds": self.seeds, "queries": self.queries}

    def columns(self, name: str, low: str = "", high: str = "") -> dict[str, float | None]:
        """The value and the ends of its interval as columns of a table: `name`, `name_low`, `name_high`."""
        ends = self.interval or (None, None)
        return {name: self.value, low or f"{name}_low": ends[0], high or f"{name}_high": ends[1]}


NOTHING = Estimate()
"""A value that was not measured."""


def table_of(rows: pd.DataFrame, metric: str) -> pd.DataFrame | None:
    """Seeds down, queries across; only queries that every seed has. None without a row.

    Raises:
        ValueError: if a seed has a query twice: its rows come from more than one run.
    """
    if rows.empty:
        return None
    if rows.duplicated(["seed", "query"]).any():
        raise ValueError("the rows of a seed are of several runs or collections: choose one.")
    return rows.pivot(index="seed", columns="query", values=metric).dropna(axis=1)


def estimate(rows: pd.DataFrame, metric: str) -> Estimate:
    """The mean of one system's rows."""
    table = table_of(rows, metric)
    return NOTHING if table is None or table.empty else estimate_of(table.to_numpy())


def estimate_of(values: np.ndarray) -> Estimate:
    """The mean of a table (seeds, queries)."""
    return Estimate(float(values.mean()), nested_bootstrap(values), *values.shape)
