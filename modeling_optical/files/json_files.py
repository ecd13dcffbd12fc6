"""Records as JSON files, written whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .atomic_write import write_text


def read_json(path: str | os.PathLike) -> Any:
    """The content of the file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path: str | os.PathLike, value: Any) -> Path:
    """Writes the value with a key a line, and all characters as they are."""
    return write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_json_lines(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Writes an object a line."""
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
