"""LoRA and other adapters of PEFT on late-interaction models."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

# What attention calls its projections in the backbones: an adapter goes to those that a model has.
_TARGETS = ["query", "value", "q_proj", "v_proj", "query_proj", "value_proj", "q_lin", "v_lin", "Wqkv", "q", "v"]
ADAPTER_FILE = "adapter_config.json"


def register_targets(model_type: str) -> None:
    """Tells PEFT, if it is installed, where adapters go in a late-interaction model: `target_modules` may be left out."""
    if importlib.util.find_spec("peft") is None:
        return
    from peft.utils import constants

    for name, known in vars(constants).items():
        # The methods that put an adapter beside a linear map, as LoRA does.
        if name.endswith("_TARGET_MODULES_MAPPING") and known.get("roberta") == ["query", "value"]:
            known.setdefault(model_type, list(_TARGETS))


def refuse_adapter(model: Any) -> None:
    """Rejects a model that still has an adapter beside its weights, which other packages' files have no place for.

    Raises:
        ValueError: saying how it is merged.
    """
    if any(type(module).__module__.startswith("peft.") for module in model.modules()):
        raise ValueError(
            "the model has an adapter beside its weights. Merge it first: model.merge_and_unload() of a PeftModel; or save it, "
            "and load the folder with load_checkpoint, which merges it."
        )


def with_adapter(model: Any, name: str, given: Mapping[str, Any]) -> Any:
    """A model with an adapter merged into its weights.

    Args:
        model: the adapter's base model; it changes.
        name: folder or Hub id of the adapter.
        given: what says where its files are (revision, token …).

    Raises:
        ImportError: without PEFT.
    """
    if importlib.util.find_spec("peft") is None:
        raise ImportError(f"{name!r} is an adapter, which PEFT reads: pip install 'modeling-optical[peft]'.")
    from peft import PeftModel

    places = {key: value for key, value in given.items() if key != "trust_remote_code"}
    return PeftModel.from_pretrained(model, name, **places).merge_and_unload()
