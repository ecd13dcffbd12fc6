"""Dropout of a model in this process."""

from __future__ import annotations

import torch

from modeling_optical import OpticalModel


def set_dropout(model: OpticalModel, dropout: float | None) -> None:
    """Sets the probability of every dropout; the saved configuration keeps its values. None changes nothing."""
    if dropout is not None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
            elif isinstance(getattr(module, "dropout_prob", None), float):
                module.dropout_prob = dropout
