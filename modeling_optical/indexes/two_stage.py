"""Two stages: cheap candidates, then exact MaxSim over their full vectors."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..encoding.batching import batched
from ..encoding.encoded_corpus import Encoder
from ..encoding.passages import PassageStore
from ..encoding.vector_shards import ShardDescription, VectorShard
from ..encoding.words import WordIndex, check_bm25, words_version
from ..files.atomic_write import save_tensors
from .exact import ExactIndex, Opened
from .index import SEGMENT, WORDS
from .manifest import INDEX_FILE, IndexManifest, check_setting

_POOLED = re.compile(rf"\.?pooled-{SEGMENT.pattern}")
_OLD_WORDS = "words.sqlite"  # of indexes made before passages were the index's own
_TEXTS_AT_ONCE = 1000


class TwoStageIndex(ExactIndex):
    """Candidates by one mean vector per document, or by BM25; the best of them by MaxSim.

    The documents' vectors are segments as those of `ExactIndex`, in the folder `exact`. The search for candidates uses data
    derived from them and from the texts: a change stores these data, and a reader that finds none computes them.

    Args:
        path: folder of the index.
        encoder: makes the document vectors.
        dtype: `"float16"`, `"int8"` or `"float32"`.
        candidates: `"pooled"` (inner product of mean vectors; works across languages) or `"bm25"` (words; queries have to be
            in the documents' language).
        count: candidates per query.

    Raises:
        ImportError: for `"bm25"`, if bm25s is not installed.
    """

    engine = "two-stage"

    def __init__(
        self,
        path: str | os.PathLike,
        encoder: Encoder,
        dtype: str = "float16",
        *,
        candidates: Literal["pooled", "bm25"] = "pooled",
        count: int = 500,
    ):
        if candidates not in ("pooled", "bm25"):
            raise ValueError(f"candidates come from 'pooled' or 'bm25', not from {candidates!r}.")
        check_setting("count", count, int)
        if candidates == "bm25":
            check_bm25()
        super().__init__(path, encoder, dtype)
        self.candidates = candidates
        self.count = count
        self._first: _FirstStage = _Pooled(self._opened, encoder.dim)

    @classmethod
    def load(cls, path: str | os.PathLike, *, count: int | None = None, verify: bool = True) -> TwoStageIndex:  # type: ignore[override]
        """Opens an index folder; `count` replaces the stored one, `verify` is as for `ExactIndex`."""
        manifest = cls._manifest(path)
        candidates, stored = manifest.setting("candidates", str), manifest.setting("count", int)
        index = cls(path, manifest.encoder, manifest.dtype, candidates=candidates, count=stored if count is None else count)
        index._verify = verify
        index.refresh()
        return index

    @classmethod
    def _manifest(cls, path: str | os.PathLike) -> IndexManifest:
        manifest = super()._manifest(path)
        if "segments" not in manifest.state:
            # Written before 0.1.0 was released: the segments have a separate manifest.
            inner = ExactIndex._manifest(Path(path).expanduser() / "exact")
            manifest.state |= inner.state
            manifest.documents = inner.documents
        return manifest

    @property
    def reads_texts(self) -> bool:
        return self.candidates == "bm25"

    @property
    def segment_folder(self) -> Path:
        return self.path / "exact"

    def _commit(self, state: dict[str, Any], documents: int, passages: str, removals: int) -> None:
        kept = {"candidates": self.candidates, "count": self.manifest.state.get("count", self.count)}
        super()._commit(kept | state, documents, passages, removals)

    def _open(self, manifest: IndexManifest) -> None:
        candidates = manifest.setting("candidates", str)
        if candidates not in ("pooled", "bm25"):
            raise ValueError(f"{INDEX_FILE}: state.candidates is {candidates!r}, which the engine {self.engine} does not know.")
        before = self._opened
        super()._open(manifest)
        try:
            if candidates == "pooled":
                self._first = _Pooled(self._opened, manifest.encoder.dim)
            else:
                check_bm25()
                self._first = _Words(self._opened, self._words_file(manifest), self.path)
        except BaseException:
            self._opened = before
            raise
        self.candidates = candidates

    def _words_file(self, manifest: IndexManifest) -> Path:
        old = self.path / _OLD_WORDS
        return old if old.is_file() and not (self.path / manifest.passages).is_file() else self.path / manifest.passages

    def _write_segments(self, documents: Iterable[tuple[str, np.ndarray]]) -> list[ShardDescription]:
        segments = super()._write_segments(documents)
        if self.candidates == "pooled":
            for segment in segments:
                shard = VectorShard(self.segment_folder / segment.file)
                save_tensors(_pooled_file(shard), {"vectors": _pooled_vectors(shard)})
        return segments

    def _sweep(self) -> None:
        super()._sweep()
        old = self.path / _OLD_WORDS
        if old.is_file():
            if (self.path / self.manifest.passages).is_file():
                old.unlink()
            else:
                old.rename(self.path / self.manifest.passages)
        (self.segment_folder / INDEX_FILE).unlink(missing_ok=True)
        kept = self._first.stored()
        stored = [path for path in self.path.iterdir() if WORDS.fullmatch(path.name)]
        stored += [path for path in self.segment_folder.iterdir() if _POOLED.fullmatch(path.name)]
        for path in stored:
            if path not in kept:
                with suppress(PermissionError):  # Windows keeps what another process reads; the next change removes it
                    path.unlink()

    def _search(
        self, queries: list[np.ndarray], k: int, texts: Sequence[str] | None
    ) -> tuple[list[list[str]], list[list[float]]]:
        first = self._first
        ids, scores = [], []
        for query, names in zip(queries, first.candidates(queries, texts, max(self.count, k)), strict=True):
            ranked, order = self._scored(first.opened, query, names).sort(descending=True, stable=True)
            ids.append([names[i] for i in order[:k].tolist()])
            scores.append(ranked[:k].tolist())
        return ids, scores


class _FirstStage(Protocol):
    """Finds candidates among the documents of one state."""

    opened: Opened

    def candidates(self, queries: list[np.ndarray], texts: Sequence[str] | None, count: int) -> list[list[str]]:
        """Ids for each query, best first."""

    def stored(self) -> set[Path]:
        """The files that it can be read from; missing ones are written."""


class _Pooled:
    """One unit vector per document, the direction of its vectors' mean, kept beside each segment."""

    def __init__(self, opened: Opened, dim: int):
        self.opened = opened
        self.ids = list(opened.places)
        pooled = [_stored_pooled(segment) for segment in opened.segments]
        rows = [int(opened.segments[number].rows[position]) for number, position in opened.places.values()]
        starts = np.cumsum([0, *(len(vectors) for vectors in pooled)])
        places = [int(starts[number]) + row for (number, _), row in zip(opened.places.values(), rows, strict=True)]
        self.vectors = torch.cat(pooled)[places] if places else torch.empty(0, dim)

    def candidates(self, queries: list[np.ndarray], texts: Sequence[str] | None, count: int) -> list[list[str]]:
        means = torch.from_numpy(np.stack([query.mean(0) for query in queries]))
        best = (means.float() @ self.vectors.T).topk(min(count, len(self.ids)), dim=1).indices
        return [[self.ids[position] for position in row] for row in best.tolist()]

    def stored(self) -> set[Path]:
        for segment in self.opened.segments:
            if not _pooled_file(segment).is_file():
                save_tensors(_pooled_file(segment), {"vectors": _pooled_vectors(segment)})
        return {_pooled_file(segment) for segment in self.opened.segments}


def _pooled_file(segment: VectorShard) -> Path:
    return segment.path.with_name(f"pooled-{segment.path.name}")


def _pooled_vectors(segment: VectorShard) -> torch.Tensor:
    """Unit vectors (documents, dim) in the order of the file."""
    means = [segment.document(row).sum(0) for row in range(len(segment))]
    return torch.nn.functional.normalize(torch.stack(means), dim=1)


def _stored_pooled(segment: VectorShard) -> torch.Tensor:
    try:
        vectors = load_file(_pooled_file(segment))["vectors"]
    except (OSError, SafetensorError, KeyError):
        return _pooled_vectors(segment)
    fits = vectors.shape == (len(segment), segment.dim) and vectors.dtype == torch.float32
    return vectors if fits else _pooled_vectors(segment)


class _Words:
    """BM25 over the texts of the documents."""

    def __init__(self, opened: Opened, texts: Path, folder: Path):
        self.opened = opened
        self.ids = list(opened.places)
        digest = hashlib.sha256(words_version().encode())
        for description, removed in zip(opened.descriptions, opened.removed, strict=True):
            digest.update(f"{description.sha256} {removed.tolist()}".encode())
        self.file = folder / f"bm25-{digest.hexdigest()[:32]}.safetensors"
        try:
            self.index = WordIndex.load(self.file, len(self.ids))
        except ValueError:
            self.index = WordIndex(self._texts(PassageStore(texts)))

    def _texts(self, store: PassageStore) -> Iterator[str]:
        for some in batched(self.ids, _TEXTS_AT_ONCE):
            found = store.get(some)
            yield from (found.get(identifier, "") for identifier in some)

    def candidates(self, queries: list[np.ndarray], texts: Sequence[str] | None, count: int) -> list[list[str]]:
        if texts is None:
            raise ValueError("candidates by BM25 need the texts of the queries (query_texts).")
        return [[self.ids[position] for position, _ in self.index.best(text, count)] for text in texts]

    def stored(self) -> set[Path]:
        if not self.file.is_file():
            save_tensors(self.file, {name: torch.from_numpy(array.copy()) for name, array in self.index.tensors().items()})
        return {self.file}
