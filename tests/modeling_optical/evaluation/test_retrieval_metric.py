"""The metrics through Hugging Face's `evaluate`."""

from pathlib import Path

import pytest

from modeling_optical.evaluation import METRICS, per_query
from modeling_optical.evaluation.retrieval_metric import RetrievalMetric

QRELS = {"q1": {"d1": 2, "d2": 1, "d3": 0}, "q2": {"d1": 1}}
RUN = {"q1": {"d3": 3.0, "d1": 2.0, "d2": 1.0}, "q2": {"d2": 1.0, "d1": 0.5}}


def rows(table: dict, value: str) -> dict[str, list]:
    flat = [(query, document, number) for query, by_document in table.items() for document, number in by_document.items()]
    return {name: list(column) for name, column in zip(("query", "document", value), zip(*flat, strict=True), strict=True)}


@pytest.fixture
def metric(tmp_path: Path) -> RetrievalMetric:
    return RetrievalMetric(cache_dir=str(tmp_path))


def test_compute_gives_the_mean_of_every_metric_over_the_queries(metric: RetrievalMetric):
    found = metric.compute(predictions=[rows(RUN, "score")], references=[rows(QRELS, "grade")])
    assert list(found) == list(METRICS)
    expected = {name: sum(values.values()) / 2 for name, values in per_query(QRELS, RUN).items()}
    assert found == pytest.approx(expected)
    assert found["RR@10"] == pytest.approx(0.5)
    assert found["AP@100"] == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1 / 2) / 2)


def test_compute_takes_a_choice_of_metrics(metric: RetrievalMetric):
    found = metric.compute(predictions=[rows(RUN, "score")], references=[rows(QRELS, "grade")], metrics=("P@2", "RR@10"))
    assert found == {"P@2": pytest.approx((1 / 2 + 1 / 2) / 2), "RR@10": pytest.approx(0.5)}


def test_batches_that_were_added_count_as_one_table(metric: RetrievalMetric):
    for query in QRELS:
        metric.add_batch(predictions=[rows({query: RUN[query]}, "score")], references=[rows({query: QRELS[query]}, "grade")])
    assert metric.compute() == pytest.approx(
        RetrievalMetric(cache_dir=metric.data_dir).compute(predictions=[rows(RUN, "score")], references=[rows(QRELS, "grade")])
    )


def test_a_judged_query_without_results_counts_zero_here_too(metric: RetrievalMetric):
    found = metric.compute(predictions=[rows({"q2": {"d1": 1.0}}, "score")], references=[rows(QRELS, "grade")])
    assert set(found.values()) == {0.5}


def test_the_example_in_its_documentation_is_true(metric: RetrievalMetric):
    found = metric.compute(
        predictions=[{"query": ["q"], "document": ["d"], "score": [1.0]}],
        references=[{"query": ["q"], "document": ["d"], "grade": [1]}],
    )
    assert found["RR@10"] == 1.0


def test_an_unknown_metric_is_refused_by_name(metric: RetrievalMetric):
    with pytest.raises(ValueError, match=r"unknown metric in \['nDGC@10'\]"):
        metric.compute(predictions=[rows(RUN, "score")], references=[rows(QRELS, "grade")], metrics=["nDGC@10"])


def test_judgements_without_any_row_are_refused_with_a_reason(metric: RetrievalMetric):
    with pytest.raises(ValueError, match="judge"):
        metric.compute(
            predictions=[rows(RUN, "score")], references=[{"query": [], "document": [], "grade": []}], metrics=["RR@10"]
        )
