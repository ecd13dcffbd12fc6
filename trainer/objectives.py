"""What the student is trained for: each objective maps student and teacher tokens to a scalar."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from modeling_optical import OpticalModelOutput


class Objective(nn.Module):
    """A training objective.

    Inputs of a call:

    | argument | what | shape |
    |---|---|---|
    | output | the student's forward output: `token_vectors`, `token_mask`, `loss` (transport) | (batch, tokens, dim) |
    | batch | the batch that the collator made: `teacher_vectors`, `teacher_mask`, … | (batch, teacher tokens, dim) |

    Returns a scalar and its named parts for the log.
    """

    name: str

    def forward(self, output: OpticalModelOutput, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        raise NotImplementedError


class Transport(Objective):
    """The transport loss that `OpticalForDistillation` has computed (OPTICAL, arXiv 2301.12566; METHOD §2)."""

    name = "transport"

    def forward(self, output: OpticalModelOutput, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss, plan = output["loss"], output["plan"]
        return loss, {"transport": loss.detach(), "unconverged": (~plan.converged).float().mean()}


class PooledMSE(Objective):
    """Squared error between the means of the unit token vectors (Reimers & Gurevych, arXiv 2004.09813; METHOD §4).

    The squared Euclidean distance of the two means, averaged over the batch. The means go over the tokens that score.
    """

    name = "pooled_mse"

    def forward(self, output: OpticalModelOutput, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        student = _mean(output["token_vectors"], output["token_mask"])
        teacher = _mean(batch["teacher_vectors"], batch["teacher_mask"])
        loss = (student - teacher).square().sum(1).mean()
        return loss, {"pooled_mse": loss.detach()}


def _mean(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    total = torch.where(mask.unsqueeze(2), vectors.float(), 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp_min(1)


OBJECTIVES: dict[str, type[Objective]] = {cls.name: cls for cls in (Transport, PooledMSE)}


def build_objectives(weights: dict[str, float]) -> list[tuple[Objective, float]]:
    """Objectives with their weights; zero weights are left out.

    Raises:
        ValueError: for an unknown name, a weight below 0, or no weight above 0.
    """
    unknown = sorted(set(weights) - set(OBJECTIVES))
    if unknown:
        raise ValueError(f"unknown objective {unknown[0]!r}; known: {', '.join(OBJECTIVES)}.")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
            raise ValueError(f"the weight of objective {name!r} is {weight!r}; it must be a number of at least 0.")
    chosen = [(OBJECTIVES[name](), float(weight)) for name, weight in weights.items() if weight > 0]
    if not chosen:
        raise ValueError("no objective has a weight above 0.")
    return chosen
