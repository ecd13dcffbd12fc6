"""Paired tests of one system against another from a study's results table, with Holm's correction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from modeling_optical.evaluation import PairedComparison, compare_paired, holm

from ..statistics.seeds_and_queries import nested_bootstrap
from .estimates import Estimate, Row, table_of
from .results_table import REFERENCE_SEED

LEVEL = 0.05
"""A test is significant below it."""


@dataclass(frozen=True)
class Difference(Estimate):
    """One system less another on the same queries; false if they have nothing in common.

    Attributes:
        value, interval: over the seeds that both have, and the queries.
        test: query by query, of the means over those seeds.
        seeds: how many; a system without seeds (a reference) meets every seed of the other.
    """

    test: PairedComparison | None = None


def difference(first: pd.DataFrame, second: pd.DataFrame, metric: str, *, resamples: int = 1999) -> Difference:
    """First less second.

    Args:
        first, second: rows of one system each.
        metric: which column.
        resamples: of the randomisation test; its smallest p is 2 / (resamples + 1), which must survive Holm's correction.
    """
    one, two = table_of(first, metric), table_of(second, metric)
    if one is None or two is None:
        return Difference()
    queries = one.columns.intersection(two.columns)
    seeds = one.index.intersection(two.index)
    if REFERENCE_SEED in (one.index[0], two.index[0]):
        rows = max(len(one.index), len(two.index))
        a, b = (np.broadcast_to(table[queries].to_numpy(), (rows, len(queries))) for table in (one, two))
    else:
        a, b = one.loc[seeds, queries].to_numpy(), two.loc[seeds, queries].to_numpy()
    if not a.size:
        return Difference()
    test = compare_paired(a.mean(0).tolist(), b.mean(0).tolist(), resamples=resamples)
    return Difference(float((a - b).mean()), nested_bootstrap(a - b), a.shape[0], a.shape[1], test)


def compared(cases: Iterable[tuple[Row, pd.DataFrame, pd.DataFrame]], metric: str, *, resamples: int = 1999) -> list[Row]:
    """A row for each two systems that can be compared.

    Args:
        cases: what the row begins with, and the two systems' rows.
        metric: which column of them.
        resamples: see `difference`.

    Returns:
        What it begins with, all of `PairedComparison`, `difference` (an `Estimate`) and its `seeds`.
    """
    rows = []
    for key, first, second in cases:
        found = difference(first, second, metric, resamples=resamples)
        if found.test is not None:
            rows.append(key | asdict(found.test) | {"difference": found, "seeds": found.seeds})
    return rows


def with_holm(rows: Sequence[Row], p: str, name: str = "") -> list[Row]:
    """The rows with one more column, `p_holm`: the column p after Holm's correction over all of them."""
    return [row | {name or f"{p}_holm": corrected} for row, corrected in zip(rows, holm([row[p] for row in rows]), strict=True)]


def is_significant(p: float | None) -> bool:
    """Whether a test was made and found something."""
    return p is not None and p < LEVEL
