"""Retrieval on held-out labelled queries, among the passages that come with them."""

from __future__ import annotations

from typing import Any

from modeling_optical import OpticalModel
from modeling_optical.evaluation import Collection, encode_corpus_in_memory, per_query, retrieve

_METRICS = {"RR@10": "rr_at_10", "nDCG@10": "ndcg_at_10", "Success@1": "success_at_1"}


def labelled_collection(examples: Any, name: str = "held_out_queries", language: str = "en") -> Collection:
    """Labelled examples as a collection: every query searches among all their passages.

    Args:
        examples: rows with `query`, `passages` (the positive first) and perhaps `known_positives`.
        name, language: of the collection.
    """
    places: dict[str, str] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for number in range(len(examples)):
        row = examples[number]
        known = row.get("known_positives") or ()
        for passage in (*row["passages"], *known):
            places.setdefault(passage, f"p{len(places)}")
        query = queries.setdefault(row["query"], f"q{len(queries)}")
        for passage in (row["passages"][0], *known):
            qrels.setdefault(query, {})[places[passage]] = 1
    return Collection(
        name, language, {key: text for text, key in places.items()}, {key: text for text, key in queries.items()}, qrels
    )


def labelled_retrieval(queries_model: OpticalModel, documents_model: OpticalModel, examples: Any) -> dict[str, float]:
    """RR@10, nDCG@10 and Success@1 of the queries of labelled examples among all passages of them.

    Args:
        queries_model: encodes the queries.
        documents_model: encodes the passages.
        examples: as for `labelled_collection`.
    """
    collection = labelled_collection(examples)
    run = retrieve(queries_model, collection.queries, encode_corpus_in_memory(documents_model, collection.corpus), k=10)
    values = per_query(collection.qrels, run, list(_METRICS))
    return {name: sum(values[metric].values()) / len(collection.queries) for metric, name in _METRICS.items()}
