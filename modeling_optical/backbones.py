"""Backbones without the parts that late interaction never uses."""

from __future__ import annotations

import inspect
import os
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    MODEL_MAPPING,
    AutoModel,
    AutoModelForTextEncoding,
    PreTrainedModel,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging

from .pretrained import check_weights


def _auto_class(config: Any) -> Any:
    """The auto class that builds an encoder of this configuration.

    Raises:
        ValueError: for an encoder-decoder without a separate encoder class.
    """
    if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        return AutoModelForTextEncoding
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"a model of type {config.model_type!r} is an encoder with a decoder, and transformers has no class of its encoder "
            "alone. Use an encoder, or an encoder-decoder of type t5, mt5 or umt5."
        )
    return AutoModel


def check_backbone_is_known(config: Any) -> None:
    """Rejects a backbone whose code came with its checkpoint: that code is not saved along, so nothing could load the folder.

    Args:
        config: of the backbone.

    Raises:
        ValueError: naming its type.
    """
    kind = config.model_type
    if kind not in CONFIG_MAPPING or type(config) is not CONFIG_MAPPING[kind]:
        raise ValueError(
            f"the backbone {type(config).__name__} (model_type {kind!r}) has code of its own, which is not a part of "
            "transformers: this model encodes, but a saved folder could not be loaded again. Start from a backbone that "
            "transformers has, or register its classes first (AutoConfig.register, AutoModel.register)."
        )


def _without_pooler(config: Any) -> dict[str, bool]:
    """Arguments that keep a backbone from building a pooler that late interaction never uses."""
    model_class = MODEL_MAPPING.get(type(config), None)
    if isinstance(model_class, tuple):
        model_class = model_class[0]
    if model_class is not None and "add_pooling_layer" in inspect.signature(model_class.__init__).parameters:
        return {"add_pooling_layer": False}
    return {}


def indivisible_modules(backbone: PreTrainedModel) -> set[str]:
    """Classes that `device_map` must not split, for backbones that do not name them: layers, and what sums embeddings."""
    words = backbone.get_input_embeddings()
    return {
        type(module).__name__
        for module in backbone.modules()
        if isinstance(module, GradientCheckpointingLayer)
        or (module is not backbone and any(child is words for child in module.children()))
    }


def load_backbone(name: str | os.PathLike, config: Any, kwargs: dict[str, Any]) -> PreTrainedModel:
    """A pretrained backbone. Other weights of its checkpoint (pooler, heads, decoder) are ignored.

    Args:
        name: folder or Hub id.
        config: its configuration.
        kwargs: for `from_pretrained`; `strict=False` lets weights that are missing start random.

    Raises:
        ValueError: if the checkpoint lacks weights of the encoder, or has more layers than the configuration.
    """
    kwargs = dict(kwargs)
    strict = kwargs.pop("strict", True)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        backbone, info = _auto_class(config).from_pretrained(
            name, config=config, output_loading_info=True, **_without_pooler(config), **kwargs
        )
    finally:
        logging.set_verbosity(verbosity)
    if strict:
        prefix = f"{backbone.base_model_prefix}."
        info["unexpected_keys"] = [key.removeprefix(prefix) for key in info["unexpected_keys"]]
        check_weights(os.fspath(name), info, [part for part, _ in backbone.named_children()])
    return backbone


def build_backbone(config: Any) -> PreTrainedModel:
    return _auto_class(config).from_config(config, **_without_pooler(config))


def longest_input(config: Any) -> int | None:
    """Tokens for which a backbone has learned positions; None if its positions have no end.

    Some position embeddings begin behind their padding row (RoBERTa, MPNet, Longformer …), so that fewer tokens fit than the
    table has rows. The embedding module says so, whichever model it is in.

    Args:
        config: the backbone's configuration.
    """
    with torch.device("meta"):
        backbone = build_backbone(config)
    limits = [getattr(config.get_text_config(), "max_position_embeddings", None)]
    for name, module in backbone.named_modules():
        # An embedding of positions: torch's class, or one of the backbone's with the same attributes.
        if "pos" in name.rsplit(".", 1)[-1] and "padding_idx" in vars(module):
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(len(module.weight) - first)
    return min((limit for limit in limits if limit and limit > 0), default=None)
