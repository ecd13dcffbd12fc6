"""Squared error between the vectors that the models themselves give for whole texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as functional

from .objective import Objective, Parts


class PooledVectorMSE(Objective):
    """Squared error between the pooled vectors of student and teacher, both of unit length (cf. arXiv 2004.09813).

    The pooled vector is what a model scores whole texts by (`config.pooling_mode`, `encode_pooled`): a sentence encoder's, or
    that of CLIP's text tower, which its image vectors are compared with. `pooled_mse` compares means of token vectors instead
    and needs no pooling. The squared Euclidean distance, averaged over the batch; it is `2 - 2 cos`.
    """

    name = "pooled_vector_mse"
    needs_pooled = True

    def forward(self, output: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[torch.Tensor, Parts]:
        student = functional.normalize(output["pooled_vector"].float(), dim=-1)
        teacher = functional.normalize(batch["teacher_pooled"].float(), dim=-1)
        loss = (student - teacher).square().sum(1).mean()
        return loss, {"pooled_vector_mse": loss.detach()}
