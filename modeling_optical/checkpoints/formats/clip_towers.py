"""The two towers of a CLIP checkpoint, each loaded alone with its projection into the joint space."""

from __future__ import annotations

from typing import Any

from transformers import (
    AutoConfig,
    CLIPConfig,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)
from transformers.utils import logging

from ...pretrained import hub_arguments


def load_text_tower(path: str, **kwargs: Any) -> CLIPTextModelWithProjection:
    """The text tower of a whole CLIP, or one that was saved alone, in eval mode.

    Args:
        path: folder or Hub id.
        **kwargs: for `from_pretrained` (revision, token, dtype …).

    Raises:
        ValueError: if the checkpoint is of another kind, or has no whole text tower.
    """
    return _load(CLIPTextModelWithProjection, CLIPTextConfig, path, kwargs)


def load_image_tower(path: str, **kwargs: Any) -> CLIPVisionModelWithProjection:
    """The image tower, likewise."""
    return _load(CLIPVisionModelWithProjection, CLIPVisionConfig, path, kwargs)


def _load(tower_class: Any, config_class: Any, path: str, kwargs: dict[str, Any]) -> Any:
    config = AutoConfig.from_pretrained(path, **hub_arguments(kwargs))
    if isinstance(config, CLIPConfig):
        own = config.text_config if config_class is CLIPTextConfig else config.vision_config
        own.projection_dim = config.projection_dim  # a tower's own value may be another, and the weights are of this one
        config = own
    if not isinstance(config, config_class):
        raise ValueError(
            f"{path!r} is of type {config.model_type}, and a checkpoint of CLIPModel or {tower_class.__name__} is needed."
        )
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # no warning about weights outside the tower
    try:
        tower, info = tower_class.from_pretrained(path, config=config, output_loading_info=True, **kwargs)
    finally:
        logging.set_verbosity(verbosity)
    if info["missing_keys"]:
        some = ", ".join(sorted(info["missing_keys"])[:3])
        raise ValueError(f"{path!r} has no whole {tower_class.__name__}: it lacks {some} …")
    return tower.eval()
