"""Rows of labelled data, one after the other, with the place of each."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from modeling_optical.evaluation import Collection, load_collection, texts_of
from modeling_optical.files.lines import json_objects
from modeling_optical.files.tables import check_header, header_names, table_rows

from ..bitext.files import BitextFile
from .records import QUERY
from .running_text import labelled_rows
from .sources import LabelledSource
from .text_tables import load_from_hub


def read_rows(source: LabelledSource, seed: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of every row of a source.

    Args:
        source: the source.
        seed: of random negatives and of queries made of running text.

    Raises:
        FileNotFoundError, ValueError: naming file and line.
    """
    source.check_file()
    if source.running_text is not None and source.query is not None and source.positives is not None:
        yield from labelled_rows(_own_rows(source), source.running_text, source.query, source.positives, seed)
    elif source.collection is not None:
        yield from _collection_rows(source, seed)
    else:
        yield from _own_rows(source)


def _own_rows(source: LabelledSource) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a file or of a data set."""
    if source.hub is not None:
        rows = load_from_hub(source.hub, source.name, source.split, source.revision)
        for number, row in enumerate(rows):
            yield f"{source.label}[{number}]", row
    else:
        file = BitextFile(str(source.path))
        if file.ending in (".jsonl", ".json", ".ndjson"):
            yield from json_objects(file.text_lines())
        elif file.ending in (".tsv", ".txt", ".csv"):
            yield from _table_rows(file, source)
        else:
            raise ValueError(f"labelled data {source.path!r}: known endings are .jsonl, .tsv and .csv, each also with .gz.")


def _table_rows(file: BitextFile, source: LabelledSource) -> Iterator[tuple[str, Mapping[str, Any]]]:
    delimiter = "," if file.ending == ".csv" else "\t"
    names: list[str] = []
    for place, row, problem in table_rows(file.lines(), delimiter):
        if problem is not None:
            raise ValueError(f"{place}: {problem}.")
        if not row:
            continue
        if not names:
            names, is_header = _names(row, source, place)
            if is_header:
                continue
        while len(row) > len(names) and not row[-1].strip():
            row.pop()
        if len(row) != len(names):
            raise ValueError(f"{place}: {len(row)} columns; the first line has {len(names)}.")
        yield place, dict(zip(names, row, strict=True))


def _names(first: list[str], source: LabelledSource, place: str) -> tuple[list[str], bool]:
    """The columns' names, and whether the first line is a header: it is if it names the query's column.

    The columns of a file without a header are query, positive and negatives.
    """
    names = header_names(first)
    if source.query in names if source.query else any(name in QUERY for name in names):
        check_header(names, place)
        return names, True
    if len(first) < 2:
        raise ValueError(f"{place}: a table needs at least two columns, query and positive; this has one.")
    return ["query", "positive", *(f"negative_{number}" for number in range(1, len(first) - 1))], False


def _collection_rows(source: LabelledSource, seed: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    collection = load_collection(str(source.collection), source.language, split=source.split, revision=source.revision)
    judged = {
        query: (
            [document for document, grade in grades.items() if grade > 0],
            [document for document, grade in grades.items() if grade <= 0],
        )
        for query, grades in collection.qrels.items()
    }
    mined = _mine(source, collection, judged, seed)
    wanted = {document for both in judged.values() for one in both for document in one}
    texts = texts_of(collection.corpus, wanted | {document for found in mined.values() for document in found})
    for query, (positives, negatives) in judged.items():
        yield (
            f"{source.label}, query {query}",
            {
                "query": collection.queries[query],
                "positives": [texts[document] for document in positives if document in texts],
                "negatives": [texts[document] for document in (*negatives, *mined.get(query, ())) if document in texts],
            },
        )


def _mine(
    source: LabelledSource, collection: Collection, judged: Mapping[str, tuple[list[str], list[str]]], seed: int
) -> dict[str, list[str]]:
    """Unjudged documents per query: drawn at random, or the first that BM25 finds."""
    count = source.negatives_per_query
    if source.mined_negatives == "judged":
        return {}
    if source.mined_negatives == "bm25":
        from modeling_optical.evaluation.references import bm25

        most = max(len(positives) + len(negatives) for positives, negatives in judged.values())
        found = bm25(collection.queries, collection.corpus, k=count + most)
        ranked: dict[str, list[str]] = {query: list(documents) for query, documents in found.items()}
    else:
        identifiers = [identifier for identifier, _ in collection.corpus.items()]
        ranked = {}
        for query, (positives, negatives) in judged.items():
            drawn = min(count + len(positives) + len(negatives), len(identifiers))
            ranked[query] = random.Random(f"{seed}:{query}").sample(identifiers, drawn)
    return {
        query: [document for document in ranked[query] if document not in {*positives, *negatives}][:count]
        for query, (positives, negatives) in judged.items()
    }
