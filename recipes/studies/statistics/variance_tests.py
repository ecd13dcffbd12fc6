"""Do two systems differ in how much their values vary over languages? Two tests for paired variances, and their power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The most ways to swap labels, of 2^n; if there are more, they are sampled.
_PERMUTATIONS = 19_999


@dataclass
class VarianceComparison:
    """Two systems over the same languages.

    Attributes:
        languages: how many.
        first, second: standard deviations over the languages (n - 1); None for a single language.
        difference: first less second.
        correlation: of the two systems' values over the languages.
        pitman_morgan: p of the Pitman-Morgan test, two-sided.
        permutation: p of the permutation of labels within language, two-sided.
        detectable_ratio: the ratio of standard deviations that the Pitman-Morgan test would find with a probability of 0.8 at
            level 0.05, given as many languages and that correlation.
        note: why a value is None.
    """

    languages: int
    first: float | None = None
    second: float | None = None
    difference: float | None = None
    correlation: float | None = None
    pitman_morgan: float | None = None
    permutation: float | None = None
    detectable_ratio: float | None = None
    note: str = ""


def compare_variances(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> VarianceComparison:
    """Compares the variance of two systems' values over the same languages, in the same order.

    Raises:
        ValueError: for lists of different length, none at all, or a value that is not finite.
    """
    one, two = _paired(first, second)
    result = VarianceComparison(one.size)
    if one.size == 1:
        result.note = "a single language: no variance"
        return result
    result.first, result.second = float(one.std(ddof=1)), float(two.std(ddof=1))
    result.difference = result.first - result.second
    if one.size == 2:
        result.note = "two languages: no test of variances"
        return result
    flat = [name for name, values in (("first", one), ("second", two)) if np.ptp(values) <= 1e-12]
    if flat:
        result.note = f"the {' and the '.join(flat)} system has the same value in every language: no test of variances"
        return result
    result.correlation = float(np.corrcoef(one, two)[0, 1])
    if np.ptp(one - two) <= 1e-12 or np.ptp(one + two) <= 1e-12:
        result.note = "the two systems differ by a constant: no test of variances"
        return result
    result.pitman_morgan = pitman_morgan(one, two)
    result.permutation = permutation_of_labels(one, two, seed=seed)
    result.detectable_ratio = detectable_ratio(one.size, result.correlation)
    return result


def pitman_morgan(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Two-sided p that two correlated normal variables have the same variance.

    The sum and the difference of the two are uncorrelated just then (Pitman, Biometrika 31, 1939; Morgan, ibid.).
    At least three pairs, and neither the sum nor the difference constant.
    """
    from scipy.stats import pearsonr

    one, two = _paired(first, second)
    return float(pearsonr(one + two, one - two).pvalue)


def permutation_of_labels(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, *, seed: int = 0) -> float:
    """Two-sided p of equal variances when the two systems' labels are swapped at random within language.

    The statistic is Pitman's and Morgan's, the correlation of sum and difference, but the values need not be normal. Each
    system's mean is taken off first: a system that is better everywhere by a constant would else change the variance by being
    swapped. Exact for up to 14 languages, 19,999 random swaps beyond. At least three pairs; the difference is not constant.
    """
    from scipy.stats import permutation_test

    one, two = _paired(first, second)

    def correlation(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        # The sum is the same for all swaps, and so is its length.
        total, difference = x + y, x - y
        difference = difference - difference.mean(axis=axis, keepdims=True)
        return (total * difference).sum(axis=axis) / np.linalg.norm(difference, axis=axis)

    result = permutation_test(
        (one - one.mean(), two - two.mean()),
        correlation,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_PERMUTATIONS,
        batch=1000,
        rng=seed,
    )
    return float(result.pvalue)


def pitman_morgan_power(ratio: float, correlation: float, languages: int, *, level: float = 0.05) -> float:
    """Power of the two-sided Pitman-Morgan test for normal values, by Fisher's z of the correlation of sum and difference.

    Args:
        ratio: of the standard deviations.
        correlation: of the two systems' values.
        languages: how many pairs.
        level: of the test.
    """
    from scipy.stats import norm

    if languages < 4:
        return level
    square = ratio**2
    rho = (square - 1) / math.sqrt((square + 1) ** 2 - 4 * correlation**2 * square)
    shift = math.atanh(max(min(rho, 1 - 1e-12), -1 + 1e-12)) * math.sqrt(languages - 3)
    critical = norm.ppf(1 - level / 2)
    return float(norm.cdf(shift - critical) + norm.cdf(-shift - critical))


def detectable_ratio(languages: int, correlation: float, *, power: float = 0.8, level: float = 0.05) -> float | None:
    """The ratio of standard deviations, above 1, that the Pitman-Morgan test finds with the power; None if none up to 100."""
    from scipy.optimize import brentq

    def lacking(ratio: float) -> float:
        return pitman_morgan_power(ratio, correlation, languages, level=level) - power

    return float(brentq(lacking, 1.0 + 1e-9, 100.0)) if lacking(100.0) > 0 else None


def _paired(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if one.shape != two.shape or one.ndim != 1 or not one.size:
        raise ValueError(f"{one.size} and {two.size} values cannot be paired.")
    if not np.isfinite([one, two]).all():
        raise ValueError("a value is not finite.")
    return one, two
