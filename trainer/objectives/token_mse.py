"""Squared error between token vectors that the transport plan brings together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .objective import Objective, Parts


class TokenMSE(Objective):
    """Squared error of each student token against what the plan sends to it (docs/method.md §4).

    The plan P with row marginal a gives each student token a target, the barycentric projection
    `T^_i = sum_j P_ij T_j / a_i` (Ferradans et al., arXiv 1307.5551). The loss is `sum_i a_i |H_i - T^_i|^2`, mean over the
    batch; the plan is held fixed. For unit vectors `sum_ij P_ij |H_i - T_j|^2` would be twice the transport loss and
    nothing new: this differs from it where a plan spreads a token over several, and equals it where the plan is one to one.
    """

    name = "token_mse"
    needs_plan = True

    def forward(self, output: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[torch.Tensor, Parts]:
        plan = output["plan"].plan
        mass = plan.sum(2)
        sent = torch.where(mass.unsqueeze(2) > 0, torch.bmm(plan, batch["teacher_vectors"].to(plan.dtype)), 0)
        targets = sent / mass.unsqueeze(2).clamp_min(torch.finfo(plan.dtype).tiny)
        distance = (output["token_vectors"].to(plan.dtype) - targets).square().sum(2)
        loss = (mass * distance).sum(1).mean()
        return loss, {"token_mse": loss.detach()}
