"""sentence-transformers folders: multi-vector encoders (version 6) and sentence encoders."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import AddedToken, normalizers
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from ...configuration_optical import POOLING_MODES
from ...modeling_optical import OpticalModel
from ...processing_optical import OpticalProcessor
from ..faithfulness import Change, equivalent_prompt, save_tokenizer, skiplist_words
from ..files import CheckpointFiles
from .dense import DenseModule, check_chain, dense_folders, fill, projection_values

logger = logging.get_logger(__name__)

# Names of the prompts that each side takes when none is asked for, the first that there is.
_QUERY_PROMPTS = ("query",)
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_POOLING_FLAGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}


def module_folders(files: CheckpointFiles) -> list[tuple[str, str]]:
    """Class name and folder of each module of `modules.json`, in order."""
    return [(kind.rsplit(".", 1)[-1], path) for kind, path in files.modules()]


@dataclass
class TransformerSettings:
    """The settings in the Transformer module's file, beside the backbone's configuration."""

    max_length: int | None
    do_lower_case: bool
    values: dict[str, Any]

    def apply(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Lets the tokenizer behave as the module does."""
        if self.max_length is not None:
            tokenizer.model_max_length = self.max_length
        if self.do_lower_case:
            backend = tokenizer.backend_tokenizer
            steps = [normalizers.Lowercase()] + ([backend.normalizer] if backend.normalizer is not None else [])
            backend.normalizer = normalizers.Sequence(steps)


def transformer_settings(files: CheckpointFiles, folders: list[tuple[str, str]]) -> tuple[TransformerSettings, dict[str, str]]:
    """Settings of the Transformer module, and the arguments that find its weights.

    Raises:
        ValueError: if the first module is not a Transformer, or its output is not the last hidden state.
    """
    kind, path = folders[0] if folders else ("nothing", "")
    if kind not in ("Transformer", "MultiVectorTransformer"):
        raise ValueError(f"{files.name!r} begins with the module {kind}; only models that begin with a Transformer are read.")
    prefix = f"{path}/" if path else ""
    values = files.json(f"{prefix}sentence_bert_config.json") or {}
    text = (values.get("modality_config") or {}).get("text") or {}
    output = text.get("method_output_name", "last_hidden_state")
    if output not in ("last_hidden_state", ["last_hidden_state"]):
        raise ValueError(f"{files.name!r} takes its vectors from {output!r}; only the last hidden state of an encoder is read.")
    settings = TransformerSettings(values.get("max_seq_length"), bool(values.get("do_lower_case")), values)
    return settings, files.inside(path)


def _check_modules(
    files: CheckpointFiles, folders: Sequence[tuple[str, str]], known: Sequence[str], order: str, remedy: str = ""
) -> None:
    """Rejects modules behind the Transformer that have no counterpart here, and those in an order that has none.

    Args:
        files: the checkpoint.
        folders: its modules.
        known: kinds that are read.
        order: a regular expression of their kinds, in order.
        remedy: what the message ends in.

    Raises:
        ValueError: naming the first unknown one, or the order.
    """
    kinds = [kind for kind, _ in folders[1:]]
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise ValueError(
            f"{files.name!r} has the module {unknown[0]}, which has no counterpart here. Read are Transformer, "
            f"{', '.join(known[:-1])} and {known[-1]}{remedy}."
        )
    if re.fullmatch(order, " ".join(kinds)) is None:
        raise ValueError(
            f"{files.name!r} has its modules in the order {', '.join(kinds)}, which has no counterpart here: Dense modules "
            f"stand before Normalize, and behind Pooling where there is one{remedy}."
        )


def read(
    files: CheckpointFiles, model_class: type[OpticalModel], given: dict[str, Any], kwargs: dict[str, Any]
) -> OpticalModel:
    """The model as `sentence_transformers.MultiVectorEncoder` loads it.

    Raises:
        ValueError: for modules or settings without a counterpart here; the message names them.
    """
    settings = files.json("config_sentence_transformers.json") or {}
    folders = module_folders(files)
    transformer, subfolder = transformer_settings(files, folders)
    order = r"(Dense ?)*(MultiVectorMask ?)?(Normalize ?)?(MultiVectorMask)?"
    _check_modules(files, folders, ("Dense", "MultiVectorMask", "Normalize"), order)
    if not any(kind == "Normalize" for kind, _ in folders):
        raise ValueError(
            f"{files.name!r} has no Normalize module: its token vectors are not of unit length, and this package's are. "
            "Append sentence_transformers' Normalize('token_embeddings') if it was trained for cosine similarity."
        )
    if settings.get("similarity_fn_name") == "meanmaxsim":
        logger.warning(f"{files.name} scores with the mean instead of the sum over query tokens: the same ranking.")
    dense = [DenseModule(files, path) for kind, path in folders if kind == "Dense"]
    mask = next((files.json(f"{path}/config.json") or {} for kind, path in folders if kind == "MultiVectorMask"), {})
    if mask.get("keep_only_token_ids"):
        raise ValueError(
            f"{files.name!r} keeps only some token ids (keep_only_token_ids), which is for images and not read here."
        )
    prompts = settings.get("prompts") or {}
    values: dict[str, Any] = {
        "query_prompt": _prompt(settings, prompts, _QUERY_PROMPTS),
        "document_prompt": _prompt(settings, prompts, _DOCUMENT_PROMPTS),
        "document_length": transformer.values.get("document_length"),
        "skiplist_kinds": mask.get("skiplist_tasks", ["document"]),
        "strip_text": False,
        **_expansion(transformer.values),
        **projection_values(dense),
    }
    model = model_class.from_backbone(files.path, **(values | given | kwargs | subfolder))
    assert model.processor is not None
    tokenizer = model.processor.tokenizer
    transformer.apply(tokenizer)
    check_chain(files.name, model.config.get_text_config().hidden_size, dense)
    if not {"embedding_dim", "projection_layers"} & set(given):
        fill(model.projection, dense)
    if not {"skiplist", "skiplist_token_ids"} & set(given):
        # Words that the vocabulary lacks are left out, as in sentence-transformers.
        ids = {word: tokenizer.convert_tokens_to_ids(word) for word in mask.get("skiplist_words") or []}
        kept = {i for word, i in ids.items() if i is not None and (i != tokenizer.unk_token_id or word == tokenizer.unk_token)}
        model.config.skiplist_token_ids = sorted(kept) or None
    return model


def _prompt(settings: dict[str, Any], prompts: dict[str, str], names: tuple[str, ...]) -> str | None:
    """The prompt that is used without asking: the first of these names that there is, else the default one."""
    name = next((name for name in names if name in prompts), settings.get("default_prompt_name"))
    return prompts.get(name or "") or None


def _expansion(values: dict[str, Any]) -> dict[str, Any]:
    """Query length and expansion in our words."""
    expansion = values.get("query_expansion")
    length = values.get("query_length")
    if not expansion:
        return {"query_length": length, "query_expansion": "none"}
    found = {
        "query_expansion": expansion["strategy"],
        "attend_to_expansion_tokens": bool(expansion.get("attend", False)),
        "expansion_token": expansion.get("token"),
    }
    if expansion["strategy"] == "fixed":
        return {"query_length": expansion["length"], **found}
    return {"query_length": length, "expansion_length": expansion["length"], **found}


def read_sentence_encoder(
    files: CheckpointFiles, model_class: type[OpticalModel], given: dict[str, Any], kwargs: dict[str, Any]
) -> OpticalModel:
    """A SentenceTransformer: token vectors are its last hidden states, and its one vector per text is kept (`encode_pooled`).

    Raises:
        ValueError: for modules or poolings without a counterpart here; the message names them.
    """
    settings = files.json("config_sentence_transformers.json") or {}
    folders = module_folders(files)
    transformer, subfolder = transformer_settings(files, folders)
    alone = "; checkpoint_format='encoder' reads the backbone alone"
    _check_modules(files, folders, ("Pooling", "Dense", "Normalize"), r"Pooling( Dense)*( Normalize)?", alone)
    dense = [DenseModule(files, path) for kind, path in folders if kind == "Dense"]
    if any(module.input_name not in (None, "sentence_embedding") for module in dense):
        raise ValueError(f"{files.name!r} has a Dense module that reads something else than the pooled vector{alone}.")
    prompts = settings.get("prompts") or {}
    pooling = next(path for kind, path in folders if kind == "Pooling")
    query_prompt, document_prompt = _prompt(settings, prompts, _QUERY_PROMPTS), _prompt(settings, prompts, _DOCUMENT_PROMPTS)
    values: dict[str, Any] = {
        "embedding_dim": None,
        "query_length": transformer.max_length,
        "document_length": transformer.max_length,
        "query_prompt": query_prompt,
        "document_prompt": document_prompt,
        "strip_text": False,
        "pooling_mode": _pooling_mode(files, f"{pooling}/config.json", has_prompt=bool(query_prompt or document_prompt)),
        "pooled_layers": [module.layer for module in dense],
        "normalize_pooled": any(kind == "Normalize" for kind, _ in folders),
    }
    model = model_class.from_backbone(files.path, **(values | given | kwargs | subfolder))
    assert model.processor is not None
    transformer.apply(model.processor.tokenizer)
    check_chain(files.name, model.config.get_text_config().hidden_size, dense)
    fill(model.pooled_projection, dense)
    return model


def _pooling_mode(files: CheckpointFiles, file: str, *, has_prompt: bool) -> str:
    config = files.json(file) or {}
    if has_prompt and config.get("include_prompt") is False:
        raise ValueError(f"{files.name!r} leaves its prompt out of the pooling (include_prompt false), which is not read here.")
    modes = config.get("pooling_mode") or [
        _POOLING_FLAGS.get(key, key.removeprefix("pooling_mode_"))
        for key, value in config.items()
        if key.startswith("pooling_mode_") and value
    ]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in POOLING_MODES:
        raise ValueError(
            f"{files.name!r} pools by {', '.join(modes) or 'nothing'}; read are {', '.join(POOLING_MODES)}. "
            "checkpoint_format='encoder' reads the backbone alone."
        )
    return modes[0]


def changes(model: OpticalModel) -> list[Change]:
    """Settings that a `MultiVectorEncoder` folder cannot say."""
    config = model.config
    return [Change("scored_query_tokens", "content", "all")] if config.scored_query_tokens == "content" else []


def write(model: OpticalModel, folder: Path, *, backbone_folder: str = "") -> None:
    """Writes a folder that `sentence_transformers.MultiVectorEncoder` (version 6) loads, made of that package's modules.

    Args:
        model: the model, with its processor.
        folder: where to; files of ours that are there stay.
        backbone_folder: where in it the backbone goes; a separate folder where the root's `config.json` is ours.

    Raises:
        ValueError: if a marker cannot be written as a prompt.
    """
    config = model.config
    # A copy: the model's own tokenizer stays as it is.
    processor = OpticalProcessor(copy.deepcopy(model.get_processor().tokenizer), config)
    for marker in (config.query_marker, config.document_marker):
        if marker is not None and processor.tokenizer.tokenize(marker) != [marker]:
            # The prompt is text: it has to come out as one token, whatever the normalizer does to texts.
            processor.tokenizer.add_special_tokens(
                {"additional_special_tokens": [AddedToken(marker, normalized=False, special=True)]},
                replace_extra_special_tokens=False,
            )
    prompts = {kind: equivalent_prompt(processor, kind) or "" for kind in ("query", "document")}
    root = folder / backbone_folder
    root.mkdir(parents=True, exist_ok=True)
    model.backbone.save_pretrained(root)
    save_tokenizer(processor.tokenizer, root)
    transformer: dict[str, Any] = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
        "document_length": processor.longest("document"),
    }
    if config.query_expansion == "none":
        transformer["query_length"] = processor.longest("query")
    else:
        fixed = config.query_expansion == "fixed"
        transformer["query_expansion"] = {
            "strategy": config.query_expansion,
            "attend": config.attend_to_expansion_tokens,
            "token": config.expansion_token,
            "length": processor.longest("query") if fixed else config.expansion_length or config.query_length,
        }
        if not fixed:
            transformer["query_length"] = processor.longest("query")
    write_json(root / "sentence_bert_config.json", transformer)
    modules = [("sentence_transformers.base.modules.transformer.Transformer", backbone_folder)]
    for layer, weights, path in dense_folders(model.projection):
        (folder / path).mkdir(exist_ok=True)
        names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
        write_json(folder / path / "config.json", layer | names)
        save_file(weights, folder / path / "model.safetensors", metadata={"format": "pt"})
        modules.append(("sentence_transformers.base.modules.dense.Dense", path))
    mask = f"{len(modules)}_MultiVectorMask"
    words = skiplist_words(processor)
    write_json(
        folder / mask / "config.json",
        {"skiplist_words": words, "skiplist_tasks": config.skiplist_kinds, "keep_only_token_ids": None},
    )
    modules.append(("sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask", mask))
    normalize = f"{len(modules)}_Normalize"
    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    write_json(folder / normalize / "config.json", names)
    modules.append(("sentence_transformers.base.modules.normalize.Normalize", normalize))
    write_modules(folder, modules)
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "MultiVectorEncoder",
            "prompts": prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "maxsim",
        },
    )


def write_modules(folder: Path, modules: list[tuple[str, str]]) -> None:
    """Writes `modules.json` from classes and folders."""
    rows = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (kind, path) in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a JSON file, with the folder that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
