"""Intervals for values of several training seeds on the same queries: the seeds are a sample, and so are the queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

RESAMPLES = 2000


def nested_bootstrap(
    values: Sequence[Sequence[float]] | np.ndarray, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile interval of the mean over seeds and queries.

    Args:
        values: (seeds, queries); all seeds on the same queries in the same order.
        level: of the interval.
        resamples: how many.
        seed: of what is random.

    Returns:
        The two ends; None where there is only one query, of which no interval can be had.

    Raises:
        ValueError: for an empty table or a value that is not finite.

    See `resampled_means` for what is drawn.
    """
    table = _checked(values)
    if table.shape[1] == 1:
        return None
    return percentile_interval(resampled_means(table, resamples=resamples, rng=np.random.default_rng(seed)), level)


def resampled_means(values: Sequence[Sequence[float]] | np.ndarray, *, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means of bootstrap samples of a table (seeds, queries), as an array (resamples,).

    Seeds and queries are drawn with replacement. All seeds of a sample get the same queries, because they were
    measured on the same ones (the bootstrap for two crossed factors: Owen, Annals of Applied Statistics 1, 2007); queries drawn
    anew for each seed would pass for more queries than there are. The seeds' deviations from their mean are widened by
    sqrt(S / (S - 1)) first, since S of them show only (S - 1) / S of their variance (Davison and Hinkley 1997, section 3.8):
    with three seeds that matters. One seed says nothing about seeds, and only queries are drawn.
    """
    table = _checked(values)
    seeds, queries = table.shape
    means = np.empty(resamples)
    if seeds > 1:
        table = table + (np.sqrt(seeds / (seeds - 1)) - 1) * (table.mean(1, keepdims=True) - table.mean())
    for index in range(resamples):
        # Means over drawn rows and columns, by how often each was drawn.
        rows = np.bincount(rng.integers(seeds, size=seeds), minlength=seeds) / seeds
        columns = np.bincount(rng.integers(queries, size=queries), minlength=queries) / queries
        means[index] = rows @ table @ columns
    return means


def bootstrap_over_languages(
    values: Mapping[str, Mapping[str, np.ndarray]],
    statistic: Callable[[dict[str, np.ndarray]], np.ndarray],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Interval of a statistic of several systems over several languages, the languages being given and not drawn.

    Args:
        values: language to {system: (seeds, queries)}. Within a language all systems have the same seeds and queries.
        statistic: takes system to (languages, resamples) means; gives an array (resamples,).
        level, resamples, seed: as for `nested_bootstrap`.

    Returns:
        The two ends; None if some language has a single query. Systems meet the same draws, so that what they share cancels.
    """
    means: dict[str, list[np.ndarray]] = {}
    for number, systems in enumerate(values.values()):
        for system, table in systems.items():
            if _checked(table).shape[1] == 1:
                return None
            rng = np.random.default_rng([seed, number])
            means.setdefault(system, []).append(resampled_means(table, resamples=resamples, rng=rng))
    return percentile_interval(statistic({system: np.stack(rows) for system, rows in means.items()}), level)


def percentile_interval(samples: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of bootstrap samples."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _checked(values: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    table = np.atleast_2d(np.asarray(values, dtype=float))
    if not table.size or not np.isfinite(table).all():
        raise ValueError("values of seeds and queries must be a table without gaps: (seeds, queries), all finite.")
    return table
