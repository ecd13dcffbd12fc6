"""What a checkpoint's settings may ask of transformers: no other repository, no file outside, no sizes beyond any model's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .adapters import ADAPTER_FILE
from .files import CheckpointFiles
from .names import is_inside

_SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json")
_SHARDS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_IMPLEMENTATION = re.compile(r"[\w|]*")
_MOST_LABELS = 100_000
_LARGEST = {"config.json": 20_000_000}  # longest context and largest vocabulary of published models: 10 million


def check_settings(files: CheckpointFiles) -> None:
    """Refuses settings that make transformers read, fetch or run something else than this checkpoint, or fill the memory.

    Raises:
        ValueError: naming the file and the key.
    """
    if files.find(ADAPTER_FILE) is not None:
        raise ValueError(
            f"{files.name!r} has {ADAPTER_FILE} beside a whole model, and an adapter loads another model by name. Keep "
            "each in a folder of its own."
        )
    for folder in dict.fromkeys(["", *(f"{path}/" for _, path in files.modules() if path)]):
        for name in _SHARDS:
            files.shards(f"{folder}{name}")
        for name in _SETTINGS:
            for key, value in _items(files.json(f"{folder}{name}") or {}):
                problem = _problem(key, value, _LARGEST.get(name))
                if problem is not None:
                    raise ValueError(f"{files.name!r}: {folder}{name} has {key}={value!r:.80}, {problem}. It is not read.")


def _problem(key: str, value: Any, largest: int | None) -> str | None:
    if key.endswith(("attn_implementation", "experts_implementation")):
        implementations = value.values() if isinstance(value, dict) else [value]
        if not all(one is None or (isinstance(one, str) and _IMPLEMENTATION.fullmatch(one)) for one in implementations):
            return "which fetches and runs code of another repository; pass attn_implementation yourself if you trust it"
    if key == "use_pretrained_backbone" and value:
        return "which loads another model by name"
    if key.endswith("_file") and isinstance(value, str) and not is_inside(value):
        return "which is a file outside of the checkpoint"
    if isinstance(value, int) and key == "num_labels" and value > _MOST_LABELS:
        return f"and at most {_MOST_LABELS:,} are read"
    if isinstance(value, int) and largest is not None and abs(value) > largest and "theta" not in key:
        return "which is more than any model has"
    return None


def _items(values: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at every depth."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield key, value
            yield from _items(value)
    elif isinstance(values, list):
        for value in values:
            yield from _items(value)
