"""Dense layers between hidden states and vectors, for checkpoints that have more than one linear map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


class DenseLayer(nn.Module):
    """A linear map, an activation and, where asked for, a residual connection, projected if the sizes differ.

    Args:
        in_features: size of the input.
        out_features: size of the output.
        bias: whether the linear map has a bias; the residual map never has.
        activation: name of a class of `torch.nn` that takes no arguments, for instance `"Tanh"`.
        residual: whether the input is added to the output.

    Raises:
        ValueError: if `torch.nn` has no such activation.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool, activation: str, residual: bool):
        super().__init__()
        activation_class = getattr(nn, activation, None)
        if activation_class is None or not issubclass(activation_class, nn.Module):
            raise ValueError(f"activation {activation!r} is not a class of torch.nn, such as 'Identity' or 'Tanh'.")
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation = activation_class()
        self.residual = nn.Linear(in_features, out_features, bias=False) if residual and in_features != out_features else None
        self.adds_input = residual

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, in_features) to (…, out_features)."""
        output = self.activation(self.linear(hidden))
        if not self.adds_input:
            return output
        return output + (hidden if self.residual is None else self.residual(hidden))


def dense_layers(in_features: int, layers: Sequence[dict[str, Any]]) -> nn.Sequential:
    """The layers of `OpticalConfig.projection_layers` or `pooled_layers`, one after the other."""
    modules = []
    for layer in layers:
        modules.append(DenseLayer(in_features, **layer))
        in_features = layer["out_features"]
    return nn.Sequential(*modules)


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor, mode: str) -> torch.Tensor:
    """One vector per text from its hidden states: (batch, tokens, hidden) and (batch, tokens) to (batch, hidden).

    Args:
        hidden: hidden states.
        attention_mask: non-zero where a token counts.
        mode: `"mean"`, `"cls"` (the first token that counts), `"last"` (the last one that counts) or `"max"`.
    """
    mask = attention_mask.bool().unsqueeze(2)
    if mode in ("cls", "last"):
        counting = attention_mask.bool().int()
        place = counting.argmax(1) if mode == "cls" else counting.shape[1] - 1 - counting.flip(1).argmax(1)
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), place]
    if mode == "max":
        return hidden.masked_fill(~mask, torch.finfo(hidden.dtype).min).amax(1)
    total = torch.where(mask, hidden, 0).sum(1)
    return total / mask.sum(1).clamp_min(1)
