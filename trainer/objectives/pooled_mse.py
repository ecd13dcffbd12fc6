"""Squared error between pooled vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .objective import Objective, Parts, masked_mean


class PooledMSE(Objective):
    """Squared error between the means of the unit token vectors (Reimers & Gurevych, arXiv 2004.09813; docs/method.md §4).

    The squared Euclidean distance of the two means, averaged over the batch. The means go over the tokens that score.
    """

    name = "pooled_mse"

    def forward(self, output: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[torch.Tensor, Parts]:
        student = masked_mean(output["token_vectors"], output["token_mask"])
        teacher = masked_mean(batch["teacher_vectors"], batch["teacher_mask"])
        loss = (student - teacher).square().sum(1).mean()
        return loss, {"pooled_mse": loss.detach()}
