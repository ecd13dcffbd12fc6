"""Which settings of a model another format can express."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..configuration_optical import OpticalConfig
from ..processing_optical import OpticalProcessor

# Texts that show whether two ways to put a marker in front give the same tokens.
PROBES = (
    "a cat sat on the mat",
    "Habari ya asubuhi, rafiki!",
    "«Да»",
    "مرحبا بالعالم",
    "अंग्रेज़ी में खोज",
    "搜索引擎",
    "(an opening bracket)",
    "42",
)


@dataclass
class Change:
    """A setting that the format cannot say.

    Attributes:
        setting: name in `OpticalConfig`.
        value: the model's.
        nearest: the nearest that the format can say.
    """

    setting: str
    value: Any
    nearest: Any

    def __str__(self) -> str:
        return f"{self.setting}: {self.value!r} becomes {self.nearest!r}"


def changes_of_markers_alone(config: OpticalConfig) -> list[Change]:
    """What formats cannot say that know markers, but neither prompts, another expansion token, nor which query tokens score."""
    found = []
    for key in ("query_prompt", "document_prompt"):
        if getattr(config, key) is not None:
            found.append(Change(key, getattr(config, key), None))
    if config.expansion_token is not None and config.query_expansion != "none":
        found.append(Change("expansion_token", config.expansion_token, "the mask token"))
    if config.scored_query_tokens == "content":
        found.append(Change("scored_query_tokens", "content", "all"))
    return found


def check_changes(format_name: str, changes: Sequence[Change], *, nearest: bool) -> None:
    """Rejects an export that would not give the same vectors, unless the user accepts the nearest settings.

    Raises:
        ValueError: naming every setting that would change.
    """
    if changes and not nearest:
        raise ValueError(
            f"the {format_name} format cannot say all of this model's settings: {'; '.join(map(str, changes))}. Vectors would "
            "differ. Export with the nearest settings (--nearest) and measure the result, or choose another format."
        )


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Saves a tokenizer for other packages: without our processor's name, and with a class that transformers 4 knows, too."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    for key in ("processor_class", "auto_map"):
        settings.pop(key, None)
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(settings.get("extra_special_tokens"), list):
        # Version 5's name for the list; version 4 takes a mapping of that name, and fails on a list.
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def skiplist_words(processor: OpticalProcessor) -> list[str]:
    """The skip list as tokens of the vocabulary."""
    return processor.tokenizer.convert_ids_to_tokens(sorted(processor.skiplist_token_ids))


def equivalent_prompt(processor: OpticalProcessor, kind: str) -> str | None:
    """A text that, put in front, gives the tokens that the marker and prompt of a kind give; None for neither.

    Raises:
        ValueError: if the tokenizer offers no such text.
    """
    config = processor.config
    marker = config.query_marker if kind == "query" else config.document_marker
    prompt = (config.query_prompt if kind == "query" else config.document_prompt) or ""
    if marker is None:
        return prompt or None
    wanted = [row["input_ids"] for row in processor.tokenize(PROBES, kind)]
    for candidate in (marker + prompt, f"{marker} {prompt}"):
        texts = [candidate + probe for probe in PROBES]
        found = processor.tokenizer(texts, truncation=True, max_length=processor.longest(kind))["input_ids"]
        # Queries may be longer by their expansion.
        if all(ids[: len(row)] == row for ids, row in zip(wanted, found, strict=True)):
            return candidate
    raise ValueError(
        f"the marker {marker!r} cannot be written as a text that this tokenizer reads as one token in its place, which "
        "sentence-transformers needs. Export in another format, or train the student without markers."
    )
