"""Late interaction: `score(q, d) = sum_i max_j <q_i, d_j>` over unmasked tokens (ColBERT, arXiv 2004.12832)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.utils import logging


def maxsim(
    queries: torch.Tensor, documents: torch.Tensor, query_mask: torch.Tensor, document_mask: torch.Tensor
) -> torch.Tensor:
    """MaxSim of every query with every document.

    Args:
        queries: (queries, query tokens, dim).
        documents: (documents, document tokens, dim).
        query_mask: (queries, query tokens) bool, True = counts.
        document_mask: (documents, document tokens) bool.

    Returns:
        (queries, documents) scores, float32 for half precision input. A document without tokens scores 0 with every query.

    Raises:
        ValueError: if the dimensions differ.
    """
    queries, documents = _clean(queries, documents, query_mask, document_mask)
    with torch.autocast(queries.device.type, enabled=False):
        similarity = queries.flatten(0, 1) @ documents.flatten(0, 1).T
    similarity = similarity.view(*queries.shape[:2], *documents.shape[:2])
    best = similarity.masked_fill(~document_mask, torch.finfo(similarity.dtype).min).amax(3)
    counts = query_mask.unsqueeze(2) & document_mask.any(1)
    return torch.where(counts, best, 0).sum(1)


def maxsim_pairwise(
    queries: torch.Tensor, documents: torch.Tensor, query_mask: torch.Tensor, document_mask: torch.Tensor
) -> torch.Tensor:
    """MaxSim of query i with document i. Shapes as for `maxsim` with equal batches; returns (batch,)."""
    if queries.shape[0] != documents.shape[0]:
        raise ValueError(f"{queries.shape[0]} queries and {documents.shape[0]} documents cannot be paired.")
    queries, documents = _clean(queries, documents, query_mask, document_mask)
    with torch.autocast(queries.device.type, enabled=False):
        similarity = queries @ documents.transpose(1, 2)
    best = similarity.masked_fill(~document_mask.unsqueeze(1), torch.finfo(similarity.dtype).min).amax(2)
    return torch.where(query_mask & document_mask.any(1, keepdim=True), best, 0).sum(1)


def _clean(
    queries: torch.Tensor, documents: torch.Tensor, query_mask: torch.Tensor, document_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sides in one dtype of at least single precision, zero where masked."""
    if queries.shape[-1] != documents.shape[-1]:
        raise ValueError(
            f"query vectors have dimension {queries.shape[-1]}, document vectors {documents.shape[-1]}: "
            "they come from models that do not share a space."
        )
    dtype = torch.float64 if torch.float64 in (queries.dtype, documents.dtype) else torch.float32
    return (
        torch.where(query_mask.unsqueeze(2), queries, 0).to(dtype),
        torch.where(document_mask.unsqueeze(2), documents, 0).to(dtype),
    )


def pad_vectors(arrays: Sequence[Any], device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Stacks arrays of shape (tokens, dim) into (batch, tokens, dim) and the mask (batch, tokens)."""
    tensors = [torch.as_tensor(array) for array in arrays]
    lengths = torch.tensor([tensor.shape[0] for tensor in tensors])
    longest = max(int(lengths.max()), 1)
    padded = torch.zeros(len(tensors), longest, tensors[0].shape[1], dtype=tensors[0].dtype)
    for row, tensor in enumerate(tensors):
        padded[row, : tensor.shape[0]] = tensor
    mask = torch.arange(longest).unsqueeze(0) < lengths.unsqueeze(1)
    return padded.to(device), mask.to(device)


def search(
    queries: Sequence[Any],
    documents: Sequence[Any],
    k: int = 100,
    *,
    device: torch.device | str = "cpu",
    max_elements: int = 32_000_000,
    show_progress_bar: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact search: the k documents with the highest MaxSim for every query.

    Args:
        queries: arrays (tokens, dim), as `encode_queries` returns them.
        documents: arrays (tokens, dim), as `encode_documents` returns them.
        k: how many documents per query; at most all.
        device: where the products are computed.
        max_elements: bound on the similarities held at a time (4 bytes each), whatever the size of the collection.
        show_progress_bar: whether to show progress over blocks of documents.

    Returns:
        Scores (queries, k), best first, and the documents' positions (queries, k). Ties go to the earlier document.
    """
    if not len(queries) or not len(documents):
        raise ValueError("search needs at least one query and one document.")
    k = min(k, len(documents))
    order = sorted(range(len(documents)), key=lambda i: len(documents[i]))
    blocks = _blocks([len(documents[i]) for i in order], 4096)
    scores = torch.full((len(queries), len(documents)), 0.0)
    for start, stop in logging.tqdm(blocks, desc="Searching", unit="block", disable=not show_progress_bar):
        chosen = order[start:stop]
        block, mask = pad_vectors([documents[i] for i in chosen], device)
        tokens = block.shape[0] * block.shape[1]
        first = 0
        while first < len(queries):
            longest = max(len(queries[first]), 1)
            last = first + 1
            while last < len(queries):
                longest = max(longest, len(queries[last]))
                if (last + 1 - first) * longest * tokens > max_elements:
                    break
                last += 1
            group, group_mask = pad_vectors(queries[first:last], device)
            scores[first:last, torch.tensor(chosen)] = maxsim(group, block, group_mask, mask).float().cpu()
            first = last
    # A stable sort keeps the order of the collection among equal scores.
    ranked, positions = scores.sort(dim=1, descending=True, stable=True)
    return ranked[:, :k].contiguous(), positions[:, :k].contiguous()


def _blocks(lengths: list[int], max_tokens: int) -> list[tuple[int, int]]:
    """Ranges of consecutive documents, sorted by length, that hold at most `max_tokens` padded tokens each."""
    blocks, start = [], 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or (stop + 1 - start) * max(lengths[stop], 1) > max_tokens:
            blocks.append((start, stop))
            start = stop
    return blocks
