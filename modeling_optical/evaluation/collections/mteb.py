"""MTEB's retrieval sets in several languages: Parquet files, a folder each for a language's documents, queries and judgements.

Files, as a data set on the Hub or its clone holds them:

    <language>-corpus/<split>-<number>-of-<count>.parquet     _id (or id), title, text
    <language>-queries/<split>-<number>-of-<count>.parquet    _id (or id), text
    <language>-qrels/<split>-<number>-of-<count>.parquet      query-id, corpus-id, score

They may be in a folder (`data/sw-corpus/…`). The split is that of the judgements; by default `dev` or `test`, whichever is
there. So are published, among others:

    mteb/MIRACLRetrievalHardNegatives   MIRACL dev over a pool: what BM25, e5-multilingual-large and e5-mistral-instruct
                                        ranked among their first 250 passages. Licence: CC-BY-SA-4.0 by its task.
    mteb/MultilingualNano*Retrieval     NanoBEIR with queries and documents by machine translation. Licence: CC-BY-4.0.

Documented at https://github.com/embeddings-benchmark/mteb (the task of the same name).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .collection import Collection, assemble, read_queries
from .files import Files, Layout, Request, no_queries, unpacked_bytes

_SHARD = re.compile(r"(?:^|/)([\w-]+)-(corpus|queries|qrels)/([\w.]+)-(\d{5})-of-(\d{5})\.parquet$")


def read(request: Request) -> Collection:
    """Reads one language: its queries over its documents."""
    files, language = request.files, request.language
    languages = {found[1] for name in files.names if (found := _SHARD.search(name)) and found[2] == "queries"}
    if language not in languages:
        raise no_queries(files, language, languages)
    splits = {found[3] for name in files.names if (found := _SHARD.search(name)) and found[1] == language}
    split = request.split or next((known for known in ("dev", "test") if known in splits), "dev")
    corpus, queries, qrels = (_shards(files, language, kind, split) for kind in ("corpus", "queries", "qrels"))
    return assemble(
        request.name,
        language,
        read_corpus=lambda: _texts(corpus, with_title=True),
        corpus_bytes=unpacked_bytes(corpus) * 2,  # Parquet packs text to about half
        queries=read_queries(_texts(queries, with_title=False)),
        judgements=_judgements(qrels),
    )


def _shards(files: Files, language: str, kind: str, split: str) -> list[Path]:
    """The files of a part, by their number. Documents and queries may be in a split of another name, if it is the only one."""
    found = [(name, match) for name in files.names if (match := _SHARD.search(name)) and match.group(1, 2) == (language, kind)]
    there = sorted({match[3] for _, match in found})
    if kind != "qrels" and split not in there and len(there) == 1:
        split = there[0]
    chosen = {int(match[4]): name for name, match in found if match[3] == split}
    count = next((int(match[5]) for _, match in found if match[3] == split), 1)
    absent = [number for number in range(count) if number not in chosen]
    if absent:
        raise FileNotFoundError(
            f"collection {files.label}: {language}-{kind}/{split}-{absent[0]:05d}-of-{count:05d}.parquet is missing. Splits of "
            f"{language}-{kind} here: {', '.join(there) or 'none'}."
        )
    return [files.path(chosen[number]) for number in range(count)]


def _rows(paths: list[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    for path in paths:
        number = 0
        try:
            for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
                for row in batch.to_pylist():
                    yield f"{path}[{number}]", row
                    number += 1
        except pyarrow.ArrowInvalid as error:
            raise ValueError(f"{path}: not a Parquet file, or a damaged one ({error}). Fetch the file again.") from None


def _texts(paths: list[Path], with_title: bool) -> Iterator[tuple[str, str, str]]:
    for place, row in _rows(paths):
        identifier, text = row.get("_id", row.get("id")), row.get("text")
        if identifier is None or not isinstance(text, str):
            raise ValueError(f"{place}: a record needs `_id` and `text`; it has {', '.join(row)}.")
        title = row.get("title") if with_title else None
        yield place, str(identifier), f"{title} {text}" if title else text


def _judgements(paths: list[Path]) -> Iterator[tuple[str, str, str, str]]:
    for place, row in _rows(paths):
        query, document, grade = (row.get(key) for key in ("query-id", "corpus-id", "score"))
        if query is None or document is None or grade is None:
            raise ValueError(f"{place}: a judgement needs the columns query-id, corpus-id and score; it has {', '.join(row)}.")
        yield place, str(query), str(document), str(grade)


LAYOUT = Layout(
    "mteb",
    "LANGUAGE-corpus/SPLIT-00000-of-00001.parquet",
    lambda names: any((found := _SHARD.search(name)) and found[2] == "corpus" for name in names),
    read,
    hub_ids=(
        "mteb/MIRACLRetrievalHardNegatives",
        "mteb/MultilingualNanoSciFactRetrieval",
        "mteb/MultilingualNanoNFCorpusRetrieval",
        "mteb/MultilingualNanoFiQA2018Retrieval",
        "mteb/MultilingualNanoArguAnaRetrieval",
    ),
)
