"""The results of a language on a collection, by system, bitext and labelled pairs; curves over them as sums with weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..reporting.comparisons import in_order, selected, table_of
from ..reporting.results_table import REFERENCE_SEED, StudyResults

NONE = "0"


class Grid:
    """The results of one language on one collection, by system, bitext and labelled pairs."""

    def __init__(self, results: StudyResults, rows: pd.DataFrame, language: str, collection: str):
        self.results, self.rows = results, rows
        self.language, self.collection = language, collection
        self.metric = results.study.metrics[0]

    @property
    def label(self) -> str:
        """Collection and language."""
        return f"{self.collection}, {self.language}"

    @property
    def systems(self) -> list[str]:
        """Systems that have had bitext, in the report's order."""
        found = [s for s in self.rows["system"].unique() if s in self.results.study.systems or s == "start"]
        return in_order(found, self.results.study.systems)

    def at(self, system: str, bitext: str, pairs: str) -> pd.DataFrame:
        """Rows of a system; without bitext every system is the untrained student."""
        return selected(self.rows, system="floor" if bitext == NONE else system, bitext=bitext, pairs=pairs)

    def sizes(self, factor: str, **fixed: str) -> list[str]:
        """Values of a factor that were run, the smallest first."""
        return sorted(selected(self.rows, **fixed)[factor].unique(), key=size_of)

    def pairs_of(self, bitext: str) -> float:
        """How many pairs were trained on, the mean over the runs: fewer than were asked for where there are no more."""
        counts = self.results.provenance["training pairs"]
        cells = [cell for cell in selected(self.rows, stage="distil", bitext=bitext)["cell"].unique() if cell in counts]
        if cells:
            return float(np.mean([counts[cell] for cell in cells]))
        return math.nan if bitext == "all" else float(bitext)

    def fewer_than_asked(self) -> list[str]:
        """A sentence for every size of bitext that the language does not have."""
        found = {size: self.pairs_of(size) for size in self.sizes("bitext") if size not in (NONE, "all")}
        return [
            f"{self.language}: {size} pairs of bitext: {pairs:,.0f} were there; they stand at that size"
            for size, pairs in found.items()
            if pairs < float(size)
        ]

    def combined(self, points: Sequence[tuple[str, str, str]], weights: Sequence[float]) -> np.ndarray | None:
        """Per seed and query, the weighted sum of the values at (system, bitext, pairs); None if some point was not run."""
        tables = [table_of(self.at(*point), self.metric) for point in points]
        if any(table is None for table in tables) or not tables:
            return None
        found = [table for table in tables if table is not None]
        trained = [set(t.index) for t in found if t.index[0] != REFERENCE_SEED]
        seeds = sorted(set.intersection(*trained)) if trained else [REFERENCE_SEED]
        if not seeds:
            return None
        queries = found[0].columns
        for table in found[1:]:
            queries = queries.intersection(table.columns)
        parts = [
            weight * table.loc[seeds if table.index[0] != REFERENCE_SEED else [REFERENCE_SEED] * len(seeds), queries].to_numpy()
            for table, weight in zip(found, weights, strict=True)
        ]
        return np.sum(parts, axis=0) if len(queries) else None


def grids_of(results: StudyResults) -> list[Grid]:
    """All languages and collections of a study."""
    keys = results.queries[["language", "collection"]].drop_duplicates().itertuples(index=False)
    grids = [
        Grid(results, selected(results.queries, language=key.language, collection=key.collection), key.language, key.collection)
        for key in keys
    ]
    return sorted(grids, key=lambda grid: (grid.collection, grid.language))


def size_of(value: str) -> float:
    """A factor's value as a number; `all` is above every other."""
    return math.inf if value == "all" else float(value)


def weights_of_area(sizes: Sequence[float]) -> list[float]:
    """Weights that give the mean height of a curve over log(1 + size), by trapezoids."""
    x = np.log1p(np.array(sizes))
    steps = np.diff(x) / (x[-1] - x[0])
    return ((np.append(steps, 0) + np.append(0, steps)) / 2).tolist()


def weights_of_slope(sizes: Sequence[float]) -> list[float]:
    """Weights that give the slope of the least-squares line over log2(size): the gain by doubling, the loss by halving."""
    x = np.log2(np.array(sizes))
    centred = x - x.mean()
    return (centred / (centred**2).sum()).tolist()
