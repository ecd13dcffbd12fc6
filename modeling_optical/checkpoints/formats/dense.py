"""Dense modules of sentence-transformers and PyLate folders, and our layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ...dense_layers import DenseLayer
from ..files import CheckpointFiles


class DenseModule:
    """One `Dense` module of a folder: its configuration in our words, and its weights.

    Args:
        files: the checkpoint.
        folder: the module's folder in it, for instance `1_Dense`.

    Raises:
        ValueError: if the configuration is missing or its sizes and the weights' differ.
    """

    def __init__(self, files: CheckpointFiles, folder: str):
        config = files.json(f"{folder}/config.json")
        if config is None or "in_features" not in config or "out_features" not in config:
            raise ValueError(f"{files.name!r}: {folder}/config.json with in_features and out_features is missing.")
        self.folder = folder
        self.in_features, self.out_features = config["in_features"], config["out_features"]
        # Both packages' constructors: a bias, and sentence-transformers' Tanh, unless the file says otherwise.
        self.layer = {
            "out_features": self.out_features,
            "bias": config.get("bias", True),
            "activation": config.get("activation_function", "Tanh").rsplit(".", 1)[-1],
            "residual": config.get("use_residual", False),
        }
        self.input_name = config.get("module_input_name")
        self.weights = files.weights(folder)
        weight = self.weights.get("linear.weight")
        if weight is None or tuple(weight.shape) != (self.out_features, self.in_features):
            shape = "no linear.weight" if weight is None else f"a linear.weight of shape {tuple(weight.shape)}"
            raise ValueError(
                f"{files.name!r}: {folder} has {shape}, its config.json asks for ({self.out_features}, {self.in_features})."
            )

    @property
    def is_plain(self) -> bool:
        """Whether it is a linear map without bias, activation and residual: ColBERT's projection."""
        return not self.layer["bias"] and self.layer["activation"] == "Identity" and not self.layer["residual"]


def projection_values(modules: list[DenseModule]) -> dict[str, Any]:
    """`embedding_dim` or `projection_layers` of `OpticalConfig` for these modules, one after the other."""
    if not modules:
        return {"embedding_dim": None}
    if len(modules) == 1 and modules[0].is_plain:
        return {"embedding_dim": modules[0].out_features}
    return {"projection_layers": [module.layer for module in modules]}


def check_chain(name: str, hidden_size: int, modules: list[DenseModule]) -> None:
    """Whether each module takes what the one before gives.

    Raises:
        ValueError: naming the module and both sizes.
    """
    size = hidden_size
    for module in modules:
        if module.in_features != size:
            raise ValueError(
                f"{name!r}: {module.folder} takes vectors of dimension {module.in_features}, but gets {size}. "
                "The folder mixes modules of different models."
            )
        size = module.out_features


@torch.no_grad()
def fill(target: nn.Module | None, modules: list[DenseModule]) -> None:
    """Copies the modules' weights into a model's projection."""
    if isinstance(target, nn.Linear):
        target.weight.copy_(modules[0].weights["linear.weight"])
    elif target is not None:
        for layer, module in zip(target.children(), modules, strict=True):
            layer.load_state_dict(module.weights)


def dense_folders(projection: nn.Module | None) -> list[tuple[dict[str, Any], dict[str, torch.Tensor], str]]:
    """Configuration, weights and folder (`1_Dense` …) of each layer of a projection, as `Dense` modules have them."""
    if projection is None:
        return []
    if isinstance(projection, nn.Linear):
        return [(_dense_config(projection, "Identity", False), {"linear.weight": _plain(projection.weight)}, "1_Dense")]
    found = []
    for number, layer in enumerate(projection.children(), start=1):
        assert isinstance(layer, DenseLayer)
        config = _dense_config(layer.linear, type(layer.activation).__name__, layer.adds_input)
        found.append((config, {key: _plain(value) for key, value in layer.state_dict().items()}, f"{number}_Dense"))
    return found


def identity_folder(size: int) -> tuple[dict[str, Any], dict[str, torch.Tensor], str]:
    """A layer that changes nothing, for packages that put a random one on a checkpoint that has none."""
    config = {"in_features": size, "out_features": size, "bias": False, "activation_function": _activation("Identity")}
    return config, {"linear.weight": torch.eye(size)}, "1_Dense"


def _dense_config(linear: nn.Linear, activation: str, residual: bool) -> dict[str, Any]:
    config = {
        "in_features": linear.in_features,
        "out_features": linear.out_features,
        "bias": linear.bias is not None,
        "activation_function": _activation(activation),
    }
    return config | ({"use_residual": True} if residual else {})


def _activation(name: str) -> str:
    """The class's full name, as the packages import it."""
    return f"{getattr(nn, name).__module__}.{name}"


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous()
