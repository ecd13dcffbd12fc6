"""The test of non-inferiority: against scipy and statsmodels, and by simulation where the truth is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recipes.studies.statistics.non_inferiority import mean_difference, non_inferiority

MARGIN = 0.005


def drawn(rng, seeds, queries, mean, of_seeds=0.0, of_queries=0.05, rest=0.05):
    """Differences with a known mean: seeds and queries each have an effect of their own."""
    return (
        mean
        + rng.normal(0, of_seeds or 1e-12, (seeds, 1))
        + rng.normal(0, of_queries, (1, queries))
        + rng.normal(0, rest, (seeds, queries))
    )


def test_with_one_seed_it_is_the_one_sided_paired_t_test():
    differences = drawn(np.random.default_rng(0), 1, 80, 0.0)
    found = non_inferiority(differences, MARGIN)
    exact = stats.ttest_1samp(differences[0], -MARGIN, alternative="greater")
    assert found.p == pytest.approx(exact.pvalue)
    assert found.lower == pytest.approx(exact.confidence_interval(0.95).low)
    assert found.difference.p_different() == pytest.approx(stats.ttest_1samp(differences[0], 0).pvalue)


def test_it_is_half_of_statsmodels_test_of_equivalence():
    weightstats = pytest.importorskip("statsmodels.stats.weightstats", reason="statsmodels is not installed")
    differences = drawn(np.random.default_rng(1), 1, 200, 0.001)[0]
    # The lower of the two one-sided tests; the upper bound is far away.
    _, lower, _ = weightstats.ttost_paired(differences, np.zeros(200), -MARGIN, 1.0)
    assert non_inferiority(differences, MARGIN).p == pytest.approx(lower[1])


def test_the_error_is_that_of_a_two_way_layout_with_random_effects():
    formula = pytest.importorskip("statsmodels.formula.api", reason="statsmodels is not installed")
    anova = pytest.importorskip("statsmodels.stats.anova")
    seeds, queries = 4, 25
    values = drawn(np.random.default_rng(2), seeds, queries, 0.0, of_seeds=0.05)
    grid = np.indices(values.shape)
    long = pd.DataFrame({"value": values.ravel(), "seed": grid[0].ravel(), "query": grid[1].ravel()})
    table = anova.anova_lm(formula.ols("value ~ C(seed) + C(query)", long).fit())
    squares = (table["sum_sq"] / table["df"]).to_dict()
    variance = (squares["C(seed)"] + squares["C(query)"] - squares["Residual"]) / (seeds * queries)
    found = mean_difference(values)
    assert found.error == pytest.approx(np.sqrt(variance))
    spread = sum(squares[name] ** 2 / table.loc[name, "df"] for name in squares)
    assert found.freedom == pytest.approx((variance * seeds * queries) ** 2 / spread)


@pytest.mark.parametrize(("seeds", "of_seeds"), [(1, 0.0), (3, 0.0), (3, 0.002), (3, 0.02), (5, 0.01)])
def test_a_loss_of_just_the_margin_is_ruled_out_as_often_as_the_level(seeds, of_seeds):
    rng = np.random.default_rng(3)
    ruled_out = [non_inferiority(drawn(rng, seeds, 300, -MARGIN, of_seeds), MARGIN).p < 0.05 for _ in range(1500)]
    assert 0.02 <= np.mean(ruled_out) <= 0.07


def test_queries_that_are_found_or_not_do_as_well():
    rng = np.random.default_rng(4)

    def differences() -> np.ndarray:
        # Success@1 of two systems: 20 % of the queries differ, the first loses half a point in the mean.
        return rng.choice([-1.0, 0.0, 1.0], p=[0.1025, 0.8, 0.0975], size=(1, 1000))

    ruled_out = np.mean([non_inferiority(differences(), MARGIN).p < 0.05 for _ in range(1500)])
    assert 0.035 <= ruled_out <= 0.065


def test_a_pooled_test_that_takes_the_seeds_as_given_would_err_more_often():
    rng = np.random.default_rng(5)
    found = [drawn(rng, 3, 300, -MARGIN, of_seeds=0.01) for _ in range(500)]
    naive = [stats.ttest_1samp(one.mean(0), -MARGIN, alternative="greater").pvalue < 0.05 for one in found]
    ours = [non_inferiority(one, MARGIN).p < 0.05 for one in found]
    assert np.mean(naive) > 0.15
    assert np.mean(ours) < 0.08


def test_no_loss_is_told_from_the_margin_with_enough_queries_and_not_with_few():
    rng = np.random.default_rng(6)
    shares = [
        np.mean([non_inferiority(drawn(rng, 3, queries, 0.0, 0.0005), MARGIN).p < 0.05 for _ in range(300)])
        for queries in (50, 4000)
    ]
    assert shares[0] < 0.4
    assert shares[1] > 0.95


def test_a_worked_example():
    # Ten queries, differences -2, -1, 0, 1, 2 points twice: mean 0, standard deviation 1.4907, error 0.4714, t = 2.1213.
    found = non_inferiority(np.array([-0.02, -0.01, 0, 0.01, 0.02] * 2), 0.01)
    assert found.difference.error == pytest.approx(0.004714, abs=1e-6)
    assert found.p == pytest.approx(stats.t.sf(2.1213, 9), abs=1e-5)
    assert found.lower == pytest.approx(-1.8331 * 0.004714, abs=1e-5)


def test_the_bound_and_the_test_say_the_same():
    rng = np.random.default_rng(7)
    for _ in range(50):
        found = non_inferiority(drawn(rng, 3, 100, -0.003, 0.002), MARGIN)
        assert (found.p < 0.05) == (found.lower > -MARGIN)


@pytest.mark.parametrize(
    ("differences", "note"), [([[0.1]], "a single query: no test"), (np.zeros((3, 20)), "the same difference at every query")]
)
def test_what_cannot_be_tested_is_left_open_with_the_reason(differences, note):
    found = non_inferiority(differences, MARGIN)
    assert (found.p, found.lower) == (None, None)
    assert note in found.difference.note


def test_a_slip_is_named():
    with pytest.raises(ValueError, match="it must be above 0"):
        non_inferiority([0.1, 0.2], 0.0)
    with pytest.raises(ValueError, match="without gaps"):
        mean_difference([[0.1, np.nan]])
