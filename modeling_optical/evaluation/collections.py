"""Test collections in BEIR's layout, from a folder or from the Hub."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils import logging

logger = logging.get_logger(__name__)


@dataclass
class Collection:
    """Documents, queries and judgements.

    Attributes:
        name: short name, as it stands in results.
        language: language code of the queries.
        corpus: document id to text (title and text joined by a space).
        queries: query id to text; only judged queries.
        qrels: query id to {document id: grade}.
    """

    name: str
    language: str
    corpus: dict[str, str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def load_collection(
    path: str | os.PathLike, language: str = "en", *, split: str = "test", revision: str | None = None
) -> Collection:
    """Reads a collection.

    A folder holds `corpus.jsonl` (`_id`, `title`, `text`), `queries.<language>.jsonl` or `queries.jsonl` (`_id`, `text`), and
    `qrels.tsv`, `qrels.<language>.tsv` or `qrels/<split>.tsv` (query id, document id, grade, with a header line). Anything else
    is a Hub id with the configurations `corpus` and `queries`, and judgements in the configuration `qrels` or `default` or in
    the data set `<id>-qrels`, as BEIR and MTEB publish theirs.

    Args:
        path: folder or Hub id.
        language: which queries.
        split: which judgements, where there are several.
        revision: of the Hub data set.

    Raises:
        FileNotFoundError: for a missing folder or file; it lists the languages that there are.
        ValueError: for a line that cannot be read (file and line named), duplicate ids, or no judged query.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return _from_folder(folder.resolve(), language, split)
    if os.fspath(path).startswith((".", "/", "~")) or os.fspath(path).count("/") > 1:
        raise FileNotFoundError(f"collection folder {os.fspath(path)!r} does not exist.")
    return _from_hub(os.fspath(path), language, split, revision)


def _from_folder(folder: Path, language: str, split: str) -> Collection:
    corpus_file = folder / "corpus.jsonl"
    if not corpus_file.is_file():
        raise FileNotFoundError(
            f"collection {folder}: corpus.jsonl is missing. BEIR's layout is asked for: see load_collection."
        )
    queries_file = next((f for f in (folder / f"queries.{language}.jsonl", folder / "queries.jsonl") if f.is_file()), None)
    if queries_file is None:
        there = sorted(f.name.split(".")[1] for f in folder.glob("queries.*.jsonl"))
        raise FileNotFoundError(
            f"collection {folder}: there are no queries in {language!r}. Languages here: {', '.join(there) or 'none'}."
        )
    candidates = [folder / f"qrels.{language}.tsv", folder / "qrels.tsv", folder / "qrels" / f"{split}.tsv"]
    qrels_file = next((f for f in candidates if f.is_file()), None)
    if qrels_file is None:
        raise FileNotFoundError(
            f"collection {folder}: no judgements; one of {', '.join(str(f.relative_to(folder)) for f in candidates)} is needed."
        )
    return _build(
        folder.name,
        language,
        _json_lines(corpus_file),
        _json_lines(queries_file),
        _qrels_lines(qrels_file),
    )


def _from_hub(name: str, language: str, split: str, revision: str | None) -> Collection:
    from datasets import load_dataset

    def rows(configuration: str, data_set: str = name) -> Iterator[tuple[str, dict[str, Any]]]:
        loaded = load_dataset(data_set, configuration, revision=revision if data_set == name else None)
        chosen = next((s for s in (split, configuration, "test", "train") if s in loaded), next(iter(loaded)))
        for number, row in enumerate(loaded[chosen]):
            yield f"{data_set}/{configuration}[{number}]", row

    def first(*sources: tuple[str, str]) -> list[tuple[str, dict[str, Any]]]:
        problems = []
        for configuration, data_set in sources:
            try:
                return list(rows(configuration, data_set))
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
    return _build(name.rsplit("/", 1)[-1], language, corpus, queries, qrels)


def _build(
    name: str,
    language: str,
    corpus_rows: Iterable[tuple[str, dict[str, Any]]],
    query_rows: Iterable[tuple[str, dict[str, Any]]],
    qrels_rows: Iterable[tuple[str, dict[str, Any]]],
) -> Collection:
    corpus = _texts(corpus_rows, with_title=True)
    queries = _texts(query_rows, with_title=False)
    qrels: dict[str, dict[str, int]] = {}
    unknown = 0
    for place, row in qrels_rows:
        query, document, grade = (row.get(key) for key in ("query-id", "corpus-id", "score"))
        if query is None or document is None or grade is None:
            raise ValueError(f"{place}: a judgement needs the columns query-id, corpus-id and score.")
        if str(query) not in queries or str(document) not in corpus:
            unknown += 1
            continue
        try:
            qrels.setdefault(str(query), {})[str(document)] = int(grade)
        except ValueError:
            raise ValueError(f"{place}: the grade {grade!r} is not a whole number.") from None
    if unknown:
        logger.warning(f"collection {name}: {unknown} judgements name a query or document that is not there; ignored.")
    judged = {key: text for key, text in queries.items() if any(g > 0 for g in qrels.get(key, {}).values())}
    if not judged:
        raise ValueError(f"collection {name}: no query in {language!r} has a relevant document.")
    if len(judged) < len(queries):
        logger.info(f"collection {name}: {len(queries) - len(judged)} queries without a relevant document are left out.")
    return Collection(name, language, corpus, judged, {key: qrels[key] for key in judged})


def _texts(rows: Iterable[tuple[str, dict[str, Any]]], with_title: bool) -> dict[str, str]:
    texts: dict[str, str] = {}
    for place, row in rows:
        identifier = row.get("_id", row.get("id"))
        text = row.get("text")
        if identifier is None or not isinstance(text, str):
            raise ValueError(f"{place}: a record needs `_id` and `text`.")
        identifier = str(identifier)
        if not identifier or any(c.isspace() for c in identifier):
            raise ValueError(f"{place}: the id {identifier!r} is empty or has white space, which run files cannot hold.")
        if identifier in texts:
            raise ValueError(f"{place}: the id {identifier!r} stands twice.")
        title = row.get("title") if with_title else None
        texts[identifier] = f"{title} {text}" if title else text
    return texts


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    empty = True
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8"))
            except ValueError as error:
                raise ValueError(f"{path}:{number}: not JSON in UTF-8 ({error}).") from None
            if not isinstance(record, dict):
                raise ValueError(f"{path}:{number}: not a JSON object.")
            empty = False
            yield f"{path}:{number}", record
    if empty:
        raise ValueError(f"{path} is empty.")


def _qrels_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}).") from None
    with io.StringIO(text, newline="") as stream:
        for number, row in enumerate(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
            if not row:
                continue
            if number == 1 and len(row) in (3, 4) and not _is_number(row[-1]):
                continue
            if len(row) == 4:  # TREC: query, iteration, document, grade
                row = [row[0], row[2], row[3]]
            if len(row) != 3:
                raise ValueError(f"{path}:{number}: expected query id, document id and grade, separated by tabs.")
            yield f"{path}:{number}", dict(zip(("query-id", "corpus-id", "score"), row, strict=True))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
