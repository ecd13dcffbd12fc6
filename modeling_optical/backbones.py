"""Backbones without the parts that late interaction never uses."""

from __future__ import annotations

import inspect
import os
from typing import Any

from transformers import MODEL_MAPPING, AutoModel, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging

logger = logging.get_logger(__name__)


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
    """A pretrained backbone. What it lacks is said; what it has beyond us (pooler, heads) is nobody's concern."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        backbone, info = AutoModel.from_pretrained(
            name, config=config, output_loading_info=True, **_without_pooler(config), **kwargs
        )
    finally:
        logging.set_verbosity(verbosity)
    if info["missing_keys"]:
        some = ", ".join(sorted(info["missing_keys"])[:3])
        logger.warning(f"{name} lacks {len(info['missing_keys'])} weights of its backbone, which start random: {some} …")
    return backbone


def build_backbone(config: Any) -> PreTrainedModel:
    return AutoModel.from_config(config, **_without_pooler(config))
