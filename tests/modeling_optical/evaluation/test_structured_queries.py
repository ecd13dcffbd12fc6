"""Queries in one language over documents of another, by a table of translations."""

import math

import pytest

from modeling_optical.evaluation.references import bm25
from modeling_optical.evaluation.structured_queries import fused_by_rank, structured_queries

CORPUS = {"a": "the small cat sat", "b": "a dog and a cat and a dog", "c": "Nairobi is a city", "d": ""}
TABLE = {"paka": {"cat": 0.75, "kitten": 0.2, "dog": 0.05}, "mbwa": {"dog": 1.0}}


def expected(word_counts, frequencies, length):
    """The formula written out for one word of a query."""
    mean = (4 + 8 + 4 + 0) / 4
    tf = sum(p * word_counts.get(e, 0) for e, p in TABLE["paka"].items())
    df = sum(p * frequencies.get(e, 0) for e, p in TABLE["paka"].items())
    return math.log(1 + (4 - df + 0.5) / (df + 0.5)) * tf / (tf + 0.9 * (1 - 0.4 + 0.4 * length / mean))


def test_counts_are_expected_counts_under_the_table():
    found = structured_queries({"q": "paka"}, CORPUS, TABLE)["q"]
    frequencies = {"cat": 2, "dog": 1}
    assert found["a"] == pytest.approx(expected({"cat": 1}, frequencies, 4))
    assert found["b"] == pytest.approx(expected({"cat": 1, "dog": 2}, frequencies, 8))
    assert list(found) == sorted(found, key=lambda name: -found[name])
    assert set(found) == {"a", "b"}


def test_a_word_that_translates_to_itself_alone_scores_as_in_bm25():
    pytest.importorskip("bm25s")
    queries = {"q": "cat city", "r": "dog"}
    found, plain = structured_queries(queries, CORPUS, {}), bm25(queries, CORPUS)
    for query in queries:
        assert found[query] == pytest.approx(plain[query], rel=1e-4)


def test_names_find_themselves_and_unknown_words_find_nothing():
    found = structured_queries({"q": "Nairobi", "r": "haipo", "s": ""}, CORPUS, TABLE)
    assert list(found["q"]) == ["c"]
    assert found["r"] == found["s"] == {}
    assert structured_queries({"q": "paka"}, {}, TABLE) == {"q": {}}
    assert structured_queries({"q": "paka"}, {"a": ""}, TABLE) == {"q": {}}


def test_fusion_adds_reciprocal_ranks():
    found = fused_by_rank([{"q": {"a": 9.0, "b": 1.0}}, {"q": {"b": 0.4}, "r": {"c": 1.0}}])
    assert found == {"q": {"b": 1 / 62 + 1 / 61, "a": 1 / 61}, "r": {"c": 1 / 61}}
    assert list(fused_by_rank([{"q": {"a": 2.0, "b": 1.0}}], k=1)["q"]) == ["a"]
