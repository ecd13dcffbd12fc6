"""Texts in, passages out: a query encoder, a document encoder and an index."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import torch
from transformers.utils import logging

from .checkpoints import load_checkpoint
from .checkpoints.names import brought_name, recorded_name
from .encoding.batching import batched
from .encoding.corpus import CorpusSource, CorpusStream
from .encoding.encoded_corpus import EncodedCorpus, Encoder, encode_corpus
from .encoding.token_pooling import pool_tokens
from .files.lines import printable
from .files.lock import locked
from .indexes import Index, IndexManifest, new_index, open_index
from .indexes.engines import runs_on_devices
from .indexes.index import ENCODING
from .indexes.manifest import INDEX_FILE
from .pretrained import hub_arguments
from .serving.explanation import Explanation, explain
from .text_encoding import TextEncoder

logger = logging.get_logger(__name__)

_ADDED_AT_ONCE = 1024


@dataclass(frozen=True)
class Passage:
    """A document that was found.

    Attributes:
        id: of the document.
        score: MaxSim with the query.
        text: the document, None if the index was made without texts.
    """

    id: str
    score: float
    text: str | None


class OpticalRetriever:
    """A student that asks, a teacher (or the student) that has read, and an index between them.

    The documents stay encoded by the teacher, so one English index serves every student that was distilled from it.

    Args:
        queries: encodes the queries.
        documents: encodes the documents; a folder or Hub id is loaded when it is first needed. None: the same model.

    Example:

    ```python
    >>> retriever = OpticalRetriever.from_pretrained("student", documents="teacher")
    >>> retriever.index("corpus.jsonl", "index")
    >>> retriever.search("swali langu", k=10)[0].text
    ```
    """

    def __init__(self, queries: TextEncoder, documents: TextEncoder | str | os.PathLike | None = None):
        self.query_model = queries
        self._documents = queries if documents is None else documents
        self._documents_given: dict[str, Any] = {}
        self._encoder: Encoder | None = None
        self._index: Index | None = None

    @classmethod
    def from_pretrained(
        cls,
        queries: str | os.PathLike,
        documents: str | os.PathLike | None = None,
        *,
        device: torch.device | str = "cpu",
        precision: str = "auto",
        backend: str = "torch",
        **kwargs: Any,
    ) -> OpticalRetriever:
        """Loads the query encoder.

        Args:
            queries: folder, Hub id or `package:NAME/PATH` of the student.
            documents: the same of the teacher, loaded when it is first needed. None: the student encodes documents too.
            device: where the models run.
            precision: what they encode in; `auto` is bf16 where the hardware has it.
            backend: what runs them, as for `load_checkpoint`.
            **kwargs: for `load_checkpoint`; the token, cache_dir, local_files_only … hold for the teacher, too.
        """
        student = load_checkpoint(queries, precision=precision, backend=backend, **kwargs)
        student.to(torch.device(device))
        retriever = cls(student, documents)
        retriever._documents_given = hub_arguments(kwargs, elsewhere=True) | {"precision": precision, "backend": backend}
        return retriever

    @property
    def document_model(self) -> TextEncoder:
        """The model that encodes documents."""
        if not isinstance(self._documents, TextEncoder):
            name = os.fspath(self._documents)
            documents: TextEncoder = load_checkpoint(name, **self._documents_given)
            documents.to(self.query_model.device)
            self._documents = documents
        return self._documents

    @property
    def document_encoder(self) -> Encoder:
        """Name and fingerprint of the model that encodes documents."""
        if self._encoder is None:
            self._encoder = Encoder.of(self.document_model)
        return self._encoder

    @property
    def current(self) -> Index:
        """The open index.

        Raises:
            ValueError: if none is open.
        """
        if self._index is None:
            raise ValueError("no index is open: call index(corpus, path) or open(path) first.")
        return self._index

    def index(
        self,
        corpus: CorpusSource,
        path: str | os.PathLike,
        *,
        engine: str = "exact",
        dtype: str = "float16",
        pool_factor: int | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = True,
        name: str | None = None,
        overwrite: bool = False,
        **settings: Any,
    ) -> Index:
        """Encodes a corpus, indexes it and opens the index. After a crash while encoding, a second call resumes.

        Args:
            corpus: see `CorpusStream`. It is read more than once, so an iterator has to come as a function that makes one.
            path: folder of the index.
            engine: `"exact"`, `"lancedb"`, `"qdrant"` or `"two-stage"`.
            dtype: how vectors are stored: `"float16"`, `"int8"`, `"float32"`.
            pool_factor: 2 to 4 for token pooling.
            batch_size: documents per forward pass.
            show_progress_bar: whether to show progress.
            name: what the documents' model is called in the index; by default its folder or Hub id.
            overwrite: put it in the place of an index of the same engine that is there, in one step, when it is whole.
            **settings: of the engine.

        Raises:
            FileExistsError: if there is an index in the folder. It is left alone.
            ImportError: if the engine needs a package, before anything is encoded.
            ValueError: for a bad document, dtype, factor, engine or setting.
            OSError: if the disk is full; a second call resumes.
        """
        if isinstance(corpus, Iterator):
            raise ValueError(
                "index goes through the corpus more than once, and an iterator can be gone through once: give a function that "
                "makes the iterator, such as `lambda: read(file)`."
            )
        folder = Path(path).expanduser()
        _check_free(folder, overwrite)
        # An error in the engine, its package or its settings ends the call here, before hours of encoding.
        new_index(folder, self.document_encoder, engine, dtype=dtype, **settings).check_folder()
        with locked(folder):
            encoded = encode_corpus(
                self.document_model,
                corpus,
                folder / ENCODING,
                dtype=dtype,
                pool_factor=pool_factor,
                batch_size=batch_size,
                show_progress_bar=show_progress_bar,
                name=name,
            )
            index = self.index_encoded(encoded, corpus, folder, engine=engine, overwrite=overwrite, **settings)
            shutil.rmtree(folder / ENCODING)
        return index

    def index_encoded(
        self,
        encoded: EncodedCorpus,
        corpus: CorpusSource | None,
        path: str | os.PathLike,
        *,
        engine: str = "exact",
        overwrite: bool = False,
        **settings: Any,
    ) -> Index:
        """Indexes what `encode_corpus` made; `corpus` gives the texts to show, None for none. See `index`.

        Raises:
            ValueError: if another model encoded it, or another corpus. An index that is there is left as it is.
        """
        if not encoded.encoder.same(replace(self.document_encoder, pool_factor=encoded.encoder.pool_factor)):
            raise ValueError(f"{encoded.path} was encoded by {encoded.encoder}, not by {self.document_encoder}.")
        folder = Path(path).expanduser()
        with locked(folder):
            _check_free(folder, overwrite)
            # The vectors are stored as precisely as they were encoded.
            index = new_index(folder, encoded.encoder, engine, dtype=encoded.dtype, **settings)
            index.build(encoded.ids(), encoded.vectors(), None if corpus is None else encoded.texts_of(corpus))
        self._warn_of_another_space(index.encoder)
        self._index = index
        return index

    def open(self, path: str | os.PathLike, **settings: Any) -> Index:
        """Opens an index.

        Args:
            path: its folder.
            **settings: of the engine.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it was made by another model than `documents`, or its vectors have another dimension than the
                queries'; both are named. If the queries' model is the student of another teacher, a warning says so.
        """
        made_by = IndexManifest.read(Path(path).expanduser()).encoder
        if made_by.dim != self.query_model.config.vector_dim:
            raise ValueError(
                f"the index {path} was made by {made_by}, but the query model has vectors of dimension "
                f"{self.query_model.config.vector_dim}. Search with a model that was distilled from {made_by.name}."
            )
        if made_by.fingerprint is None:
            logger.warning(f"the index {path} does not say which weights made it ({made_by.name}): taken on trust.")
        elif made_by.fingerprint != self.document_encoder.fingerprint:
            raise ValueError(
                f"the index {path} was made by {made_by}, not by the documents' model {self.document_encoder}. Give the model "
                "that made it (documents=…), or make the index again."
            )
        self._warn_of_another_space(made_by)
        self._index = open_index(path, **settings)
        return self._index

    def _warn_of_another_space(self, made_by: Encoder) -> None:
        """Warns if the student of another teacher is to search: the dimension may fit, and the scores mean nothing."""
        config, reads = self.query_model.config, made_by.fingerprint
        if None in (config.teacher_fingerprint, reads) or reads == config.teacher_fingerprint:
            return
        if reads != Encoder.of(self.query_model).fingerprint:  # a student may have encoded the documents itself
            logger.warning(
                f"the query model was distilled from {printable(config.teacher or 'another model')}, and the index was made by "
                f"{printable(str(made_by))}. "
                "If the two do not encode alike, the scores mean nothing: make the index with the student's teacher."
            )

    def add(self, corpus: CorpusSource, *, batch_size: int = 32) -> int:
        """Encodes documents and adds them to the open index, a thousand at a time.

        Returns:
            How many.

        Raises:
            ValueError: for a bad document or an id that is taken. The thousands before it are in the index.
        """
        index, count = self.current, 0
        for batch in batched(CorpusStream(corpus), _ADDED_AT_ONCE):
            ids, texts = [identifier for identifier, _ in batch], [text for _, text in batch]
            taken = index.known(ids)
            if taken:
                raise ValueError(f"in the index already: {', '.join(sorted(taken)[:10])}. Remove them first.")
            vectors = self.document_model.encode_document(texts, batch_size=batch_size, show_progress_bar=False)
            factor = index.encoder.pool_factor
            if factor is not None:
                vectors = [pool_tokens(array, factor) for array in vectors]
            index.add(ids, vectors, texts)
            count += len(batch)
        return count

    def remove(self, ids: Iterable[str]) -> None:
        """Removes documents from the open index.

        Raises:
            KeyError: naming the ids that are not there; nothing is removed then.
        """
        self.current.remove(ids)

    @overload
    def search(self, queries: str, k: int = 10, *, batch_size: int = 32) -> list[Passage]: ...  # type: ignore[overload-overlap]
    @overload
    def search(self, queries: Sequence[str], k: int = 10, *, batch_size: int = 32) -> list[list[Passage]]: ...
    def search(self, queries: str | Sequence[str], k: int = 10, *, batch_size: int = 32) -> list[Passage] | list[list[Passage]]:
        """The k best passages, best first: a list for a string, a list of lists for many queries.

        Raises:
            ValueError: if no index is open, or for k below 1.
        """
        if isinstance(queries, str):
            return self.search([queries], k, batch_size=batch_size)[0]
        index = self.current
        vectors = self.query_model.encode_query(queries, batch_size=batch_size, show_progress_bar=False)
        ids, scores, texts = index.search_passages(vectors, k, list(queries))
        return [
            [Passage(i, s, texts.get(i)) for i, s in zip(row_ids, row_scores, strict=True)]
            for row_ids, row_scores in zip(ids, scores, strict=True)
        ]

    def explain(self, query: str, document: str) -> Explanation:
        """Which token of the document each token of the query met; see `Explanation`."""
        return explain(self.query_model, self.document_model, query, document)


def _check_free(folder: Path, overwrite: bool) -> None:
    if (folder / INDEX_FILE).exists() and not overwrite:
        raise FileExistsError(
            f"{folder} holds an index. Add to it (add), name another folder, or replace it (overwrite=True, --overwrite)."
        )


def retriever_for_index(
    path: str | os.PathLike,
    queries: str | os.PathLike | None = None,
    documents: str | os.PathLike | None = None,
    *,
    device: torch.device | str = "cpu",
    precision: str = "auto",
    backend: str = "torch",
    **settings: Any,
) -> OpticalRetriever:
    """A retriever with an index open.

    Args:
        path: folder of the index.
        queries: encodes the queries. None: the documents' model.
        documents: the model that made the index. None: the one that the index names, if it is one that may be loaded unasked
            (see `brought_name`).
        device: where the models run.
        precision: what they encode in; `auto` is bf16 where the hardware has it.
        backend: what runs them, as for `load_checkpoint`.
        **settings: of the engine.

    Raises:
        FileNotFoundError: if there is no index, or the model that made it is not to be had.
        ValueError: as for `OpticalRetriever.open`, or if the index names a model that is not loaded unasked.
    """
    manifest = IndexManifest.read(Path(path).expanduser())
    made_by = manifest.encoder
    if documents is None and queries is not None and recorded_name(os.fspath(queries)) == made_by.name:
        documents = queries
    if documents is None:
        documents = brought_name(made_by.name, f"the index {path}", "documents=… (--documents-model)")
    symmetric = queries is None or os.fspath(queries) == os.fspath(documents)
    retriever = OpticalRetriever.from_pretrained(
        queries or documents,
        None if symmetric else documents,
        device=device,
        precision=precision,
        backend=backend,
    )
    if runs_on_devices(manifest.engine):
        settings = {"device": device} | settings
    retriever.open(path, **settings)
    return retriever
