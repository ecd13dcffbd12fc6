"""What every engine offers, and the manifest that every index folder has."""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from transformers.utils import logging

from ..encoding.encoded_corpus import Encoder
from ..files.atomic_write import write_text

logger = logging.get_logger(__name__)

_FORMAT = 1
_FILE = "index.json"


@dataclass
class IndexManifest:
    """`index.json` of an index folder. It is replaced as a whole, and what it does not name is not part of the index.

    Attributes:
        engine: name of the engine.
        dtype: how vectors are stored.
        encoder: who made the vectors.
        documents: how many can be found.
        state: what the engine keeps.
    """

    engine: str
    dtype: str
    encoder: Encoder
    documents: int = 0
    state: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes `index.json` in place of the one there."""
        write_text(folder / _FILE, json.dumps({"format": _FORMAT} | asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: str | os.PathLike) -> IndexManifest:
        """Reads `index.json`.

        Raises:
            FileNotFoundError: if the folder is no index.
            ValueError: if the file is damaged or of another version.
        """
        place = Path(folder) / _FILE
        if not place.is_file():
            raise FileNotFoundError(
                f"{folder} is not an index: {_FILE} is missing. Make one: optical index CORPUS --output DIR"
            )
        try:
            values = json.loads(place.read_text(encoding="utf-8"))
            if values.pop("format") != _FORMAT:
                raise ValueError("it is of another version")
            return cls(**values | {"encoder": Encoder(**values["encoder"])})
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{place} cannot be read ({error}). Make the index again.") from None


class Index(ABC):
    """Documents as token vectors, searched by MaxSim. A folder holds it; every change is whole or has not happened.

    Args:
        path: folder of the index.
        encoder: who makes the document vectors.
        dtype: how vectors are stored.

    Attributes:
        engine: its name.
        reads_texts: whether it looks at the words of documents and queries, so that `build` and `add` need the texts.
    """

    engine: ClassVar[str]
    reads_texts: ClassVar[bool] = False

    def __init__(self, path: str | os.PathLike, encoder: Encoder, dtype: str = "float16"):
        self.path = Path(path).expanduser()
        self.manifest = IndexManifest(self.engine, dtype, encoder)

    def __len__(self) -> int:
        return self.manifest.documents

    @property
    def encoder(self) -> Encoder:
        """Who made the document vectors."""
        return self.manifest.encoder

    @classmethod
    @abstractmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Opens an index folder."""

    @abstractmethod
    def build(self, ids: Iterable[str], vectors: Iterable[Any], texts: Iterable[str] | None = None) -> None:
        """Makes the index, in place of one that is there.

        Args:
            ids: one id per document, all different.
            vectors: one array (tokens, dim) of unit vectors per document.
            texts: one text per document; read by engines that look at words, left alone by the others.

        Raises:
            ValueError: for an id that is empty or stands twice, or vectors of another dimension than the encoder's.
            OSError: if the disk is full. The index that was there is untouched.
        """

    @abstractmethod
    def add(self, ids: Iterable[str], vectors: Iterable[Any], texts: Iterable[str] | None = None) -> None:
        """Adds documents; arguments and errors as for `build`. An id that is there already is an error: remove it first."""

    @abstractmethod
    def remove(self, ids: Iterable[str]) -> None:
        """Removes documents.

        Raises:
            KeyError: naming the ids that are not there; nothing is removed then.
        """

    @abstractmethod
    def known(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that are in the index."""

    @abstractmethod
    def search(
        self, query_vectors: Sequence[Any], k: int = 10, query_texts: Sequence[str] | None = None
    ) -> tuple[list[list[str]], list[list[float]]]:
        """The k best documents of each query.

        Args:
            query_vectors: one array (tokens, dim) per query.
            k: documents per query.
            query_texts: the queries; read by engines that look at words.

        Returns:
            Ids and MaxSim scores, best first: a list per query, shorter than k where there are fewer documents.

        Raises:
            ValueError: if the vectors have another dimension than the index's.
        """

    def save(self, path: str | os.PathLike) -> None:
        """Copies the index to another folder, which `load` opens.

        Raises:
            FileExistsError: if something is there.
        """
        if Path(path).exists():
            raise FileExistsError(f"{path} exists; an index is saved to a new folder.")
        shutil.copytree(self.path, path)

    def claim_folder(self) -> None:
        """Makes the index's folder, unless it holds an index of another engine.

        Raises:
            FileExistsError: then.
            OSError: if it cannot be made.
        """
        if (self.path / _FILE).is_file():
            there = IndexManifest.read(self.path).engine
            if there != self.engine:
                raise FileExistsError(f"{self.path} holds an index of the engine {there!r}. Name another folder, or delete it.")
        self.path.mkdir(parents=True, exist_ok=True)

    def check_queries(self, query_vectors: Sequence[Any], k: int) -> list[np.ndarray]:
        """The queries as float32 arrays.

        Raises:
            ValueError: for k below 1, no query, or another dimension than the index's.
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
        return queries

    def check_known(self, ids: Iterable[str]) -> list[str]:
        """The ids, each once.

        Raises:
            KeyError: naming the first ten that are not in the index.
        """
        ids = list(dict.fromkeys(ids))
        known = self.known(ids)
        missing = [identifier for identifier in ids if identifier not in known]
        if missing:
            raise KeyError(f"not in the index {self.path}: {', '.join(missing[:10])}{' …' if len(missing) > 10 else ''}.")
        return ids

    def checked(self, ids: Iterable[str], vectors: Iterable[Any], known: set[str]) -> Iterable[tuple[str, np.ndarray]]:
        """Pairs of id and vectors, checked one by one. `known` holds the ids that are taken and grows."""
        for number, (identifier, array) in enumerate(_paired(ids, vectors, "vectors")):
            if not isinstance(identifier, str) or not identifier:
                raise ValueError(f"document {number}: the id {identifier!r} is not a text or is empty.")
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
            yield identifier, array


def _paired(ids: Iterable[str], others: Iterable[Any], what: str) -> Iterable[tuple[str, Any]]:
    try:
        yield from zip(ids, others, strict=True)
    except ValueError as error:
        if "zip()" in str(error):
            raise ValueError(f"there are not as many {what} as ids.") from None
        raise


def recall_against_exact(index: Index, exact: Index, query_vectors: Sequence[Any], k: int = 10) -> float:
    """Share of the exact engine's k best documents that an engine finds among its own k best, mean over queries."""
    found, _ = index.search(query_vectors, k)
    right, _ = exact.search(query_vectors, k)
    return float(np.mean([len(set(f) & set(r)) / len(r) for f, r in zip(found, right, strict=True) if r]))
