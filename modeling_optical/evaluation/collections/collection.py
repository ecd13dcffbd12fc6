"""Test collections: documents (in memory or streamed), queries and judgements, put together and checked."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Collection as Container
from dataclasses import dataclass, field, replace

import numpy as np
from transformers.utils import logging

from ...encoding.corpus import Corpus, check_identifier
from ...encoding.normal_forms import is_blank
from ...processing_optical import replace_lone_surrogates
from .judgements import read_judgements, with_relevant

logger = logging.get_logger(__name__)

IN_MEMORY_BYTES = 128 * 2**20
"""Corpora whose files are smaller (unpacked) are held as a dictionary; larger ones are read from their files each time."""


class StreamedCorpus:
    """A corpus that is read from its files every time and never held in memory.

    Args:
        read: gives (place, id, text) from the first document to the last; `place` is file and line, for messages.
        name: for messages.

    The first pass, made here, counts the documents and looks for ids that appear twice. It keeps 8 bytes per document.

    Raises:
        ValueError: for an id that appears twice, and whatever `read` raises.
    """

    def __init__(self, read: Callable[[], Iterator[tuple[str, str, str]]], name: str):
        self._read = read
        self._name = name
        hashes = array("Q")
        self.empty = 0
        for _, identifier, text in logging.tqdm(read(), desc=f"Checking {name}", unit="document", leave=False):
            hashes.append(_hash(identifier))
            self.empty += is_blank(text)
        self._length = len(hashes)
        self._hashes = np.sort(np.frombuffer(hashes, dtype=np.uint64)) if hashes else np.empty(0, dtype=np.uint64)
        repeated = self._hashes[1:][self._hashes[1:] == self._hashes[:-1]]
        if len(repeated):
            self._refuse_duplicates(set(repeated.tolist()))

    def items(self) -> Iterator[tuple[str, str]]:
        """Pairs of document id and text, read anew."""
        return ((identifier, text) for _, identifier, text in self._read())

    def __len__(self) -> int:
        return self._length

    def missing(self, identifiers: Iterable[str]) -> list[str]:
        """Those of the ids that no document has (by a 64-bit hash)."""
        asked = list(identifiers)
        if not self._length:
            return asked
        hashes = np.array([_hash(identifier) for identifier in asked], dtype=np.uint64)
        found = self._hashes[np.minimum(np.searchsorted(self._hashes, hashes), self._length - 1)] == hashes
        return [identifier for identifier, there in zip(asked, found, strict=True) if not there]

    def _refuse_duplicates(self, suspects: set[int]) -> None:
        seen: set[str] = set()
        for place, identifier, _ in self._read():
            if _hash(identifier) in suspects:
                if identifier in seen:
                    raise ValueError(f"{place}: the id {identifier!r} appears twice.")
                seen.add(identifier)


def _hash(identifier: str) -> int:
    return int.from_bytes(hashlib.blake2b(identifier.encode("utf-8"), digest_size=8).digest(), "little")


@dataclass
class Collection:
    """Documents, queries and judgements.

    Attributes:
        name: short name, as it is in results.
        language: the language that was asked for, as it is in results: that of the queries, or, where all queries are
            English (CIRAL, AfriCLIRMatrix), that of the documents.
        corpus: document id to text (title and text joined by a space).
        queries: query id to text; only judged queries.
        qrels: query id to {document id: grade}. A judged document that the corpus lacks stays in.
        query_language: code of the queries' language.
        parallel: whether the same queries over the same documents exist in other languages, so that the teacher's own
            language gives a ceiling.
        notes: what the reader of a result has to know, for instance how many queries do not count.
    """

    name: str
    language: str
    corpus: Corpus
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    query_language: str = ""
    parallel: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.query_language = self.query_language or self.language

    def reduced(self, max_queries: int | None = None, max_documents: int | None = None) -> Collection:
        """The collection with fewer queries and documents, and a note that says so.

        Args:
            max_queries: the most queries, drawn by their ids: the same in every language. None: all.
            max_documents: the most documents: all that are relevant to a kept query (even if they are more), the others drawn
                by their ids. None: all.
        """
        kept, corpus, notes = set(self.qrels), self.corpus, list(self.notes)
        if max_queries is not None and max_queries < len(kept):
            kept = set(_drawn(kept, max_queries))
            notes.append(f"{self.name}: {len(kept)} of {len(self.qrels)} queries were drawn.")
        qrels = {query: grades for query, grades in self.qrels.items() if query in kept}
        if max_documents is not None and max_documents < len(corpus):
            relevant = {document for grades in qrels.values() for document, grade in grades.items() if grade > 0}
            others = [identifier for identifier, _ in corpus.items() if identifier not in relevant]
            chosen = relevant | set(_drawn(others, max(max_documents - len(relevant), 0)))
            corpus = {identifier: text for identifier, text in corpus.items() if identifier in chosen}
            notes.append(f"{self.name}: {len(corpus)} of {len(self.corpus)} documents were drawn.")
        queries = {query: text for query, text in self.queries.items() if query in kept}
        return replace(self, corpus=corpus, queries=queries, qrels=qrels, notes=notes)


def _drawn(identifiers: Iterable[str], count: int) -> list[str]:
    """`count` ids, drawn by their hash: independent of the other ids, and a smaller draw is a subset of a larger one."""
    return sorted(identifiers, key=lambda one: (_hash(f"draw {one}"), one))[:count]


def texts_of(corpus: Corpus, identifiers: Container[str]) -> dict[str, str]:
    """The texts of some documents, in one pass; ids that the corpus lacks are left out."""
    wanted = set(identifiers)
    return {identifier: text for identifier, text in corpus.items() if identifier in wanted}


def same_corpus(one: Corpus, other: Corpus) -> bool:
    """Whether two corpora have the same documents in the same order. A streamed one is the same as itself alone."""
    if one is other:
        return True
    return isinstance(one, dict) and isinstance(other, dict) and one == other and list(one) == list(other)


def by_corpus(collections: Iterable[Collection]) -> list[list[Collection]]:
    """The collections in groups of those that have the same documents, in the order of the first of each."""
    groups: list[list[Collection]] = []
    for collection in collections:
        own = next((group for group in groups if same_corpus(group[0].corpus, collection.corpus)), None)
        if own is None:
            groups.append([collection])
        else:
            own.append(collection)
    return groups


def read_queries(records: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Query id to text from (place, id, text).

    Raises:
        ValueError: for an id that is empty, has white space, half a character, or appears twice (place named).
    """
    queries: dict[str, str] = {}
    for place, identifier, text in records:
        check_identifier(place, identifier)
        if identifier in queries:
            raise ValueError(f"{place}: the id {identifier!r} appears twice.")
        queries[identifier] = replace_lone_surrogates(text)
    return queries


def assemble(
    name: str,
    language: str,
    *,
    read_corpus: Callable[[], Iterator[tuple[str, str, str]]],
    corpus_bytes: int,
    queries: dict[str, str],
    judgements: Iterable[tuple[str, str, str, str]],
    query_language: str = "",
    parallel: bool = False,
) -> Collection:
    """Puts a collection together and checks it.

    Args:
        name, language, query_language, parallel: see `Collection`.
        read_corpus: gives (place, id, text) of every document.
        corpus_bytes: about how much text that is; decides whether the corpus is held in memory.
        queries: query id to text.
        judgements: (place, query id, document id, grade as it is written).

    Raises:
        ValueError: for a grade that is not a whole number, a judgement that appears twice with different grades, or an id that
            is empty, has white space or appears twice (the message names file and line); if no query has a relevant document.
    """
    everything = read_judgements(judgements)
    if unknown := sum(len(grades) for query, grades in everything.items() if query not in queries):
        logger.warning(f"collection {name}: {unknown} judgements name a query that is not there; ignored.")
    qrels, notes = with_relevant({key: everything[key] for key in queries if key in everything}, name)
    if not qrels:
        raise ValueError(f"collection {name}: no query in {query_language or language!r} has a relevant document.")
    judged = {key: queries[key] for key in qrels}
    documents = Counter(document for grades in qrels.values() for document in grades)
    corpus: Corpus
    if corpus_bytes <= IN_MEMORY_BYTES:
        texts = _in_memory(_checked(read_corpus))
        missing, empty, corpus = [d for d in documents if d not in texts], sum(is_blank(t) for t in texts.values()), texts
    else:
        corpus = StreamedCorpus(lambda: _checked(read_corpus), name)
        missing, empty = corpus.missing(documents), corpus.empty
    if missing:
        count = sum(documents[document] for document in missing)
        logger.warning(
            f"collection {name}: {count} judgements name documents that the corpus does not have, such as "
            f"{', '.join(missing[:3])}; they stay in the judgements, so a relevant one can never be found."
        )
    if empty:
        logger.warning(f"collection {name}: {empty} documents have no text.")
    return Collection(name, language, corpus, judged, qrels, query_language, parallel, notes)


def _checked(read: Callable[[], Iterator[tuple[str, str, str]]]) -> Iterator[tuple[str, str, str]]:
    for place, identifier, text in read():
        check_identifier(place, identifier)
        yield place, identifier, replace_lone_surrogates(text)


def _in_memory(records: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for place, identifier, text in records:
        if identifier in texts:
            raise ValueError(f"{place}: the id {identifier!r} appears twice.")
        texts[identifier] = text
    return texts
