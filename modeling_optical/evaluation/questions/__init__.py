"""Multiple-choice questions in their published layouts, and who answers them how."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..collections.files import find_layout
from . import belebele, global_mmlu, mmmlu, parallel_documents, xcopa
from .answers import ACCURACY, Answers, read_answers, save_answers
from .likelihood import answer_by_likelihood, mean_log_likelihoods
from .question import Question, QuestionLayout, QuestionRequest, QuestionSet, subject_of
from .subjects import MEDICAL_SUBJECTS, SUBJECT_GROUPS

LAYOUTS: tuple[QuestionLayout, ...] = (
    global_mmlu.LAYOUT,
    mmmlu.LAYOUT,
    belebele.LAYOUT,
    xcopa.LAYOUT,
    parallel_documents.LAYOUT,
)
"""In the order in which a folder is tried."""

__all__ = [
    "ACCURACY",
    "LAYOUTS",
    "MEDICAL_SUBJECTS",
    "SUBJECT_GROUPS",
    "Answers",
    "Question",
    "QuestionSet",
    "answer_by_likelihood",
    "load_questions",
    "mean_log_likelihoods",
    "read_answers",
    "save_answers",
    "subject_of",
]


def load_questions(
    path: str | os.PathLike,
    language: str,
    *,
    in_english: bool = False,
    format: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    documents: Sequence[str] = (),
    topic: str = "",
) -> QuestionSet:
    """Reads multiple-choice questions.

    Args:
        path: a folder in one of the published layouts (see the modules of this package), or the Hub id of a data set.
        language: code of the language.
        in_english: the same questions in English, under the name of the language: for a ceiling.
        format: a layout's name, if it cannot be detected: `global-mmlu`, `mmmlu`, `belebele`, `xcopa`, `parallel-documents`.
        split: of the questions; the default depends on the layout.
        revision: of the Hub data set.
        documents, topic: for `parallel-documents`: which documents, and what they are about.

    Raises:
        FileNotFoundError: for a missing folder, file or language; the message lists the available languages.
        ValueError: for a file that cannot be read (the message names file and line), or an unknown format.
    """
    layout, files, name = find_layout(path, LAYOUTS, "question", format=format, revision=revision)
    return layout.read(QuestionRequest(files, name, language, in_english, split, documents, topic))
