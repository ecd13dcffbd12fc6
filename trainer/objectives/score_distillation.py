"""The scores of a cross-encoder, or of any better ranker, over a query's own passages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..option_checks import check_positive
from .objective import Objective, ObjectiveContext, Parts
from .scoring.gathering import count_rows, process_count
from .scoring.rankings import ranking_divergence
from .scoring.scores import mean_maxsim_pairwise


@dataclass(frozen=True)
class ScoreDistillationOptions:
    """Options of `distillation` in retrieval training.

    Args:
        temperature: the model's scores, which lie in [-1, 1], are divided by it.
        teacher_temperature: the given scores are divided by it: 1 for a cross-encoder's logits, less for probabilities.
    """

    temperature: float = 0.05
    teacher_temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self.temperature, "temperature")
        check_positive(self.teacher_temperature, "teacher_temperature")


class ScoreDistillation(Objective):
    """`KL(p || q)` over a query's own passages (n-way), mean over the queries (ColBERTv2, arXiv 2112.01488).

    `p = softmax(scores / teacher_temperature)`, q the softmax of `MaxSim(q, d) / (tokens of q * temperature)`. Queries may have
    different numbers of passages.

    | output | what | shape |
    |---|---|---|
    | token_vectors, token_mask | of the queries | (queries, tokens, dim) |
    | passage_vectors, passage_mask | of all passages of the batch | (passages, tokens, dim) |

    | batch | what | shape |
    |---|---|---|
    | passage_owners | position of each passage's query | (passages,) |
    | passage_places | position of each passage among its query's | (passages,) |
    | passage_scores | given scores | (passages,) |
    """

    name = "distillation"
    options_class = ScoreDistillationOptions

    def __init__(self, options: ScoreDistillationOptions, context: ObjectiveContext):
        super().__init__(options, context)
        self.options: ScoreDistillationOptions = options

    def forward(self, output: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[torch.Tensor, Parts]:
        queries, owners, places = output["token_vectors"], batch["passage_owners"], batch["passage_places"]
        scores = mean_maxsim_pairwise(queries, output["passage_vectors"], output["token_mask"], output["passage_mask"], owners)
        shape = (queries.shape[0], int(places.max()) + 1)
        mask = torch.zeros(shape, dtype=torch.bool, device=queries.device)
        mask[owners, places] = True
        wanted = torch.zeros(shape, dtype=scores.dtype, device=queries.device)
        wanted[owners, places] = batch["passage_scores"].to(scores.dtype) / self.options.teacher_temperature
        logits = torch.zeros_like(wanted).index_put((owners, places), scores / self.options.temperature)
        loss = ranking_divergence(wanted, logits, mask) * (process_count() / count_rows(queries))
        return loss, {"distillation": loss.detach()}
