"""The transport loss (OPTICAL)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .objective import Objective, Parts


class Transport(Objective):
    """The transport cost between student and teacher tokens (OPTICAL, arXiv 2301.12566; docs/method.md §2).

    `<P, C>` with `C = 1 - H T'` and the plan held fixed, mean over the batch. The student's forward has computed it, by the
    options in its configuration.
    """

    name = "transport"
    needs_plan = True

    def forward(self, output: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[torch.Tensor, Parts]:
        loss, plan = output["loss"], output["plan"]
        return loss, {"transport": loss.detach(), "unconverged": (~plan.converged).float().mean()}
