"""Intervals for values of several training seeds on the same queries: the seeds are a sample, and so are the queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

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
        seed: of the random numbers.

    Returns:
        The two ends; None for a single query, which has no interval.

    Raises:
        ValueError: for an empty table or a value that is not finite.

    See `resampled_means` for the draws.
    """
    table = checked_table(values)
    if table.shape[1] == 1:
        return None
    return percentile_interval(resampled_means(table, resamples=resamples, seeds=[seed, 0], queries=[seed, 1]), level)


def resampled_means(
    values: Sequence[Sequence[float]] | np.ndarray, *, resamples: int, seeds: Sequence[int], queries: Sequence[int]
) -> np.ndarray:
    """Means of bootstrap samples of a table (seeds, queries), as an array (resamples,).

    Args:
        values: (seeds, queries).
        resamples: how many.
        seeds, queries: random seeds of the two draws. Tables of the same shape with the same seeds get the same draws.

    Seeds and queries are drawn with replacement. All seeds of a sample get the same queries, because they were measured on the
    same ones (the bootstrap for two crossed factors: Owen, Annals of Applied Statistics 1, 2007). Queries drawn anew for each
    seed would count as more queries than there are. The seeds' deviations from their mean are widened by sqrt(S / (S - 1))
    first, since S of them show only (S - 1) / S of their variance (Davison and Hinkley 1997, section 3.8): with three seeds
    that matters. One seed says nothing about seeds, and only queries are drawn.
    """
    table = checked_table(values)
    down, across = table.shape
    if down > 1:
        table = table + (np.sqrt(down / (down - 1)) - 1) * (table.mean(1, keepdims=True) - table.mean())
    # Means over drawn rows and columns, by how often each was drawn.
    by_seed = _times_drawn(tuple(queries), across, resamples) @ table.T / across
    return (_times_drawn(tuple(seeds), down, resamples) * by_seed).sum(1) / down


@lru_cache(maxsize=16)
def _times_drawn(start: tuple[int, ...], count: int, resamples: int) -> np.ndarray:
    """How often each of `count` things is drawn in each bootstrap sample: (resamples, count)."""
    drawn = np.random.default_rng(start).integers(count, size=(resamples, count))
    drawn += np.arange(resamples)[:, None] * count
    return np.bincount(drawn.ravel(), minlength=resamples * count).reshape(resamples, count).astype(np.float32)


def bootstrap_over_languages(
    values: Mapping[str, Mapping[str, np.ndarray]],
    statistic: Callable[[dict[str, np.ndarray]], np.ndarray],
    *,
    one_training: bool = False,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Interval of a statistic of several systems over several languages, the languages being given and not drawn.

    Args:
        values: language to {system: (seeds, queries)}. Within a language all systems have the same seeds and queries.
        statistic: takes system to (languages, resamples) means; gives an array (resamples,).
        one_training: a seed is the same training in all languages (one student of all), so its draw is, too.
        level, resamples, seed: as for `nested_bootstrap`.

    Returns:
        The two ends; None if some language has a single query.

    Systems meet the same draws, so that what they share cancels. Languages with as many queries do, too: in a collection whose
    queries are translations of each other, in the same order, they are the same queries. A deviation or a range grows by the
    noise of the draws, so its interval leans upwards; that of a difference between two systems' deviations does not.
    """
    means: dict[str, list[np.ndarray]] = {}
    for number, systems in enumerate(values.values()):
        for system, table in systems.items():
            if checked_table(table).shape[1] == 1:
                return None
            drawn = resampled_means(
                table, resamples=resamples, seeds=[seed, 0 if one_training else number + 2], queries=[seed, 1]
            )
            means.setdefault(system, []).append(drawn)
    return percentile_interval(statistic({system: np.stack(rows) for system, rows in means.items()}), level)


def percentile_interval(samples: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of bootstrap samples."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def checked_table(values: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """The values as a table (seeds, queries); one row is one seed."""
    table = np.atleast_2d(np.asarray(values, dtype=float))
    if not table.size or not np.isfinite(table).all():
        raise ValueError("values of seeds and queries must be a table without gaps: (seeds, queries), all finite.")
    return table
