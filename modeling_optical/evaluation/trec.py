"""TREC run files: `query Q0 document rank score tag`."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from ..atomic_write import write_text


def write_run(path: str | os.PathLike, run: Mapping[str, Mapping[str, float]], tag: str) -> Path:
    """Writes a run, each query's documents from the highest score down."""
    tag = "-".join(tag.split()) or "run"
    lines = []
    for query, scores in run.items():
        ranked = sorted(scores.items(), key=lambda item: -item[1])
        lines += [f"{query} Q0 {document} {rank} {score:.9g} {tag}\n" for rank, (document, score) in enumerate(ranked, 1)]
    return write_text(path, "".join(lines))


def write_qrels(path: str | os.PathLike, qrels: Mapping[str, Mapping[str, int]]) -> Path:
    """Writes judgements: `query 0 document grade`, as trec_eval and ir_measures read them."""
    lines = [f"{query} 0 {document} {grade}\n" for query, grades in qrels.items() for document, grade in grades.items()]
    return write_text(path, "".join(lines))


def read_qrels(path: str | os.PathLike) -> dict[str, dict[str, int]]:
    """Reads judgements as `write_qrels` writes them.

    Raises:
        ValueError: for a line that is not a judgement (file and line named).
    """
    qrels: dict[str, dict[str, int]] = {}
    with open(path, encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                query, _, document, grade = line.split()
                qrels.setdefault(query, {})[document] = int(grade)
            except ValueError:
                raise ValueError(f"{path}:{number}: expected `query 0 document grade`.") from None
    return qrels


def read_run(path: str | os.PathLike) -> dict[str, dict[str, float]]:
    """Reads a run.

    Raises:
        ValueError: for a line that is not a run line (file and line named), or a document that stands twice for a query.
    """
    run: dict[str, dict[str, float]] = {}
    with open(path, encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            parts = line.split()
            if not parts:
                continue
            try:
                query, _, document, _, score, *_ = parts
                value = float(score)
            except ValueError:
                raise ValueError(f"{path}:{number}: expected `query Q0 document rank score tag`.") from None
            if not math.isfinite(value):
                raise ValueError(f"{path}:{number}: the score {score} is not finite.")
            if document in run.setdefault(query, {}):
                raise ValueError(f"{path}:{number}: document {document!r} stands twice for query {query!r}.")
            run[query][document] = value
    return run
