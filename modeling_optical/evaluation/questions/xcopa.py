"""XCOPA: which of two sentences is the cause or the effect of a third, in eleven languages.

Files, as https://github.com/cambridgeltl/xcopa holds them (a clone):

    data/<language>/<split>.<language>.jsonl      {"premise", "choice1", "choice2", "question", "label", "idx"}

Splits: `test` (the default, 500 questions), `val` (100). `label` is 0 or 1. Whether cause or effect is asked for (`question`)
is not read: a system chooses the sentence that is closer to the premise. Languages: et ht id it qu sw ta th tr vi zh. The
English questions are COPA's and not in the clone; in the same form as `data/en/test.en.jsonl` they give a ceiling. Licence:
CC-BY-4.0. Documented in arXiv 2005.00333.
"""

from __future__ import annotations

import re

from ..collections.files import json_lines, no_queries
from .question import CompleteRows, Question, QuestionLayout, QuestionRequest, QuestionSet, question_set

_FILE = re.compile(r"(?:^|/)(test|val)\.([a-z]{2,3})\.jsonl$")
_COLUMNS = ("idx", "premise", "choice1", "choice2", "label")


def read(request: QuestionRequest) -> QuestionSet:
    """Reads one language of XCOPA."""
    language, split = "en" if request.in_english else request.language, request.split or "test"
    there = {(found[2], found[1]): name for name in request.files.names if (found := _FILE.search(name))}
    if (language, split) not in there:
        raise no_queries(request.files, f"{language}, split {split}", (f"{code} ({own})" for code, own in there))
    rows = CompleteRows(json_lines(request.files.path(there[language, split])), _COLUMNS)
    questions = [_question(place, row, split) for place, row in rows]
    return question_set(f"xcopa-{split}", request.language, questions, language, rows.notes)


def _question(place: str, row: dict[str, str], split: str) -> Question:
    if row["label"] not in ("0", "1"):
        raise ValueError(f"{place}: the label is {row['label']!r}; it must be 0 or 1.")
    return Question(f"xcopa/{split}-{row['idx']}", row["premise"], (row["choice1"], row["choice2"]), int(row["label"]))


LAYOUT = QuestionLayout(
    "xcopa",
    "test.LANGUAGE.jsonl",
    lambda names: any(_FILE.search(name) for name in names),
    read,
)
