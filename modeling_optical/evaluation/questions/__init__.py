"""Multiple-choice questions in their published layouts, and who answers them how."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..collections.files import HubFiles, LocalFiles
from . import global_mmlu, mmmlu, parallel_documents
from .answers import ACCURACY, Answers, read_answers, save_answers
from .likelihood import answer_by_likelihood, mean_log_likelihoods
from .question import Question, QuestionLayout, QuestionRequest, QuestionSet, subject_of
from .subjects import MEDICAL_SUBJECTS, SUBJECT_GROUPS

LAYOUTS: tuple[QuestionLayout, ...] = (global_mmlu.LAYOUT, mmmlu.LAYOUT, parallel_documents.LAYOUT)
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
        format: a layout's name, where the files do not tell: `global-mmlu`, `mmmlu`, `parallel-documents`.
        split: of the questions; each layout has its own choice.
        revision: of the Hub data set.
        documents, topic: for `parallel-documents`: which documents, and what they are about.

    Raises:
        FileNotFoundError: for a missing folder, file or language; it lists the languages that there are.
        ValueError: for what cannot be read (file and line named), an unknown format.
    """
    written = os.fspath(path)
    known = {layout.name: layout for layout in LAYOUTS}
    if format is not None and format not in known:
        raise ValueError(f"unknown format {format!r} of questions. Known: {', '.join(known)}.")
    folder = Path(written).expanduser()
    if folder.is_dir():
        local = LocalFiles(folder.resolve())
        layout = known[format] if format else _recognise(local)
        return layout.read(QuestionRequest(local, folder.resolve().name, language, in_english, split, documents, topic))
    if written.startswith((".", "/", "~")) or written.count("/") != 1:
        raise FileNotFoundError(f"question folder {written!r} does not exist.")
    by_id = {identifier.lower(): layout for layout in LAYOUTS for identifier in layout.hub_ids}
    if format is None and written.lower() not in by_id:
        raise ValueError(f"the layout of {written!r} is not known: give `format`, one of {', '.join(known)}.")
    layout = known[format] if format else by_id[written.lower()]
    files = HubFiles(written, revision)
    return layout.read(QuestionRequest(files, written.rsplit("/", 1)[-1], language, in_english, split, documents, topic))


def _recognise(files: LocalFiles) -> QuestionLayout:
    layout = next((one for one in LAYOUTS if one.recognises(files.names)), None)
    if layout is None:
        marks = "; ".join(f"{one.name}: {one.marks}" for one in LAYOUTS)
        raise FileNotFoundError(f"{files.label}: no questions here. By these files they are recognised: {marks}.")
    return layout
