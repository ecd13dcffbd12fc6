"""Late interaction: `score(q, d) = sum_i max_j <q_i, d_j>` over unmasked tokens (ColBERT, arXiv 2004.12832)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as functional
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
    _check_dimensions(queries, documents)
    dtype = torch.float64 if torch.float64 in (queries.dtype, documents.dtype) else torch.float32
    return (
        torch.where(query_mask.unsqueeze(2), queries, 0).to(dtype),
        torch.where(document_mask.unsqueeze(2), documents, 0).to(dtype),
    )


def _check_dimensions(queries: torch.Tensor, documents: torch.Tensor) -> None:
    if queries.shape[-1] != documents.shape[-1]:
        raise ValueError(
            f"query vectors have dimension {queries.shape[-1]}, document vectors {documents.shape[-1]}: "
            "they come from models that do not share a space."
        )


def ragged_maxsim(
    queries: torch.Tensor,
    query_lengths: Sequence[int],
    documents: torch.Tensor,
    document_lengths: Sequence[int],
    *,
    document_scales: torch.Tensor | None = None,
    max_elements: int | None = None,
) -> torch.Tensor:
    """MaxSim of every query with every document, without padding: texts stand one after the other.

    Fast where neighbouring documents are equally long, because their maxima are then one reduction; sort by length first.

    Args:
        queries: (query tokens of all queries, dim).
        query_lengths: tokens of each query.
        documents: (document tokens of all documents, dim), of any dtype; converted block by block.
        document_lengths: tokens of each document.
        document_scales: (document tokens,) what each vector is multiplied by, for vectors stored as whole numbers. None: 1.
        max_elements: bound on the similarities held at a time (at least those of one query with one document). None: what stays
            in the cache of a CPU core, and 32 million on an accelerator.

    Returns:
        (queries, documents) scores, float32 (float64 if a side is). A document without tokens scores 0 with every query.

    Raises:
        ValueError: if the dimensions differ.
    """
    _check_dimensions(queries, documents)
    dtype = torch.float64 if torch.float64 in (queries.dtype, documents.dtype) else torch.float32
    if max_elements is None:
        # Measured: from 2 MiB of similarities on, a CPU core waits for memory and takes twice as long.
        max_elements = 400_000 if queries.device.type == "cpu" else 32_000_000
    block_tokens = max(max_elements // max(len(queries), 1), min(1024, max_elements))
    if queries.device.type == "cpu":
        # Also measured: up to 2 MiB, converted documents are read back from the cache; beyond, it takes three times as long.
        block_tokens = min(block_tokens, max(524_288 // documents.shape[1], 1))
    scores = torch.zeros(len(document_lengths), len(query_lengths), dtype=dtype, device=queries.device)
    transposed = queries.to(dtype).T
    first_document = first_token = 0
    with torch.autocast(queries.device.type, enabled=False):
        for runs in _blocks(document_lengths, block_tokens):
            tokens = sum(count * length for count, length in runs)
            block = documents[first_token : first_token + tokens].to(dtype)
            scales = None if document_scales is None else document_scales[first_token : first_token + tokens].to(dtype)
            place = scores[first_document : first_document + sum(count for count, _ in runs)]
            first_query = first_column = 0
            for chunk in _query_chunks(query_lengths, max_elements // max(tokens, 1)):
                columns = transposed[:, first_column : first_column + sum(chunk)]
                if queries.device.type == "cpu":
                    # Measured: 31 columns take a core twice as long as 32.
                    columns = functional.pad(columns, (0, -columns.shape[1] % 8))
                similarity = block @ columns
                if scales is not None:
                    similarity *= scales.unsqueeze(1)
                place[:, first_query : first_query + len(chunk)] = _block_scores(similarity, runs, chunk)
                first_query += len(chunk)
                first_column += sum(chunk)
            first_document += len(place)
            first_token += tokens
    return scores.T


def _block_scores(similarity: torch.Tensor, runs: list[tuple[int, int]], query_lengths: list[int]) -> torch.Tensor:
    """Scores (documents, queries) from similarities (document tokens, query tokens and columns that do not count)."""
    best, first = [], 0
    for count, length in runs:
        if length == 0:
            best.append(similarity.new_zeros(count, similarity.shape[1]))
            continue
        run = similarity[first : first + count * length]
        best.append(run.view(count, length, -1).amax(1) if run.shape[1] else run.new_zeros(count, 0))
        first += count * length
    maxima = best[0] if len(best) == 1 else torch.cat(best)
    return torch.stack([part.sum(1) for part in maxima[:, : sum(query_lengths)].split(query_lengths, 1)], 1)


def _blocks(lengths: Sequence[int], max_tokens: int) -> Iterator[list[tuple[int, int]]]:
    """Consecutive documents as runs (documents, length of each), in blocks of up to `max_tokens` tokens."""
    block: list[tuple[int, int]] = []
    room = max_tokens
    for length, group in groupby(lengths):
        left = sum(1 for _ in group)
        while left:
            count = left if length == 0 else min(left, room // length)
            if count == 0 and block:
                yield block
                block, room = [], max_tokens
                continue
            count = max(count, 1)  # a document longer than a block makes a separate block
            block.append((count, length))
            room -= count * length
            left -= count
    if block:
        yield block


def _query_chunks(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Lengths of consecutive queries, in chunks of up to `max_tokens` tokens and at least one query."""
    chunk: list[int] = []
    for length in lengths:
        if chunk and sum(chunk) + length > max_tokens:
            yield chunk
            chunk = []
        chunk.append(length)
    if chunk:
        yield chunk


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


class TopDocuments:
    """The k best documents of each query so far. Fed block by block; ties go to the document that came first.

    Args:
        queries: how many queries.
        k: how many documents are kept for each.
    """

    def __init__(self, queries: int, k: int):
        self.k = k
        self.scores = torch.empty(queries, 0)
        self.positions = torch.empty(queries, 0, dtype=torch.long)

    def update(self, scores: torch.Tensor, first: int) -> None:
        """Takes in scores (queries, documents) of the documents at positions `first`, `first + 1`, …; -inf leaves one out."""
        # Stable sorts keep the order of the collection among equal scores.
        ranked, order = scores.sort(dim=1, descending=True, stable=True)
        self.merge(ranked[:, : self.k].cpu(), order[:, : self.k].cpu() + first)

    def merge(self, scores: torch.Tensor, positions: torch.Tensor) -> None:
        """Takes in the best of some documents, ranked already: scores and positions (queries, at most k), on the CPU.

        Raises:
            ValueError: for a score that is not a number.
        """
        wrong = scores.isnan() | (scores == math.inf)
        if bool(wrong.any()):
            query, place = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"the score of query {query} and document {int(positions[query, place])} is {float(scores[query, place])}: the "
                "vectors of one of them are not finite numbers. Encode it again with a model whose weights are whole."
            )
        merged, kept = torch.cat([self.scores, scores], 1).sort(dim=1, descending=True, stable=True)
        self.scores = merged[:, : self.k].contiguous()
        self.positions = torch.cat([self.positions, positions], 1).gather(1, kept[:, : self.k])


def search(
    queries: Sequence[Any],
    documents: Sequence[Any],
    k: int = 100,
    *,
    device: torch.device | str = "cpu",
    max_elements: int | None = None,
    show_progress_bar: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact search: the k documents with the highest MaxSim for every query.

    Args:
        queries: arrays (tokens, dim), as `encode_query` returns them.
        documents: arrays (tokens, dim), as `encode_document` returns them.
        k: how many documents per query; at most all.
        device: where the products are computed.
        max_elements: bound on the similarities held at a time (4 bytes each), whatever the size of the collection; see
            `ragged_maxsim`.
        show_progress_bar: whether to show progress over the documents.

    Returns:
        The documents' positions (queries, k), best first, and their scores (queries, k). Ties go to the earlier document.
    """
    if not len(queries) or not len(documents):
        raise ValueError("search needs at least one query and one document.")
    k = min(k, len(documents))
    query_lengths = [len(query) for query in queries]
    query_tokens = torch.cat([torch.as_tensor(query) for query in queries]).to(device)
    best = TopDocuments(len(queries), k)
    with logging.tqdm(total=len(documents), desc="Searching", unit="document", disable=not show_progress_bar) as bar:
        for first, last in _windows([len(document) for document in documents], _WINDOW_TOKENS):
            order = sorted(range(first, last), key=lambda i: len(documents[i]))
            window = torch.cat([torch.as_tensor(documents[i]) for i in order]).to(device)
            lengths = [len(documents[i]) for i in order]
            scores = ragged_maxsim(query_tokens, query_lengths, window, lengths, max_elements=max_elements)
            places = torch.tensor(order, device=scores.device) - first
            best.update(torch.empty_like(scores).index_copy_(1, places, scores).float(), first)
            bar.update(last - first)
    return best.positions, best.scores


# Documents that `search` sorts by length and multiplies together: enough for long runs, and little memory.
_WINDOW_TOKENS = 65_536


def _windows(lengths: list[int], max_tokens: int) -> Iterator[tuple[int, int]]:
    """Ranges of consecutive documents of up to `max_tokens` tokens and 16,384 documents."""
    start = tokens = 0
    for position, length in enumerate(lengths):
        if position > start and (tokens + length > max_tokens or position - start == 16_384):
            yield start, position
            start, tokens = position, 0
        tokens += length
    yield start, len(lengths)
