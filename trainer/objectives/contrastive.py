"""In-batch InfoNCE on MaxSim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..option_checks import check_flag, check_positive
from .objective import Objective, ObjectiveContext, Parts
from .scoring.gathering import gather_rows, gather_vectors, process_count
from .scoring.rankings import ranking_cross_entropy
from .scoring.scores import mean_maxsim


@dataclass(frozen=True)
class ContrastiveOptions:
    """Options of `contrastive`.

    Args:
        temperature: the scores, which lie in [-1, 1], are divided by it.
        bidirectional: also find the translation of every source among all translations; the mean of both directions.
    """

    temperature: float = 0.05
    bidirectional: bool = False

    def __post_init__(self) -> None:
        check_positive(self.temperature, "temperature")
        check_flag(self.bidirectional, "bidirectional")


class Contrastive(Objective):
    """Every translation finds its source among the sources of the batch (InfoNCE, van den Oord et al., arXiv 1807.03748).

    Cross entropy over `MaxSim(H_i, T_j) / (tokens of i * temperature)`, over the sources of all processes, which are gathered.
    A source that appears twice in the batch is not a negative of itself.
    """

    name = "contrastive"
    options_class = ContrastiveOptions
    needs_source_keys = True
    compares_texts = True

    def __init__(self, options: ContrastiveOptions, context: ObjectiveContext):
        super().__init__(options, context)
        self.options: ContrastiveOptions = options

    def forward(self, output: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[torch.Tensor, Parts]:
        student, student_mask = output["token_vectors"], output["token_mask"]
        teacher, teacher_mask = batch["teacher_vectors"], batch["teacher_mask"]
        keys = gather_rows(batch["source_keys"])
        sources = gather_vectors(teacher, teacher_mask)
        own = torch.arange(student.shape[0], device=student.device) + sources.first
        repeated = keys[own].unsqueeze(1) == keys.unsqueeze(0)
        repeated[torch.arange(len(own), device=own.device), own] = False

        logits = mean_maxsim(student, sources.vectors, student_mask, sources.mask) / self.options.temperature
        losses = ranking_cross_entropy(logits, own, repeated)
        if self.options.bidirectional:
            students = gather_vectors(student, student_mask)
            columns = mean_maxsim(students.vectors, teacher, students.mask, teacher_mask).T / self.options.temperature
            losses = (losses + ranking_cross_entropy(columns, own, repeated)) / 2
        # The mean over all processes' texts, so divided by their number after the average over processes.
        loss = losses * (process_count() / len(keys))
        found = (logits.masked_fill(repeated, torch.finfo(logits.dtype).min).argmax(1) == own).float().mean()
        return loss, {"contrastive": loss.detach(), "contrastive_accuracy": found}
