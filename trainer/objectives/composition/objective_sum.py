"""The weighted sum of objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..objective import Objective, Parts
from .schedules import WeightSchedule

# Name of the sum on the student that it is attached to.
ATTACHED = "training_objectives"


class ObjectiveSum(nn.Module):
    """A weighted sum of objectives; weights may change from step to step.

    Some objectives have trainable weights (`language_adversary`). The sum is then attached to the student before it is wrapped
    for distribution, so the optimizer has these weights and they are synchronised between processes. The sum stays out of the
    student's `state_dict`: a checkpoint holds the student alone, and loading it does not need the sum. The sum's state is
    `sum.state_dict()`.

    Args:
        members: objectives with their weights.
    """

    def __init__(self, members: Sequence[tuple[Objective, WeightSchedule]]):
        super().__init__()
        self.members = nn.ModuleDict({objective.name: objective for objective, _ in members})
        self.weights = {objective.name: weight for objective, weight in members}
        self.register_load_state_dict_post_hook(_forget_attached)

    @property
    def objectives(self) -> list[Objective]:
        """The objectives, in the order given."""
        return list(self.members.values())  # type: ignore[arg-type]

    @property
    def needs_plan(self) -> bool:
        """Whether the transport has to be solved."""
        return any(objective.needs_plan for objective in self.objectives)

    @property
    def needs_source_keys(self) -> bool:
        """Whether the batch has to say which sources are the same."""
        return any(objective.needs_source_keys for objective in self.objectives)

    @property
    def needs_languages(self) -> bool:
        """Whether the batch has to say which language a text is in."""
        return any(objective.needs_languages for objective in self.objectives)

    @property
    def compares_texts(self) -> bool:
        """Whether the sum depends on how many texts are in the batches of all processes."""
        return any(objective.compares_texts for objective in self.objectives)

    @property
    def needs_pooled(self) -> bool:
        """Whether the models' pooled vectors are compared."""
        return any(objective.needs_pooled for objective in self.objectives)

    @property
    def has_weights(self) -> bool:
        """Whether an objective has trainable weights."""
        return any(True for _ in self.parameters())

    def forward(
        self, output: Mapping[str, Any], batch: Mapping[str, Any], step: int, total_steps: int
    ) -> tuple[torch.Tensor, Parts]:
        """The sum at a step, and the parts of all objectives, unweighted, for the log."""
        total = torch.zeros((), device=output["token_vectors"].device)
        parts: Parts = {}
        for objective in self.objectives:
            value, named = objective(output, batch)
            total = total + self.weights[objective.name].at(step, total_steps) * value
            parts |= named
        return total, parts

    def attach(self, student: nn.Module) -> None:
        """Makes the sum a part of the student if it has weights; what another run attached goes."""
        if hasattr(student, ATTACHED):
            delattr(student, ATTACHED)
        if self.has_weights:
            setattr(student, ATTACHED, self)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """The objectives' weights; nothing as part of the `state_dict` of the module that this is attached to."""
        if destination is not None:
            return destination
        return super().state_dict(*args, prefix=prefix, keep_vars=keep_vars)


def _forget_attached(module: nn.Module, incompatible_keys: Any) -> None:
    """Weights that were attached for training do not count as missing from a student's checkpoint."""
    kept = [key for key in incompatible_keys.missing_keys if ATTACHED not in key.split(".")]
    incompatible_keys.missing_keys[:] = kept
