"""TREC run files (`query Q0 document rank score tag`) and judgements, and the folder that holds an evaluation's."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..files.atomic_write import write_text
from ..files.lines import columns, text_lines
from .collections import Collection
from .collections.judgements import judgement_lines, read_judgements
from .metrics import ranked

# Bytes; file systems take 255 for a name, which has two such parts, an ending, and a prefix while it is written.
_LONGEST_NAME = 100


def write_run(path: str | os.PathLike, run: Mapping[str, Mapping[str, float]], tag: str) -> Path:
    """Writes a run, each query's documents in the order of `ranked`. The scores that are read back are the same."""
    tag = "-".join(tag.split()) or "run"
    lines = []
    for query, scores in run.items():
        for rank, document in enumerate(ranked(scores), 1):
            lines.append(f"{query} Q0 {document} {rank} {_written(scores[document])} {tag}\n")
    return write_text(path, "".join(lines))


def _written(score: float) -> str:
    # Nine digits tell all numbers of single precision apart; those of double precision might become equal.
    return f"{score:.9g}" if float(np.float32(score)) == score else repr(float(score))


def write_qrels(path: str | os.PathLike, qrels: Mapping[str, Mapping[str, int]]) -> Path:
    """Writes judgements: `query 0 document grade`, as trec_eval and ir_measures read them."""
    lines = [f"{query} 0 {document} {grade}\n" for query, grades in qrels.items() for document, grade in grades.items()]
    return write_text(path, "".join(lines))


def read_qrels(path: str | os.PathLike) -> dict[str, dict[str, int]]:
    """Reads judgements in TREC's format, as `write_qrels` writes them, or in BEIR's.

    Raises:
        ValueError: for a line that is not a judgement, or one that contradicts another (file and line named).
    """
    return read_judgements(judgement_lines(Path(path), beir=True))


def read_run(path: str | os.PathLike) -> dict[str, dict[str, float]]:
    """Reads a run.

    Raises:
        ValueError: for a line that is not a run line (file and line named), or a document that appears twice for a query.
    """
    run: dict[str, dict[str, float]] = {}
    for place, line in text_lines(path):
        parts = columns(line)
        if not parts:
            continue
        try:
            query, _, document, _, score, *_ = parts
            value = float(score)
        except ValueError:
            raise ValueError(f"{place}: expected `query Q0 document rank score tag`.") from None
        if not math.isfinite(value):
            raise ValueError(f"{place}: the score {score} is not finite.")
        if document in run.setdefault(query, {}):
            raise ValueError(f"{place}: document {document!r} appears twice for query {query!r}.")
        run[query][document] = value
    return run


def run_name(collection: Collection) -> str:
    """`<collection>.<language>`, as it is in the names of run files."""
    return _file_name(f"{collection.name}.{collection.language}")


def save_run(folder: str | os.PathLike, system: str, collection: Collection, run: Mapping[str, Mapping[str, float]]) -> Path:
    """Writes a run of an evaluation with what it is measured by: `<system>.<collection>.<language>.trec`, and beside it
    `<collection>.<language>.qrels` and `.queries.jsonl` (`_id`, `text`).

    Returns:
        Where the run is.
    """
    name = run_name(collection)
    queries = [json.dumps({"_id": key, "text": text}, ensure_ascii=False) for key, text in collection.queries.items()]
    write_qrels(Path(folder) / f"{name}.qrels", collection.qrels)
    write_text(Path(folder) / f"{name}.queries.jsonl", "\n".join(queries) + "\n")
    return write_run(Path(folder) / f"{_file_name(system)}.{name}.trec", run, system)


def _file_name(text: str) -> str:
    """A part of a file's name: what could lead elsewhere is replaced; a long one is cut, and told from others by a digest."""
    name = re.sub(r"[^\w.-]", "_", text)
    if len(name.encode("utf-8")) <= _LONGEST_NAME:
        return name
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{name.encode('utf-8')[: _LONGEST_NAME - 9].decode('utf-8', 'ignore')}-{digest}"
