"""Qdrant: multivectors on a server or a cluster, the way past one machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Any

import numpy as np

from ..encoding.batching import batched
from ..encoding.encoded_corpus import Encoder
from ..files.atomic_write import write_text
from ..files.lines import parse_json
from .index import Index, logger
from .manifest import INDEX_FILE, IndexManifest, check_setting

# Point ids have to be UUIDs or whole numbers; the same document always gets the same one, so that an upsert can be repeated.
_NAMESPACE = uuid.UUID("7e0b8f6a-54d7-4d6c-9d0b-6f1c0f1d2a55")
_VECTOR = "tokens"
_COLLECTION = re.compile(r"[^/\\\x00.][^/\\\x00]{0,200}-[0-9a-f]{8}")
_SETTINGS: dict[str, tuple[type, ...]] = {
    "collection": (str,),
    "shards": (int,),
    "replicas": (int,),
    "quantization": (str, NoneType),
    "batch_size": (int,),
    "hnsw": (bool,),
    "timeout": (int,),
}


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
        collection: name on the server; by default the folder's. A new build gets a separate suffix.
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
        self._check_package()
        self._state: dict[str, Any] = {
            "url": url,
            "collection": collection or Path(path).name.lstrip("."),
            "shards": shards,
            "replicas": replicas,
            "quantization": quantization,
            "batch_size": batch_size,
            "hnsw": hnsw,
            "timeout": timeout,
        }
        for name, kinds in _SETTINGS.items():
            check_setting(name, self._state[name], *kinds)
        if not _COLLECTION.fullmatch(f"{self._state['collection']}-{'0' * 8}"):
            raise ValueError(f"collection is {self._state['collection']!r}; it must not begin with a dot, nor hold / or \\.")
        self._client: Any = None
        self._replaced: str | None = None  # the collection that the build that just ended replaces

    @classmethod
    def load(cls, path: str | os.PathLike, *, url: str | None = None, timeout: int | None = None) -> QdrantIndex:
        """Opens an index folder.

        Args:
            path: the folder.
            url: of the server. An index on a server is opened only at an address that you name, here or in `QDRANT_URL`. The
                folder may come from anybody, and the API key and your queries go to that address.
            timeout: replaces the stored one.

        Raises:
            ValueError: if the index is on a server and you name none, or the server has no such collection.
            ConnectionError: if there is no server.
        """
        manifest = cls._manifest(path)
        stored = manifest.setting("url", str, NoneType)
        if url is None and stored is not None:
            url = os.environ.get("QDRANT_URL")
            if not url:
                raise ValueError(
                    f"the index {path} is on a Qdrant server, and its folder names {stored!r}. If you trust that address with "
                    f"your queries and your API key, name it: --setting url=…, url=… in Python, or QDRANT_URL={stored}"
                )
        settings = {name: manifest.setting(name, *kinds) for name, kinds in _SETTINGS.items()}
        if timeout is not None:
            settings["timeout"] = timeout
        index = cls(path, manifest.encoder, manifest.dtype, url=url, **settings)
        index.refresh()
        return index

    def _check_package(self) -> None:
        try:
            import qdrant_client  # noqa: F401
        except ImportError as error:
            raise ImportError('the engine qdrant needs a package: pip install "modeling-optical[qdrant]"') from error

    def _open(self, manifest: IndexManifest) -> None:
        name = manifest.setting("name", str)
        if not _COLLECTION.fullmatch(name):
            raise ValueError(f"index.json: state.name is {name!r:.80}, which is not a collection of this engine.")
        if not self._call("collection_exists", name):
            raise ValueError(f"the index {self.path}: Qdrant has no collection {name!r} at {self._where}. Make it again.")

    @property
    def _name(self) -> str:
        """The collection in use."""
        return self.manifest.state["name"]

    @property
    def _where(self) -> str:
        return self._state["url"] or str(self.path / "qdrant")

    def _call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """Calls a method of the client; the error for an unreachable server names its address."""
        from qdrant_client.http.exceptions import ResponseHandlingException

        if self._client is None:
            self._client = self._connect()
        try:
            return getattr(self._client, method)(*arguments, **keywords)
        except ResponseHandlingException as error:
            raise ConnectionError(
                f"Qdrant at {self._where} does not answer ({error}). Start it, or give another url."
            ) from error

    def _connect(self) -> Any:
        from qdrant_client import QdrantClient

        url, timeout = self._state["url"], self._state["timeout"]
        if url is not None:
            return QdrantClient(url=url, api_key=os.environ.get("QDRANT_API_KEY"), timeout=timeout)
        _read_points_as_data()
        ends = time.monotonic() + timeout
        while True:
            try:
                return QdrantClient(path=str(self.path / "qdrant"))
            except RuntimeError as error:
                if "already accessed" not in str(error):
                    raise
                if time.monotonic() > ends:
                    raise TimeoutError(
                        f"{self.path} is in use: in local mode, one process at a time can open it. Wait, or use a server."
                    ) from None
                time.sleep(0.05)

    def close(self) -> None:
        """Lets go of the server, or of the local folder, which one process at a time can open."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _count(self) -> int:
        if self._signature is None:
            return 0
        return self._call("count", self._name, count_filter=self._filter({}), exact=True).count

    def _build(
        self, documents: Iterable[tuple[str, np.ndarray]], payloads: Iterable[Mapping[str, Any]] | None = None
    ) -> tuple[dict[str, Any], int]:
        """`payloads` are fields of each document that a search may ask for (`conditions`)."""
        old = IndexManifest.read(self.path).state.get("name") if (self.path / INDEX_FILE).is_file() else ""
        name, done = self._progress()
        seen: set[str] = set()
        self._upsert(name, documents, payloads, seen, done)
        if self._call("count", name, exact=True).count != len(seen):
            # The interrupted build had begun with other documents.
            self._delete(name, [point for point in self._points(name) if point not in seen])
        self._replaced = old if isinstance(old, str) and _COLLECTION.fullmatch(old) else ""
        return self._state | {"name": name}, len(seen)

    @property
    def _progress_file(self) -> Path:
        return self.path / "progress.jsonl"

    def _progress(self) -> tuple[str, list[str]]:
        """Collection to fill and digests of the batches that it has: those of a build that was killed, or a new one."""
        same = {"dtype": self.manifest.dtype, "fingerprint": self.encoder.fingerprint, "dim": self.encoder.dim, **self._state}
        first, *done = self._progress_file.read_text(encoding="utf-8").split("\n") if self._progress_file.is_file() else [""]
        with suppress(ValueError, AttributeError):
            there = json.loads(first)
            name = there.pop("name", "")
            if there == same and _COLLECTION.fullmatch(name) and self._call("collection_exists", name):
                logger.info(f"{self.path}: going on after {len(done)} batches.")
                return name, done
        name = f"{self._state['collection']}-{uuid.uuid4().hex[:8]}"
        self._create(name)
        write_text(self._progress_file, json.dumps(same | {"name": name}) + "\n")
        return name, []

    def _points(self, name: str) -> Iterator[str]:
        offset = None
        while True:
            records, offset = self._call("scroll", name, limit=1000, offset=offset, with_payload=False)
            yield from (str(record.id) for record in records)
            if offset is None:
                return

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
        seen: set[str] | None = None,
        done: list[str] | None = None,
    ) -> None:
        """Sends documents in batches that the server confirms; `done`: digests of those that it has."""
        from qdrant_client import models

        fields = iter(payloads) if payloads is not None else None
        empty = 0
        for number, batch in enumerate(batched(documents, self._state["batch_size"])):
            extras = [dict(next(fields)) if fields is not None else {} for _ in batch]
            kept = [(i, v, e) for (i, v), e in zip(batch, extras, strict=True) if len(v)]
            empty += len(batch) - len(kept)
            digest = hashlib.sha256(repr([(i, v.shape, e) for i, v, e in kept]).encode("utf-8", "surrogatepass"))
            points = []
            for identifier, vectors, extra in kept:
                digest.update(np.ascontiguousarray(vectors, dtype=np.float32).tobytes())
                vector = {_VECTOR: vectors.astype(float).tolist()}
                points.append(models.PointStruct(id=_point(identifier), vector=vector, payload=extra | {"id": identifier}))
            if seen is not None:
                seen.update(str(point.id) for point in points)
            if done is not None and done[number : number + 1] == [digest.hexdigest()]:
                continue
            if points:
                self._call("upsert", name, points, wait=True)
            if done is not None:
                with open(self._progress_file, "a", encoding="utf-8") as stream:
                    stream.write(digest.hexdigest() + "\n")
        if empty:
            logger.warning(f"{self.path}: {empty} documents without vectors are left out, as Qdrant does not take them.")

    def _add(
        self, documents: Iterable[tuple[str, np.ndarray]], payloads: Iterable[Mapping[str, Any]] | None = None
    ) -> tuple[dict[str, Any], int]:
        # Batches arrive one by one: until all have arrived, a file holds their ids and searches skip them. After a kill, the
        # next change takes them back.
        listed = list(documents)
        write_text(self._adding, json.dumps([_point(identifier) for identifier, _ in listed]))
        try:
            self._upsert(self._name, listed, payloads)
        except BaseException:
            self._take_back()
            raise
        self._adding.unlink()
        return self._state | {"name": self._name}, self._count()

    @property
    def _adding(self) -> Path:
        return self.path / "adding.json"

    def _half_added(self) -> list[str]:
        """Points of a running or interrupted change, which are not in the index."""
        try:
            text = self._adding.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        points = parse_json(text, str(self._adding))
        if not isinstance(points, list) or not all(isinstance(point, str) for point in points):
            raise ValueError(f"{self._adding} is damaged. Make the index again.")
        return points

    def _take_back(self) -> None:
        self._delete(self._name, self._half_added())
        self._adding.unlink(missing_ok=True)

    def _remove(self, ids: Sequence[str]) -> tuple[dict[str, Any], int]:
        # Batches go one by one: searches skip all of them from here on, and the next change ends what a kill interrupts.
        write_text(self._adding, json.dumps([_point(identifier) for identifier in ids]))
        self._take_back()
        return self._state | {"name": self._name}, self._count()

    def _delete(self, name: str, points: list[str]) -> None:
        from qdrant_client import models

        if points:
            self._call("delete", name, points_selector=models.PointIdsList(points=points), wait=True)

    def _sweep(self) -> None:
        super()._sweep()
        self._take_back()
        # What a build that ended leaves: its progress, and the collection that it replaced.
        name = self._name
        if self._replaced is not None:
            self._progress_file.unlink(missing_ok=True)
            (self.path / "progress.json").unlink(missing_ok=True)
            if self._replaced not in ("", name):
                self._call("delete_collection", self._replaced)
            self._replaced = None

    def _known(self, ids: Iterable[str]) -> set[str]:
        found: set[str] = set()
        if self._signature is not None:
            hidden = set(self._half_added())
            for some in batched(ids, 1000):
                records = self._call("retrieve", self._name, ids=[_point(i) for i in some], with_payload=["id"])
                found.update(record.payload["id"] for record in records if record.id not in hidden)
        return found

    def _filter(self, conditions: Mapping[str, Any]) -> Any:
        from qdrant_client import models

        must: list[Any] = [
            models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in conditions.items()
        ]
        hidden: list[Any] = [models.HasIdCondition(has_id=points)] if (points := self._half_added()) else []
        return models.Filter(must=must or None, must_not=hidden or None) if must or hidden else None

    def _search(
        self,
        queries: list[np.ndarray],
        k: int,
        texts: Sequence[str] | None,
        conditions: Mapping[str, Any] | None = None,
    ) -> tuple[list[list[str]], list[list[float]]]:
        """`conditions` are fields of the payload and the value that each must have."""
        from qdrant_client import models

        chosen = self._filter(conditions or {})
        requests = [
            models.QueryRequest(query=query.astype(float).tolist(), using=_VECTOR, limit=k, with_payload=["id"], filter=chosen)
            for query in queries
        ]
        answers = self._call("query_batch_points", self._name, requests=requests)
        ids = [[point.payload["id"] for point in answer.points] for answer in answers]
        return ids, [[point.score for point in answer.points] for answer in answers]

    def save(self, path: str | os.PathLike) -> None:
        """Copies the folder. With a server, both folders stand for the same collection."""
        self.close()
        super().save(path)


@cache
def _read_points_as_data() -> None:
    """Qdrant's local mode keeps points as pickles, which run what they like; the folder may come from anybody."""
    from qdrant_client.local import persistence

    class Points(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) != ("qdrant_client.http.models.models", "PointStruct"):
                raise ValueError(f"a collection of Qdrant holds what is not a point ({module}.{name}). It was not opened.")
            return super().find_class(module, name)

    def loads(data: bytes) -> Any:
        try:
            return Points(io.BytesIO(data)).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, IndexError, KeyError) as error:
            raise ValueError(f"a collection of Qdrant is damaged ({error}).") from None

    persistence.pickle = SimpleNamespace(dumps=pickle.dumps, loads=loads)


def _point(identifier: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, identifier))
