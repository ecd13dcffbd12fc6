"""Metrics against values computed by hand."""

import shutil
from math import log2

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some

from modeling_optical.evaluation import METRICS, per_query, translation_retrieval

QRELS = {"q": {"d1": 2, "d2": 1, "d3": 0}}
ids = some.text(min_size=0, max_size=6) | some.sampled_from(["a b", "a\tb", "é", "\n", "0", "01"])
RUN = {"q": {"d3": 3.0, "d1": 2.0, "unjudged": 1.5, "d2": 1.0}}


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("AP@100", (1 / 2 + 2 / 4) / 2),
        ("AP@2", (1 / 2) / 2),
        ("nDCG@10", (2 / log2(3) + 1 / log2(5)) / (2 / log2(2) + 1 / log2(3))),
        ("RR@10", 1 / 2),
        ("R@10", 1.0),
        ("R@2", 1 / 2),
        ("R@100", 1.0),
        ("Success@1", 0.0),
        ("Success@2", 1.0),
        ("P@4", 2 / 4),
        ("RR(rel=2)@10", 1 / 2),
        ("MRR@10", 1 / 2),
    ],
)
def test_a_metric_has_the_value_computed_by_hand(metric: str, expected: float):
    assert per_query(QRELS, RUN, [metric])[metric]["q"] == pytest.approx(expected, abs=1e-9)


def test_average_precision_over_a_hundred_comes_first_of_the_usual_metrics():
    values = per_query(QRELS, RUN)
    assert list(values) == ["AP@100", "nDCG@10", "RR@10", "R@10", "R@100", "Success@1"] == list(METRICS)


def test_the_order_of_the_scores_counts_not_that_of_the_results():
    backwards = {"q": dict(reversed(RUN["q"].items()))}
    assert per_query(QRELS, backwards) == per_query(QRELS, RUN)


@pytest.mark.parametrize("run", [{}, {"q2": {}}, {"other": {"d": 1.0}}], ids=["absent", "empty", "another query"])
def test_a_judged_query_without_results_counts_zero(run: dict):
    qrels = {"q1": {"d": 1}, "q2": {"d": 1}}
    values = per_query(qrels, run | {"q1": {"d": 1.0}})
    assert set(values) == set(METRICS)
    assert all(by_query == {"q1": 1.0, "q2": 0.0} for by_query in values.values())


def test_results_of_a_query_that_is_not_judged_do_not_count():
    values = per_query({"q": {"d": 1}}, {"q": {"d": 1.0}, "unjudged": {"d": 1.0}}, ["RR@10"])
    assert values == {"RR@10": {"q": 1.0}}


def test_values_keep_the_order_of_the_judgements():
    qrels = {f"q{i}": {"d": 1} for i in (9, 3, 10, 1)}
    assert list(per_query(qrels, {"q1": {"d": 1.0}}, ["AP@100"])["AP@100"]) == ["q9", "q3", "q10", "q1"]


def test_a_result_beyond_the_cutoff_does_not_count():
    run = {"q": {f"x{i}": 100.0 - i for i in range(10)} | {"d": 1.0}}
    values = per_query({"q": {"d": 1}}, run, ["RR@10", "R@10", "R@100", "AP@100"])
    assert {name: by_query["q"] for name, by_query in values.items()} == {
        "RR@10": 0.0,
        "R@10": 0.0,
        "R@100": 1.0,
        "AP@100": pytest.approx(1 / 11),
    }


@pytest.mark.parametrize("metrics", [["RR@10", "MRR@10"], ["MRR@10", "RR@10"]])
def test_two_names_of_one_metric_both_have_its_value(metrics: list[str]):
    assert per_query({"q": {"d": 1}}, {"q": {"d": 1.0}}, metrics) == {"RR@10": {"q": 1.0}, "MRR@10": {"q": 1.0}}


@pytest.mark.parametrize("metric", ["nDGC@10", "AP@x", "AP@", "", "10"])
def test_an_unknown_metric_is_named_in_the_error(metric: str):
    with pytest.raises(ValueError, match="ir_measures") as error:
        per_query(QRELS, RUN, ["RR@10", metric])
    assert repr(metric) in str(error.value)


def unit(*rows: list[float]) -> np.ndarray:
    array = np.array(rows, dtype=np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_translation_retrieval_counts_first_places_and_reciprocal_ranks():
    sources = [unit([1, 0, 0]), unit([0, 1, 0]), unit([0, 0, 1])]
    # The first target is nearest its own source; the second is nearest the third source, its own comes second; and the third
    # is nearest the first, then the second, its own comes last.
    targets = [unit([1, 0.1, 0]), unit([0, 0.5, 1]), unit([1, 0.5, 0.1], [1, 0.5, 0.1])]
    values = translation_retrieval(targets, sources, [0, 1, 2])
    assert values["translation_success_at_1"] == pytest.approx(1 / 3)
    assert values["translation_rr_at_10"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_translation_retrieval_gives_nothing_beyond_rank_ten():
    sources = [unit([1.0, 0.1 * i]) for i in range(12)]
    values = translation_retrieval([unit([1.0, 0.0])] * 2, sources, [0, 11])
    assert values == {"translation_success_at_1": 0.5, "translation_rr_at_10": 0.5}


def test_two_targets_may_have_the_same_source():
    sources = [unit([1, 0]), unit([0, 1])]
    values = translation_retrieval([unit([1, 0]), unit([2, 0.1]), unit([0, 1])], sources, [0, 0, 1])
    assert values == {"translation_success_at_1": 1.0, "translation_rr_at_10": 1.0}


@pytest.mark.skipif(shutil.which("perl") is None, reason="ERR is computed by a Perl program")
@given(query=ids, relevant=ids, other=ids)
@settings(max_examples=8)
def test_any_ids_have_the_values_that_plain_ones_have(query, relevant, other):
    assume(relevant != other)
    metrics = ["ERR@10", "nDCG@10", "AP@100", "RR@10", "Judged@10"]
    plain, odd = (
        per_query({q: {d: 2}}, {q: {o: 2.0, d: 1.0}}, metrics) for q, d, o in (("1", "1", "2"), (query, relevant, other))
    )
    assert {metric: [*by_query.values()] for metric, by_query in odd.items()} == {m: [*v.values()] for m, v in plain.items()}
    assert all(list(by_query) == [query] for by_query in odd.values())


@pytest.mark.parametrize("metric", ["INST", "SDCG@10", "alpha_nDCG@10"])
def test_a_metric_that_lacks_something_is_named(metric):
    with pytest.raises(ValueError, match=metric):
        per_query(QRELS, RUN, [metric])
