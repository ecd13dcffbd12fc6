"""BEIR's layout, from a folder or from the Hub.

Folder: `corpus.jsonl` (`_id`, `title`, `text`), `queries.<language>.jsonl` or `queries.jsonl` (`_id`, `text`), and `qrels.tsv`,
`qrels.<language>.tsv` or `qrels/<split>.tsv` (query id, document id, grade, with a header line). The queries per language are
this package's addition: the same queries, in several languages, over one corpus. So are

    corpus.<language>.jsonl, qrels.<language>.tsv          documents in each language and no `corpus.jsonl`; the split `pooled`
                                                           searches those of all languages at once
    <language>/corpus.jsonl, …                             a collection for each language, in folders
    queries.<language>.<split>.jsonl, qrels.<split>.tsv    another split than `test`

Hub: configurations `corpus` and `queries`, and judgements in the configuration `qrels` or `default` or in the data set
`<id>-qrels`, as BEIR and MTEB publish theirs. Layout documented at https://github.com/beir-cellar/beir/wiki; licences are
those of the single sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from transformers.utils import logging

from ...files.lines import json_lines
from .collection import Collection, assemble, read_queries
from .files import HubFiles, Layout, LocalFiles, Request, no_queries, unpacked_bytes
from .judgements import judgement_lines

logger = logging.get_logger(__name__)

POOLED = "pooled"
"""The split that searches the documents of all languages at once."""


def read(request: Request) -> Collection:
    """Reads a collection in BEIR's layout."""
    if isinstance(request.files, HubFiles):
        return _from_hub(request, request.files)
    assert isinstance(request.files, LocalFiles)
    return _from_folder(request, request.files.folder)


def _from_folder(request: Request, root: Path) -> Collection:
    language, split = request.language, request.split or "test"
    own = not (root / "corpus.jsonl").is_file() and (root / language / "corpus.jsonl").is_file()
    folder = root / language if own else root  # a collection for each language
    queries_file = _first(folder, (f"queries{part}.jsonl" for part in (f".{language}.{split}", f".{language}", "")))
    if queries_file is None:
        there = [f.name.split(".")[1] for f in folder.glob("queries.*.jsonl")]
        raise no_queries(request.files, language, [*there, *(f.parent.name for f in folder.glob("*/corpus.jsonl"))])
    shared = _first(folder, ["corpus.jsonl"])
    pooled = shared is None and split == POOLED
    codes = [f.name.split(".")[1] for f in sorted(folder.glob("corpus.*.jsonl"))] if pooled else [language]
    corpora = [shared] if shared else _all(folder, [f"corpus.{code}.jsonl" for code in codes])
    if not corpora:
        raise FileNotFoundError(f"collection {folder}: corpus.jsonl is missing, which BEIR's layout has.")
    candidates = [f"qrels.{split}.tsv", f"qrels/{split}.tsv"]
    if split == "test":
        candidates = [f"qrels.{language}.tsv", "qrels.tsv", *candidates]
    qrels = _all(folder, [f"qrels.{code}.tsv" for code in codes] if pooled else candidates)
    if not qrels and request.split == "train" and (only := _first(folder, ["qrels.tsv"])) and not (folder / "qrels").is_dir():
        qrels = [only]  # labelled data that has no test part
    if not qrels:
        raise FileNotFoundError(f"collection {folder}: no judgements; one of {', '.join(candidates)} is needed.")
    queries = list(_texts(json_lines(queries_file), with_title=False))
    judgements = [line for file in (qrels if pooled else qrels[:1]) for line in judgement_lines(file, beir=True)]
    if len({identifier for _, identifier, _ in queries}) < len(queries) == len(judgements):
        queries, judgements = _paired_by_line(queries, judgements)
    return assemble(
        f"{request.name}-{POOLED}" if pooled else request.name,
        language,
        read_corpus=lambda: (text for file in corpora for text in _texts(json_lines(file), with_title=True)),
        corpus_bytes=unpacked_bytes(corpora),
        queries=read_queries(queries),
        judgements=judgements,
        parallel=pooled or (shared is not None and not own),
    )


def _paired_by_line(
    queries: list[tuple[str, str, str]], judgements: list[tuple[str, str, str, str]]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str, str]]]:
    """Queries whose ids repeat, each with a separate id, where each judgement has the id of the query on the same line.

    Exports that keep only the end of longer ids look like that. Anything else stays as it is, and is refused as a repeated id.
    """
    pairs = list(zip(queries, judgements, strict=True))
    if any(query[1] != judgement[1] for query, judgement in pairs):
        return queries, judgements
    logger.warning(
        f"{queries[0][0]}: query ids repeat. Each judgement has the id of the query on its line, so they are paired by line."
    )
    return (
        [(place, f"{query}@{number}", text) for number, ((place, query, text), _) in enumerate(pairs, 1)],
        [(place, f"{query}@{number}", document, grade) for number, (_, (place, query, document, grade)) in enumerate(pairs, 1)],
    )


def _first(folder: Path, names: Iterable[str]) -> Path | None:
    return next(iter(_all(folder, names)), None)


def _all(folder: Path, names: Iterable[str]) -> list[Path]:
    return [folder / name for name in names if (folder / name).is_file()]


def _from_hub(request: Request, files: HubFiles) -> Collection:
    from datasets import Dataset, load_dataset

    name, language, split = files.repo_id, request.language, request.split or "test"

    def table(configuration: str, data_set: str = name) -> Dataset:
        loaded = load_dataset(data_set, configuration, revision=files.revision if data_set == name else None)
        chosen = next((s for s in (split, configuration, "test", "train") if s in loaded), next(iter(loaded)))
        return loaded[chosen]

    def first(*sources: tuple[str, str]) -> tuple[str, Dataset]:
        problems = []
        for configuration, data_set in sources:
            try:
                return f"{data_set}/{configuration}", table(configuration, data_set)
            except Exception as error:  # datasets raises many types; all are reported if none of the sources is there
                problems.append(f"{data_set}/{configuration}: {type(error).__name__}: {error}")
        raise FileNotFoundError(
            f"collection {name!r} could not be loaded from the Hub. Check the id and the network, or give a folder in BEIR's "
            "layout. Tried: " + "; ".join(problems)
        )

    corpus = first(("corpus", name))
    queries = first((f"queries.{language}", name), (f"{language}-queries", name), ("queries", name))
    qrels = first((f"qrels.{language}", name), (f"{language}-qrels", name), ("qrels", name), ("default", f"{name}-qrels"),
                  ("default", name))  # fmt: skip
    return assemble(
        request.name,
        language,
        read_corpus=lambda: _texts(_rows(*corpus), with_title=True),
        corpus_bytes=corpus[1].data.nbytes,  # memory-mapped, not held
        queries=read_queries(_texts(_rows(*queries), with_title=False)),
        judgements=_judgements(_rows(*qrels)),
        parallel=True,
    )


def _rows(label: str, table: Iterable[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((f"{label}[{number}]", row) for number, row in enumerate(table))


def _judgements(rows: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, str, str, str]]:
    for place, row in rows:
        query, document, grade = (row.get(key) for key in ("query-id", "corpus-id", "score"))
        if query is None or document is None or grade is None:
            raise ValueError(f"{place}: a judgement needs the columns query-id, corpus-id and score.")
        yield place, str(query), str(document), str(grade)


def _texts(rows: Iterable[tuple[str, dict[str, Any]]], with_title: bool) -> Iterator[tuple[str, str, str]]:
    for place, row in rows:
        identifier = row.get("_id", row.get("id"))
        text = row.get("text")
        if identifier is None or not isinstance(text, str):
            raise ValueError(f"{place}: a record needs `_id` and `text`.")
        title = row.get("title") if with_title else None
        yield place, str(identifier), f"{title} {text}" if title else text


_CORPUS = re.compile(r"(?:[a-z]{2,3}(?:-\w+)?/)?corpus(?:\.[a-z]{2,3}(?:-\w+)?)?\.jsonl")

LAYOUT = Layout("beir", "corpus.jsonl", lambda names: any(_CORPUS.fullmatch(name) for name in names), read)
