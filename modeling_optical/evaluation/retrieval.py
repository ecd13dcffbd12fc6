"""Encode, search exactly, return a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import logging

from ..encoding.batching import batched
from ..late_interaction import TopDocuments, search
from ..text_encoding import TextEncoder
from .collections import Corpus

BLOCK = 10_000
"""Documents that `retrieve_streaming` holds as vectors at a time."""


@dataclass
class EncodedDocuments:
    """A corpus as token vectors: `ids` and `vectors` (tokens, dim) in the same order."""

    ids: list[str]
    vectors: list[Any]


def encode_corpus_in_memory(model: TextEncoder, corpus: Corpus, *, batch_size: int = 32) -> EncodedDocuments:
    """Encodes a corpus (document id to text) once, to be searched by several query encoders."""
    pairs = list(corpus.items())
    texts = [text for _, text in pairs]
    return EncodedDocuments([identifier for identifier, _ in pairs], model.encode_document(texts, batch_size=batch_size))


def retrieve(
    model: TextEncoder, queries: Mapping[str, str], documents: EncodedDocuments, *, k: int = 100, batch_size: int = 32
) -> dict[str, dict[str, float]]:
    """Exact MaxSim search.

    Args:
        model: encodes the queries.
        queries: query id to text.
        documents: the documents to search.
        k: documents per query.

    Returns:
        Query id to {document id: score}, best first.

    Raises:
        ValueError: if the two models' vectors differ in dimension.
    """
    _check_dimension(model, documents)
    vectors = model.encode_query(list(queries.values()), batch_size=batch_size)
    positions, scores = search(vectors, documents.vectors, k, device=model.device)
    return _run(queries, documents.ids, scores, positions)


def retrieve_streaming(
    queries_model: TextEncoder,
    queries: Mapping[str, str],
    documents_model: TextEncoder,
    corpus: Corpus,
    *,
    k: int = 100,
    batch_size: int = 32,
    block: int = BLOCK,
) -> dict[str, dict[str, float]]:
    """Exact MaxSim search in a corpus that need not fit in memory: encodes it block by block and keeps the best results.

    Args:
        queries_model: encodes the queries.
        queries: query id to text.
        documents_model: encodes the documents.
        corpus: the documents, read once.
        k: documents per query.
        batch_size: texts per batch.
        block: documents held as vectors at a time.

    Returns:
        What `retrieve` returns for the whole corpus.

    Raises:
        ValueError: if the two models' vectors differ in dimension.
    """
    vectors = queries_model.encode_query(list(queries.values()), batch_size=batch_size)
    kept = TopK(len(queries), k)
    for part in blocks(corpus, block):
        documents = encode_corpus_in_memory(documents_model, dict(part), batch_size=batch_size)
        _check_dimension(queries_model, documents)
        positions, scores = search(vectors, documents.vectors, k, device=queries_model.device)
        kept.add(documents.ids, scores, positions)
    return kept.run(queries)


def blocks(corpus: Corpus, size: int) -> Iterator[list[tuple[str, str]]]:
    """The corpus in lists of at most `size` documents, with progress."""
    with logging.tqdm(total=len(corpus), desc="Documents", unit="document", disable=len(corpus) <= size) as progress:
        for part in batched(corpus.items(), size):
            yield part
            progress.update(len(part))


class TopK:
    """The best documents per query over blocks that come one after the other. Ties go to the earlier document."""

    def __init__(self, queries: int, k: int):
        self._ids: list[str] = []
        self._best = TopDocuments(queries, k)

    def add(self, ids: list[str], scores: torch.Tensor, positions: torch.Tensor) -> None:
        """Takes a block's ids, and its best scores and their positions in it, both (queries, at most k), best first."""
        names, places = torch.unique(positions, return_inverse=True)
        known = self._ids + [ids[position] for position in names.tolist()]
        self._best.merge(scores.cpu().float(), places.cpu() + len(self._ids))
        # Only the ids of documents that are still among some query's best are kept.
        kept, self._best.positions = torch.unique(self._best.positions, return_inverse=True)
        self._ids = [known[position] for position in kept.tolist()]

    def run(self, queries: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """Query id to {document id: score}, best first."""
        return _run(queries, self._ids, self._best.scores, self._best.positions)


def _run(
    queries: Mapping[str, str], ids: list[str], scores: torch.Tensor, positions: torch.Tensor
) -> dict[str, dict[str, float]]:
    return {
        query: {ids[p]: s for p, s in zip(row_positions, row_scores, strict=True)}
        for query, row_positions, row_scores in zip(queries, positions.tolist(), scores.tolist(), strict=True)
    }


def _check_dimension(model: TextEncoder, documents: EncodedDocuments) -> None:
    if documents.vectors and documents.vectors[0].shape[1] != model.config.vector_dim:
        raise ValueError(
            f"the query model has token vectors of dimension {model.config.vector_dim}, the documents of "
            f"{documents.vectors[0].shape[1]}: they were encoded by a model that does not share its space."
        )
