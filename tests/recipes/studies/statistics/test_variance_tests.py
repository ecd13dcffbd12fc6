"""Tests of paired variances: against their formula, enumeration and simulations whose truth is known; never not a number."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from recipes.studies.statistics.variance_tests import (
    compare_variances,
    detectable_ratio,
    permutation_of_labels,
    pitman_morgan,
    pitman_morgan_power,
)

FIRST = [0.61, 0.72, 0.55, 0.80, 0.47, 0.66, 0.75]
SECOND = [0.58, 0.75, 0.41, 0.90, 0.30, 0.63, 0.84]


def pairs(rng: np.random.Generator, count: int, ratio: float = 1.0, correlation: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    drawn = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], count)
    return drawn[:, 0] * ratio, drawn[:, 1]


def test_pitman_morgan_is_the_textbooks_t_of_the_ratio_of_variances():
    # Snedecor and Cochran, Statistical Methods, "comparison of the variances of two correlated samples":
    # t = (F - 1) sqrt(n - 2) / (2 sqrt(F (1 - r^2))) with n - 2 degrees of freedom.
    variance_ratio = np.var(FIRST, ddof=1) / np.var(SECOND, ddof=1)
    r = np.corrcoef(FIRST, SECOND)[0, 1]
    t = (variance_ratio - 1) * math.sqrt(5) / (2 * math.sqrt(variance_ratio * (1 - r**2)))
    assert pitman_morgan(FIRST, SECOND) == pytest.approx(2 * stats.t.sf(abs(t), 5))


def test_the_permutation_is_the_share_of_all_swaps_that_differ_as_much():
    one, two = np.array(FIRST) - np.mean(FIRST), np.array(SECOND) - np.mean(SECOND)

    def correlation(swaps: tuple[bool, ...]) -> float:
        x, y = np.where(swaps, two, one), np.where(swaps, one, two)
        return np.corrcoef(x + y, x - y)[0, 1]

    observed = correlation((False,) * 7)
    exact = np.mean([abs(correlation(s)) >= abs(observed) - 1e-12 for s in itertools.product([False, True], repeat=7)])
    assert permutation_of_labels(FIRST, SECOND) == pytest.approx(exact)


def test_a_constant_advantage_changes_neither_test():
    better = np.array(FIRST) + 0.2
    assert pitman_morgan(better, SECOND) == pytest.approx(pitman_morgan(FIRST, SECOND))
    assert permutation_of_labels(better, SECOND) == pytest.approx(permutation_of_labels(FIRST, SECOND))


@pytest.mark.parametrize("count", [7, 18])
def test_pitman_morgan_rejects_equal_variances_as_often_as_its_level(count):
    rng = np.random.default_rng(0)
    rejected = np.mean([pitman_morgan(*pairs(rng, count)) < 0.05 for _ in range(1000)])
    assert 0.035 <= rejected <= 0.065


def test_the_permutation_rejects_equal_variances_about_as_often_as_its_level():
    rng = np.random.default_rng(0)
    rejected = np.mean([permutation_of_labels(*pairs(rng, 8)) < 0.05 for _ in range(400)])
    assert 0.02 <= rejected <= 0.08


@pytest.mark.parametrize(("ratio", "correlation"), [(1.5, 0.8), (2.0, 0.5)])
def test_the_power_of_pitman_morgan_is_as_computed(ratio, correlation):
    rng = np.random.default_rng(0)
    found = np.mean([pitman_morgan(*pairs(rng, 18, ratio, correlation)) < 0.05 for _ in range(1000)])
    assert found == pytest.approx(pitman_morgan_power(ratio, correlation, 18), abs=0.04)


def test_the_permutation_finds_a_ratio_that_pitman_morgan_finds():
    rng = np.random.default_rng(0)
    found = np.mean([permutation_of_labels(*pairs(rng, 10, 3.0, 0.8)) < 0.05 for _ in range(200)])
    assert found > 0.8


def test_more_languages_find_smaller_differences():
    assert detectable_ratio(7, 0.8) > detectable_ratio(18, 0.8) > detectable_ratio(100, 0.8) > 1
    assert pitman_morgan_power(detectable_ratio(18, 0.8), 0.8, 18) == pytest.approx(0.8)
    assert detectable_ratio(3, 0.8) is None


def test_a_comparison_has_all_of_it():
    found = compare_variances(FIRST, SECOND)
    assert found.languages == 7
    assert found.difference == pytest.approx(np.std(FIRST, ddof=1) - np.std(SECOND, ddof=1))
    assert found.pitman_morgan == pytest.approx(pitman_morgan(FIRST, SECOND))
    assert found.permutation == pytest.approx(permutation_of_labels(FIRST, SECOND))
    assert found.detectable_ratio > 1
    assert found.note == ""


@pytest.mark.parametrize(
    ("first", "second", "note"),
    [
        ([0.5], [0.4], "a single language"),
        ([0.5, 0.6], [0.4, 0.7], "two languages"),
        ([0.5, 0.5, 0.5], [0.4, 0.3, 0.2], "same value in every language"),
        ([0.5, 0.6, 0.7], [0.4, 0.5, 0.6], "differ by a constant"),
    ],
)
def test_what_cannot_be_tested_says_why_and_is_never_not_a_number(first, second, note):
    found = compare_variances(first, second)
    assert note in found.note
    assert found.pitman_morgan is None
    assert all(value is None or math.isfinite(value) for value in vars(found).values() if not isinstance(value, str))


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="cannot be paired"):
        compare_variances([0.1, 0.2], [0.1])
