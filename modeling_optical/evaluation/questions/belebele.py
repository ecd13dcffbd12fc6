"""Belebele: four answers to a question on a passage, in 122 language variants.

Files and language codes as `collections/belebele.py` says. The question that is answered is the passage and, behind it, the
question. The same questions exist in English, which gives a ceiling. Licence: CC-BY-SA-4.0.
"""

from __future__ import annotations

from ..collections.belebele import FILE, file_of, question_id, records
from .question import CompleteRows, Question, QuestionLayout, QuestionRequest, QuestionSet, question_set

_CHOICES = ("mc_answer1", "mc_answer2", "mc_answer3", "mc_answer4")
_COLUMNS = ("id", "flores_passage", "question", *_CHOICES, "correct_answer_num")


def read(request: QuestionRequest) -> QuestionSet:
    """Reads one language of Belebele."""
    if request.split not in (None, "test"):
        raise ValueError(f"{request.files.label}: Belebele has the split 'test' only, not {request.split!r}.")
    language = "en" if request.in_english else request.language
    path = request.files.path(file_of(request.files, language))
    rows = CompleteRows(((place, row | {"id": question_id(row)}) for place, row in records(path)), _COLUMNS)
    return question_set("belebele", request.language, [_question(*row) for row in rows], language, rows.notes)


def _question(place: str, row: dict[str, str]) -> Question:
    if row["correct_answer_num"] not in ("1", "2", "3", "4"):
        raise ValueError(f"{place}: correct_answer_num is {row['correct_answer_num']!r}; it must be 1, 2, 3 or 4.")
    text = f"{row['flores_passage']} {row['question']}"
    return Question(f"belebele/{row['id']}", text, tuple(row[name] for name in _CHOICES), int(row["correct_answer_num"]) - 1)


LAYOUT = QuestionLayout(
    "belebele",
    "LANGUAGE_Script.jsonl",
    lambda names: any(FILE.search(name) for name in names),
    read,
    hub_ids=("facebook/belebele",),
)
