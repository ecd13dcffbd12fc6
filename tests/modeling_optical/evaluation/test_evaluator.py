"""Retrieve, keep the run, measure, give rows: the same for every system."""

import gc

import pytest

from modeling_optical import load_checkpoint
from modeling_optical.evaluation import UNJUDGED, Collection, Evaluator, format_table, per_query, read_results, read_run

CORPUS = {f"d{n}": f"cat {n} vector" for n in range(23)}
QUERIES = {"q": "the cat barked", "r": "search in Somali"}
QRELS = {"q": {"d1": 1}, "r": {"d2": 1}}


@pytest.fixture
def model(bert):
    return load_checkpoint(bert)


@pytest.fixture
def encoded(monkeypatch, model):
    """How many documents each call encoded."""
    calls, encode = [], model.encode_document
    monkeypatch.setattr(model, "encode_document", lambda texts, **kwargs: calls.append(len(texts)) or encode(texts, **kwargs))
    return calls


def test_a_small_corpus_is_encoded_once_and_a_large_one_every_time(model, encoded):
    small, large = Evaluator(), Evaluator(held=22)
    for _ in range(2):
        first, second = (evaluator.retrieve(model, QUERIES, CORPUS, k=5) for evaluator in (small, large))
        assert {query: set(found) for query, found in first.items()} == {query: set(found) for query, found in second.items()}
    assert encoded == [23, 23, 23]


def test_languages_that_have_the_same_documents_share_their_vectors(model, encoded):
    evaluator = Evaluator()
    first, second = (evaluator.retrieve(model, QUERIES, corpus, k=5) for corpus in (CORPUS, dict(CORPUS)))
    assert encoded == [23]
    assert first == second
    evaluator.retrieve(model, QUERIES, dict(reversed(CORPUS.items())))
    evaluator.retrieve(model, QUERIES, dict(CORPUS) | {next(iter(CORPUS)): "another text"})
    assert encoded == [23, 23, 23], "another order or another text is another corpus"


def test_no_corpus_is_taken_for_another_one(model, encoded):
    evaluator = Evaluator()
    for number in range(4):
        # The former corpus is gone, and its place in memory free for the next one.
        assert set(evaluator.retrieve(model, QUERIES, {f"only-{number}": "cat"})["q"]) == {f"only-{number}"}
        gc.collect()
    assert encoded == [1, 1, 1, 1]


def test_the_oldest_corpora_make_room(model, encoded):
    evaluator, corpora = Evaluator(held=30), [{f"{name}{n}": "cat" for n in range(15)} for name in "abc"]
    for corpus in (*corpora, corpora[2], corpora[1], corpora[0]):
        evaluator.retrieve(model, QUERIES, corpus)
    assert encoded == [15, 15, 15, 15]


def test_what_a_model_has_encoded_goes_with_it(bert):
    evaluator = Evaluator()
    evaluator.retrieve(load_checkpoint(bert), QUERIES, CORPUS)
    gc.collect()
    assert len(evaluator._encoded) == 0


def test_a_measured_system_leaves_its_run_its_rows_and_its_values(model, tmp_path):
    evaluator = Evaluator(tmp_path, ["RR@10", UNJUDGED])
    collection = Collection("tiny", "sw", CORPUS, QUERIES, QRELS)
    found = evaluator.measure("student", model, collection)
    assert read_run(tmp_path / "runs" / "student.tiny.sw.trec").keys() == found.keys()
    assert evaluator.values["student", "tiny", "sw"] == per_query(QRELS, found, ["RR@10", UNJUDGED])
    assert [(row.system, row.language, row.collection, row.metric, row.queries) for row in evaluator.rows] == [
        ("student", "sw", "tiny", "RR@10", 2),
        ("student", "sw", "tiny", UNJUDGED, 2),
    ]
    assert [row.metric for row in read_results(evaluator.write_results())] == ["RR@10", UNJUDGED]


@pytest.mark.parametrize(("judged", "told"), [({"d0": 1}, False), ({"d0": 1, "d1": 0}, True)])
def test_unjudged_documents_are_counted_but_not_shown_where_every_query_has_one_answer(judged, told):
    evaluator = Evaluator(metrics=["RR@10", UNJUDGED])
    evaluator.record("one", Collection("c", "sw", {}, {"q": "cat"}, {"q": judged}), {"q": {"d0": 2.0, "d2": 1.0}})
    assert UNJUDGED in {row.metric for row in evaluator.rows}
    table = format_table(evaluator.told(), ["RR@10", UNJUDGED])
    assert (UNJUDGED in table) == told
    assert "RR@10" in table
