"""LanceDB: an approximate index on disk, in this process, for collections that exact search is too slow for."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from types import NoneType
from typing import Any

import numpy as np
import torch

from ..encoding.batching import batched
from ..encoding.encoded_corpus import Encoder
from ..late_interaction import ragged_maxsim
from .index import Index
from .manifest import IndexManifest, check_setting

_BATCH = 500
_VECTORS_PER_LIST = 32_768
_TABLE = re.compile(r"documents-[0-9a-f]{32}")


class LanceIndex(Index):
    """Vectors in a Lance table with an IVF_RQ index (inverted lists, one bit per component); candidates are scored again with
    their full vectors, so the scores are MaxSim.

    Args:
        path: folder of the index.
        encoder: who makes the document vectors.
        dtype: `"float16"` or `"float32"`.
        nprobes: inverted lists that a query token looks into. More: better and slower.
        refine_factor: have Lance rank this many times as many documents again, for every query token, before it names its
            candidates. None: they are ranked by one bit per component alone. Measured on 100,000 documents, more candidates
            find as much as refinement does and cost less.
        candidates: documents that are asked for at least, to be scored again in full; the best k of them are the result.

    Raises:
        ImportError: if lancedb is not installed.
    """

    engine = "lancedb"

    def __init__(
        self,
        path: str | os.PathLike,
        encoder: Encoder,
        dtype: str = "float16",
        *,
        nprobes: int = 20,
        refine_factor: int | None = None,
        candidates: int = 100,
    ):
        if dtype not in ("float16", "float32"):
            raise ValueError(f"lancedb keeps vectors as float16 or float32, not as {dtype!r}.")
        check_setting("nprobes", nprobes, int)
        check_setting("refine_factor", refine_factor, int, NoneType)
        check_setting("candidates", candidates, int)
        super().__init__(path, encoder, dtype)
        self.nprobes = nprobes
        self.refine_factor = refine_factor
        self.candidates = candidates
        self._check_package()
        self._table: Any = None

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        *,
        nprobes: int | None = None,
        refine_factor: int | None = None,
        candidates: int | None = None,
    ) -> LanceIndex:
        """Opens an index folder; arguments as for the class, by default those that it was made with."""
        manifest = cls._manifest(path)
        index = cls(
            path,
            manifest.encoder,
            manifest.dtype,
            nprobes=manifest.setting("nprobes", int) if nprobes is None else nprobes,
            refine_factor=manifest.setting("refine_factor", int, NoneType) if refine_factor is None else refine_factor,
            candidates=manifest.setting("candidates", int) if candidates is None else candidates,
        )
        index.refresh()
        return index

    def _check_package(self) -> None:
        try:
            import lancedb  # noqa: F401
        except ImportError as error:
            raise ImportError('the engine lancedb needs a package: pip install "modeling-optical[lance]"') from error

    def _connect(self) -> Any:
        import lancedb

        return lancedb.connect(self.path / "lance")

    def _count(self) -> int:
        return 0 if self._table is None else self._table.count_rows()

    def _open(self, manifest: IndexManifest) -> None:
        self._table = self._named_table(manifest)

    def _named_table(self, manifest: IndexManifest) -> Any:
        """The table that a manifest names, at the version that it names."""
        name = manifest.setting("table", str)
        if not _TABLE.fullmatch(name):
            raise ValueError(f"index.json: state.table is {name!r:.80}, which is not a table of this engine.")
        # An index that was made without versions has the newest one.
        version = manifest.setting("version", int) if "version" in manifest.state else None
        try:
            table = self._connect().open_table(name)
            if version is not None:
                table.checkout(version)
            there = table.schema
        except (OSError, ValueError, RuntimeError) as error:
            raise ValueError(f"the index {self.path}: its table is missing or damaged ({error}). Make it again.") from None
        if there != self._schema(manifest):
            raise ValueError(
                f"the index {self.path} is damaged: its table has other columns than index.json says. Make it again."
            )
        return table

    def _state(self, name: str, table: Any) -> tuple[dict[str, Any], int]:
        settings = {"nprobes": self.nprobes, "refine_factor": self.refine_factor, "candidates": self.candidates}
        return settings | {"table": name, "version": table.version}, table.count_rows()

    def _build(self, documents: Iterable[tuple[str, np.ndarray]]) -> tuple[dict[str, Any], int]:
        from lancedb.index import IvfRq

        # A new table, named by the manifest when it is whole: a kill leaves the old one as it was.
        name = f"documents-{uuid.uuid4().hex}"
        table = self._connect().create_table(name, schema=self._schema(self.manifest))
        vectors_stored = self._append(table, documents)
        if table.count_rows():
            # Lance itself counts documents, not their vectors: so few lists that every search reads most of them.
            lists = max(vectors_stored // _VECTORS_PER_LIST, 1)
            table.create_index("vector", config=IvfRq(distance_type="cosine", num_partitions=lists, max_iterations=20))
        return self._state(name, table)

    def _writable(self) -> tuple[str, Any]:
        """Name and table, without what a killed change wrote behind the version that the manifest names."""
        name, version = self.manifest.state["table"], self.manifest.state.get("version")
        table = self._connect().open_table(name)
        if version not in (None, table.version):
            table.checkout(version)
            table.restore()
        return name, table

    def _add(self, documents: Iterable[tuple[str, np.ndarray]]) -> tuple[dict[str, Any], int]:
        name, table = self._writable()
        self._append(table, documents)
        table.optimize()
        return self._state(name, table)

    def _remove(self, ids: Sequence[str]) -> tuple[dict[str, Any], int]:
        name, table = self._writable()
        for some in batched(ids, _BATCH):
            table.delete(_among(some))
        return self._state(name, table)

    def _sweep(self) -> None:
        super()._sweep()
        database = self._connect()
        for other in database.list_tables().tables:
            if _TABLE.fullmatch(other) and other != self.manifest.state["table"]:  # others are somebody else's
                database.drop_table(other)

    def _known(self, ids: Iterable[str]) -> set[str]:
        found: set[str] = set()
        if self._table is not None:
            for some in batched(ids, _BATCH):
                rows = self._table.search().where(_among(some)).select(["id"]).limit(len(some)).to_arrow()
                found.update(rows["id"].to_pylist())
        return found

    def _search(
        self, queries: list[np.ndarray], k: int, texts: Sequence[str] | None
    ) -> tuple[list[list[str]], list[list[float]]]:
        table = self._table
        ids, scores = [], []
        for query in queries:
            builder = table.search(query, vector_column_name="vector").distance_type("cosine").nprobes(self.nprobes)
            builder = builder.limit(max(k, self.candidates))
            if self.refine_factor is not None:
                builder = builder.refine_factor(self.refine_factor)
            rows = builder.select(["id", "vector", "_distance"]).to_arrow()
            names, found = self._rescored(query, rows)
            ids.append(names[:k])
            scores.append(found[:k])
        return ids, scores

    def _rescored(self, query: np.ndarray, rows: Any) -> tuple[list[str], list[float]]:
        if not rows.num_rows:
            return [], []
        vectors = rows["vector"].combine_chunks()
        lengths = np.diff(vectors.offsets.to_numpy())
        flat = vectors.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, self.encoder.dim)
        tokens = torch.from_numpy(flat.astype(np.float32))
        scores = ragged_maxsim(torch.from_numpy(query), [len(query)], tokens, lengths.tolist())[0]
        ranked, order = scores.sort(descending=True, stable=True)
        names = rows["id"].to_pylist()
        return [names[i] for i in order.tolist()], ranked.tolist()

    def _schema(self, manifest: IndexManifest) -> Any:
        import pyarrow

        value = pyarrow.float16() if manifest.dtype == "float16" else pyarrow.float32()
        multivector = pyarrow.list_(pyarrow.list_(value, manifest.encoder.dim))
        return pyarrow.schema([pyarrow.field("id", pyarrow.string()), pyarrow.field("vector", multivector)])

    def _append(self, table: Any, documents: Iterable[tuple[str, np.ndarray]]) -> int:
        """Adds all documents in one step, streamed, and counts their vectors."""
        import pyarrow

        schema = self._schema(self.manifest)
        failure: list[BaseException] = []
        stored = 0

        def record_batches() -> Iterator[Any]:
            nonlocal stored
            try:
                for lot in batched(documents, _BATCH):
                    stored += sum(len(array) for _, array in lot)
                    yield _record_batch(lot, schema, self.manifest.dtype)
            except BaseException as error:
                failure.append(error)  # Lance would wrap it; the original names the cause
                raise

        try:
            table.add(pyarrow.RecordBatchReader.from_batches(schema, record_batches()))
        except Exception as error:
            if failure:
                raise failure[0] from None
            raise OSError(f"LanceDB could not write {self.path}: {error}") from error
        return stored


def _record_batch(documents: Sequence[tuple[str, np.ndarray]], schema: Any, dtype: str) -> Any:
    import pyarrow

    vector = schema.field("vector").type
    flat = np.concatenate([array for _, array in documents]).astype(dtype)
    tokens = pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(flat.ravel(), type=vector.value_type.value_type), vector.value_type.list_size
    )
    ends = np.cumsum([0, *(len(array) for _, array in documents)], dtype=np.int32)
    columns = [pyarrow.array([name for name, _ in documents]), pyarrow.ListArray.from_arrays(pyarrow.array(ends), tokens)]
    return pyarrow.RecordBatch.from_arrays(columns, schema=schema)


def _among(ids: Iterable[str]) -> str:
    """SQL condition."""
    quoted = ", ".join("'" + identifier.replace("'", "''") + "'" for identifier in ids)
    return f"id IN ({quoted})"
