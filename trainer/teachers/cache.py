"""The teacher's vectors on disk, computed once."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers.utils import logging

from modeling_optical.files.atomic_write import save_tensors, write_text
from modeling_optical.files.fingerprint import file_checksum

from .teacher import Teacher, TeacherVectors

logger = logging.get_logger(__name__)

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class TeacherCache:
    """Vectors of a teacher for a set of texts, in checksummed shards.

    The folder is keyed by the teacher's fingerprint (weights, settings, tokenizer, length) and the dtype, each entry by its
    text: a changed input never meets a stale vector. Shards are written under a temporary name and moved into place; a killed
    run goes on with the texts that are missing. A shard that fails its checksum is named, dropped and computed again.

    Args:
        folder: parent folder; each teacher gets a folder of its own in it.
        teacher: the teacher.
        dtype: `"float16"` (default), `"bfloat16"` or `"float32"`, as stored.
        shard_size: texts per shard.
    """

    def __init__(self, folder: str | os.PathLike, teacher: Teacher, *, dtype: str = "float16", shard_size: int = 4096):
        if dtype not in _DTYPES:
            raise ValueError(f"teacher cache dtype is {dtype!r}; allowed: {', '.join(_DTYPES)}.")
        self.teacher = teacher
        self.dtype = dtype
        self.shard_size = shard_size
        key = hashlib.sha256(f"{teacher.fingerprint}:{dtype}".encode()).hexdigest()[:20]
        self.folder = Path(folder) / key
        self._places: dict[str, tuple[str, int]] = {}
        self._shards: dict[str, dict[str, Any]] = {}
        self._open: dict[str, tuple[Any, torch.Tensor, list[str]]] = {}
        self._document_length = teacher.max_document_length
        self._load()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, text: str) -> bool:
        return self.holds(text)

    def holds(self, text: str, kind: str = "query") -> bool:
        """Whether the vectors of a text, processed as that kind, are there."""
        return self._key(text, kind) in self._places

    def __getstate__(self) -> dict[str, Any]:
        # Open files do not travel to the workers of a data loader; each opens its own.
        return self.__dict__ | {"_open": {}, "teacher": None}

    def build(self, texts: Sequence[str], kind: str = "query", *, batch_size: int = 64, show_progress_bar: bool = True) -> int:
        """Computes what is missing of `texts`, processed as `"query"` or `"document"`.

        Returns:
            How many texts were encoded.

        Raises:
            OSError: if the disk is full; the message says how much is needed, and nothing is left half written.
        """
        missing = list(dict.fromkeys(text for text in texts if not self.holds(text, kind)))
        if not missing:
            return 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"the teacher cache folder {self.folder} cannot be made: {error.strerror}.") from error
        # Neighbours of like length share a batch and waste little padding.
        missing.sort(key=len)
        with logging.tqdm(total=len(missing), desc="Teacher vectors", unit="text", disable=not show_progress_bar) as bar:
            for start in range(0, len(missing), self.shard_size):
                chunk = missing[start : start + self.shard_size]
                entries: list[TeacherVectors] = []
                for first in range(0, len(chunk), batch_size):
                    batch = chunk[first : first + batch_size]
                    entries += self.teacher.encode(batch, kind)
                    bar.update(len(batch))
                self._write(chunk, kind, entries)
        return len(missing)

    def refresh(self) -> None:
        """Takes notice of what other processes have computed since."""
        self._load()

    def __getitem__(self, text: str) -> TeacherVectors:
        return self.get(text)

    def get(self, text: str, kind: str = "query") -> TeacherVectors:
        """The vectors of a text, processed as `"query"` or `"document"`.

        Raises:
            KeyError: if they were not computed.
        """
        try:
            name, row = self._places[self._key(text, kind)]
        except KeyError:
            raise KeyError(
                f"the teacher cache has no vectors for the {kind} {text[:80]!r}; call build() with the texts first."
            ) from None
        handle, offsets, keys = self._shard(name)
        start, stop = int(offsets[row]), int(offsets[row + 1])
        return TeacherVectors(
            handle.get_slice("vectors")[start:stop],
            handle.get_slice("content_mask")[start:stop].bool(),
            handle.get_slice("input_ids")[start:stop].long(),
            handle.get_slice("expansion_mask")[start:stop].bool() if "expansion_mask" in keys else None,
            {k.removeprefix("weights."): handle.get_slice(k)[start:stop] for k in keys if k.startswith("weights.")},
            handle.get_slice("pooled")[row] if "pooled" in keys else None,
        )

    def vectors_of(self, texts: Sequence[str], kinds: Sequence[str]) -> list[TeacherVectors]:
        """As `get`, for several texts."""
        return [self.get(text, kind) for text, kind in zip(texts, kinds, strict=True)]

    def _key(self, text: str, kind: str) -> str:
        if kind != "query":  # the length of queries is in the teacher's fingerprint
            text = f"{kind}:{self._document_length}\0{text}"
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def _shard(self, name: str) -> tuple[Any, torch.Tensor, list[str]]:
        if name not in self._open:
            handle = safe_open(str(self.folder / name), framework="pt")
            self._open[name] = (handle, handle.get_tensor("offsets"), list(handle.keys()))
        return self._open[name]

    @property
    def _manifest(self) -> Path:
        return self.folder / "manifest.json"

    def _load(self) -> None:
        if not self._manifest.exists():
            return
        try:
            described = json.loads(self._manifest.read_text(encoding="utf-8"))["shards"]
            shards = {name: {"sha256": shard["sha256"], "texts": list(shard["texts"])} for name, shard in described.items()}
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            logger.warning(f"teacher cache {self.folder}: manifest.json is damaged; all vectors are computed again.")
            return
        for name, shard in shards.items():
            path = self.folder / name
            if not path.is_file():
                logger.warning(f"teacher cache {self.folder}: shard {name} is missing; its texts are computed again.")
            elif file_checksum(path) != shard["sha256"]:
                logger.warning(f"teacher cache {self.folder}: shard {name} is damaged; its texts are computed again.")
            else:
                self._register(name, shard)

    def _register(self, name: str, shard: dict[str, Any]) -> None:
        self._shards[name] = shard
        self._places.update({key: (name, row) for row, key in enumerate(shard["texts"])})

    def _write(self, texts: list[str], kind: str, entries: list[TeacherVectors]) -> None:
        lengths = torch.tensor([0] + [entry.vectors.shape[0] for entry in entries])
        tensors = {
            "vectors": torch.cat([entry.vectors for entry in entries]).to(_DTYPES[self.dtype]),
            "content_mask": torch.cat([entry.content_mask for entry in entries]).to(torch.uint8),
            "input_ids": torch.cat([entry.input_ids for entry in entries]).to(torch.int32),
            "offsets": lengths.cumsum(0),
        }
        expansions = [entry.expansion_mask for entry in entries if entry.expansion_mask is not None]
        if expansions:
            tensors["expansion_mask"] = torch.cat(expansions).to(torch.uint8)
        pooled = [entry.pooled for entry in entries if entry.pooled is not None]
        if pooled:
            tensors["pooled"] = torch.stack(pooled).to(_DTYPES[self.dtype])
        for weight in entries[0].weights:
            tensors[f"weights.{weight}"] = torch.cat([entry.weights[weight] for entry in entries]).float()
        needed = sum(t.numel() * t.element_size() for t in tensors.values())
        if shutil.disk_usage(self.folder).free < needed:
            raise OSError(
                errno.ENOSPC, f"no space for {needed / 1e6:.0f} MB of teacher vectors in {self.folder}. {_SPACE_REMEDY}"
            )
        keys = [self._key(text, kind) for text in texts]
        name = f"shard-{hashlib.sha256(''.join(keys).encode()).hexdigest()[:16]}.safetensors"
        try:
            save_tensors(self.folder / name, tensors)
            shard = {"sha256": file_checksum(self.folder / name), "texts": keys}
            shards = self._shards | {name: shard}
            write_text(
                self._manifest, json.dumps({"fingerprint": self.teacher.fingerprint, "dtype": self.dtype, "shards": shards})
            )
        except OSError as error:
            raise OSError(
                error.errno, f"writing the teacher cache in {self.folder} failed: {error}. {_SPACE_REMEDY}"
            ) from error
        self._register(name, shard)


_SPACE_REMEDY = "Free some space, name another folder (teacher.cache in a recipe), or run again: what is written is kept."
