"""Vectors that do not tell their language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

from ..option_checks import check_positive, check_whole
from .objective import Objective, ObjectiveContext, Parts, masked_mean


@dataclass(frozen=True)
class LanguageAdversaryOptions:
    """Options of `language_adversary`.

    Args:
        hidden_size: of the classifier's one hidden layer; 0 for a linear classifier.
        reversal: strength of the reversed gradient, relative to what the classifier itself learns with.
    """

    hidden_size: int = 128
    reversal: float = 1.0

    def __post_init__(self) -> None:
        check_whole(self.hidden_size, "hidden_size", 0)
        check_positive(self.reversal, "reversal")


class LanguageAdversary(Objective):
    """A classifier learns to tell languages from pooled vectors, and the student learns to defeat it.

    The classes are the student's languages and the teacher's; the classifier sees the mean unit token vector. Its loss is the
    cross entropy, mean over both sides of the batch. The gradient that reaches the student is reversed (Ganin & Lempitsky,
    arXiv 1409.7495; for languages Chen et al., arXiv 1606.01614). The classifier's weights are trained, checkpointed with the
    run, and never saved with the student.
    """

    name = "language_adversary"
    options_class = LanguageAdversaryOptions
    needs_languages = True

    def __init__(self, options: LanguageAdversaryOptions, context: ObjectiveContext):
        super().__init__(options, context)
        self.options: LanguageAdversaryOptions = options
        if not context.languages:
            raise ValueError("objectives.language_adversary needs to know the languages: give the bitext a column `language`.")
        classes = len(context.languages) + 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            if options.hidden_size:
                layers = [nn.Linear(context.dim, options.hidden_size), nn.ReLU(), nn.Linear(options.hidden_size, classes)]
            else:
                layers = [nn.Linear(context.dim, classes)]
            self.classifier = nn.Sequential(*layers)

    def forward(self, output: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[torch.Tensor, Parts]:
        student = masked_mean(output["token_vectors"], output["token_mask"])
        teacher = masked_mean(batch["teacher_vectors"], batch["teacher_mask"])
        # Class 0 is the teacher's language.
        languages = torch.cat([torch.zeros_like(batch["language_ids"]), batch["language_ids"] + 1])
        reversed_student = _ReverseGradient.apply(student, self.options.reversal)
        logits = self.classifier(torch.cat([teacher, reversed_student])).float()
        loss = functional.cross_entropy(logits, languages)
        told = (logits.argmax(1) == languages).float().mean()
        return loss, {"language_adversary": loss.detach(), "language_accuracy": told}


class _ReverseGradient(torch.autograd.Function):
    """The identity, whose gradient changes its sign."""

    @staticmethod
    def forward(ctx: Any, vectors: torch.Tensor, strength: float) -> torch.Tensor:
        ctx.strength = strength
        return vectors.view_as(vectors)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.strength * grad_outputs[0], None
