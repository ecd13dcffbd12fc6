"""The interface of every engine: changes are serial and atomic, and readers always see one state."""

from __future__ import annotations

import os
import re
import shutil
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from transformers.utils import logging

from ..encoding.encoded_corpus import Encoder
from ..encoding.passages import PassageStore
from ..encoding.vector_shards import largest_value
from ..files.atomic_write import sweep_scratch
from ..files.lock import LOCK_FILE, locked
from .manifest import INDEX_FILE, PASSAGES, PASSAGES_NAME, IndexManifest

logger = logging.get_logger(__name__)

_ATTEMPTS = 10
_TEXTS_AT_ONCE = 1000
ENCODING = ".encoding"
"""Folder, below that of an index, in which its corpus is being encoded."""
_PASSAGES = re.compile(rf"{PASSAGES_NAME.pattern}(-journal|-wal|-shm)?")
SEGMENT = re.compile(r"\.?segment-[0-9a-f]{32}\.safetensors.*")
WORDS = re.compile(r"\.?bm25-[0-9a-f]{32}\.safetensors.*")
# What a first build that was killed may have left in its folder: only that is built over.
_OWN = re.compile(
    rf"{re.escape(LOCK_FILE)}|\.?{re.escape(INDEX_FILE)}.*|{_PASSAGES.pattern}|{SEGMENT.pattern}|{WORDS.pattern}|"
    rf"exact|lance|qdrant|{re.escape(ENCODING)}|\.?(adding\.json|progress\.jsonl?).*"
)
Found = TypeVar("Found")
# What identifies one state of `index.json` on disk: every change puts another file in its place.
_Signature = tuple[int, int, int, int]


class Index(ABC):
    """Documents as token vectors, searched by MaxSim. A folder holds it.

    Every change is whole or has not happened, also after a kill. Changes take the folder's lock and begin with the state that
    they find there, so those of several processes follow each other. Readers need no lock: they look for a new state before
    every search, and what they find comes from one state.

    Args:
        path: folder of the index.
        encoder: who makes the document vectors.
        dtype: how vectors are stored.

    Attributes:
        engine: its name.
        manifest: of the open state.

    Raises:
        ImportError: if the engine needs a package that is not installed; says how to install it.
    """

    engine: ClassVar[str]

    def __init__(self, path: str | os.PathLike, encoder: Encoder, dtype: str = "float16"):
        self.path = Path(path).expanduser()
        self.manifest = IndexManifest(self.engine, dtype, encoder)
        self._signature: _Signature | None = None
        self._opening = threading.RLock()

    def __len__(self) -> int:
        return self._read(self._count)

    @property
    def encoder(self) -> Encoder:
        """The encoder of the document vectors."""
        return self.manifest.encoder

    @property
    def reads_texts(self) -> bool:
        """Whether the engine looks at the words of documents and queries, so that `build` and `add` need the texts."""
        return False

    @classmethod
    @abstractmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Opens an index folder.

        Raises:
            FileNotFoundError, ValueError: if the folder holds no index of this engine, or a damaged one (the message names it).
        """

    # Changes

    def build(
        self, ids: Iterable[str], vectors: Iterable[Any], texts: Iterable[str] | None = None, **extras: Iterable[Any]
    ) -> None:
        """Makes the index, instead of one that is there.

        Args:
            ids: one id per document, all different.
            vectors: one array (tokens, dim) of unit vectors per document.
            texts: one text per document, to show; engines that look at words need them.
            **extras: what else the engine keeps of each document.

        Raises:
            ValueError: for an id that is empty or appears twice, or vectors of another dimension than the encoder's.
            OSError: if the disk is full. The index that was there is untouched.
        """
        with locked(self.path):
            self.claim_folder()
            if self.reads_texts and texts is None:
                raise ValueError("candidates by BM25 need the texts of the documents.")
            # New files are beside the old ones until the manifest names them: a kill leaves the old index as it was.
            fresh = texts is None and not (self.path / PASSAGES).exists()
            passages = PASSAGES if fresh else f"passages-{uuid.uuid4().hex}.sqlite"
            store = PassageStore(self.path / passages)
            try:
                state, documents = self._build(self.checked(ids, vectors, set(), texts, store), **extras)
            except BaseException:
                if not fresh:
                    store.path.unlink(missing_ok=True)
                raise
            self._commit(state, documents, passages, 0)
            self.refresh()
            self._sweep()

    def add(
        self, ids: Iterable[str], vectors: Iterable[Any], texts: Iterable[str] | None = None, **extras: Iterable[Any]
    ) -> None:
        """Adds documents; arguments and errors as for `build`. An id that is there already is an error: remove it first."""
        ids = list(ids)
        with self._changing():
            if self._signature is None:
                self.build(ids, vectors, texts, **extras)
                return
            if self.reads_texts and texts is None:
                raise ValueError("candidates by BM25 need the texts of the documents.")
            for number, identifier in enumerate(ids):
                _check_id(number, identifier)
            taken = self._known(ids)
            if taken:
                more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
                raise ValueError(
                    f"the id {min(taken)!r} is taken{more} in the index {self.path}. Remove first, or give others."
                )
            if ids:
                # Texts first: a kill in between leaves texts that no search finds. None of a removed namesake must remain.
                store = self._store
                if texts is None:
                    store.remove(ids)
                state, documents = self._add(self.checked(ids, vectors, set(), texts, store), **extras)
                self._commit(state, documents, self.manifest.passages, self.manifest.removals)
                self.refresh()
                self._sweep()

    def remove(self, ids: Iterable[str]) -> None:
        """Removes documents.

        Raises:
            KeyError: naming the ids that are not there; nothing is removed then.
        """
        with self._changing():
            ids = list(dict.fromkeys(ids))
            known = self._known(ids)
            missing = [identifier for identifier in ids if identifier not in known]
            if missing:
                raise KeyError(f"not in the index {self.path}: {_listed(missing)}.")
            if ids:
                state, documents = self._remove(ids)
                self._commit(state, documents, self.manifest.passages, self.manifest.removals + 1)
                self._store.remove(ids)
                self.refresh()
                self._sweep()

    def save(self, path: str | os.PathLike) -> None:
        """Copies the index to another folder, which `load` opens.

        Raises:
            FileExistsError: if something is there.
        """
        if Path(path).exists():
            raise FileExistsError(f"{path} exists; an index is saved to a new folder.")
        with locked(self.path):
            shutil.copytree(self.path, path, ignore=shutil.ignore_patterns(LOCK_FILE))

    def claim_folder(self) -> None:
        """Makes the index's folder; errors as `check_folder`.

        Raises:
            OSError: if it cannot be made.
        """
        self.check_folder()
        self.path.mkdir(parents=True, exist_ok=True)

    def check_folder(self) -> None:
        """Whether the folder is this engine's, or holds nothing but what an index of it may have left unfinished.

        Raises:
            FileExistsError: if it holds an index of another engine, or files that are not of an index.
        """
        if (self.path / INDEX_FILE).is_file():
            there = IndexManifest.read(self.path).engine
            if there != self.engine:
                raise FileExistsError(f"{self.path} holds an index of the engine {there!r}. Name another folder, or delete it.")
            return
        others = (
            sorted(path.name for path in self.path.iterdir() if not _OWN.fullmatch(path.name)) if self.path.is_dir() else []
        )
        if others:
            raise FileExistsError(
                f"{self.path} is no index and holds other files ({', '.join(others[:5])}{' …' if len(others) > 5 else ''}). "
                "Name another folder."
            )

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """The one change at a time: on the state that is there now, without what a killed change left."""
        with locked(self.path):
            self.refresh()
            if self._signature is not None:
                self._sweep()
            yield

    def _commit(self, state: dict[str, Any], documents: int, passages: str, removals: int) -> None:
        IndexManifest(self.engine, self.manifest.dtype, self.encoder, documents, state, passages, removals).write(self.path)

    # Reading

    def refresh(self) -> None:
        """Opens the state that the folder holds now, if it is another one than the open one.

        Raises:
            FileNotFoundError: if the index was removed.
            ValueError: if it is damaged, or was built anew by another model.
        """
        with self._opening:
            for _ in range(_ATTEMPTS):
                signature = _signature(self.path / INDEX_FILE)
                if signature == self._signature:
                    return
                manifest = self._manifest(self.path)
                if not manifest.encoder.same(self.encoder):
                    raise ValueError(f"the index {self.path} was made by {manifest.encoder}, not by {self.encoder}.")
                try:
                    self._open(manifest)
                except (OSError, ValueError):
                    if _signature(self.path / INDEX_FILE) == signature:
                        raise
                    continue  # a change swept the files of the state that was just read
                self.manifest, self._signature = manifest, signature
                return
            raise OSError(f"{self.path} changes faster than it can be opened. Try again.")

    def is_there(self) -> bool:
        """Whether the folder still holds an index."""
        return _signature(self.path / INDEX_FILE) is not None

    def known(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that are in the index."""
        ids = list(ids)
        return self._read(lambda: self._known(ids))

    def texts(self, ids: Iterable[str]) -> dict[str, str]:
        """The texts of those ids that have one."""
        ids = list(ids)
        return self._read(lambda: self._store.get(ids))

    def search(
        self, query_vectors: Sequence[Any], k: int = 10, query_texts: Sequence[str] | None = None, **extras: Any
    ) -> tuple[list[list[str]], list[list[float]]]:
        """The k best documents of each query.

        Args:
            query_vectors: one array (tokens, dim) per query. A query without vectors finds nothing.
            k: documents per query.
            query_texts: the queries; read by engines that look at words.
            **extras: of the engine.

        Returns:
            Ids and MaxSim scores, best first: a list per query, shorter than k where there are fewer documents.

        Raises:
            ValueError: if the vectors have another dimension than the index's, or values that are not numbers.
            OSError: if the index cannot be read, or was removed.
        """
        return self._read(lambda: self._found(query_vectors, k, query_texts, extras))

    def search_passages(
        self, query_vectors: Sequence[Any], k: int = 10, query_texts: Sequence[str] | None = None
    ) -> tuple[list[list[str]], list[list[float]], dict[str, str]]:
        """As `search`, with the texts of the found documents, by id, all from one state of the index."""

        def found() -> tuple[list[list[str]], list[list[float]], dict[str, str]]:
            ids, scores = self._found(query_vectors, k, query_texts, {})
            return ids, scores, self._store.get(dict.fromkeys(identifier for row in ids for identifier in row))

        return self._read(found)

    def _read(self, read: Callable[[], Found]) -> Found:
        """The result of `read`, which is called again if a change removed its files."""
        for _ in range(_ATTEMPTS):
            self.refresh()
            signature, texts = self._signature, (self.manifest.passages, self.manifest.removals)
            try:
                found = read()
            except Exception:
                if _signature(self.path / INDEX_FILE) == signature:
                    raise
                continue
            self.refresh()
            if texts == (self.manifest.passages, self.manifest.removals):
                return found
        raise OSError(f"{self.path} changes faster than it can be read. Try again.")

    def _found(
        self, query_vectors: Sequence[Any], k: int, query_texts: Sequence[str] | None, extras: dict[str, Any]
    ) -> tuple[list[list[str]], list[list[float]]]:
        queries = self.check_queries(query_vectors, k)
        if query_texts is not None and len(query_texts) != len(queries):
            raise ValueError(f"there are {len(queries)} queries as vectors and {len(query_texts)} as texts.")
        asked = [number for number, query in enumerate(queries) if len(query)]
        ids: list[list[str]] = [[] for _ in queries]
        scores: list[list[float]] = [[] for _ in queries]
        if asked and self._signature is not None:
            texts = None if query_texts is None else [query_texts[number] for number in asked]
            found = self._search([queries[number] for number in asked], k, texts, **extras)
            for number, row_ids, row_scores in zip(asked, *found, strict=True):
                ids[number], scores[number] = row_ids, row_scores
        if any(score != score for row in scores for score in row):
            raise ValueError(
                f"the index {self.path} gives scores that are not numbers: its vectors are damaged. Make it again."
            )
        return ids, scores

    @property
    def _store(self) -> PassageStore:
        return PassageStore(self.path / self.manifest.passages)

    # What an engine does

    @classmethod
    def _manifest(cls, path: str | os.PathLike) -> IndexManifest:
        manifest = IndexManifest.read(Path(path).expanduser())
        if manifest.engine != cls.engine:
            raise ValueError(f"{path} is an index of the engine {manifest.engine!r}: open it with open_index.")
        return manifest

    @abstractmethod
    def _open(self, manifest: IndexManifest) -> None:
        """Opens the state that a manifest names, instead of the open one.

        Raises:
            ValueError: if the manifest or that state is damaged.
        """

    @abstractmethod
    def _build(self, *documents: Any, **extras: Any) -> tuple[dict[str, Any], int]:
        """Writes a new state beside the old one. Returns what the manifest keeps of it, and its number of documents."""

    @abstractmethod
    def _add(self, *documents: Any, **extras: Any) -> tuple[dict[str, Any], int]:
        """Writes the open state and more documents; returns as `_build`."""

    @abstractmethod
    def _remove(self, ids: Sequence[str]) -> tuple[dict[str, Any], int]:
        """Writes the open state without some documents; returns as `_build`."""

    @abstractmethod
    def _known(self, ids: Iterable[str]) -> set[str]: ...

    @abstractmethod
    def _search(self, *asked: Any, **extras: Any) -> tuple[list[list[str]], list[list[float]]]:
        """Of queries with vectors, k, and the queries' texts if there are any."""

    def _count(self) -> int:
        return self.manifest.documents

    def _sweep(self) -> None:
        """Removes what the open state does not name; called under the lock alone."""
        sweep_scratch(self.path / INDEX_FILE)
        for path in self.path.glob("passages*.sqlite*"):
            # A journal goes with its file; one beside a file that stays is SQLite's.
            if _PASSAGES.fullmatch(path.name) and not path.name.startswith(self.manifest.passages):
                path.unlink(missing_ok=True)

    def check_queries(self, query_vectors: Sequence[Any], k: int) -> list[np.ndarray]:
        """The queries as float32 arrays.

        Raises:
            ValueError: for k below 1, no query, another dimension than the index's, or values that are not numbers.
        """
        if isinstance(k, bool) or k < 1:
            raise ValueError(f"k is {k}; at least one document has to be asked for.")
        if not len(query_vectors):
            raise ValueError("there is no query.")
        queries = [np.asarray(query, dtype=np.float32) for query in query_vectors]
        for query in queries:
            if query.ndim != 2 or query.shape[1] != self.encoder.dim:
                raise ValueError(
                    f"the query vectors are of shape {query.shape}, but the index {self.path} was made by {self.encoder}: "
                    f"(tokens, {self.encoder.dim}) is needed. Search with a model that shares its space."
                )
            if not np.isfinite(query).all():
                raise ValueError("the query vectors have values that are not numbers: the model's weights are damaged.")
        return queries

    def checked(
        self,
        ids: Iterable[str],
        vectors: Iterable[Any],
        known: set[str],
        texts: Iterable[str] | None = None,
        store: PassageStore | None = None,
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Pairs of id and vectors, checked one by one. `known` holds the ids that are taken and grows."""
        kept: list[tuple[str, str]] = []
        largest = largest_value(self.manifest.dtype)
        for number, (identifier, array, text) in enumerate(_together(ids, vectors, texts)):
            _check_id(number, identifier)
            if identifier in known:
                raise ValueError(f"document {number}: the id {identifier!r} is taken. Remove it first, or give another.")
            known.add(identifier)
            array = np.asarray(array)
            if array.ndim != 2 or array.shape[1] != self.encoder.dim:
                raise ValueError(
                    f"document {identifier!r}: vectors of shape {array.shape}; the index is for {self.encoder}, so "
                    f"(tokens, {self.encoder.dim}) is needed."
                )
            if not np.isfinite(array).all():
                raise ValueError(f"document {identifier!r}: its vectors have values that are not numbers.")
            if array.size and np.abs(array).max() > largest:
                raise ValueError(
                    f"document {identifier!r}: its vectors have values beyond {largest:,}, which {self.manifest.dtype} does "
                    "not hold. Vectors of unit length are expected."
                )
            if store is not None and texts is not None:
                if not isinstance(text, str):
                    raise ValueError(f"document {identifier!r}: its text is {text!r:.80}.")
                kept.append((identifier, text))
                if len(kept) == _TEXTS_AT_ONCE:
                    store.put(kept)
                    kept = []
            yield identifier, array
        if store is not None and kept:
            store.put(kept)


def _signature(place: Path) -> _Signature | None:
    try:
        status = os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _check_id(number: int, identifier: Any) -> None:
    if not isinstance(identifier, str) or not identifier:
        raise ValueError(f"document {number}: the id {identifier!r} is not a text or is empty.")


def _listed(ids: Iterable[str]) -> str:
    ids = sorted(ids)
    return f"{', '.join(ids[:10])}{' …' if len(ids) > 10 else ''}"


def _together(ids: Iterable[str], vectors: Iterable[Any], texts: Iterable[str] | None) -> Iterator[tuple[str, Any, Any]]:
    try:
        if texts is None:
            yield from ((identifier, array, None) for identifier, array in zip(ids, vectors, strict=True))
        else:
            yield from zip(ids, vectors, texts, strict=True)
    except ValueError as error:
        if "zip()" in str(error):
            raise ValueError("there are not as many vectors (or texts) as ids.") from None
        raise


def recall_against_exact(index: Index, exact: Index, query_vectors: Sequence[Any], k: int = 10) -> float:
    """Share of the exact engine's k best documents among an engine's k best, mean over queries."""
    found, _ = index.search(query_vectors, k)
    right, _ = exact.search(query_vectors, k)
    return float(np.mean([len(set(f) & set(r)) / len(r) for f, r in zip(found, right, strict=True) if r]))
