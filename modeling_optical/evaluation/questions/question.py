"""Multiple-choice questions and requests to a layout's reader."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from transformers.utils import logging

from ...encoding.normal_forms import is_blank
from ..collections.files import Files, Layout

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class Question:
    """A question with its choices.

    Attributes:
        identifier: the subject, a `/` and the rest; the same in every language.
        text: the question.
        choices: the possible answers, at least two.
        right: position of the right choice.
    """

    identifier: str
    text: str
    choices: tuple[str, ...]
    right: int

    def __post_init__(self) -> None:
        if "/" not in self.identifier or self.identifier.startswith("/") or any(c.isspace() for c in self.identifier):
            raise ValueError(f"question id {self.identifier!r}: it is the subject, a `/` and the rest, without white space.")
        if len(self.choices) < 2 or not 0 <= self.right < len(self.choices):
            raise ValueError(f"question {self.identifier}: {len(self.choices)} choices, of which number {self.right} is right.")

    @property
    def subject(self) -> str:
        """The question's subject."""
        return subject_of(self.identifier)


def subject_of(identifier: str) -> str:
    """The subject of a question's identifier."""
    return identifier.partition("/")[0]


@dataclass(frozen=True)
class QuestionSet:
    """Questions in one language.

    Attributes:
        name: short name, as it is in results.
        language: of the questions.
        questions: the questions.
        choice_language: of the choices, where it is another one than that of the questions.
        notes: what the reader of a result has to know, for instance how many questions were left out.
    """

    name: str
    language: str
    questions: tuple[Question, ...]
    choice_language: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def fingerprint(self) -> str:
        """First 16 digits of the SHA-256 of all questions."""
        digest = hashlib.sha256()
        for question in self.questions:
            digest.update("\t".join((question.identifier, question.text, *question.choices, str(question.right))).encode())
        return digest.hexdigest()[:16]

    def drawn(self, count: int | None, seed: int = 0) -> QuestionSet:
        """`count` random questions, by their ids: the same in every language; a smaller draw is a subset of a larger one."""
        if count is None or count >= len(self.questions):
            return self
        ordered = sorted(self.questions, key=lambda question: question.identifier)
        kept = {question.identifier for question in random.Random(seed).sample(ordered, len(ordered))[:count]}
        own = tuple(question for question in self.questions if question.identifier in kept)
        return replace(self, questions=own)


@dataclass(frozen=True)
class QuestionRequest:
    """A request to a reader.

    Attributes:
        files: where the questions are.
        name: last part of the folder's name or Hub id.
        language: code of the language, as the user wrote it.
        in_english: the same questions, in English.
        split: of the questions; None for the reader's default.
        documents: for questions made from documents, which ones; empty for all.
        topic: for questions made from documents, what they are about.
    """

    files: Files
    name: str
    language: str
    in_english: bool = False
    split: str | None = None
    documents: Sequence[str] = field(default=())
    topic: str = ""


QuestionLayout = Layout[QuestionRequest, QuestionSet]
"""A published layout of multiple-choice questions and its reader."""


class CompleteRows:
    """The rows of a published table of questions whose cells all have text; the others are counted, not refused.

    Args:
        rows: (place, row).
        columns: those that are needed.
    """

    def __init__(self, rows: Iterable[tuple[str, Mapping[str, Any]]], columns: Sequence[str]):
        self._rows, self._columns = rows, columns
        self._left_out: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, dict[str, str]]]:
        for place, row in self._rows:
            texts = {name: "" if row.get(name) is None else str(row[name]) for name in self._columns}
            empty = [name for name, text in texts.items() if is_blank(text)]
            if empty:
                self._left_out.append(f"{place}: `{empty[0]}` is empty")
            else:
                yield place, texts

    @property
    def notes(self) -> list[str]:
        """How many rows were left out so far, and the first of them."""
        count = len(self._left_out)
        return [f"{count} question{'s' * (count > 1)} left out ({self._left_out[0]})"] if count else []


def question_set(
    name: str,
    language: str,
    questions: Sequence[Question],
    choice_language: str | None = None,
    notes: Sequence[str] = (),
) -> QuestionSet:
    """A checked set; its notes are also logged.

    Raises:
        ValueError: if there is no question, or an id appears twice.
    """
    if not questions:
        raise ValueError(f"{name}: there is no question in {language!r}.")
    seen: set[str] = set()
    for question in questions:
        if question.identifier in seen:
            raise ValueError(f"{name}, {language}: the question id {question.identifier!r} appears twice.")
        seen.add(question.identifier)
    for note in notes:
        logger.warning(f"questions {name}, {language}: {note}.")
    return QuestionSet(name, language, tuple(questions), choice_language or language, tuple(notes))
