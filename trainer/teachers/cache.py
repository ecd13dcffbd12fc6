"""The teacher's vectors on disk, computed once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from modeling_optical.encoding.batching import batched
from modeling_optical.encoding.shard_folder import KeyedVectors
from modeling_optical.precision import choose_precision

from .teacher import Teacher, TeacherVectors

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_WEIGHTS = "token.weights."


class TeacherCache:
    """Vectors of a teacher for a set of texts, in checksummed shards.

    The folder is keyed by the teacher's fingerprint (weights, settings, tokenizer, length) and the dtype, each entry by its
    text: a changed input never meets a stale vector. Shards are written under a temporary name and moved into place; a killed
    run resumes with the missing texts. A shard that fails its checksum is reported, dropped and computed again.

    Args:
        folder: parent folder; each teacher gets a separate folder in it.
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
        # Only float32 shows the rounding of half precision; the other types store both the same way.
        precision = choose_precision(teacher.precision, teacher.model.device).name
        made = f":{precision}" if dtype == "float32" and precision != "fp32" else ""
        key = hashlib.sha256(f"{teacher.fingerprint}:{dtype}{made}".encode()).hexdigest()[:20]
        self.folder = Path(folder) / key
        self._document_length = teacher.max_document_length
        columns = ("token.content_mask", "token.input_ids")
        self._kept = KeyedVectors(self.folder, "teacher cache", made_of=key, dim=teacher.dim, dtype=dtype, columns=columns)

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, text: str) -> bool:
        return self.holds(text)

    def holds(self, text: str, kind: str = "query") -> bool:
        """Whether the vectors of a text, processed as that kind, are there."""
        return self._key(text, kind) in self._kept

    def __getstate__(self) -> dict[str, Any]:
        # The workers of a data loader read stored vectors and need no model.
        return self.__dict__ | {"teacher": None}

    def build(self, texts: Sequence[str], kind: str = "query", *, batch_size: int = 64, show_progress_bar: bool = True) -> int:
        """Computes the missing vectors of `texts`, processed as `"query"` or `"document"`.

        Returns:
            How many texts were encoded.

        Raises:
            OSError: if the disk is full; the message says how much is needed, and nothing is left half written.
        """
        missing = list(dict.fromkeys(text for text in texts if not self.holds(text, kind)))
        if not missing:
            return 0
        # Neighbours of like length share a batch and waste little padding.
        missing.sort(key=len)
        with logging.tqdm(total=len(missing), desc="Teacher vectors", unit="text", disable=not show_progress_bar) as bar:
            for chunk in batched(missing, self.shard_size):
                entries: list[TeacherVectors] = []
                for batch in batched(chunk, batch_size):
                    entries += self.teacher.encode(batch, kind)
                    bar.update(len(batch))
                self._write(chunk, kind, entries)
        return len(missing)

    def refresh(self) -> None:
        """Takes notice of what other processes have computed since."""
        self._kept.refresh()

    def __getitem__(self, text: str) -> TeacherVectors:
        return self.get(text)

    def get(self, text: str, kind: str = "query") -> TeacherVectors:
        """The vectors of a text, processed as `"query"` or `"document"`.

        Raises:
            KeyError: if they were not computed.
        """
        found = self._kept.find(self._key(text, kind))
        if found is None:
            raise KeyError(f"the teacher cache has no vectors for the {kind} {text[:80]!r}; call build() with the texts first.")
        shard, row = found
        span, columns = shard.span(row), shard.columns
        expansion = columns.get("token.expansion_mask")
        return TeacherVectors(
            shard.stored()[0][span],
            columns["token.content_mask"][span].bool(),
            columns["token.input_ids"][span].long(),
            None if expansion is None else expansion[span].bool(),
            {name.removeprefix(_WEIGHTS): values[span] for name, values in columns.items() if name.startswith(_WEIGHTS)},
            columns["text.pooled"][row] if "text.pooled" in columns else None,
        )

    def vectors_of(self, texts: Sequence[str], kinds: Sequence[str]) -> list[TeacherVectors]:
        """As `get`, for several texts."""
        return [self.get(text, kind) for text, kind in zip(texts, kinds, strict=True)]

    def _key(self, text: str, kind: str) -> str:
        if kind != "query":  # the length of queries is in the teacher's fingerprint
            text = f"{kind}:{self._document_length}\0{text}"
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def _write(self, texts: list[str], kind: str, entries: list[TeacherVectors]) -> None:
        columns = {
            "token.content_mask": torch.cat([entry.content_mask for entry in entries]).to(torch.uint8),
            "token.input_ids": torch.cat([entry.input_ids for entry in entries]).to(torch.int32),
        }
        expansions = [entry.expansion_mask for entry in entries if entry.expansion_mask is not None]
        if expansions:
            columns["token.expansion_mask"] = torch.cat(expansions).to(torch.uint8)
        pooled = [entry.pooled for entry in entries if entry.pooled is not None]
        if pooled:
            columns["text.pooled"] = torch.stack(pooled).to(_DTYPES[self.dtype])
        for weight in entries[0].weights:
            columns[_WEIGHTS + weight] = torch.cat([entry.weights[weight] for entry in entries]).float()
        self._kept.add([self._key(text, kind) for text in texts], [entry.vectors for entry in entries], columns)
