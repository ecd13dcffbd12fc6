"""The mean of a model's weights at the start and after training (WiSE-FT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback


@torch.no_grad()
def interpolate(model: nn.Module, start: Mapping[str, torch.Tensor], share: float) -> None:
    """Replaces every weight of a model by `share * start + (1 - share) * own`, in place.

    Args:
        model: the trained one.
        start: name of a parameter to its value at the start, of the same shape, on any device.
        share: of the start.

    Raises:
        KeyError: if the start lacks a parameter of the model.
    """
    for name, parameter in model.named_parameters():
        parameter.lerp_(start[name].to(parameter), share)


class StartInterpolation(TrainerCallback):
    """Moves the trained weights back towards those at the start, when training ends.

    After the last update every weight becomes `share * start + (1 - share) * trained` (WiSE-FT; Wortsman et al., arXiv
    2109.01903; their alpha is `1 - share`). Such a mean may be better than both ends: it keeps much of the gain and restores
    much of the loss on texts that training does not see. Checkpoints hold the weights as trained, so that training goes on from
    them unchanged.

    Args:
        model: as training starts; a copy of its weights is kept in the memory of the CPU.
        share: of the start, above 0 and below 1.
    """

    def __init__(self, model: nn.Module, share: float):
        self.model = model
        self.share = share
        self.start = {name: parameter.detach().to("cpu", copy=True) for name, parameter in model.named_parameters()}

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Replaces the trained weights by the mean."""
        interpolate(self.model, self.start, self.share)
