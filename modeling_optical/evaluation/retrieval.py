"""Encode, search exactly, return a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..late_interaction import search
from ..modeling_optical import OpticalModel


@dataclass
class EncodedDocuments:
    """A corpus as token vectors: `ids` and `vectors` (tokens, dim) in the same order."""

    ids: list[str]
    vectors: list[Any]


def encode_documents(model: OpticalModel, corpus: Mapping[str, str], *, batch_size: int = 32) -> EncodedDocuments:
    """Encodes a corpus (document id to text) once, to be searched by several query encoders."""
    return EncodedDocuments(list(corpus), model.encode_documents(list(corpus.values()), batch_size=batch_size))


def retrieve(
    model: OpticalModel, queries: Mapping[str, str], documents: EncodedDocuments, *, k: int = 100, batch_size: int = 32
) -> dict[str, dict[str, float]]:
    """Exact MaxSim search.

    Args:
        model: encodes the queries.
        queries: query id to text.
        documents: what is searched.
        k: documents per query.

    Returns:
        Query id to {document id: score}, best first.

    Raises:
        ValueError: if the two models' vectors differ in dimension.
    """
    if documents.vectors and documents.vectors[0].shape[1] != model.config.vector_dim:
        raise ValueError(
            f"the query model has token vectors of dimension {model.config.vector_dim}, the documents of "
            f"{documents.vectors[0].shape[1]}: they were encoded by a model that does not share its space."
        )
    vectors = model.encode_queries(list(queries.values()), batch_size=batch_size)
    scores, positions = search(vectors, documents.vectors, k, device=model.device)
    return {
        query: {documents.ids[p]: s for p, s in zip(row_positions, row_scores, strict=True)}
        for query, row_positions, row_scores in zip(queries, positions.tolist(), scores.tolist(), strict=True)
    }
