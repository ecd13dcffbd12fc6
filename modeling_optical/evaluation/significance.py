"""Paired comparison of two systems, query by query: tests, intervals, effect size, correction for many comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .results import bootstrap_interval

_BATCH = 100
_QUANTILES = 4000


@dataclass
class PairedComparison:
    """The differences first minus second over the queries.

    Attributes:
        queries: how many.
        first, second: the two means.
        difference: their difference.
        wins, ties, losses: queries on which the first is above, equal, below.
        low, high: 95 % interval of the difference, percentile bootstrap over queries; None for a single query.
        t_test: p of the paired t-test, two-sided; None where it is not defined (a single query, or the same difference,
            other than 0, at every query).
        randomisation: p of the randomisation test (signs of the differences), two-sided; None for a single query.
        effect_size: Cohen's d_z, mean over standard deviation (n - 1) of the differences; 0 if all are 0, None where it is not
            defined.
        effect_low, effect_high: 95 % interval of d_z.
        note: why a value is None.
    """

    queries: int
    first: float
    second: float
    difference: float
    wins: int
    ties: int
    losses: int
    low: float | None = None
    high: float | None = None
    t_test: float | None = None
    randomisation: float | None = None
    effect_size: float | None = None
    effect_low: float | None = None
    effect_high: float | None = None
    note: str = ""


def compare_paired(
    first: Sequence[float], second: Sequence[float], *, resamples: int = 9999, level: float = 0.95, seed: int = 0
) -> PairedComparison:
    """Compares two systems' values on the same queries in the same order.

    Args:
        first, second: a value per query.
        resamples: of the randomisation test; it is exact where there are fewer assignments of signs.
        level: of the intervals.
        seed: of the random numbers.

    Raises:
        ValueError: for lists of different length, none at all, or a value that is not finite.
    """
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if one.shape != two.shape or one.ndim != 1 or not one.size:
        raise ValueError(f"{one.size} and {two.size} values cannot be paired.")
    if not np.isfinite([one, two]).all():
        raise ValueError("a value is not finite.")
    # Ties that differ by rounding only are ties.
    difference = np.where(np.isclose(one, two, rtol=0, atol=1e-12), 0.0, one - two)
    result = PairedComparison(
        queries=one.size,
        first=float(one.mean()),
        second=float(two.mean()),
        difference=float(difference.mean()),
        wins=int(np.sum(difference > 0)),
        ties=int(np.sum(difference == 0)),
        losses=int(np.sum(difference < 0)),
    )
    if one.size == 1:
        result.note = "a single query: no interval, no test"
        return result
    result.low, result.high = bootstrap_interval(difference.tolist(), level=level, seed=seed)
    result.randomisation = randomisation_test(difference, resamples=resamples, seed=seed)
    if not difference.any():
        result.t_test, result.effect_size, result.effect_low, result.effect_high = 1.0, 0.0, 0.0, 0.0
        result.note = "no difference at any query"
    elif np.ptp(difference) <= 1e-12:
        result.note = "the same difference at every query: no t-test, no effect size"
    else:
        from scipy.stats import ttest_1samp

        result.t_test = float(ttest_1samp(difference, 0).pvalue)
        result.effect_size = float(difference.mean() / difference.std(ddof=1))
        result.effect_low, result.effect_high = effect_interval(result.effect_size, one.size, level=level)
    return result


def randomisation_test(difference: np.ndarray, *, resamples: int = 9999, seed: int = 0) -> float:
    """Two-sided p of the mean difference under random signs (Fisher's randomisation test; Smucker et al., CIKM 2007)."""
    from scipy.stats import permutation_test

    result = permutation_test(
        (difference,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=_BATCH,
        rng=seed,
    )
    return float(result.pvalue)


def effect_interval(effect: float, queries: int, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of Cohen's d_z: the noncentralities at which the t-value seen is at either end of its distribution, over
    the root of n (Cumming & Finch, Educational and Psychological Measurement 61, 2001)."""
    from scipy.optimize import brentq
    from scipy.stats import chi, norm

    root, freedom = math.sqrt(queries), queries - 1
    value = effect * root
    # A noncentral t is (Z + shift) / S with S a chi over the root of its freedom: P(T <= value) is the mean of
    # P(Z <= value * S - shift) over S. (scipy's nct.cdf is not a number at some negative shifts.)
    spread = chi.ppf((np.arange(_QUANTILES) + 0.5) / _QUANTILES, freedom) / math.sqrt(freedom)

    def bound(share: float) -> float:
        def above(shift: float) -> float:
            return float(norm.cdf(value * spread - shift).mean()) - share

        width = 10 + abs(value) * float(spread[-1])
        return float(brentq(above, value - width, value + width)) / root

    tail = (1 - level) / 2
    return bound(1 - tail), bound(tail)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979); None, a test not made, stays None."""
    made = [(p, index) for index, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(sorted(made)):
        largest = max(largest, min(1.0, (len(made) - rank) * p))
        corrected[index] = largest
    return corrected
