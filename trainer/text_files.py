"""Texts of a file, one after the other; nothing is held in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from modeling_optical.encoding.normal_forms import is_blank
from modeling_optical.files.lines import json_objects

from .bitext.files import BitextFile

_JSON_ENDINGS = (".jsonl", ".ndjson", ".json")


def stream_texts(path: str | os.PathLike, *, field: str = "text") -> Iterator[str]:
    """Texts of a file: JSONL with a field, or a text a line; either also with `.gz`.

    A `title` beside the field is put before the text. Empty lines are left out.

    Raises:
        FileNotFoundError: if there is no such file. ValueError: for a line that is not what it should be; file, line and field
            are named.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"the file {os.fspath(path)!r} does not exist.")
    file = BitextFile(os.fspath(path))
    if file.ending in _JSON_ENDINGS:
        for place, record in json_objects(file.text_lines()):
            yield _json_text(record, field, place)
    else:
        yield from (text for _, line in file.text_lines() if not is_blank(text := line.strip()))


def _json_text(record: dict[str, Any], field: str, place: str) -> str:
    if field not in record:
        raise ValueError(f"{place}: not a JSON object with the field {field!r}.")
    text = record[field]
    if not isinstance(text, str) or is_blank(text):
        raise ValueError(f"{place}: the field {field!r} is {text!r}; it must be a text.")
    title = record.get("title")
    return f"{title.strip()} {text.strip()}" if isinstance(title, str) and title.strip() else text.strip()
