"""The results of a language on a collection, by system, bitext and labelled pairs; curves over them as sums with weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..reporting.estimates import NOTHING, Estimate, estimate_of
from ..reporting.panel import Panel, selected
from ..reporting.results_table import REFERENCE_SEED, StudyResults

NONE = "0"


class Grid(Panel):
    """The results of one language on one collection, by system, bitext and labelled pairs."""

    def __init__(self, results: StudyResults, language: str, collection: str):
        rows = selected(results.queries, language=language, collection=collection)
        super().__init__(results, rows, f"{collection}, {language}", ("system", "bitext", "pairs"))
        self.key = {"collection": collection, "language": language}
        self.language = language
        # Those that have had bitext; without it every system is the untrained student, `floor`.
        self.systems = [system for system in self.systems if system in self.study.systems or system == "start"]

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

    def combined(self, points: Sequence[tuple[str, str, str]], weights: Sequence[float]) -> Estimate:
        """The weighted sum of the values at (system, bitext, pairs), over the seeds and queries that all of them have."""
        tables = [table for point in points if (table := self.table(*point)) is not None]
        if len(tables) < len(points):
            return NOTHING
        trained = [set(table.index) for table in tables if table.index[0] != REFERENCE_SEED]
        seeds = sorted(set.intersection(*trained)) if trained else [REFERENCE_SEED]
        queries = tables[0].columns
        for table in tables[1:]:
            queries = queries.intersection(table.columns)
        if not seeds or not len(queries):
            return NOTHING
        parts = [
            weight * table.loc[seeds if table.index[0] != REFERENCE_SEED else [REFERENCE_SEED] * len(seeds), queries].to_numpy()
            for table, weight in zip(tables, weights, strict=True)
        ]
        return estimate_of(np.sum(parts, axis=0))


def grids_of(results: StudyResults) -> list[Grid]:
    """All languages and collections of a study."""
    keys = results.queries[["collection", "language"]].drop_duplicates().itertuples(index=False, name=None)
    return [Grid(results, language, collection) for collection, language in sorted(keys)]


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
