"""Ties are broken once, by one rule, before anything is measured, written or shown."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from modeling_optical.evaluation import per_query, read_run, unjudged_share, write_run
from modeling_optical.evaluation.comparison import JudgedRuns, compare_systems, largest_differences, read_judged_runs, unjudged
from modeling_optical.evaluation.metrics import ranked

DOCUMENTS = ["d1", "d10", "d2", "D2", "é", "e\u0301", "中", "🦊", "0", "zz"]
# Few different scores, so that most runs have ties; some differ only beyond single precision.
SCORES = some.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 0.5 + 1e-12, 1e-300, 3.4e38])
RUNS = some.lists(some.tuples(some.sampled_from(DOCUMENTS), SCORES), min_size=1, max_size=10, unique_by=lambda item: item[0])
METRICS = ("AP@100", "nDCG@10", "RR@10", "R@1", "P@1", "Success@1", "RR", "Rprec", "Judged@3")


@given(items=RUNS, relevant=some.sampled_from(DOCUMENTS), order=some.randoms(use_true_random=False))
def test_all_measures_see_one_order_whatever_the_order_of_the_run(items, relevant, order):
    shuffled = list(items)
    order.shuffle(shuffled)
    qrels = {"q": {relevant: 1}}
    values = per_query(qrels, {"q": dict(items)}, METRICS)
    assert values == per_query(qrels, {"q": dict(shuffled)}, METRICS)
    place = ranked(dict(items)).index(relevant) if relevant in dict(items) else None
    value = {metric: by_query["q"] for metric, by_query in values.items()}
    assert value["AP@100"] == value["RR@10"] == value["RR"] == pytest.approx(0.0 if place is None else 1 / (place + 1))
    assert value["Success@1"] == value["P@1"] == value["R@1"] == value["Rprec"] == (place == 0)
    assert unjudged_share(qrels, {"q": dict(items)}, 1) == {"q": float(place != 0)}


@given(items=RUNS)
def test_scores_fall_and_ids_fall_among_equal_scores(items):
    scores = dict(items)
    order = ranked(scores)
    assert sorted(order) == sorted(scores)
    assert all(scores[a] > scores[b] or (scores[a] == scores[b] and a.encode() > b.encode()) for a, b in pairwise(order))


@given(items=RUNS)
def test_a_run_file_has_the_same_order_and_scores_as_the_run(items, tmp_path_factory):
    run = {"q": dict(items)}
    path = write_run(tmp_path_factory.mktemp("run") / "x.trec", run, "x")
    assert read_run(path) == run
    assert list(read_run(path)["q"]) == ranked(run["q"])


def test_comparison_and_its_examples_break_ties_alike():
    runs = {"one": {"q": {"a": 1.0, "b": 1.0}}, "two": {"q": {"b": 1.0, "a": 1.0}}, "good": {"q": {"a": 2.0, "b": 1.0}}}
    judged = JudgedRuns("c", {"q": {"a": 1}}, runs)
    values = {(pair.first, pair.metric): pair.result.first for pair in compare_systems([judged], ["RR@10", "AP@100"])}
    assert values["one", "RR@10"] == values["two", "RR@10"] == values["one", "AP@100"] == 0.5
    assert unjudged(judged, 1) == {"one": 1.0, "two": 1.0, "good": 0.0}
    wins, losses = largest_differences(judged, "RR@10", "good", "one")
    assert [document for document, *_ in wins[0].found_second] == ["b", "a"]
    assert not losses


def test_a_score_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="the score of document 'b' is not a number"):
        per_query({"q": {"a": 1}}, {"q": {"a": 1.0, "b": float("nan")}})


def test_queries_without_a_relevant_document_do_not_count_and_are_told(tmp_path):
    (tmp_path / "x.qrels").write_text("q1 0 a 1\nq2 0 a 0\nq3 0 a -1\n")
    for name in ("one", "two"):
        (tmp_path / f"{name}.trec").write_text("q1 Q0 a 1 1.0 x\nq2 Q0 a 1 1.0 x\n")
    (judged,) = read_judged_runs([tmp_path / "one.trec", tmp_path / "two.trec"], tmp_path / "x.qrels")
    assert list(judged.qrels) == ["q1"]
    assert judged.notes == ["x: 2 of 3 judged queries have no relevant document and do not count."]
    (tmp_path / "x.qrels").write_text("q1 0 a 0\n")
    with pytest.raises(ValueError, match=r"x\.qrels: no query has a relevant document"):
        read_judged_runs([tmp_path / "one.trec"], tmp_path / "x.qrels")
