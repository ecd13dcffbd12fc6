"""A moving average of the student, on whose vectors the transport plan may be solved (docs/method.md §3, `plan_from: ema`)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback

from modeling_optical import OpticalForDistillation


class MovingAverage:
    """An exponential moving average of a student's weights (mean teacher; Tarvainen & Valpola, arXiv 1703.01780).

    After update t the average becomes `d * average + (1 - d) * student` with `d = min(decay, (1 + t) / (10 + t))`, so that it
    follows the first updates. It is in eval mode and has no gradient.

    Args:
        student: the student before training.
        decay: of the average, per update.
    """

    def __init__(self, student: OpticalForDistillation, decay: float):
        self.decay = decay
        self.model = copy.deepcopy(student).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, student: OpticalForDistillation, step: int) -> None:
        """Moves towards the student after update `step` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own = self.model.state_dict()
        for name, value in student.state_dict().items():
            if own[name].is_floating_point():
                own[name].lerp_(value.to(own[name]), 1 - decay)
            else:
                own[name].copy_(value)

    @torch.no_grad()
    def token_vectors(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(batch, tokens, dim), unit vectors of the batch's texts."""
        names = ("input_ids", "attention_mask", "token_mask", "content_mask")
        # Without teacher vectors it solves nothing; the weights of tokens are the student's affair.
        weights = torch.ones(batch["input_ids"].shape, device=batch["input_ids"].device)
        return self.model(**{name: batch[name] for name in names if name in batch}, token_weights=weights).token_vectors


class MovingAverageCallback(TrainerCallback):
    """Updates a moving average after every update of the student."""

    def __init__(self, average: MovingAverage, student: OpticalForDistillation):
        self.average = average
        self.student = student

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.average.update(self.student, state.global_step)
