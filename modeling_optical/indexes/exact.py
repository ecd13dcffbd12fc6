"""Exact MaxSim over vectors on disk: every document is scored, memory stays bounded."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..encoding.encoded_corpus import Encoder
from ..encoding.vector_shards import ShardDescription, VectorShard, check_storage_type, write_shard
from ..files.fingerprint import file_checksum
from ..late_interaction import TopDocuments, ragged_maxsim
from .index import Index, IndexManifest

# A segment is what is sorted by length and written at once; while an index is built, one is in memory.
_SEGMENT_DOCUMENTS = 16_384
_SEGMENT_BYTES = 256 * 2**20


class ExactIndex(Index):
    """The default engine. Vectors lie on disk in segments, equally long documents side by side, and are mapped into memory;
    a search goes through all of them in blocks.

    Args:
        path: folder of the index.
        encoder: who makes the document vectors.
        dtype: `"float16"`, `"int8"` or `"float32"`.
        device: where the products are computed. On an accelerator the vectors are kept there after the first search, as far as
            `device_bytes` goes; the rest travels at every search.
        max_elements: bound on the similarities held at a time, see `ragged_maxsim`.
        device_bytes: bound on the vectors kept on an accelerator; None: four fifths of what is free there.

    Example:

    ```python
    >>> index = ExactIndex("index", Encoder("org/english-colbert", dim=128))
    >>> index.build(["a", "b"], encoder.encode_document(["a text", "another"]))
    >>> ids, scores = ExactIndex.load("index").search(student.encode_query(["swali"]), k=10)
    ```
    """

    engine = "exact"

    def __init__(
        self,
        path: str | os.PathLike,
        encoder: Encoder,
        dtype: str = "float16",
        *,
        device: torch.device | str = "cpu",
        max_elements: int | None = None,
        device_bytes: int | None = None,
    ):
        check_storage_type(dtype)
        super().__init__(path, encoder, dtype)
        self.device = torch.device(device)
        self.max_elements = max_elements
        self.device_bytes = device_bytes
        self._open_segments()

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        *,
        device: torch.device | str = "cpu",
        max_elements: int | None = None,
        device_bytes: int | None = None,
        verify: bool = True,
    ) -> ExactIndex:
        """Opens an index folder; other arguments as for the class.

        Args:
            verify: compare every segment with its checksum first. It reads each once, as every search does.

        Raises:
            FileNotFoundError, ValueError: if the folder holds no exact index, or a damaged one; what is damaged is named.
        """
        manifest = IndexManifest.read(path)
        if manifest.engine != cls.engine:
            raise ValueError(f"{path} is an index of the engine {manifest.engine!r}: open it with open_index.")
        index = cls(
            path,
            manifest.encoder,
            manifest.dtype,
            device=device,
            max_elements=max_elements,
            device_bytes=device_bytes,
        )
        index.manifest = manifest
        if verify:
            index._verify_segments()
        index._open_segments()
        return index

    def _verify_segments(self) -> None:
        for segment in self.manifest.state.get("segments", []):
            path = self.path / segment["file"]
            if path.is_file() and file_checksum(path) != segment["sha256"]:
                raise ValueError(f"{path} is damaged: it is not what was written. Make the index again, or copy it again.")

    def _open_segments(self) -> None:
        state = self.manifest.state
        self._descriptions = [ShardDescription(**segment) for segment in state.get("segments", [])]
        self._segments = [VectorShard(self.path / description.file) for description in self._descriptions]
        self._removed = [torch.tensor(positions, dtype=torch.long) for positions in state.get("removed", [])]
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor | None]] = {}
        self._places: dict[str, tuple[int, int]] | None = None

    # Changes

    def build(self, ids: Iterable[str], vectors: Iterable[Any], texts: Iterable[str] | None = None) -> None:
        # New segments stand beside the old ones until the manifest names them: a kill leaves the old index as it was.
        self.claim_folder()
        segments = self._write_segments(self.path, self.checked(ids, vectors, set()))
        self._commit(segments, [[] for _ in segments])
        self._sweep()

    def add(self, ids: Iterable[str], vectors: Iterable[Any], texts: Iterable[str] | None = None) -> None:
        self._sweep()
        segments = self._write_segments(self.path, self.checked(ids, vectors, set(self.places)))
        self._commit([*self._descriptions, *segments], [*(r.tolist() for r in self._removed), *([] for _ in segments)])

    def remove(self, ids: Iterable[str]) -> None:
        ids = self.check_known(ids)
        removed = [set(positions.tolist()) for positions in self._removed]
        for identifier in ids:
            segment, position = self.places[identifier]
            removed[segment].add(position)
        # A segment without a document left goes; the others keep theirs until the index is built again.
        left = [i for i, d in enumerate(self._descriptions) if len(removed[i]) < d.documents]
        self._commit([self._descriptions[i] for i in left], [sorted(removed[i]) for i in left])
        self._sweep()

    def _commit(self, segments: list[ShardDescription], removed: list[list[int]]) -> None:
        documents = sum(segment.documents for segment in segments) - sum(map(len, removed))
        state = {"segments": [asdict(segment) for segment in segments], "removed": removed}
        manifest = IndexManifest(self.engine, self.manifest.dtype, self.encoder, documents, state)
        manifest.write(self.path)
        self.manifest = manifest
        self._open_segments()

    def _write_segments(self, folder: Path, documents: Iterable[tuple[str, np.ndarray]]) -> list[ShardDescription]:
        segments = []
        try:
            for ids, arrays in _batches(documents):
                path = folder / f"segment-{uuid.uuid4().hex}.safetensors"
                segments.append(write_shard(path, ids, arrays, self.manifest.dtype, by_length=True))
        except BaseException:
            for segment in segments:
                (folder / segment.file).unlink(missing_ok=True)
            raise
        return segments

    def _sweep(self) -> None:
        """Removes files of changes that were killed before the manifest named them."""
        named = {description.file for description in self._descriptions}
        for path in [*self.path.glob("segment-*"), *self.path.glob(".segment-*")]:
            if path.name not in named:
                path.unlink()

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """Segment and position in it of every document that can be found."""
        if self._places is None:
            self._places = {}
            for number, (segment, removed) in enumerate(zip(self._segments, self._removed, strict=True)):
                gone = set(removed.tolist())
                ids = segment.identifiers()
                self._places.update({ids[p]: (number, p) for p in range(len(ids)) if p not in gone})
        return self._places

    def known(self, ids: Iterable[str]) -> set[str]:
        return {identifier for identifier in ids if identifier in self.places}

    # Reading

    def document(self, identifier: str) -> np.ndarray:
        """Vectors (tokens, dim) of a document, float32.

        Raises:
            KeyError: if it is not in the index.
        """
        if identifier not in self.places:
            raise KeyError(f"not in the index {self.path}: {identifier}.")
        segment, position = self.places[identifier]
        return self._at(segment, position).numpy()

    def documents(self) -> Iterator[tuple[str, np.ndarray]]:
        """Ids and vectors of all documents."""
        for identifier, (segment, position) in self.places.items():
            yield identifier, self._at(segment, position).numpy()

    @property
    def segments(self) -> list[VectorShard]:
        """The files that hold the vectors."""
        return self._segments

    def score(self, query: np.ndarray, ids: Sequence[str]) -> torch.Tensor:
        """MaxSim (documents,) of one query (tokens, dim) with some documents.

        Raises:
            KeyError: if one is not in the index.
        """
        if not ids:
            return torch.empty(0)
        vectors = [self._at(*self.places[identifier]) for identifier in ids]
        order = sorted(range(len(ids)), key=lambda i: len(vectors[i]))
        sorted_vectors = torch.cat([vectors[i] for i in order]).to(self.device)
        lengths = [len(vectors[i]) for i in order]
        tokens = torch.from_numpy(query).to(self.device)
        scores = ragged_maxsim(tokens, [len(query)], sorted_vectors, lengths, max_elements=self.max_elements)[0].cpu()
        return torch.empty_like(scores).index_copy_(0, torch.tensor(order), scores)

    def _at(self, segment: int, position: int) -> torch.Tensor:
        shard = self._segments[segment]
        return shard.document(int(shard.rows[position]))

    def search(
        self, query_vectors: Sequence[Any], k: int = 10, query_texts: Sequence[str] | None = None
    ) -> tuple[list[list[str]], list[list[float]]]:
        queries = self.check_queries(query_vectors, k)
        lengths = [len(query) for query in queries]
        tokens = torch.from_numpy(np.concatenate(queries)).to(self.device)
        best = TopDocuments(len(queries), k)
        first = 0
        for number, segment in enumerate(self._segments):
            document_lengths = segment.lengths.tolist()
            vectors, scales = self._on_device(number)
            scores = ragged_maxsim(
                tokens, lengths, vectors, document_lengths, document_scales=scales, max_elements=self.max_elements
            )
            scores = torch.empty_like(scores).index_copy_(1, segment.positions.to(scores.device), scores)
            scores[:, self._removed[number].to(scores.device)] = -torch.inf
            best.update(scores, first)
            first += len(segment)
        return self._named(best)

    def _on_device(self, number: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A segment's vectors and scales where the products are computed."""
        segment = self._segments[number]
        if self.device.type == "cpu":
            return segment.stored()
        if number not in self._kept:
            if self.device_bytes is None:
                self.device_bytes = int(0.8 * torch.cuda.mem_get_info(self.device)[0]) if self.device.type == "cuda" else 0
            if sum(vectors.nbytes for vectors, _ in self._kept.values()) + segment.nbytes > self.device_bytes:
                return segment.stored(self.device)
            self._kept[number] = segment.stored(self.device)
        return self._kept[number]

    def _named(self, best: TopDocuments) -> tuple[list[list[str]], list[list[float]]]:
        """Ids and scores from positions over all segments; removed documents fall out."""
        ends = np.cumsum([len(segment) for segment in self._segments])
        ids, scores = [], []
        for row_positions, row_scores in zip(best.positions.tolist(), best.scores.tolist(), strict=True):
            found = [(p, score) for p, score in zip(row_positions, row_scores, strict=True) if score != -np.inf]
            ids.append([self._identifier(p, ends) for p, _ in found])
            scores.append([score for _, score in found])
        return ids, scores

    def _identifier(self, position: int, ends: np.ndarray) -> str:
        number = int(np.searchsorted(ends, position, side="right"))
        segment = self._segments[number]
        return segment.identifier(int(segment.rows[position - (int(ends[number - 1]) if number else 0)]))


def _batches(documents: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Documents in lots that become segments."""
    ids: list[str] = []
    arrays: list[np.ndarray] = []
    size = 0
    for identifier, array in documents:
        if ids and (len(ids) == _SEGMENT_DOCUMENTS or size + array.nbytes > _SEGMENT_BYTES):
            yield ids, arrays
            ids, arrays, size = [], [], 0
        ids.append(identifier)
        arrays.append(array)
        size += array.nbytes
    if ids:
        yield ids, arrays
