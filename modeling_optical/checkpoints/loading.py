"""`load_checkpoint`: loads a model in any supported format."""

from __future__ import annotations

import json
import os
from typing import Any, Literal, overload

import torch

from ..configuration_optical import SETTINGS
from ..modeling_optical import PARTS, OpticalModel
from ..precision import check_precision
from ..pretrained import check_finite, check_weights, split_arguments
from ..text_encoding import TextEncoder
from .adapters import ADAPTER_FILE, with_adapter
from .backends import check_backend, with_backend
from .files import CheckpointFiles
from .formats import clip, pylate, sentence_transformers, stanford
from .names import brought_name, resolve_model_path
from .settings import check_settings

FORMATS = ("optical", "sentence-transformers", "pylate", "stanford", "sentence-encoder", "clip", "encoder")


def detect_format(files: CheckpointFiles) -> str:
    """The format of a checkpoint, one of `FORMATS`, detected from its files.

    | format | detected by |
    |---|---|
    | `optical` | `config.json` with `model_type` "optical" |
    | `pylate` | `config_sentence_transformers.json` with `model_type` "ColBERT" or PyLate's flat keys, or a PyLate module |
    | `sentence-transformers` | `config_sentence_transformers.json` with `model_type` "MultiVectorEncoder" |
    | `stanford` | `config.json` with the architecture "HF_ColBERT", or `artifact.metadata` |
    | `sentence-encoder` | `modules.json` with a pooling |
    | `clip` | `config.json` with `model_type` "clip" or "clip_text_model" |
    | `encoder` | any other `config.json` |

    Raises:
        ValueError: if none fits.
    """
    config = files.json("config.json") or {}
    if config.get("model_type") == OpticalModel.config_class.model_type:
        return "optical"
    modules = [kind for kind, _ in files.modules()]
    settings = files.json("config_sentence_transformers.json") or {}
    if modules:
        if (
            settings.get("model_type") == "ColBERT"
            or "query_prefix" in settings
            or any(module.startswith("pylate.") for module in modules)
        ):
            return "pylate"
        if settings.get("model_type") == "MultiVectorEncoder":
            return "sentence-transformers"
        if any(module.endswith(".Pooling") for module in modules):
            return "sentence-encoder"
        raise ValueError(
            f"{files.name!r} has modules.json of a kind that is not known here ({', '.join(modules)}). Formats: "
            f"{', '.join(FORMATS)}; checkpoint_format=… forces one."
        )
    architectures = config.get("architectures")
    if (isinstance(architectures, list) and "HF_ColBERT" in architectures) or files.find("artifact.metadata") is not None:
        return "stanford"
    if config.get("model_type") in clip.MODEL_TYPES:
        return "clip"
    if config:
        return "encoder"
    if not os.path.isdir(files.path):
        raise files.missing("no config.json")  # offline, nothing in the cache looks like no such file
    raise ValueError(
        f"{files.name!r} has no config.json, so it is not a model folder. "
        "Give the folder that holds config.json and model.safetensors."
    )


@overload
def load_checkpoint(name: str | os.PathLike, *, backend: Literal["torch"] = "torch", **kwargs: Any) -> OpticalModel: ...
@overload
def load_checkpoint(name: str | os.PathLike, *, backend: str, **kwargs: Any) -> TextEncoder: ...
def load_checkpoint(
    name: str | os.PathLike,
    *,
    model_class: type[OpticalModel] = OpticalModel,
    checkpoint_format: str | None = None,
    precision: str | None = None,
    backend: str = "torch",
    **kwargs: Any,
) -> TextEncoder:
    """Loads a late-interaction model with its processor, in any of `FORMATS`.

    Lengths, markers, prompts, expansion and skip list come from the checkpoint. A plain encoder (BERT, XLM-R, ModernBERT,
    DistilBERT, X-MOD …) becomes a late-interaction model over its last hidden states, without projection, markers, expansion or
    skip list. Its queries have up to 32 and its documents up to 256 tokens. A SentenceTransformer becomes one, too, and keeps
    its pooled vector (`encode_pooled`). Of a CLIP checkpoint the text tower is loaded, with its pooled vector.

    Args:
        name: folder, Hub id, or `package:NAME/PATH`.
        model_class: `OpticalModel` or a subclass.
        checkpoint_format: one of `FORMATS`, instead of the detected one.
        precision: of the encoding: `"auto"` (bf16 where the hardware has it), `"bf16"`, `"fp16"` or `"fp32"`. None: that of the
            weights.
        backend: what runs the model: `"torch"`; `"onnx"`, `"onnx-int8"` (onnxruntime) or `"openvino"`, on a graph that is
            exported when it is first needed; or `"auto"` (what a measurement on this machine found fastest). See docs/speed.md.
        **kwargs: for `from_pretrained` (revision, subfolder, token, dtype, attn_implementation, trust_remote_code, strict …);
            any value of `OpticalConfig`, which replaces the checkpoint's; and `language`, an X-MOD backbone's language.

    The folder of a PEFT adapter loads its base model and merges the adapter into it.

    Returns:
        The model in eval mode, its `processor` set. With another backend than `torch`, a `TextEncoder` with its vectors.

    Raises:
        FileNotFoundError: if there is no such folder, package or model.
        ValueError: if the format is unknown, a file is damaged or unsafe, or sizes do not match; if the model needs remote code
            and `trust_remote_code=True` is not given; if weights are missing or left over (unless `strict=False`); if the
            tokenizer cannot be the model's, or a setting has no counterpart here.
        TypeError: for an unknown argument.
    """
    check_precision(precision or "auto")
    check_backend(backend)
    if checkpoint_format is not None and checkpoint_format not in FORMATS:
        raise ValueError(f"checkpoint_format is {checkpoint_format!r}; allowed: {', '.join(FORMATS)}.")
    model = _read(name, model_class, checkpoint_format, kwargs)
    model.precision = precision
    return with_backend(model, backend)


def _read(
    name: str | os.PathLike, model_class: type[OpticalModel], checkpoint_format: str | None, kwargs: dict[str, Any]
) -> OpticalModel:
    language = kwargs.pop("language", None)
    given, kwargs = split_arguments("load_checkpoint", kwargs, SETTINGS)
    # Without an answer transformers asks on the terminal, and waits.
    kwargs.setdefault("trust_remote_code", False)
    path = resolve_model_path(name)
    files = CheckpointFiles(os.fspath(name), path, kwargs)
    adapter = files.json(ADAPTER_FILE)
    if adapter is not None and files.find("config.json") is None:
        elsewhere = given | {key: value for key, value in kwargs.items() if key not in ("revision", "subfolder")}
        elsewhere |= {"language": language} if language is not None else {}
        # The user trusts the code of the adapter's folder, not of whatever model it names.
        elsewhere["trust_remote_code"] = False
        base = brought_name(
            str(adapter.get("base_model_name_or_path")), f"{ADAPTER_FILE} of {files.name}", "write its whole path there"
        )
        if CheckpointFiles(base, resolve_model_path(base), elsewhere).find("config.json") is None:
            raise ValueError(
                f"{ADAPTER_FILE} of {files.name!r} names {base!r}, which has no config.json, so it is not a model."
            )
        model = load_checkpoint(base, model_class=model_class, **elsewhere)
        return with_adapter(model, path, files.given).eval()
    chosen = checkpoint_format or detect_format(files)
    check_settings(files)
    try:
        if chosen == "optical":
            model = _load_own(files, model_class, given, kwargs)
            _choose_language(files.name, model, language)
            return model
        if chosen == "encoder":
            model = model_class.from_backbone(path, **given, **kwargs)
        else:
            read = {
                "sentence-transformers": sentence_transformers.read,
                "sentence-encoder": sentence_transformers.read_sentence_encoder,
                "pylate": pylate.read,
                "stanford": stanford.read,
                "clip": clip.read,
            }[chosen]
            model = read(files, model_class, given, kwargs)
    except (OSError, ImportError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # transformers, tokenizers and torch raise many types; each becomes one sentence
        raise _explained(os.fspath(name), error) from error
    check_finite(files.name, model)
    model.config._name_or_path = path
    _choose_language(files.name, model, language)
    return model


def _explained(name: str, error: Exception) -> ValueError:
    """An error of a checkpoint, in one sentence with its name."""
    if isinstance(error, ValueError) and "trust_remote_code" in str(error):
        return ValueError(
            f"model {name!r} brings Python code of its own, which runs only with your permission: read it, then "
            "pass trust_remote_code=True (in a recipe: trust_remote_code: true)."
        )
    if isinstance(error, ValueError) and not isinstance(error, (json.JSONDecodeError, UnicodeError)):
        return error if name in str(error) else ValueError(f"model {name!r}: {error}")
    return ValueError(
        f"model {name!r} cannot be loaded: its files do not hold what they should ({type(error).__name__}: {error}). "
        "Fetch or save it again."
    )


def _choose_language(name: str, model: OpticalModel, language: str | None) -> None:
    """The adapters that an X-MOD backbone uses; other backbones have none to choose from."""
    config = model.config.backbone_config
    if config.model_type != "xmod":
        if language is not None:
            raise ValueError(f"{name!r} is of type {config.model_type}, which has no language to set: leave language out.")
        return
    languages = ", ".join(config.languages)
    if language is None and config.default_language is None:
        raise ValueError(f"{name!r} is an X-MOD model and needs a language: language=…, one of {languages}.")
    if language is not None:
        if language not in config.languages:
            raise ValueError(f"{name!r} has no adapter for language {language!r}; it has {languages}.")
        config.default_language = model.backbone.config.default_language = language


def _load_own(
    files: CheckpointFiles, model_class: type[OpticalModel], given: dict[str, Any], kwargs: dict[str, Any]
) -> OpticalModel:
    stored = model_class.config_class.from_pretrained(files.path, **files.given).embedding_dim
    if stored is None and given.get("embedding_dim") is not None:
        return _load_with_new_projection(files, model_class, given, kwargs)
    if given.get("embedding_dim", stored) != stored:
        raise ValueError(
            f"{files.name!r} has token vectors of embedding_dim={stored}, which cannot become {given['embedding_dim']}: leave "
            "embedding_dim out, or start from a backbone without a projection."
        )
    model = model_class.from_pretrained(files.path, **given, **kwargs)
    model.get_processor()
    return model.eval()


def _load_with_new_projection(
    files: CheckpointFiles, model_class: type[OpticalModel], given: dict[str, Any], kwargs: dict[str, Any]
) -> OpticalModel:
    """A model whose checkpoint has no projection, with one that starts random; every other weight must be there."""
    model, info = model_class.from_pretrained(files.path, output_loading_info=True, **given, **kwargs)
    if kwargs.get("strict", True):
        missing = set(info["missing_keys"]) - {"projection.weight"}
        check_weights(files.name, info | {"missing_keys": missing}, PARTS)
    model.get_processor()
    return model.eval()
