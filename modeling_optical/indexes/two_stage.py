"""Two stages: cheap candidates, then exact MaxSim over their full vectors."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file

from ..encoding.encoded_corpus import Encoder
from ..encoding.passages import PassageStore
from ..files.atomic_write import replacing_folder, save_tensors
from .exact import ExactIndex
from .index import Index, IndexManifest


class TwoStageIndex(Index):
    """Candidates by one mean vector per document, or by BM25; the best of them by MaxSim.

    The documents' vectors are an exact index in the folder `exact`, whose manifest alone says what is in the index. What finds
    candidates is derived from it, and made again where it is missing.

    Args:
        path: folder of the index.
        encoder: who makes the document vectors.
        dtype: `"float16"`, `"int8"` or `"float32"`.
        candidates: `"pooled"` (inner product of mean vectors; works across languages) or `"bm25"` (words; queries have to be
            in the documents' language).
        count: candidates per query.

    Raises:
        ImportError: for `"bm25"`, if bm25s is not installed.
    """

    engine = "two-stage"
    reads_texts = True

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
        if count < 1:
            raise ValueError(f"count is {count}; at least one candidate is needed.")
        super().__init__(path, encoder, dtype)
        self.candidates = candidates
        self.count = count
        self.exact = ExactIndex(self.path / "exact", encoder, dtype)
        self._first: _PooledVectors | _Words | None = None

    @classmethod
    def load(cls, path: str | os.PathLike, *, count: int | None = None) -> TwoStageIndex:
        """Opens an index folder; `count` takes the place of the stored one."""
        manifest = IndexManifest.read(path)
        state = manifest.state
        index = cls(path, manifest.encoder, manifest.dtype, candidates=state["candidates"], count=count or state["count"])
        index.manifest = manifest
        index.exact = ExactIndex.load(index.path / "exact")
        index._derive()
        return index

    def __len__(self) -> int:
        return len(self.exact)

    def build(self, ids: Iterable[str], vectors: Iterable[Any], texts: Iterable[str] | None = None) -> None:
        self.claim_folder()
        ids = self._with_texts(ids, texts)
        self.exact.build(ids, vectors)
        self._derive()
        state = {"candidates": self.candidates, "count": self.count}
        self.manifest = IndexManifest(self.engine, self.manifest.dtype, self.encoder, len(self), state)
        self.manifest.write(self.path)

    def add(self, ids: Iterable[str], vectors: Iterable[Any], texts: Iterable[str] | None = None) -> None:
        ids = list(ids)
        taken = self.exact.known(ids)
        if taken:
            raise ValueError(f"the ids {', '.join(sorted(taken)[:10])} are taken. Remove them first, or give others.")
        self.exact.add(self._with_texts(ids, texts), vectors)
        self._derive()

    def _with_texts(self, ids: Iterable[str], texts: Iterable[str] | None) -> list[str]:
        """Stores the texts where BM25 needs them, before the vectors: a kill in between leaves texts that nothing finds."""
        ids = list(ids)
        if self.candidates == "bm25":
            if texts is None:
                raise ValueError("candidates by BM25 need the texts of the documents.")
            PassageStore(self.path / "words.sqlite").put(zip(ids, texts, strict=True))
        return ids

    def remove(self, ids: Iterable[str]) -> None:
        self.exact.remove(ids)
        self._derive()

    def known(self, ids: Iterable[str]) -> set[str]:
        return self.exact.known(ids)

    def search(
        self, query_vectors: Sequence[Any], k: int = 10, query_texts: Sequence[str] | None = None
    ) -> tuple[list[list[str]], list[list[float]]]:
        queries = self.check_queries(query_vectors, k)
        assert self._first is not None
        found = self._first.candidates(queries, query_texts, max(self.count, k))
        ids, scores = [], []
        for query, names in zip(queries, found, strict=True):
            names = [name for name in names if name in self.exact.places]
            ranked, order = self.exact.score(query, names).sort(descending=True, stable=True)
            ids.append([names[i] for i in order[:k].tolist()])
            scores.append(ranked[:k].tolist())
        return ids, scores

    def _derive(self) -> None:
        self._first = _PooledVectors(self.exact) if self.candidates == "pooled" else _Words(self.exact, self.path)


class _PooledVectors:
    """One unit vector per document, the direction of its vectors' mean, kept beside each segment of the exact index."""

    def __init__(self, exact: ExactIndex):
        self.ids: list[str] = []
        pooled = []
        for segment in exact.segments:
            place = segment.path.with_name(f"pooled-{segment.path.name}")
            if not place.is_file():
                means = [segment.document(row).mean(0) if segment.lengths[row] else torch.zeros(segment.dim)
                         for row in range(len(segment))]  # fmt: skip
                save_tensors(place, {"vectors": torch.nn.functional.normalize(torch.stack(means), dim=1)})
            self.ids += [segment.identifier(row) for row in range(len(segment))]
            pooled.append(load_file(place)["vectors"])
        self.vectors = torch.cat(pooled) if pooled else torch.empty(0, exact.encoder.dim)
        named = {f"pooled-{segment.path.name}" for segment in exact.segments}
        for path in exact.path.glob("pooled-*"):
            if path.name not in named:
                path.unlink()

    def candidates(self, queries: list[np.ndarray], texts: Sequence[str] | None, count: int) -> list[list[str]]:
        means = torch.from_numpy(np.stack([query.mean(0) if len(query) else np.zeros(query.shape[1]) for query in queries]))
        best = (means.float() @ self.vectors.T).topk(min(count, len(self.ids)), dim=1).indices
        return [[self.ids[position] for position in row] for row in best.tolist()]


class _Words:
    """A BM25 index (bm25s) of the documents of the exact index's segments."""

    def __init__(self, exact: ExactIndex, folder: Path):
        try:
            import bm25s
        except ImportError as error:
            raise ImportError('candidates by BM25 need a package: pip install "modeling-optical[bm25]"') from error
        self._tokenize = bm25s.tokenize
        self.ids = [name for segment in exact.segments for name in segment.identifiers()]
        key = hashlib.sha256("\n".join(segment.path.name for segment in exact.segments).encode()).hexdigest()[:16]
        place = folder / f"bm25-{key}"
        if self.ids and not place.is_dir():
            store = PassageStore(folder / "words.sqlite")
            model = bm25s.BM25()
            model.index(self._words(store.texts(self.ids)), show_progress=False)
            with replacing_folder(place) as scratch:
                model.save(scratch)
        self.model = bm25s.BM25.load(place) if self.ids else None
        for path in folder.glob("bm25-*"):
            if path != place:
                shutil.rmtree(path)

    def _words(self, texts: Any) -> Any:
        return self._tokenize(list(texts), stopwords=None, show_progress=False)

    def candidates(self, queries: list[np.ndarray], texts: Sequence[str] | None, count: int) -> list[list[str]]:
        if texts is None:
            raise ValueError("candidates by BM25 need the texts of the queries (query_texts).")
        if self.model is None:
            return [[] for _ in queries]
        words = self._tokenize(list(texts), stopwords=None, show_progress=False, return_ids=False)
        found = []
        for query in words:
            scores = self.model.get_scores(query)
            best = np.argsort(-scores, kind="stable")[:count]
            found.append([self.ids[position] for position in best.tolist() if scores[position] > 0])
        return found
