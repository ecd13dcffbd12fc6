"""The shape that all objectives have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

Parts = dict[str, torch.Tensor]


@dataclass(frozen=True)
class NoOptions:
    """Of an objective that has no options beside its weight."""


@dataclass(frozen=True)
class ObjectiveContext:
    """Information for building an objective.

    Attributes:
        dim: size of a token vector.
        languages: the student's languages, in the order of the batch's `language_ids`.
        seed: of its trainable weights.
    """

    dim: int
    languages: tuple[str, ...] = ()
    seed: int = 0


class Objective(nn.Module):
    """A training objective.

    Inputs of a call:

    | argument | what | shape |
    |---|---|---|
    | output | the student's output: `token_vectors`, `token_mask`; `loss`, `plan`, `pooled_vector` | (batch, tokens, dim) |
    | batch | the batch that the collator made: `teacher_vectors`, `teacher_mask`, … | (batch, teacher tokens, dim) |

    Returns a scalar, and its named parts for the log, detached.

    Over several processes the scalars are averaged, and so are the gradients. An objective is therefore the mean over its
    process's batch. Where the batches of all processes form one problem, it is its share of that problem times the number of
    processes.
    """

    name: ClassVar[str]
    options_class: ClassVar[type] = NoOptions
    needs_plan: ClassVar[bool] = False
    """Whether it reads `loss` or `plan`, so that the transport has to be solved."""
    needs_source_keys: ClassVar[bool] = False
    """Whether it reads `source_keys` of the batch."""
    needs_languages: ClassVar[bool] = False
    """Whether it reads `language_ids` of the batch."""
    needs_pooled: ClassVar[bool] = False
    """Whether it reads `pooled_vector` of the output and `teacher_pooled` of the batch."""
    compares_texts: bool = False
    """Whether its value depends on how many texts are in the batches of all processes, because it compares them."""

    def __init__(self, options: Any, context: ObjectiveContext):
        super().__init__()
        self.options = options

    def forward(self, output: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[torch.Tensor, Parts]:
        raise NotImplementedError


def masked_mean(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Means of the unmasked vectors in float32: (batch, tokens, dim) to (batch, dim); zero where nothing counts."""
    total = torch.where(mask.unsqueeze(2), vectors.float(), 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp_min(1)
