"""MaxSim scores as logits."""

from __future__ import annotations

import torch
from torch.utils.checkpoint import checkpoint

from modeling_optical.late_interaction import maxsim, maxsim_pairwise

# Similarities held at a time; beyond, the scores of a block of queries are computed again in the backward pass.
_MOST_SIMILARITIES = 2**27


def mean_maxsim(
    queries: torch.Tensor,
    documents: torch.Tensor,
    query_mask: torch.Tensor,
    document_mask: torch.Tensor,
    most_similarities: int = _MOST_SIMILARITIES,
) -> torch.Tensor:
    """MaxSim divided by the number of query tokens, so that a temperature means the same for short and long queries.

    Args:
        queries: (queries, query tokens, dim) unit vectors.
        documents: (documents, document tokens, dim) unit vectors.
        query_mask: (queries, query tokens) bool.
        document_mask: (documents, document tokens) bool.
        most_similarities: bound on the similarities held at a time, forward and backward.

    Returns:
        (queries, documents) in [-1, 1], float32.
    """
    counts = query_mask.sum(1, keepdim=True).clamp_min(1)
    each = max(queries.shape[1] * documents.shape[0] * documents.shape[1], 1)
    block = max(most_similarities // each, 1)
    if queries.shape[0] <= block:
        return maxsim(queries, documents, query_mask, document_mask) / counts
    parts = [
        checkpoint(maxsim, queries[i : i + block], documents, query_mask[i : i + block], document_mask, use_reentrant=False)
        for i in range(0, queries.shape[0], block)
    ]
    return torch.cat(parts) / counts


def mean_maxsim_pairwise(
    queries: torch.Tensor,
    documents: torch.Tensor,
    query_mask: torch.Tensor,
    document_mask: torch.Tensor,
    owners: torch.Tensor,
    most_similarities: int = _MOST_SIMILARITIES,
) -> torch.Tensor:
    """MaxSim of every document with the one query that it belongs to, divided by the query's tokens.

    Args:
        queries, documents, query_mask, document_mask, most_similarities: as for `mean_maxsim`.
        owners: (documents,) int64, position of each document's query.

    Returns:
        (documents,) in [-1, 1], float32.
    """
    counts = query_mask.sum(1).clamp_min(1)[owners]
    block = max(most_similarities // max(queries.shape[1] * documents.shape[1], 1), 1)

    def score(own: torch.Tensor, block_documents: torch.Tensor, block_mask: torch.Tensor) -> torch.Tensor:
        return maxsim_pairwise(queries[own], block_documents, query_mask[own], block_mask)

    if len(owners) <= block:
        return score(owners, documents, document_mask) / counts
    parts = [
        checkpoint(score, owners[i : i + block], documents[i : i + block], document_mask[i : i + block], use_reentrant=False)
        for i in range(0, len(owners), block)
    ]
    return torch.cat(parts) / counts
