"""Exact MaxSim over vectors on disk: every document is scored, memory stays bounded."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..encoding.encoded_corpus import Encoder
from ..encoding.vector_shards import ShardDescription, VectorShard, check_storage_type, is_count, write_shard
from ..files.fingerprint import file_checksum
from ..late_interaction import TopDocuments, ragged_maxsim
from .index import SEGMENT, Index
from .manifest import IndexManifest

# A segment's documents are sorted by length and written at once; building an index holds one segment in memory.
_SEGMENT_DOCUMENTS = 16_384
_SEGMENT_BYTES = 256 * 2**20


class ExactIndex(Index):
    """The default engine. Vectors lie on disk in segments, equally long documents side by side, and are mapped into memory;
    a search goes through all of them in blocks.

    Args:
        path: folder of the index.
        encoder: makes the document vectors.
        dtype: `"float16"`, `"int8"` or `"float32"`.
        device: where the products are computed. On an accelerator the vectors are kept there after the first search, up to
            `device_bytes`; every search copies the rest.
        max_elements: bound on the similarities held at a time, see `ragged_maxsim`.
        device_bytes: bound on the vectors kept on an accelerator; None: four fifths of its free memory.

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
        self._verify = True
        self._written: set[str] = set()  # by this object, so known to be whole
        self._kept: dict[str, tuple[torch.Tensor, torch.Tensor | None]] = {}
        self._opened = Opened([], [], [])

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
            FileNotFoundError, ValueError: if the folder holds no exact index, or a damaged one; the message names the damage.
        """
        manifest = cls._manifest(path)
        index = cls(
            path,
            manifest.encoder,
            manifest.dtype,
            device=device,
            max_elements=max_elements,
            device_bytes=device_bytes,
        )
        index._verify = verify
        index.refresh()
        return index

    @property
    def segment_folder(self) -> Path:
        """Where the segments lie."""
        return self.path

    def _open(self, manifest: IndexManifest) -> None:
        descriptions, removed = _segments_of(manifest)
        there = {segment.path.name: segment for segment in self._opened.segments}
        segments = []
        for description in descriptions:
            path = self.segment_folder / description.file
            if description.file not in there:
                unverified = self._verify and description.file not in self._written and path.is_file()
                if unverified and file_checksum(path) != description.sha256:
                    raise ValueError(f"{path} is damaged: it is not what was written. Make the index again, or copy it again.")
                there[description.file] = VectorShard(path)
                there[description.file].check(description, manifest.encoder.dim, manifest.dtype)
            segments.append(there[description.file])
        self._kept = {name: kept for name, kept in self._kept.items() if name in {d.file for d in descriptions}}
        self._opened = Opened(descriptions, segments, removed)

    # Changes

    def _build(self, documents: Iterable[tuple[str, np.ndarray]]) -> tuple[dict[str, Any], int]:
        segments = self._write_segments(documents)
        return _state(segments, [[] for _ in segments])

    def _add(self, documents: Iterable[tuple[str, np.ndarray]]) -> tuple[dict[str, Any], int]:
        opened, segments = self._opened, self._write_segments(documents)
        return _state([*opened.descriptions, *segments], [*(r.tolist() for r in opened.removed), *([] for _ in segments)])

    def _remove(self, ids: Sequence[str]) -> tuple[dict[str, Any], int]:
        opened = self._opened
        removed = [set(positions.tolist()) for positions in opened.removed]
        for identifier in ids:
            segment, position = opened.places[identifier]
            removed[segment].add(position)
        # A segment without a document left goes; the others keep theirs until the index is built again.
        left = [i for i, d in enumerate(opened.descriptions) if len(removed[i]) < d.documents]
        return _state([opened.descriptions[i] for i in left], [sorted(removed[i]) for i in left])

    def _write_segments(self, documents: Iterable[tuple[str, np.ndarray]]) -> list[ShardDescription]:
        segments: list[ShardDescription] = []
        self.segment_folder.mkdir(exist_ok=True)
        try:
            for ids, arrays in _batches(documents):
                path = self.segment_folder / f"segment-{uuid.uuid4().hex}.safetensors"
                segments.append(write_shard(path, ids, arrays, self.manifest.dtype, by_length=True))
        except BaseException:
            for segment in segments:
                (self.segment_folder / segment.file).unlink(missing_ok=True)
            raise
        self._written = {segment.file for segment in segments}
        return segments

    def _sweep(self) -> None:
        super()._sweep()
        named = {description.file for description in self._opened.descriptions}
        for path in [*self.segment_folder.glob("segment-*"), *self.segment_folder.glob(".segment-*")]:
            if SEGMENT.fullmatch(path.name) and path.name not in named:
                with suppress(PermissionError):  # Windows keeps what another process reads; the next change removes it
                    path.unlink()

    # Reading

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """Segment and position in it of every document that can be found."""
        return self._opened.places

    @property
    def segments(self) -> list[VectorShard]:
        """The files that hold the vectors."""
        return self._opened.segments

    def _known(self, ids: Iterable[str]) -> set[str]:
        places = self._opened.places
        return {identifier for identifier in ids if identifier in places}

    def document(self, identifier: str) -> np.ndarray:
        """Vectors (tokens, dim) of a document, float32.

        Raises:
            KeyError: if it is not in the index.
        """
        self.refresh()
        opened = self._opened
        if identifier not in opened.places:
            raise KeyError(f"not in the index {self.path}: {identifier}.")
        return opened.vectors(*opened.places[identifier]).numpy()

    def documents(self) -> Iterator[tuple[str, np.ndarray]]:
        """Ids and vectors of all documents."""
        self.refresh()
        opened = self._opened
        for identifier, place in opened.places.items():
            yield identifier, opened.vectors(*place).numpy()

    def _search(
        self, queries: list[np.ndarray], k: int, texts: Sequence[str] | None
    ) -> tuple[list[list[str]], list[list[float]]]:
        opened = self._opened
        lengths = [len(query) for query in queries]
        tokens = torch.from_numpy(np.concatenate(queries)).to(self.device)
        best = TopDocuments(len(queries), k)
        first = 0
        for segment, removed in zip(opened.segments, opened.removed, strict=True):
            document_lengths = segment.lengths.tolist()
            vectors, scales = self._on_device(segment)
            scores = ragged_maxsim(
                tokens, lengths, vectors, document_lengths, document_scales=scales, max_elements=self.max_elements
            )
            scores = torch.empty_like(scores).index_copy_(1, segment.positions.to(scores.device), scores)
            scores[:, removed.to(scores.device)] = -torch.inf
            best.update(scores, first)
            first += len(segment)
        return opened.named(best)

    def score(self, query: np.ndarray, ids: Sequence[str]) -> torch.Tensor:
        """MaxSim (documents,) of one query (tokens, dim) with some documents.

        Raises:
            KeyError: if one is not in the index.
        """
        self.refresh()
        return self._scored(self._opened, query, ids)

    def _scored(self, opened: Opened, query: np.ndarray, ids: Sequence[str]) -> torch.Tensor:
        if not ids:
            return torch.empty(0)
        vectors = [opened.vectors(*opened.places[identifier]) for identifier in ids]
        order = sorted(range(len(ids)), key=lambda i: len(vectors[i]))
        sorted_vectors = torch.cat([vectors[i] for i in order]).to(self.device)
        lengths = [len(vectors[i]) for i in order]
        tokens = torch.from_numpy(query).to(self.device)
        scores = ragged_maxsim(tokens, [len(query)], sorted_vectors, lengths, max_elements=self.max_elements)[0].cpu()
        return torch.empty_like(scores).index_copy_(0, torch.tensor(order), scores)

    def _on_device(self, segment: VectorShard) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A segment's vectors and scales where the products are computed."""
        if self.device.type == "cpu":
            return segment.stored()
        name = segment.path.name
        if name not in self._kept:
            if self.device_bytes is None:
                self.device_bytes = int(0.8 * torch.cuda.mem_get_info(self.device)[0]) if self.device.type == "cuda" else 0
            if sum(vectors.nbytes for vectors, _ in self._kept.values()) + segment.nbytes > self.device_bytes:
                return segment.stored(self.device)
            self._kept[name] = segment.stored(self.device)
        return self._kept[name]


@dataclass(frozen=True)
class Opened:
    """The files of one state. They stay mapped, also when a change removes them from the folder."""

    descriptions: list[ShardDescription]
    segments: list[VectorShard]
    removed: list[torch.Tensor]

    @cached_property
    def places(self) -> dict[str, tuple[int, int]]:
        places: dict[str, tuple[int, int]] = {}
        count = 0
        for number, (segment, removed) in enumerate(zip(self.segments, self.removed, strict=True)):
            gone = set(removed.tolist())
            ids = segment.identifiers()
            places.update({ids[p]: (number, p) for p in range(len(ids)) if p not in gone})
            count += len(ids) - len(gone)
        if len(places) != count:
            raise ValueError("the index is damaged: an id is in it twice. Make it again.")
        return places

    def vectors(self, segment: int, position: int) -> torch.Tensor:
        """Vectors (tokens, dim) of one document."""
        shard = self.segments[segment]
        return shard.document(int(shard.rows[position]))

    def named(self, best: TopDocuments) -> tuple[list[list[str]], list[list[float]]]:
        """Ids and scores from positions over all segments; removed documents fall out."""
        ends = np.cumsum([len(segment) for segment in self.segments])
        ids, scores = [], []
        for row_positions, row_scores in zip(best.positions.tolist(), best.scores.tolist(), strict=True):
            found = [(p, score) for p, score in zip(row_positions, row_scores, strict=True) if score != -np.inf]
            ids.append([self._identifier(p, ends) for p, _ in found])
            scores.append([score for _, score in found])
        return ids, scores

    def _identifier(self, position: int, ends: np.ndarray) -> str:
        number = int(np.searchsorted(ends, position, side="right"))
        segment = self.segments[number]
        return segment.identifier(int(segment.rows[position - (int(ends[number - 1]) if number else 0)]))


def _state(segments: list[ShardDescription], removed: list[list[int]]) -> tuple[dict[str, Any], int]:
    documents = sum(segment.documents for segment in segments) - sum(map(len, removed))
    return {"segments": [asdict(segment) for segment in segments], "removed": removed}, documents


def _segments_of(manifest: IndexManifest) -> tuple[list[ShardDescription], list[torch.Tensor]]:
    """What `_state` wrote, or what somebody else did.

    Raises:
        ValueError: if its parts do not fit each other; the message names the field.
    """
    state = manifest.state
    try:
        if not isinstance(state.get("segments", []), list):
            raise ValueError("state.segments is not a list")
        segments = [ShardDescription.read(values) for values in state.get("segments", [])]
        removed = state.get("removed", [[] for _ in segments])
        if not isinstance(removed, list) or len(removed) != len(segments):
            raise ValueError("state.removed has not one list per segment")
        for segment, positions in zip(segments, removed, strict=True):
            if not isinstance(positions, list) or not all(is_count(p) and p < segment.documents for p in positions):
                raise ValueError(f"state.removed has what is not a position in {segment.file}")
            if len(set(positions)) != len(positions):
                raise ValueError(f"state.removed names a position of {segment.file} twice")
        if len({segment.file for segment in segments}) != len(segments):
            raise ValueError("state.segments names a file twice")
        if manifest.documents != sum(s.documents - len(r) for s, r in zip(segments, removed, strict=True)):
            raise ValueError(f"documents is {manifest.documents}, which the segments do not add up to")
    except ValueError as error:
        raise ValueError(f"index.json is damaged ({error}). Make the index again.") from None
    return segments, [torch.tensor(positions, dtype=torch.long) for positions in removed]


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
