"""MMMLU: the test questions of MMLU in 14 languages, by professional translators.

Files, as `openai/MMMLU` holds them on the Hub:

    test/mmlu_<LANGUAGE>-<REGION>.csv      AR-XY BN-BD DE-DE ES-LA FR-FR HI-IN ID-ID IT-IT JA-JP KO-KR PT-BR SW-KE YO-NG ZH-CN

Columns: a first one without a name (the question's number), `Question`, `A`, `B`, `C`, `D`, `Answer` (A to D), `Subject`. Every
file has the same questions in the same order, so subject and number make the id. A row with an empty cell is left out and
counted. The data set has no English. For a ceiling, put the English questions, in the same order and columns, beside the others
as `mmlu_EN-US.csv`. Licence: MIT. Documented at https://huggingface.co/datasets/openai/MMMLU.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ...files.lines import open_bytes, read_lines
from ...files.tables import check_header, header_names, table_rows
from ..collections.files import no_queries
from .question import CompleteRows, Question, QuestionLayout, QuestionRequest, QuestionSet, question_set

_FILE = re.compile(r"(?:^|/)mmlu_([A-Z]{2})-([A-Z]{2})\.csv$")
_LETTERS = ("A", "B", "C", "D")
_COLUMNS = ("Question", *_LETTERS, "Answer", "Subject")
_NUMBER = "number"  # in the file, whatever its first column says


def read(request: QuestionRequest) -> QuestionSet:
    """Reads one language of MMMLU."""
    if request.split not in (None, "test"):
        raise ValueError(f"{request.files.label}: MMMLU has the split 'test' only, not {request.split!r}.")
    language = "en" if request.in_english else request.language
    there = {found[1].lower(): name for name in request.files.names if (found := _FILE.search(name))}
    if language not in there:
        raise no_queries(request.files, language, there)
    rows = CompleteRows(_rows(request.files.path(there[language])), (_NUMBER, *_COLUMNS))
    questions = [_question(place, row) for place, row in rows]
    return question_set("mmmlu", request.language, questions, language, rows.notes)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    names: list[str] = []
    number = 0
    with open_bytes(path) as stream:
        for place, row, problem in table_rows(read_lines(stream, str(path)), ","):
            if problem is not None:
                raise ValueError(f"{place}: {problem}.")
            if not row:
                continue
            if names:
                yield place, dict(zip(names, row, strict=False)) | {_NUMBER: str(number)}
                number += 1
                continue
            names = header_names(row)
            check_header(names, place)
            if missing := [name for name in _COLUMNS if name not in names]:
                raise ValueError(f"{path}: the column {missing[0]!r} is missing. There are: {', '.join(names)}.")


def _question(place: str, row: dict[str, str]) -> Question:
    answer = row["Answer"].strip().upper()
    if answer not in _LETTERS:
        raise ValueError(f"{place}: the answer is {row['Answer']!r}; it must be A, B, C or D.")
    choices = tuple(row[name] for name in _LETTERS)
    return Question(f"{row['Subject']}/test/{row[_NUMBER]}", row["Question"], choices, _LETTERS.index(answer))


LAYOUT = QuestionLayout(
    "mmmlu",
    "test/mmlu_LANGUAGE-REGION.csv",
    lambda names: any(_FILE.search(name) for name in names),
    read,
    hub_ids=("openai/MMMLU",),
)
