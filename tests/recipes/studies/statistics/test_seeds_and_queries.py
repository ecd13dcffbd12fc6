"""Intervals over seeds and queries, against scipy and against simulations whose truth is known."""

import numpy as np
import pytest

from modeling_optical.evaluation.results import bootstrap_interval
from recipes.studies.statistics.seeds_and_queries import bootstrap_over_languages, nested_bootstrap, resampled_means


def simulated(
    rng: np.random.Generator, seeds: int, queries: int, of_seeds: float, of_queries: float, rest: float
) -> np.ndarray:
    """Values whose true mean is 0: an effect of each seed, one of each query, and what is left."""
    return rng.normal(0, of_seeds, (seeds, 1)) + rng.normal(0, of_queries, (1, queries)) + rng.normal(0, rest, (seeds, queries))


def test_one_seed_gives_the_interval_of_scipy_over_queries():
    values = np.random.default_rng(0).uniform(0, 1, 60)
    ours, scipys = nested_bootstrap([values], resamples=10_000), bootstrap_interval(values.tolist())
    assert ours == pytest.approx(scipys, abs=0.01)


def test_the_same_values_in_every_seed_give_the_interval_of_one_seed():
    values = np.random.default_rng(0).uniform(0, 1, 60)
    one, three = (nested_bootstrap([values] * n, resamples=10_000) for n in (1, 3))
    assert three == pytest.approx(one, abs=0.01)


def test_the_variance_of_the_means_is_that_of_seeds_plus_that_of_queries():
    rng = np.random.default_rng(0)
    table = simulated(rng, 4, 200, 0.3, 1.0, 0.0)
    means = resampled_means(table, resamples=20_000, seeds=[0], queries=[1])
    expected = table.mean(1).var(ddof=1) / 4 + table.mean(0).var(ddof=0) / 200
    assert means.var() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("of_seeds", "seeds", "least"), [(0.0, 3, 0.93), (0.05, 5, 0.90), (0.1, 8, 0.90)])
def test_the_interval_covers_the_true_mean_about_as_often_as_it_says(of_seeds, seeds, least):
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        low, high = nested_bootstrap(simulated(rng, seeds, 80, of_seeds, 1.0, 0.3), resamples=300, seed=trial)
        covered += low <= 0 <= high
    assert least - 0.03 <= covered / 200 <= 0.995


def test_a_single_query_has_no_interval_and_a_constant_has_its_value_twice():
    assert nested_bootstrap([[0.5], [0.7], [0.6]]) is None
    assert nested_bootstrap(np.full((3, 10), 0.25)) == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize("values", [[], [[]], [[0.1, float("nan")]]])
def test_a_table_with_gaps_is_refused(values):
    with pytest.raises(ValueError, match="without gaps"):
        nested_bootstrap(values)


def test_what_two_systems_share_cancels_in_the_difference_over_languages():
    rng = np.random.default_rng(0)
    tables = {language: simulated(rng, 3, 50, 0.1, 1.0, 0.0) for language in ("sw", "fi", "de")}
    values = {language: {"a": table + 0.5, "b": table} for language, table in tables.items()}
    interval = bootstrap_over_languages(values, lambda means: (means["a"] - means["b"]).mean(0))
    assert interval == pytest.approx((0.5, 0.5))


def test_parallel_queries_are_drawn_together_and_leave_no_noise_in_the_deviation():
    rng = np.random.default_rng(0)
    table = simulated(rng, 1, 50, 0.0, 1.0, 0.0)
    values = {language: {"a": table + shift} for language, shift in (("sw", 0.0), ("fi", 0.1), ("de", 0.2))}
    assert bootstrap_over_languages(values, lambda means: means["a"].std(0, ddof=1)) == pytest.approx((0.1, 0.1))


def test_one_training_of_all_languages_is_drawn_once():
    rng = np.random.default_rng(0)
    effect = rng.normal(0, 1, (3, 1)) + np.zeros((3, 20))
    values = {"sw": {"a": effect}, "fi": {"a": effect + 0.5}}

    def gap(means: dict) -> np.ndarray:
        return means["a"][1] - means["a"][0]

    assert bootstrap_over_languages(values, gap, one_training=True) == pytest.approx((0.5, 0.5))
    low, high = bootstrap_over_languages(values, gap)
    assert low < 0.4 < 0.6 < high


def test_a_language_with_one_query_leaves_no_interval_over_languages():
    values = {"sw": {"a": np.ones((2, 1))}, "fi": {"a": np.ones((2, 5))}}
    assert bootstrap_over_languages(values, lambda means: means["a"].std(0)) is None
