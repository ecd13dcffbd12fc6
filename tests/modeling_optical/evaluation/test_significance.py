"""Paired tests against scipy, statsmodels and enumeration; nothing is ever not a number."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nct, ttest_rel

from modeling_optical.evaluation import compare_paired, holm
from modeling_optical.evaluation.significance import effect_interval, randomisation_test

FIRST = [0.9, 0.4, 0.7, 0.2, 0.8, 0.5, 1.0, 0.3]
SECOND = [0.5, 0.5, 0.4, 0.2, 0.3, 0.1, 0.7, 0.4]


def test_the_means_and_counts_are_those_of_the_queries():
    found = compare_paired(FIRST, SECOND)
    assert (found.queries, found.wins, found.ties, found.losses) == (8, 5, 1, 2)
    assert found.first == pytest.approx(np.mean(FIRST))
    assert found.difference == pytest.approx(np.mean(FIRST) - np.mean(SECOND))
    assert found.low < found.difference < found.high
    assert found.note == ""


def test_the_t_test_is_scipys():
    assert compare_paired(FIRST, SECOND).t_test == pytest.approx(ttest_rel(FIRST, SECOND).pvalue)


def test_the_randomisation_test_is_the_share_of_all_signs_that_give_as_much():
    difference = np.array(FIRST) - np.array(SECOND)
    means = [np.mean(difference * signs) for signs in itertools.product([1, -1], repeat=8)]
    exact = np.mean(np.abs(means) >= abs(difference.mean()) - 1e-12)
    assert compare_paired(FIRST, SECOND).randomisation == pytest.approx(exact)


def test_the_randomisation_test_is_the_same_every_time_and_close_to_the_t_test_on_normal_differences():
    difference = np.random.default_rng(1).normal(0.2, 1, 200)
    p = randomisation_test(difference)
    assert p == randomisation_test(difference)
    assert p == pytest.approx(ttest_rel(difference, np.zeros(200)).pvalue, abs=0.02)


def test_the_effect_size_is_the_mean_over_the_deviation_of_the_differences():
    difference = np.array(FIRST) - np.array(SECOND)
    found = compare_paired(FIRST, SECOND)
    assert found.effect_size == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert found.effect_low < found.effect_size < found.effect_high


def test_the_interval_of_the_effect_holds_zero_exactly_when_the_t_test_does_not_reject():
    for seed in range(20):
        generator = np.random.default_rng(seed)
        found = compare_paired(generator.normal(0.3, 1, 30), np.zeros(30), resamples=99)
        assert (found.effect_low <= 0 <= found.effect_high) == (found.t_test >= 0.05)


def test_the_interval_of_the_effect_covers_the_true_one_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        sample = generator.normal(0.5, 1, 25)
        low, high = effect_interval(sample.mean() / sample.std(ddof=1), 25)
        covered += low <= 0.5 <= high
    assert 0.91 <= covered / 300 <= 0.985


@pytest.mark.parametrize(("effect", "queries"), [(0.3, 10), (-0.2, 50), (0.8, 200), (1.5, 4)])
def test_the_bounds_of_the_effect_are_noncentralities_of_the_t_distribution(effect, queries):
    low, high = (bound * math.sqrt(queries) for bound in effect_interval(effect, queries))
    value = effect * math.sqrt(queries)
    assert nct.cdf(value, queries - 1, low) == pytest.approx(0.975, abs=1e-3)
    assert nct.cdf(value, queries - 1, high) == pytest.approx(0.025, abs=1e-3)


def test_a_large_effect_over_many_queries_has_an_interval():
    low, high = effect_interval(3.0, 5000)
    assert low < 3.0 < high
    assert high - low < 0.3


def test_two_queries_with_a_large_difference_have_an_interval():
    differences = np.array([0.50, 0.52])
    effect = differences.mean() / differences.std(ddof=1)
    low, high = effect_interval(effect, 2)
    assert low < effect < high
    assert compare_paired([0.90, 0.95], [0.40, 0.43]).queries == 2


def test_no_difference_at_all_is_certain_to_be_chance():
    found = compare_paired([0.5] * 4, [0.5] * 4)
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert (found.t_test, found.randomisation, found.effect_size) == (1, 1, 0)
    assert found.note == "no difference at any query"


def test_the_same_difference_everywhere_has_no_t_test_but_a_randomisation_test():
    found = compare_paired([0.3, 0.7, 0.8, 0.6], [0.2, 0.6, 0.7, 0.5])
    assert (found.t_test, found.effect_size, found.effect_low) == (None, None, None)
    assert found.randomisation == pytest.approx(2 / 2**4)
    assert "same difference at every query" in found.note


def test_a_single_query_has_neither_interval_nor_test():
    found = compare_paired([0.3], [0.2])
    assert (found.low, found.t_test, found.randomisation, found.effect_size) == (None, None, None, None)
    assert "single query" in found.note


def test_rounding_makes_no_winner():
    found = compare_paired([0.1 + 0.2, 1.0], [0.3, 0.5])
    assert (found.wins, found.ties) == (1, 1)


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 1.0])] * 2), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_every_value_is_a_number_or_absent(pairs):
    found = compare_paired([one for one, _ in pairs], [two for _, two in pairs], resamples=99)
    for value in vars(found).values():
        assert not isinstance(value, float) or math.isfinite(value)
    assert found.wins + found.ties + found.losses == len(pairs)


@pytest.mark.parametrize("first", [[], [0.1, 0.2], [math.nan]], ids=["none", "another number", "not a number"])
def test_what_cannot_be_paired_is_refused(first):
    with pytest.raises(ValueError, match=r"cannot be paired|not finite"):
        compare_paired(first, [0.1] if first else [])


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    generator = np.random.default_rng(3)
    for count in (1, 2, 5, 40):
        p = generator.random(count) ** 3
        assert holm(p.tolist()) == pytest.approx(multitest.multipletests(p, method="holm")[1].tolist())


def test_holm_by_hand_and_with_tests_that_were_not_made():
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([]) == []
