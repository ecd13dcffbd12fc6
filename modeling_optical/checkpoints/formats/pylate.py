"""PyLate folders (up to 1.6): flat keys in `config_sentence_transformers.json`, markers put in by id."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from ...modeling_optical import OpticalModel
from ..faithfulness import Change, changes_of_markers_alone, save_tokenizer, skiplist_words
from ..files import CheckpointFiles
from .dense import DenseModule, check_chain, dense_folders, fill, identity_folder, projection_values
from .sentence_transformers import module_folders, transformer_settings, write_json, write_modules


def read(
    files: CheckpointFiles, model_class: type[OpticalModel], given: dict[str, Any], kwargs: dict[str, Any]
) -> OpticalModel:
    """The model as `pylate.models.ColBERT` loads it.

    Keys that the folder lacks have PyLate's defaults: markers "[Q] " and "[D] ", queries of 32 and documents of 180 tokens,
    expansion, a skip list of ASCII punctuation. A word of the skip list that is not a token stands for the unknown token, as in
    PyLate, so that the same document tokens are left out.
    """
    settings = files.json("config_sentence_transformers.json") or {}
    folders = module_folders(files)
    transformer, subfolder = transformer_settings(files, folders)
    dense = [DenseModule(files, path) for kind, path in folders if kind == "Dense"]
    expands = settings.get("do_query_expansion")
    default_prompt = (settings.get("prompts") or {}).get(settings.get("default_prompt_name"))
    values: dict[str, Any] = {
        "query_marker": _with_default(settings, "query_prefix", "[Q] ") or None,
        "document_marker": _with_default(settings, "document_prefix", "[D] ") or None,
        "query_length": _with_default(settings, "query_length", 32),
        "document_length": _with_default(settings, "document_length", 180),
        "query_expansion": "none" if expands is False else "fixed",
        "attend_to_expansion_tokens": bool(settings.get("attend_to_expansion_tokens")) and expands is not False,
        "query_prompt": default_prompt or None,
        "document_prompt": default_prompt or None,
        "strip_text": True,
        **projection_values(dense),
    }
    model = model_class.from_backbone(files.path, **(values | given | kwargs | subfolder))
    assert model.processor is not None
    transformer.apply(model.processor.tokenizer)
    check_chain(files.name, model.config.get_text_config().hidden_size, dense)
    if not {"embedding_dim", "projection_layers"} & set(given):
        fill(model.projection, dense)
    if not {"skiplist", "skiplist_token_ids"} & set(given):
        words = _with_default(settings, "skiplist_words", list(string.punctuation))
        ids = {model.processor.tokenizer.convert_tokens_to_ids(word) for word in words}
        model.config.skiplist_token_ids = sorted(i for i in ids if i is not None)
    return model


def _with_default(settings: dict[str, Any], key: str, default: Any) -> Any:
    value = settings.get(key)
    return default if value is None else value


def changes(model: OpticalModel) -> list[Change]:
    """Settings that a PyLate folder cannot say."""
    config = model.config
    found = []
    if config.query_expansion == "min":
        found.append(Change("query_expansion", "min", "fixed"))
    found += changes_of_markers_alone(config)
    if config.skiplist_kinds != ["document"] and model.get_processor().skiplist_token_ids:
        found.append(Change("skiplist_kinds", config.skiplist_kinds, ["document"]))
    return found


def write(model: OpticalModel, folder: Path) -> None:
    """Writes a folder that `pylate.models.ColBERT` (1.6) loads.

    A model without a projection gets an identity, because PyLate would put a random one there.
    """
    processor = model.get_processor()
    config = model.config
    folder.mkdir(parents=True, exist_ok=True)
    model.backbone.save_pretrained(folder)
    save_tokenizer(processor.tokenizer, folder)
    longest = max(processor.longest("query"), processor.longest("document"))
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
    modules = [("sentence_transformers.models.Transformer", "")]
    for layer, weights, path in dense_folders(model.projection) or [identity_folder(config.vector_dim)]:
        write_json(folder / path / "config.json", {"use_residual": False} | layer)
        save_file(weights, folder / path / "model.safetensors", metadata={"format": "pt"})
        modules.append(("pylate.models.Dense.Dense", path))
    write_modules(folder, modules)
    expands = config.query_expansion != "none"
    length = config.expansion_length or config.query_length if config.query_expansion == "min" else processor.longest("query")
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "ColBERT",
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "MaxSim",
            "query_prefix": config.query_marker or "",
            "document_prefix": config.document_marker or "",
            "query_length": length,
            "document_length": processor.longest("document"),
            "attend_to_expansion_tokens": config.attend_to_expansion_tokens and expands,
            "skiplist_words": skiplist_words(processor),
            "do_query_expansion": expands,
        },
    )
