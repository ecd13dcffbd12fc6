"""Statistics over languages, such as their mean or how much they differ, with intervals over seeds and queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..statistics.seeds_and_queries import bootstrap_over_languages
from .estimates import NOTHING, Estimate

Statistic = Callable[..., np.ndarray]
"""Takes, for each system, an array (languages, samples); gives (samples,)."""


def over_languages(
    tables: Mapping[Any, Sequence[pd.DataFrame | None]], statistic: Statistic, *, one_training: bool
) -> Estimate:
    """A statistic of systems over languages, which are given and not drawn; its interval is over seeds and queries.

    Args:
        tables: for each language a table (seeds, queries) of each system.
        statistic: the statistic.
        one_training: a seed is the same training in all languages.
    """
    values: dict[str, dict[str, np.ndarray]] = {}
    for place, own in enumerate(tables.values()):
        found = [table for table in own if table is not None]
        if not found or len(found) < len(own):
            return NOTHING
        queries = sorted(set.intersection(*(set(table.columns) for table in found)))
        seeds = sorted(set.intersection(*(set(table.index) for table in found)))
        if not queries or not seeds:
            return NOTHING
        values[str(place)] = {str(i): table.loc[seeds, queries].to_numpy() for i, table in enumerate(found)}
    if not values:
        return NOTHING
    systems = list(next(iter(values.values())))
    means = [np.array([[own[system].mean()] for own in values.values()]) for system in systems]
    interval = bootstrap_over_languages(
        values, lambda drawn: statistic(*(drawn[system] for system in systems)), one_training=one_training
    )
    return Estimate(float(statistic(*means)[0]), interval)


def mean(values: np.ndarray) -> np.ndarray:
    """Over the languages."""
    return values.mean(axis=0)


def deviation(values: np.ndarray) -> np.ndarray:
    """Standard deviation over the languages (n - 1); NaN for a single one."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], math.nan)


def between(first: Sequence[int], second: Sequence[int]) -> Statistic:
    """Mean over the languages in some places less that over those in others."""
    return lambda values: values[list(first)].mean(axis=0) - values[list(second)].mean(axis=0)


def difference_of(statistic: Statistic) -> Statistic:
    """The statistic of one system less that of another."""
    return lambda one, other: statistic(one) - statistic(other)
