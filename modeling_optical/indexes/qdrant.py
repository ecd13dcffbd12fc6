"""Qdrant: multivectors on a server or a cluster, the way past one machine."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..encoding.batching import batched
from ..encoding.encoded_corpus import Encoder
from ..files.atomic_write import write_text
from .index import Index, IndexManifest, logger

# Point ids have to be UUIDs or whole numbers; the same document always gets the same one, so that an upsert can be repeated.
_NAMESPACE = uuid.UUID("7e0b8f6a-54d7-4d6c-9d0b-6f1c0f1d2a55")
_VECTOR = "tokens"


class QdrantIndex(Index):
    """A Qdrant collection of multivectors, compared by MAX_SIM.

    The folder holds the manifest alone (and the data, in local mode). A `build` that was killed and is called again with the
    same documents goes on after the last batch that the server took. Documents without vectors, which Qdrant does not take, are
    left out and counted in a warning.

    Args:
        path: folder of the index.
        encoder: who makes the document vectors.
        dtype: `"float16"` or `"float32"`.
        url: of the server, for instance `"http://localhost:6333"`. None: local mode inside the folder (exact, in Python, one
            process at a time: for tests and small collections). The API key is read from `QDRANT_API_KEY`.
        collection: name on the server; by default the folder's. A new build gets a suffix of its own.
        shards, replicas: how a cluster spreads the collection.
        quantization: None, `"scalar"` (8 bits) or `"binary"` (1 bit); candidates are scored again with full vectors.
        batch_size: documents per upsert.
        hnsw: whether an HNSW graph is built. Without it every search scores every document, exactly.
        timeout: seconds that a call to the server may take.

    Raises:
        ImportError: if qdrant-client is not installed.
        ValueError: for a setting outside the ones named above.
    """

    engine = "qdrant"

    def __init__(
        self,
        path: str | os.PathLike,
        encoder: Encoder,
        dtype: str = "float16",
        *,
        url: str | None = None,
        collection: str | None = None,
        shards: int = 1,
        replicas: int = 1,
        quantization: str | None = None,
        batch_size: int = 64,
        hnsw: bool = True,
        timeout: int = 60,
    ):
        if dtype not in ("float16", "float32"):
            raise ValueError(
                f"qdrant keeps vectors as float16 or float32, not as {dtype!r}; quantization='scalar' is its int8."
            )
        if quantization not in (None, "scalar", "binary"):
            raise ValueError(f"quantization is {quantization!r}; allowed: none, 'scalar', 'binary'.")
        super().__init__(path, encoder, dtype)
        self._state: dict[str, Any] = {
            "url": url,
            "collection": collection or Path(path).name,
            "shards": shards,
            "replicas": replicas,
            "quantization": quantization,
            "batch_size": batch_size,
            "hnsw": hnsw,
            "timeout": timeout,
        }
        self._client: Any = None

    @classmethod
    def load(cls, path: str | os.PathLike, *, url: str | None = None, timeout: int | None = None) -> QdrantIndex:
        """Opens an index folder; `url` and `timeout` take the place of the stored ones.

        Raises:
            ValueError: if the server has no such collection.
            ConnectionError: if there is no server.
        """
        manifest = IndexManifest.read(path)
        settings = {key: value for key, value in manifest.state.items() if key != "name"}
        changes = {key: value for key, value in (("url", url), ("timeout", timeout)) if value is not None}
        index = cls(path, manifest.encoder, manifest.dtype, **settings | changes)
        index.manifest = manifest
        if not index._call("collection_exists", index._name):
            raise ValueError(f"the index {path}: Qdrant has no collection {index._name!r} at {index._where}. Make it again.")
        return index

    @property
    def _name(self) -> str:
        """The collection in use."""
        if "name" not in self.manifest.state:
            raise ValueError(f"the index {self.path} has not been built.")
        return self.manifest.state["name"]

    @property
    def _where(self) -> str:
        return self._state["url"] or str(self.path / "qdrant")

    def _call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """A method of the client; a server that is away is told by its address."""
        try:
            from qdrant_client import QdrantClient
            from qdrant_client.http.exceptions import ResponseHandlingException
        except ImportError as error:
            raise ImportError('the engine qdrant needs a package: pip install "modeling-optical[qdrant]"') from error
        if self._client is None:
            url, timeout = self._state["url"], self._state["timeout"]
            if url is None:
                self._client = QdrantClient(path=str(self.path / "qdrant"))
            else:
                self._client = QdrantClient(url=url, api_key=os.environ.get("QDRANT_API_KEY"), timeout=timeout)
        try:
            return getattr(self._client, method)(*arguments, **keywords)
        except ResponseHandlingException as error:
            raise ConnectionError(
                f"Qdrant at {self._where} does not answer ({error}). Start it, or give another url."
            ) from error

    def close(self) -> None:
        """Lets go of the server, or of the local folder, which one process at a time can open."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __len__(self) -> int:
        return self._call("count", self._name, exact=True).count if "name" in self.manifest.state else 0

    def build(
        self,
        ids: Iterable[str],
        vectors: Iterable[Any],
        texts: Iterable[str] | None = None,
        *,
        payloads: Iterable[Mapping[str, Any]] | None = None,
    ) -> None:
        """As `Index.build`; `payloads` are fields of each document that a search may ask for (`conditions`)."""
        self.claim_folder()
        name, done = self._progress()
        documents = self.checked(ids, vectors, set())
        self._upsert(name, documents, payloads, skip=done)
        old = self.manifest.state.get("name")
        if old is None and (self.path / "index.json").is_file():
            old = IndexManifest.read(self.path).state.get("name")
        count = self._call("count", name, exact=True).count
        manifest = IndexManifest(self.engine, self.manifest.dtype, self.encoder, count, self._state | {"name": name})
        manifest.write(self.path)
        self.manifest = manifest
        (self.path / "progress.json").unlink(missing_ok=True)
        if old is not None and old != name:
            self._call("delete_collection", old)

    def _progress(self) -> tuple[str, int]:
        """Collection to fill and documents that it has: those of a build that was killed, or a new one and 0."""
        place = self.path / "progress.json"
        same = {"dtype": self.manifest.dtype, "fingerprint": self.encoder.fingerprint, "dim": self.encoder.dim, **self._state}
        if place.is_file():
            there = json.loads(place.read_text(encoding="utf-8"))
            name, done = there.pop("name"), there.pop("done")
            if there == same and self._call("collection_exists", name):
                logger.info(f"{self.path}: going on after {done} documents.")
                return name, done
        name = f"{self._state['collection']}-{uuid.uuid4().hex[:8]}"
        self._create(name)
        write_text(place, json.dumps(same | {"name": name, "done": 0}))
        return name, 0

    def _create(self, name: str) -> None:
        from qdrant_client import models

        quantization: Any = None
        if self._state["quantization"] == "scalar":
            quantization = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
        elif self._state["quantization"] == "binary":
            quantization = models.BinaryQuantization(binary=models.BinaryQuantizationConfig())
        parameters = models.VectorParams(
            size=self.encoder.dim,
            distance=models.Distance.COSINE,
            multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
            datatype=models.Datatype(self.manifest.dtype),
            on_disk=True,
            hnsw_config=None if self._state["hnsw"] else models.HnswConfigDiff(m=0),
            quantization_config=quantization,
        )
        self._call(
            "create_collection",
            name,
            vectors_config={_VECTOR: parameters},
            shard_number=self._state["shards"],
            replication_factor=self._state["replicas"],
        )

    def _upsert(
        self,
        name: str,
        documents: Iterable[tuple[str, np.ndarray]],
        payloads: Iterable[Mapping[str, Any]] | None,
        skip: int | None = None,
    ) -> None:
        """Sends documents in batches that the server confirms. `skip`: how many it has already; None: no progress is kept."""
        from qdrant_client import models

        fields = iter(payloads) if payloads is not None else None
        empty = 0
        for batch in batched(enumerate(documents), self._state["batch_size"]):
            extras = [dict(next(fields)) if fields is not None else {} for _ in batch]
            last = batch[-1][0] + 1
            kept = [(n, i, v, e) for (n, (i, v)), e in zip(batch, extras, strict=True) if len(v)]
            empty += len(batch) - len(kept)
            points = [
                models.PointStruct(id=_point(i), vector={_VECTOR: v.astype(float).tolist()}, payload=e | {"id": i})
                for n, i, v, e in kept
                if skip is None or n >= skip
            ]
            if points:
                self._call("upsert", name, points, wait=True)
            if skip is not None and last > skip:
                place = self.path / "progress.json"
                write_text(place, json.dumps(json.loads(place.read_text(encoding="utf-8")) | {"done": last}))
        if empty:
            logger.warning(f"{self.path}: {empty} documents without vectors are left out, as Qdrant does not take them.")

    def add(
        self,
        ids: Iterable[str],
        vectors: Iterable[Any],
        texts: Iterable[str] | None = None,
        *,
        payloads: Iterable[Mapping[str, Any]] | None = None,
    ) -> None:
        """As `Index.add`, batch by batch: what a batch had before an error is in the index."""
        ids = list(ids)
        self._upsert(self._name, self.checked(ids, vectors, self.known(ids)), payloads)

    def remove(self, ids: Iterable[str]) -> None:
        from qdrant_client import models

        ids = self.check_known(ids)
        if ids:
            selector = models.PointIdsList(points=[_point(identifier) for identifier in ids])
            self._call("delete", self._name, points_selector=selector, wait=True)

    def known(self, ids: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for some in batched(ids, 1000):
            records = self._call("retrieve", self._name, ids=[_point(i) for i in some], with_payload=["id"])
            found.update(record.payload["id"] for record in records)
        return found

    def search(
        self,
        query_vectors: Sequence[Any],
        k: int = 10,
        query_texts: Sequence[str] | None = None,
        *,
        conditions: Mapping[str, Any] | None = None,
    ) -> tuple[list[list[str]], list[list[float]]]:
        """As `Index.search`; `conditions` are fields of the payload and the value that each must have."""
        from qdrant_client import models

        must: list[Any] = [
            models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in (conditions or {}).items()
        ]
        requests = [
            models.QueryRequest(
                query=query.astype(float).tolist(),
                using=_VECTOR,
                limit=k,
                with_payload=["id"],
                filter=models.Filter(must=must) if must else None,
            )
            for query in self.check_queries(query_vectors, k)
        ]
        answers = self._call("query_batch_points", self._name, requests=requests)
        ids = [[point.payload["id"] for point in answer.points] for answer in answers]
        return ids, [[point.score for point in answer.points] for answer in answers]

    def save(self, path: str | os.PathLike) -> None:
        """Copies the folder. With a server, both folders stand for the same collection."""
        self.close()
        super().save(path)


def _point(identifier: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, identifier))
