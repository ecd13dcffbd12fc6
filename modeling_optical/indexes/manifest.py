"""`index.json`: what an index folder holds. Other people's manifests are checked whole before anything is done with them."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..encoding.encoded_corpus import Encoder
from ..encoding.vector_shards import check_storage_type, is_count
from ..files.atomic_write import write_text
from ..files.lines import parse_json

INDEX_FILE = "index.json"
PASSAGES = "passages.sqlite"
_FORMAT = 1
PASSAGES_NAME = re.compile(r"passages(-[0-9a-f]{32})?\.sqlite")


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    return type(value) in kinds and (not isinstance(value, int) or isinstance(value, bool) or 1 <= value < 2**31)


def check_setting(name: str, value: Any, *kinds: type) -> None:
    """Rejects a setting of an engine that its manifest could not keep.

    Raises:
        ValueError: naming it.
    """
    if not _fits(value, kinds):
        words = {int: "a whole number of at least 1", bool: "true or false", str: "a text", type(None): "null"}
        raise ValueError(f"{name} is {value!r:.80}; it must be {' or '.join(words[kind] for kind in kinds)}.")


@dataclass
class IndexManifest:
    """`index.json` of an index folder. It is replaced as a whole, and what it does not name is not part of the index.

    Attributes:
        engine: name of the engine.
        dtype: how vectors are stored.
        encoder: who made the vectors.
        documents: how many can be found.
        state: what the engine keeps.
        passages: name of the file of texts.
        removals: how often documents were removed since the index was built: as long as it is the same, no text has changed.
    """

    engine: str
    dtype: str
    encoder: Encoder
    documents: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    passages: str = PASSAGES
    removals: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.engine, str):
            raise ValueError(f"engine is {self.engine!r}; a name is needed")
        check_storage_type(self.dtype)
        for name in ("documents", "removals"):
            if not is_count(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; a whole number is needed")
        if not isinstance(self.state, dict):
            raise ValueError(f"state is {self.state!r:.80}; a JSON object is needed")
        if not isinstance(self.passages, str) or not PASSAGES_NAME.fullmatch(self.passages):
            raise ValueError(f"passages is {self.passages!r:.80}; the name of a file of texts in the index's folder is needed")

    def write(self, folder: Path) -> None:
        """Writes `index.json` instead of the one there."""
        write_text(folder / INDEX_FILE, json.dumps({"format": _FORMAT} | asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: str | os.PathLike) -> IndexManifest:
        """Reads `index.json`.

        Raises:
            FileNotFoundError: if the folder is not an index.
            ValueError: if the file is damaged or of another version; the message names the field.
        """
        place = Path(folder) / INDEX_FILE
        try:
            text = place.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(
                f"{folder} is not an index: {INDEX_FILE} is missing. Make one: optical index CORPUS --output DIR"
            ) from None
        except UnicodeDecodeError as error:
            raise ValueError(f"{place} cannot be read ({error}). Make the index again.") from None
        try:
            values = parse_json(text, str(place))
            if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
                raise ValueError("it is of another version, or no manifest")
            unknown = values.keys() - {one.name for one in fields(cls)}
            missing = {"engine", "dtype", "encoder"} - values.keys()
            if unknown or missing:
                raise ValueError(f"fields that it lacks: {sorted(missing)}; that are not known: {sorted(unknown)}")
            return cls(**values | {"encoder": Encoder.read(values["encoder"])})
        except ValueError as error:
            raise ValueError(f"{place} cannot be read ({error}). Make the index again.") from None

    def setting(self, name: str, *kinds: type) -> Any:
        """A value of `state` that has one of these types.

        Raises:
            ValueError: if it has not.
        """
        value = self.state.get(name)
        if not _fits(value, kinds):
            raise ValueError(f"{INDEX_FILE}: state.{name} is {value!r:.80}, which the engine {self.engine} does not know.")
        return value
