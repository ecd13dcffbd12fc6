"""Agreement of the student's and the teacher's rankings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..option_checks import check_positive, check_whole
from .objective import Objective, ObjectiveContext, Parts
from .scoring.gathering import count_rows, gather_vectors, process_count
from .scoring.rankings import ranking_divergence
from .scoring.scores import mean_maxsim


@dataclass(frozen=True)
class ScoreKLOptions:
    """Options of `score_kl`.

    Args:
        temperature: the scores, which lie in [-1, 1], are divided by it, on both sides.
        passages: file of passages in the teacher's language: a passage a line, or JSONL with the field `text`. None: the
            sources of the batch serve as passages.
        passages_per_step: number of passages drawn in every step.
    """

    temperature: float = 0.05
    passages: str | None = None
    passages_per_step: int = 64

    def __post_init__(self) -> None:
        check_positive(self.temperature, "temperature")
        check_whole(self.passages_per_step, "passages_per_step", 2)
        if self.passages is not None and not isinstance(self.passages, str):
            raise ValueError(f"passages is {self.passages!r}; it must be the path of a file, or null for the batch's sources.")


class ScoreKL(Objective):
    """The translation scores passages as the teacher scores them for the source; no passage is judged.

    `KL(p || q)` with `p = softmax(MaxSim(T_i, D) / (tokens * temperature))` of the teacher and q the same of the student, mean
    over the batch. The passages D are encoded by the frozen teacher: as documents where they are given (once, before
    training), else the batch's sources of all processes.
    Source: translate-distill (arXiv 2401.04810), with bitext instead of queries.
    """

    name = "score_kl"
    options_class = ScoreKLOptions

    def __init__(self, options: ScoreKLOptions, context: ObjectiveContext):
        super().__init__(options, context)
        self.options: ScoreKLOptions = options
        self.compares_texts = options.passages is None

    def forward(self, output: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[torch.Tensor, Parts]:
        teacher, teacher_mask = batch["teacher_vectors"], batch["teacher_mask"]
        if self.options.passages is None:
            sources = gather_vectors(teacher, teacher_mask)
            passages, passage_mask = sources.vectors, sources.mask
        else:
            passages, passage_mask = batch["passage_vectors"], batch["passage_mask"]
        with torch.no_grad():
            wanted = mean_maxsim(teacher, passages, teacher_mask, passage_mask) / self.options.temperature
        scores = mean_maxsim(output["token_vectors"], passages, output["token_mask"], passage_mask) / self.options.temperature
        loss = ranking_divergence(wanted, scores) * (process_count() / count_rows(teacher))
        return loss, {"score_kl": loss.detach()}
