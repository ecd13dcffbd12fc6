"""Rows of a results table that belong together, found by system and whatever else tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from .estimates import Estimate, Row, estimate, table_of
from .results_table import StudyResults


class Panel:
    """Rows of a results table that one part of the report is about, such as those of a collection.

    Args:
        results: of the study.
        rows: those that belong here.
        label: name of the panel in tables and figures.
        keys: the columns by whose values `of` finds rows, in its arguments' order.

    Attributes:
        metric: the study's first, which decides.
        systems: those that are here, in the report's order.
        languages: those that are here, in the study's order.
    """

    def __init__(
        self, results: StudyResults, rows: pd.DataFrame, label: str = "", keys: Sequence[str] = ("system", "language")
    ):
        self.results, self.study, self.rows, self.label = results, results.study, rows, label
        self.metric = results.study.metrics[0]
        self.systems = in_order(list(rows["system"].unique()), self.study.systems)
        there = set(rows["language"])
        self.languages = [code for code in self.study.languages if code in there]
        self._places = rows.groupby(list(keys), observed=True).indices
        self._estimates: dict[tuple[object, ...], Estimate] = {}

    def of(self, *values: object) -> pd.DataFrame:
        """The rows with these values of the keys."""
        return self.rows.iloc[self._places.get(values, [])]

    def table(self, *values: object) -> pd.DataFrame | None:
        """Seeds down, queries across; None without a row."""
        return table_of(self.of(*values), self.metric)

    def estimate(self, *values: object) -> Estimate:
        """The mean of the rows with these values."""
        if values not in self._estimates:
            self._estimates[values] = estimate(self.of(*values), self.metric)
        return self._estimates[values]

    def shown(self, system: str) -> str:
        """The name of a system in the report."""
        return shown_system(system, self.study.systems)


def selected(queries: pd.DataFrame, **keys: str | int) -> pd.DataFrame:
    """The rows with these values."""
    chosen = np.ones(len(queries), dtype=bool)
    for name, value in keys.items():
        chosen &= (queries[name] == value).to_numpy()
    return queries[chosen]


def estimates_of(cases: Iterable[tuple[Row, pd.DataFrame]], metrics: Sequence[str]) -> list[Row]:
    """A row for each case that was measured and each metric: what it begins with, `metric`, `value`, `seeds`, `queries`."""
    return [
        key | {"metric": metric, "value": found} | found.size
        for key, rows in cases
        for metric in metrics
        if (found := estimate(rows, metric))
    ]


def shown_system(system: str, names: Mapping[str, str]) -> str:
    """The name that the report shows."""
    own = {"floor": "untrained student", "start": "student before distillation", "ceiling": "teacher, English queries",
           "bm25": "BM25", "translation": "translated queries, teacher", "causal_floor": "causal model before distillation",
           "causal_ceiling": "causal model, English questions"}  # fmt: skip
    return names.get(system, own.get(system, system))


def in_order(found: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Systems in the report's order: references, then the study's, then others."""
    known = ["ceiling", "causal_ceiling", "translation", "bm25", "floor", "causal_floor", "start", *names]
    return [system for system in known if system in found] + [system for system in found if system not in known]
