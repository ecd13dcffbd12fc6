"""The file of a card: marks enclose our sections, everything else belongs to its author."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import ModelCardData

from modeling_optical.checkpoints.names import is_hub_id
from modeling_optical.evaluation import ResultRow
from modeling_optical.files.atomic_write import write_text
from modeling_optical.files.bounded_yaml import parse_yaml

from .languages import hub_languages
from .licences import hub_metadata
from .markdown import one_line
from .results import model_index

CARD_FILE = "README.md"
_LONGEST_CARD = 2_000_000
# What a snippet calls the model until it has a name on the Hub.
PLACEHOLDER = "PATH_OR_ID_OF_THIS_MODEL"
# The oldest transformers that loads a model with the code beside it, from a folder, too (docs/versions.md).
LOWEST_TRANSFORMERS = "5.10"
# A mark is at the start of a line: no value that a template prints does.
_SECTION = re.compile(
    r"^<!-- optical:(?P<name>[\w-]+)\b[^\n]*-->\n(?P<text>.*?)^<!-- /optical:(?P=name) -->", re.DOTALL | re.MULTILINE
)
_HEADER = re.compile(r"\A\ufeff?---[ \t]*\r?\n.*?^---[ \t]*$", re.DOTALL | re.MULTILINE)
# Whatever stood there, these are read from the run again. The others are added to what stood there.
_ALWAYS_OURS = ("language", "language_bcp47", "library_name", "pipeline_tag", "base_model", "model-index")


class TrainedCard(Protocol):
    """The common fields of the cards of retrievers trained on labels and of causal models."""

    name: str
    language: str
    start: str
    rows: Sequence[ResultRow]


def trained_metadata(
    card: TrainedCard, system: str, pipeline_tag: str, tags: Sequence[str], license: str | None = None
) -> ModelCardData:
    """The metadata of such a card, with the results of a system as `model-index`; a start that is a folder is not named."""
    return ModelCardData(
        **hub_languages([card.language]),
        **hub_metadata(license),
        library_name="transformers",
        pipeline_tag=pipeline_tag,
        tags=list(tags),
        base_model=card.start if is_hub_id(card.start) else None,
        model_name=one_line(card.name),
        eval_results=model_index(card.rows, system) or None,
    )


def sections(card: str) -> dict[str, str]:
    """Our sections of a card, by name, with their marks."""
    return {match["name"]: match.group(0) for match in _SECTION.finditer(card)}


def merge_card(existing: str, fresh: str) -> str:
    """A card in which our sections and our metadata are `fresh`'s and all else is `existing`'s.

    A section that was taken out of the existing card stays out. A card without any of our sections was written by hand: ours
    follow it. Of the metadata, `tags` and `datasets` are joined, `license` is the hand's where `fresh` has none.

    Args:
        existing, fresh: whole cards, metadata included.

    Raises:
        ValueError: if the existing card's metadata is not YAML.
    """
    old_data, old_body = _parts(existing)
    data, body = _parts(fresh)
    ours, theirs = sections(body), sections(old_body)
    if theirs:
        merged = _SECTION.sub(lambda match: ours.get(match["name"], match.group(0)), old_body)
    else:
        merged = f"{old_body.rstrip()}\n\n{body.strip()}\n"
    return _card(_merge_metadata(old_data, data), merged)


def write_card(folder: str | os.PathLike, fresh: str, repo_id: str | None = None) -> Path:
    """Writes a card into a folder; in one that is there, only our sections and our metadata change (see `merge_card`).

    Args:
        folder: the model's.
        fresh: the whole card.
        repo_id: what the model is called on the Hub, and so in the snippets; None: it has no name there yet.
    """
    path = Path(folder) / CARD_FILE
    if repo_id is not None:
        fresh = named(fresh, repo_id)
    if path.is_file():
        try:
            fresh = merge_card(path.read_text(encoding="utf-8"), fresh)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return write_text(path, fresh.rstrip() + "\n")


def replace_section(card: str, name: str, text: str) -> str:
    """A card with another text in one of our sections; the card itself if it has no such section.

    Args:
        card: the whole card.
        name: of the section.
        text: with its marks, as `sections` gives it.
    """
    return _SECTION.sub(lambda match: text if match["name"] == name else match.group(0), card)


def named(card: str, repo_id: str) -> str:
    """A card whose snippets call the model by its name on the Hub."""
    return card.replace(PLACEHOLDER, repo_id)


def _parts(card: str) -> tuple[dict[str, Any], str]:
    """Metadata and body."""
    header = _HEADER.match(card)
    if header is None:
        return {}, card
    text = header.group(0).lstrip("\ufeff").strip().strip("-")
    try:
        data = parse_yaml(text, "the metadata at the top of the card is not YAML that can be read")
    except ValueError as error:
        raise ValueError(f"{' '.join(str(error).split())} Mend it.") from None
    if data is not None and not isinstance(data, dict):
        raise ValueError("the metadata at the top of the card is not a mapping of keys to values. Mend it.")
    return data or {}, card[header.end() :].lstrip("\r\n")


def _card(data: Mapping[str, Any], body: str) -> str:
    if not data:
        return body
    return f"---\n{ModelCardData(**data).to_yaml()}\n---\n\n{body.lstrip()}"


def _merge_metadata(old: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    merged = {key: value for key, value in old.items() if key not in _ALWAYS_OURS} | dict(fresh)
    for key in ("tags", "datasets"):
        if key in old and key in fresh:
            theirs = [old[key]] if isinstance(old[key], str) else list(old[key] or [])
            merged[key] = list(dict.fromkeys([*fresh[key], *theirs]))
    if "license" in fresh:
        # A name and a link belong to the licence that they came with.
        for key in ("license_name", "license_link"):
            if key not in fresh:
                merged.pop(key, None)
    return merged


def card_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """The metadata of a card's file; empty if it has none.

    Raises:
        ValueError: if it is not valid.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read(_LONGEST_CARD + 1)
        if len(text) > _LONGEST_CARD:
            raise ValueError(f"the card has more than {_LONGEST_CARD:,} characters. Shorten it.")
        return _parts(text)[0]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
