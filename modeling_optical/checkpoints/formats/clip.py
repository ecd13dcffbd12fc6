"""The text tower of a CLIP checkpoint: token vectors and a pooled vector in the space of its image vectors."""

from __future__ import annotations

from typing import Any

import torch

from ...modeling_optical import OpticalModel
from ...pretrained import load_tokenizer
from ..files import CheckpointFiles
from .clip_towers import load_text_tower

MODEL_TYPES = ("clip", "clip_text_model")


def read(
    files: CheckpointFiles, model_class: type[OpticalModel], given: dict[str, Any], kwargs: dict[str, Any]
) -> OpticalModel:
    """Reads the text tower of a whole CLIP (`CLIPModel`), or one that was saved alone (`CLIPTextModelWithProjection`).

    Token vectors are the last hidden states after the final layer norm, through `text_projection`, of unit length. The pooled
    vector is that of the last token, which is the end of the text: `CLIPModel.get_text_features`, of unit length. It is found
    by its place and not by `eos_token_id`, which is 2 in the configurations of older checkpoints and no token of theirs.

    Args:
        files: the checkpoint.
        model_class: `OpticalModel` or a subclass.
        given: values of `OpticalConfig`; without lengths, texts have what the tower takes (77 tokens).
        kwargs: for `from_pretrained`.

    Raises:
        ValueError: if the checkpoint has no text projection, or its tokenizer is another model's.
    """
    # CLIP's code is part of transformers, and an incomplete tower is an error.
    loading = {key: value for key, value in kwargs.items() if key not in ("trust_remote_code", "strict")}
    tower = load_text_tower(files.path, **loading)
    tokenizer = load_tokenizer(files.path, **files.given)
    values = {
        "embedding_dim": tower.text_projection.out_features,
        "query_length": None,
        "document_length": None,
        "pooling_mode": "last",
        "project_pooled": True,
        "normalize_pooled": True,
    }
    model = model_class.around_backbone(tower.text_model, tokenizer, files.path, **(values | given))
    weight = tower.text_projection.weight
    if not isinstance(model.projection, torch.nn.Linear) or model.projection.weight.shape != weight.shape:
        raise ValueError(
            f"{files.name!r} projects its texts to {len(weight)} dimensions, which embedding_dim and projection_layers cannot "
            "change: leave them out."
        )
    with torch.no_grad():
        model.projection.weight.copy_(weight)
    return model
