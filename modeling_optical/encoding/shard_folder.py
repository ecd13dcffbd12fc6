"""A folder of checksummed shards: each appears whole, with a separate record, and is known again after a kill."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from ..files.atomic_write import write_text
from ..files.fingerprint import file_checksum
from ..files.lines import parse_json
from ..files.lock import locked
from .vector_shards import ShardDescription, VectorShard, telling_a_failed_write, write_shard

logger = logging.get_logger(__name__)


class ShardFolder:
    """Shards of vectors in one folder: encoded corpora, teachers' vectors and vectors of images are kept in one.

    Beside a shard stands its record, `NAME.json`: what it holds, its checksum, and what it was made of. To add a shard writes
    the shard and its record, nothing else, however many there are. A shard without a record was not finished.

    Args:
        path: the folder; made when the first shard is written.
        what: name of the content, for messages.
    """

    def __init__(self, path: str | os.PathLike, what: str = "encoded corpus"):
        self.path = Path(path)
        self.what = what

    def write(self, name: str, made_of: str, ids: Sequence[str], arrays: Sequence[Any], dtype: str, **options: Any) -> None:
        """Writes a shard and then its record; arguments and errors as for `write_shard`.

        Args:
            made_of: hash of what the vectors come from; `is_whole` asks for it again.
        """
        self.make()
        described = write_shard(self.path / name, ids, arrays, dtype, **options)
        with telling_a_failed_write(self.record(name)):
            write_text(self.record(name), json.dumps({"shard": asdict(described), "texts": made_of}) + "\n")

    def make(self) -> None:
        """Makes the folder, unless it is there.

        Raises:
            OSError: if it cannot be made; it is named.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(error.errno, f"the {self.what} folder {self.path} cannot be made: {error.strerror}.") from error

    def record(self, name: str) -> Path:
        """The file beside a shard that describes it."""
        return self.path / f"{name}.json"

    def names(self) -> list[str]:
        """Names of the shards that were finished."""
        return sorted(path.name.removesuffix(".json") for path in self.path.glob("shard-*.safetensors.json"))

    def made_of(self, name: str) -> Any:
        """The source of a shard, from its record."""
        return self._record(name).get("texts")

    def describe(self, name: str) -> ShardDescription:
        """The record of a shard.

        Raises:
            ValueError: if the record is damaged, or another shard's.
        """
        described = ShardDescription.read(self._record(name).get("shard"))
        if described.file != name:
            raise ValueError(f"{self.record(name)} describes {described.file}")
        return described

    def _record(self, name: str) -> dict[str, Any]:
        values = parse_json(self.record(name).read_text(encoding="utf-8"), str(self.record(name)))
        if not isinstance(values, dict):
            raise ValueError(f"{self.record(name)} is no JSON object")
        return values

    def differs(self, described: ShardDescription) -> bool:
        """Whether a shard is missing or is not the one described."""
        path = self.path / described.file
        return not path.is_file() or file_checksum(path) != described.sha256

    def is_whole(self, name: str, made_of: str) -> bool:
        """Whether a shard is there, undamaged, and made of that. If it was begun and is not, a warning names it."""
        if not self.record(name).exists():
            return False
        if fault := self.fault(name, made_of):
            logger.warning(f"{self.what}: {self.path / name} {fault}; it is made again.")
        return not fault

    def fault(self, name: str, made_of: str) -> str:
        """What a shard lacks, in words; empty if it is there, undamaged, and made of that."""
        try:
            if self.made_of(name) != made_of:
                return "was made of something else"
            return "is missing or damaged" if self.differs(self.describe(name)) else ""
        except (ValueError, OSError) as error:
            return f"has a damaged record ({error})"

    def keep(self, names: set[str]) -> None:
        """Removes all shards but these, and what a killed run left."""
        for path in [*self.path.glob("shard-*"), *self.path.glob(".shard-*")]:
            if path.name.removesuffix(".json") not in names:
                path.unlink(missing_ok=True)


class KeyedVectors:
    """Vectors under keys, computed once: a folder of shards that can grow at any time.

    A warning names damaged shards; they count as missing.

    Args:
        path: the folder.
        what: name of the content, for messages.
        made_of: hash of the vectors' encoder and settings; shards with another one count as missing.
        dim: size of a vector.
        dtype: as stored.
        columns: names of the values stored for every token or text beside its vectors, as `write_shard` takes them.
    """

    def __init__(self, path: str | os.PathLike, what: str, *, made_of: str, dim: int, dtype: str, columns: Sequence[str] = ()):
        self.folder = ShardFolder(path, what)
        self.made_of, self.dim, self.dtype, self.columns = made_of, dim, dtype, set(columns)
        self._places: dict[str, tuple[str, int]] = {}
        self._open: dict[str, VectorShard] = {}
        self._known: set[str] = set()
        self._swept = False
        self.refresh()

    def __getstate__(self) -> dict[str, Any]:
        # Open files cannot be sent to the workers of a data loader; each worker opens them again.
        return self.__dict__ | {"_open": {}}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def find(self, key: str) -> tuple[VectorShard, int] | None:
        """The shard and the row in it that hold the vectors of a key; None if they are not there."""
        if key not in self._places:
            return None
        name, row = self._places[key]
        if name not in self._open:
            self._open[name] = self._checked(name)
        return self._open[name], row

    def add(self, keys: Sequence[str], arrays: Sequence[Any], columns: Mapping[str, torch.Tensor] | None = None) -> None:
        """Writes one more shard.

        Raises:
            OSError: if the folder cannot be written or the disk is full; finished shards are kept.
        """
        name = f"shard-{hashlib.sha256(''.join(keys).encode()).hexdigest()[:16]}.safetensors"
        self.folder.make()
        with locked(self.folder.path):  # a sweep would take another process's half written shard for one that was left
            if not self._swept:
                # What a killed run left, and what an older version kept behind one manifest for all.
                self.folder.keep(set(self.folder.names()))
                self._swept = True
            self.folder.write(name, self.made_of, keys, arrays, self.dtype, columns=columns or {})
        self._known.add(name)
        self._open.pop(name, None)
        self._places |= {key: (name, row) for row, key in enumerate(keys)}

    def refresh(self) -> None:
        """Takes notice of the shards that others have written since."""
        for name in self.folder.names():
            if name in self._known or not self.folder.is_whole(name, self.made_of):
                continue
            try:
                shard = self._checked(name)
                rows = zip(shard.identifiers(), shard.rows.tolist(), strict=True)
                self._places |= {key: (name, row) for key, row in rows}
                self._known.add(name)
            except ValueError as error:
                logger.warning(f"{self.folder.what}: {error} What it holds is computed again.")

    def _checked(self, name: str) -> VectorShard:
        shard = VectorShard(self.folder.path / name)
        shard.check(self.folder.describe(name), self.dim, self.dtype)
        if not self.columns <= set(shard.columns):
            raise ValueError(f"{shard.path} lacks {', '.join(sorted(self.columns - set(shard.columns)))}.")
        return shard
