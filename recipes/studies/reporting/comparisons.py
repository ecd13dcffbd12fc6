"""Means with intervals and paired tests from a study's results table: seeds and queries of one system against another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modeling_optical.evaluation import PairedComparison, compare_paired
from recipes.studies.statistics.seeds_and_queries import nested_bootstrap

from .results_table import REFERENCE_SEED


@dataclass
class Estimate:
    """A mean over seeds and queries.

    Attributes:
        value: the mean.
        interval: 95 %, over seeds and queries; None for a single query.
        seeds, queries: how many.
    """

    value: float
    interval: tuple[float, float] | None
    seeds: int
    queries: int


def selected(queries: pd.DataFrame, **keys: str | int) -> pd.DataFrame:
    """The rows with these values."""
    chosen = np.ones(len(queries), dtype=bool)
    for name, value in keys.items():
        chosen &= (queries[name] == value).to_numpy()
    return queries[chosen]


def table_of(rows: pd.DataFrame, metric: str) -> pd.DataFrame | None:
    """Seeds down, queries across; only queries that every seed has. None without a row.

    Raises:
        ValueError: if a query stands twice for a seed: the rows are of more than one run each.
    """
    if rows.empty:
        return None
    if rows.duplicated(["seed", "query"]).any():
        raise ValueError("the rows of a seed are of several runs or collections: choose one.")
    return rows.pivot(index="seed", columns="query", values=metric).dropna(axis=1)


def estimate(rows: pd.DataFrame, metric: str) -> Estimate | None:
    """The mean of one system's rows; None without a row."""
    table = table_of(rows, metric)
    if table is None or table.empty:
        return None
    values = table.to_numpy()
    return Estimate(float(values.mean()), nested_bootstrap(values), *values.shape)


@dataclass
class Difference:
    """One system less another on the same queries.

    Attributes:
        value, interval: as in `Estimate`; over the seeds that both have, and the queries.
        test: query by query, of the means over those seeds.
        seeds: how many; a system without seeds (a reference) meets every seed of the other.
    """

    value: float
    interval: tuple[float, float] | None
    test: PairedComparison
    seeds: int


def difference(first: pd.DataFrame, second: pd.DataFrame, metric: str, *, resamples: int = 1999) -> Difference | None:
    """First less second; None if one has no row, or they have no seed or no query in common.

    Args:
        first, second: rows of one system each.
        metric: which column.
        resamples: of the randomisation test; its smallest p is 2 / (resamples + 1), which must survive Holm's correction.
    """
    one, two = table_of(first, metric), table_of(second, metric)
    if one is None or two is None:
        return None
    queries = one.columns.intersection(two.columns)
    seeds = one.index.intersection(two.index)
    if REFERENCE_SEED in (one.index[0], two.index[0]):
        rows = max(len(one.index), len(two.index))
        a, b = (np.broadcast_to(table[queries].to_numpy(), (rows, len(queries))) for table in (one, two))
    else:
        a, b = one.loc[seeds, queries].to_numpy(), two.loc[seeds, queries].to_numpy()
    if not a.size:
        return None
    test = compare_paired(a.mean(0).tolist(), b.mean(0).tolist(), resamples=resamples)
    return Difference(float((a - b).mean()), nested_bootstrap(a - b), test, a.shape[0])


def interval_columns(name: str, value: float | None, interval: tuple[float, float] | None) -> dict[str, float | None]:
    """A value and its interval as three columns of a table: `name`, `name_low`, `name_high`."""
    low, high = interval or (None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


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
