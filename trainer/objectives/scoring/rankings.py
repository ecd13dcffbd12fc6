"""Losses of a list of scores: how well it finds one document, how far it is from another list."""

from __future__ import annotations

import torch
import torch.nn.functional as functional


def ranking_cross_entropy(logits: torch.Tensor, wanted: torch.Tensor, excluded: torch.Tensor) -> torch.Tensor:
    """Cross entropy of finding one document among all, summed over the queries.

    Args:
        logits: (queries, documents).
        wanted: (queries,) int64, position of each query's document.
        excluded: (queries, documents) bool, documents that are not negatives of a query.
    """
    return functional.cross_entropy(logits.masked_fill(excluded, torch.finfo(logits.dtype).min), wanted, reduction="sum")


def ranking_divergence(wanted: torch.Tensor, logits: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """`KL(softmax(wanted) || softmax(logits))`, summed over the queries.

    Args:
        wanted: (queries, documents), the teacher's logits.
        logits: (queries, documents), the student's.
        mask: (queries, documents) bool, True = counts. None: all do.
    """
    if mask is not None:
        wanted = wanted.masked_fill(~mask, torch.finfo(wanted.dtype).min)
        logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    wanted, logits = wanted.log_softmax(1), logits.log_softmax(1)
    terms = wanted.exp() * (wanted - logits)
    return terms.sum() if mask is None else terms.masked_fill(~mask, 0).sum()
