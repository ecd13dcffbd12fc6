"""Stanford ColBERT checkpoints: backbone and `linear.weight` in one file, settings in `artifact.metadata`."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from ...modeling_optical import OpticalModel
from ..faithfulness import Change, changes_of_markers_alone, save_tokenizer
from ..files import CheckpointFiles
from .sentence_transformers import write_json

logger = logging.get_logger(__name__)

# What colbert-ai assumes of a checkpoint that does not say (ColBERTConfig).
DEFAULTS: dict[str, Any] = {
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "query_maxlen": 32,
    "doc_maxlen": 220,
    "mask_punctuation": True,
    "attend_to_mask_tokens": False,
    "similarity": "cosine",
}


def read(
    files: CheckpointFiles, model_class: type[OpticalModel], given: dict[str, Any], kwargs: dict[str, Any]
) -> OpticalModel:
    """The model as colbert-ai's `Checkpoint` loads it.

    Keys that `artifact.metadata` lacks have colbert-ai's defaults. Its conventions are kept, because the weights were trained
    with them. A marker that the vocabulary lacks is the unknown token. The skip list has the first piece of every ASCII
    punctuation mark, which for SentencePiece is often the bare "▁".

    Raises:
        ValueError: if `linear.weight` is missing or does not fit the backbone or the metadata.
    """
    metadata = files.json("artifact.metadata") or {}
    if isinstance(metadata.get("config"), dict):
        metadata = metadata["config"]
    settings = DEFAULTS | {key: value for key, value in metadata.items() if value is not None}
    if settings["similarity"] != "cosine":
        logger.warning(f"{files.name} was trained with {settings['similarity']} distance: for unit vectors the same ranking.")
    weight = files.weights(keys=("linear.weight",)).get("linear.weight")
    if weight is None:
        raise ValueError(f"{files.name!r} has no linear.weight, so it is no Stanford ColBERT checkpoint.")
    if settings.get("dim", weight.shape[0]) != weight.shape[0]:
        raise ValueError(
            f"{files.name!r}: artifact.metadata says dim {settings['dim']}, linear.weight has {weight.shape[0]} rows. "
            "One of the two files is of another model."
        )
    values: dict[str, Any] = {
        "embedding_dim": weight.shape[0],
        "query_length": settings["query_maxlen"],
        "document_length": settings["doc_maxlen"],
        "query_expansion": "fixed",
        "attend_to_expansion_tokens": bool(settings["attend_to_mask_tokens"]),
        "strip_text": False,
    }
    # Markers come after loading: from_backbone would add those that the vocabulary lacks.
    model = model_class.from_backbone(files.path, **(values | given | kwargs))
    assert model.processor is not None
    tokenizer = model.processor.tokenizer
    for key, name in (("query_marker", "query_token_id"), ("document_marker", "doc_token_id")):
        if key not in given:
            setattr(model.config, key, _marker(files.name, tokenizer, settings[name]))
    if not {"skiplist", "skiplist_token_ids"} & set(given) and settings["mask_punctuation"]:
        model.config.skiplist_token_ids = punctuation_ids(tokenizer)
    hidden_size = model.config.get_text_config().hidden_size
    if weight.shape[1] != hidden_size:
        raise ValueError(
            f"{files.name!r}: linear.weight takes vectors of dimension {weight.shape[1]}, the backbone gives {hidden_size}."
        )
    if "embedding_dim" not in given:
        assert isinstance(model.projection, torch.nn.Linear)
        with torch.no_grad():
            model.projection.weight.copy_(weight)
    return model


def _marker(name: str, tokenizer: PreTrainedTokenizerBase, marker: str) -> str | None:
    if marker in tokenizer.get_vocab():
        return marker
    logger.warning(
        f"{name}: the marker {marker} is not in the vocabulary; colbert-ai puts {tokenizer.unk_token} there, and so do we."
    )
    return tokenizer.unk_token


def punctuation_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """colbert-ai's skip list: the first piece of every ASCII punctuation mark."""
    found = {tokenizer.encode(symbol, add_special_tokens=False)[0] for symbol in string.punctuation}
    # Padding never scores there; it is masked here as everywhere.
    return sorted(found - {tokenizer.pad_token_id})


def changes(model: OpticalModel) -> list[Change]:
    """Settings that a Stanford checkpoint cannot say.

    Raises:
        ValueError: if the model lacks markers or has more than a linear projection, to which nothing is near.
    """
    config = model.config
    processor = model.get_processor()
    if config.query_marker is None or config.document_marker is None:
        raise ValueError(
            "the stanford format puts a marker before every query and document, and this model has none for "
            f"{'queries' if config.query_marker is None else 'documents'}. Export in another format, or train a student with "
            "query_marker and document_marker."
        )
    if config.projection_layers:
        raise ValueError("the stanford format has one linear projection, this model has several layers: choose another format.")
    found = []
    if config.query_expansion != "fixed":
        found.append(Change("query_expansion", config.query_expansion, "fixed"))
    found += changes_of_markers_alone(config)
    skipped = sorted(processor.skiplist_token_ids)
    if skipped and (skipped != punctuation_ids(processor.tokenizer) or config.skiplist_kinds != ["document"]):
        found.append(Change("skiplist", f"{len(skipped)} tokens", "the first piece of every ASCII punctuation mark"))
    return found


def write(model: OpticalModel, folder: Path) -> None:
    """Writes a checkpoint that colbert-ai loads: backbone and `linear.weight` in one file, `artifact.metadata` beside it.

    A model without a projection gets an identity.
    """
    processor = model.get_processor()
    config = model.config
    folder.mkdir(parents=True, exist_ok=True)
    backbone = model.backbone
    saved = backbone.config.to_dict() | {"architectures": ["HF_ColBERT"]}
    saved.pop("_name_or_path", None)
    write_json(folder / "config.json", saved)
    weight = torch.eye(config.vector_dim) if model.projection is None else model.projection.weight
    tensors = {f"{backbone.base_model_prefix}.{key}": value for key, value in backbone.state_dict().items()}
    tensors["linear.weight"] = weight
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    save_tokenizer(processor.tokenizer, folder)
    length = config.expansion_length or config.query_length if config.query_expansion == "min" else processor.longest("query")
    metadata = {
        "query_token_id": config.query_marker,
        "doc_token_id": config.document_marker,
        "query_token": "[Q]",
        "doc_token": "[D]",
        "dim": config.vector_dim,
        "query_maxlen": length,
        "doc_maxlen": processor.longest("document"),
        "mask_punctuation": bool(processor.skiplist_token_ids),
        "attend_to_mask_tokens": config.attend_to_expansion_tokens,
        "similarity": "cosine",
        "interaction": "colbert",
    }
    write_json(folder / "artifact.metadata", metadata)
