"""Judgements: which documents are relevant to a query, and how much. All commands read, check and count them here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ...encoding.corpus import check_identifier
from ...files.lines import columns, text_lines

# `1` or `1.0`, as tables with an empty cell are written.
_GRADE = re.compile(r"[+-]?[0-9]+(?:\.0*)?")


def judgement_lines(path: Path, iteration: str | None = None, beir: bool = False) -> Iterator[tuple[str, str, str, str]]:
    """(place, query, document, grade as it is written) of a file of judgements; blank lines are passed over.

    Args:
        path: the file: `query iteration document grade` a line (TREC), separated by tabs or spaces. A first line that names the
            columns (it has no digit) is passed over.
        iteration: only lines with this second column.
        beir: also `query document grade` a line.

    Raises:
        ValueError: for a line that is not a judgement (file and line named).
    """
    first = True
    for place, line in text_lines(path):
        # Between tabs, an id with a space is one cell, which the check of ids refuses.
        cells = [cell.strip() for cell in line.strip().split("\t")]
        if len(cells) != 4 and not (beir and len(cells) == 3):
            cells = columns(line)
        if not cells:
            continue
        header, first = first and not any(character.isdigit() for character in line), False
        if header and len(cells) in (3, 4):
            continue
        if len(cells) == 3 and beir:
            yield place, cells[0], cells[1], cells[2]
        elif len(cells) != 4:
            wanted = "query id, document id and grade, separated by tabs" if beir else "`query 0 document grade`"
            raise ValueError(f"{place}: expected {wanted}; found {len(cells)} columns.")
        elif iteration in (None, cells[1]):
            yield place, cells[0], cells[2], cells[3]


def read_judgements(judgements: Iterable[tuple[str, str, str, str]]) -> dict[str, dict[str, int]]:
    """Query id to {document id: grade} of (place, query, document, grade as it is written).

    Raises:
        ValueError: for a grade that is not a whole number, or an id that is empty or has white space. Also for two different
            grades of a document for a query; the message names both places.
    """
    qrels: dict[str, dict[str, int]] = {}
    places: dict[tuple[str, str], str] = {}
    for place, query, document, written in judgements:
        if not _GRADE.fullmatch(written):
            raise ValueError(f"{place}: the grade {written!r} is not a whole number.")
        for identifier in (query, document):
            check_identifier(place, identifier)
        grade = int(float(written))
        before = qrels.setdefault(query, {}).setdefault(document, grade)
        if before != grade:
            raise ValueError(
                f"{place}: document {document!r} is judged twice for query {query!r}: {before} and {grade}. "
                f"The first judgement: {places[query, document]}."
            )
        places.setdefault((query, document), place)
    return qrels


def with_relevant(qrels: Mapping[str, Mapping[str, int]], name: str) -> tuple[dict[str, dict[str, int]], list[str]]:
    """The judgements of the queries that have a relevant document, and a note on how many have none.

    Such a query always scores 0, so no command counts it.

    Args:
        qrels: query id to {document id: grade}; relevant are grades above 0.
        name: of the collection, for the note.
    """
    kept = {query: dict(grades) for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    missing = len(qrels) - len(kept)
    note = f"{name}: {missing} of {len(qrels)} judged queries have no relevant document and do not count."
    return kept, [note] if missing else []
