"""Every evaluation in one order: retrieve, keep the run, measure each query, give rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

from ..text_encoding import TextEncoder
from .collections import Collection, Corpus, same_corpus
from .metrics import METRICS, UNJUDGED, depth_of, per_query
from .results import ResultRow, read_results, result_rows, write_results
from .retrieval import EncodedDocuments, encode_corpus_in_memory, retrieve, retrieve_streaming
from .trec import save_run

HELD = 20_000
"""Documents that an evaluator keeps encoded for a model; a larger corpus is encoded block by block for every search."""

Run = dict[str, dict[str, float]]


class Evaluator:
    """Measures systems on collections.

    A corpus is encoded once for each model that reads it, as long as the model lives. Collections of several languages that
    have the same documents share them.

    Args:
        folder: where `runs/` and `results.json` are written. None: nothing is written.
        metrics: names as `ir_measures` writes them, and `unjudged@10`. A metric without a depth is of the first `depth`
            documents.
        batch_size: texts per forward pass.
        held: documents that are kept encoded for a model.

    Attributes:
        rows: a row for each system, collection, language and metric measured so far.
        values: (system, collection, language) to metric to query to value.
        depth: documents per query that a run needs for the metrics; at least 100.

    Raises:
        ValueError: for an unknown metric.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None = None,
        metrics: Sequence[str] = METRICS,
        *,
        batch_size: int = 32,
        held: int = HELD,
    ):
        self.folder = None if folder is None else Path(folder)
        self.metrics, self.batch_size, self.held = metrics, batch_size, held
        self.depth = depth_of(metrics)
        self.rows: list[ResultRow] = []
        self.values: dict[tuple[str, str, str], dict[str, dict[str, float]]] = {}
        self._one_answer: set[tuple[str, str]] = set()
        self._encoded: WeakKeyDictionary[TextEncoder, list[tuple[Corpus, EncodedDocuments]]] = WeakKeyDictionary()

    def measure(
        self, system: str, queries_model: TextEncoder, collection: Collection, documents_model: TextEncoder | None = None
    ) -> Run:
        """Searches a collection and records the run; arguments as for `retrieve` and `record`."""
        return self.record(
            system, collection, self.retrieve(queries_model, collection.queries, collection.corpus, documents_model)
        )

    def retrieve(
        self,
        queries_model: TextEncoder,
        queries: Mapping[str, str],
        corpus: Corpus,
        documents_model: TextEncoder | None = None,
        *,
        k: int | None = None,
    ) -> Run:
        """Exact MaxSim search.

        Args:
            queries_model: encodes the queries.
            queries: query id to text.
            corpus: the documents.
            documents_model: encodes the documents. None: the same model.
            k: documents per query. None: `depth`.

        Returns:
            Query id to {document id: score}, best first.

        Raises:
            ValueError: if the two models' vectors differ in dimension.
        """
        k = self.depth if k is None else k
        documents_model = queries_model if documents_model is None else documents_model
        if len(corpus) > self.held:
            return retrieve_streaming(queries_model, queries, documents_model, corpus, k=k, batch_size=self.batch_size)
        encoded = self._documents(documents_model, corpus)
        return retrieve(queries_model, queries, encoded, k=k, batch_size=self.batch_size)

    def record(self, system: str, collection: Collection, run: Run) -> Run:
        """Saves a run, measures it and adds its rows; returns the run.

        Raises:
            ValueError: if a system of that name has been measured on the collection already.
        """
        if (system, collection.name, collection.language) in self.values:
            raise ValueError(f"two systems are called {system!r}, on {collection.name} in {collection.language}: rename one.")
        if self.folder is not None:
            save_run(self.folder / "runs", system, collection, run)
        if all(len(grades) == 1 for grades in collection.qrels.values()):
            self._one_answer.add((collection.name, collection.language))
        values = per_query(collection.qrels, run, self.metrics)
        self.values[system, collection.name, collection.language] = values
        self.rows += result_rows(system, collection.language, collection.name, values)
        return run

    def told(self) -> list[ResultRow]:
        """The rows to show: without `unjudged@10` where each query has one judged document alone."""
        return [row for row in self.rows if row.metric != UNJUDGED or (row.collection, row.language) not in self._one_answer]

    def write_results(self, *, keep: bool = False) -> Path:
        """Writes the rows to `results.json` and returns its path.

        Args:
            keep: leave rows of other systems, collections and languages in the file.

        Raises:
            ValueError: if the file is there and is not a results file.
        """
        assert self.folder is not None
        path = self.folder / "results.json"
        earlier = read_results(path) if keep and path.exists() else []
        kept = [row for row in earlier if (row.system, row.collection, row.language) not in self.values]
        return write_results(path, [*kept, *self.rows])

    def _documents(self, model: TextEncoder, corpus: Corpus) -> EncodedDocuments:
        held = self._encoded.setdefault(model, [])
        for known, documents in held:
            if same_corpus(known, corpus):
                return documents
        while held and sum(len(known) for known, _ in held) + len(corpus) > self.held:
            held.pop(0)
        documents = encode_corpus_in_memory(model, corpus, batch_size=self.batch_size)
        held.append((corpus, documents))
        return documents
