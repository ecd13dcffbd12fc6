"""A query finds its positive passage among hard negatives and the passages of the other queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..option_checks import check_flag, check_positive
from .objective import Objective, ObjectiveContext, Parts
from .scoring.gathering import count_rows, gather_rows, gather_vectors, process_count
from .scoring.rankings import ranking_cross_entropy
from .scoring.scores import mean_maxsim


@dataclass(frozen=True)
class PassageContrastiveOptions:
    """Options of `contrastive` in retrieval training.

    Args:
        temperature: the scores, which lie in [-1, 1], are divided by it. ColBERT's plain sum over 32 query tokens is 1 / 32.
        in_batch: whether the other queries' passages, of all processes, are negatives, too (ColBERTv2, arXiv 2112.01488). If
            not, only the query's own are (ColBERT, arXiv 2004.12832).
    """

    temperature: float = 0.05
    in_batch: bool = True

    def __post_init__(self) -> None:
        check_positive(self.temperature, "temperature")
        check_flag(self.in_batch, "in_batch")


class PassageContrastive(Objective):
    """Cross entropy over `MaxSim(q, d) / (tokens of q * temperature)` of a query's positive passage.

    Passages that are known to be relevant to a query are never its negatives, whichever query brought them.

    | output | what | shape |
    |---|---|---|
    | token_vectors, token_mask | of the queries | (queries, tokens, dim) |
    | passage_vectors, passage_mask | of all passages of the batch | (passages, tokens, dim) |

    | batch | what | shape |
    |---|---|---|
    | positive_rows | position of each query's positive among the passages | (queries,) |
    | passage_owners | position of each passage's query | (passages,) |
    | passage_keys | a number that stands for the passage's text | (passages,) |
    | positive_keys | numbers of all texts known to be relevant, filled up with the positive's | (queries, most) |
    """

    name = "contrastive"
    options_class = PassageContrastiveOptions

    def __init__(self, options: PassageContrastiveOptions, context: ObjectiveContext):
        super().__init__(options, context)
        self.options: PassageContrastiveOptions = options
        self.compares_texts = options.in_batch

    def forward(self, output: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[torch.Tensor, Parts]:
        queries, query_mask = output["token_vectors"], output["token_mask"]
        vectors, mask = output["passage_vectors"], output["passage_mask"]
        keys, own = batch["passage_keys"], batch["positive_rows"]
        rows = torch.arange(queries.shape[0], device=queries.device)
        if self.options.in_batch:
            passages = gather_vectors(vectors, mask)
            vectors, mask, keys, own = passages.vectors, passages.mask, gather_rows(keys), own + passages.first
        excluded = (keys[None, :, None] == batch["positive_keys"][:, None, :]).any(2)
        if not self.options.in_batch:
            excluded |= batch["passage_owners"].unsqueeze(0) != rows.unsqueeze(1)
        excluded[rows, own] = False
        logits = mean_maxsim(queries, vectors, query_mask, mask) / self.options.temperature
        loss = ranking_cross_entropy(logits, own, excluded) * (process_count() / count_rows(queries))
        found = (logits.masked_fill(excluded, torch.finfo(logits.dtype).min).argmax(1) == own).float().mean()
        return loss, {"contrastive": loss.detach(), "contrastive_accuracy": found}
