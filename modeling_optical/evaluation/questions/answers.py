"""Systems' answers, and the files that keep them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...files.atomic_write import write_text
from .question import QuestionSet

ACCURACY = "accuracy"
"""Name of the metric: 1 for a question whose right choice was chosen, else 0."""
_FOLDER = "answers"


@dataclass(frozen=True)
class Answers:
    """One system's choices on a set of questions.

    Attributes:
        system: which system.
        collection, language: name and language of the questions.
        correct: question id to whether the right choice was chosen.
        chosen: question id to the position of the chosen choice.
    """

    system: str
    collection: str
    language: str
    correct: dict[str, bool]
    chosen: dict[str, int]

    @property
    def accuracy(self) -> dict[str, float]:
        """Question id to 1 or 0."""
        return {identifier: float(correct) for identifier, correct in self.correct.items()}


def choose(system: str, questions: QuestionSet, scores: Sequence[torch.Tensor]) -> Answers:
    """The choice with the highest score of each question; of equal ones the first.

    Args:
        system: whose scores.
        questions: the questions.
        scores: for each question (choices,).

    Raises:
        ValueError: for a score that is not a number, with the question's id.
    """
    chosen: dict[str, int] = {}
    for question, own in zip(questions.questions, scores, strict=True):
        if torch.isnan(own).any():
            raise ValueError(f"{system}: a choice of question {question.identifier} has no score (not a number).")
        chosen[question.identifier] = int(own[: len(question.choices)].argmax())
    correct = {question.identifier: chosen[question.identifier] == question.right for question in questions.questions}
    return Answers(system, questions.name, questions.language, correct, chosen)


def save_answers(folder: str | os.PathLike, answers: Answers) -> Path:
    """Writes `answers/<system>.<collection>.<language>.json` below the folder."""
    name = f"{answers.system}.{answers.collection}.{answers.language}.json"
    return write_text(Path(folder) / _FOLDER / name, json.dumps(vars(answers), ensure_ascii=False) + "\n")


def read_answers(folder: str | os.PathLike) -> list[Answers]:
    """All answers below a folder, in the order of the files' names.

    Raises:
        ValueError: for a file that holds none.
    """
    found = []
    for path in sorted((Path(folder) / _FOLDER).glob("*.json")):
        try:
            found.append(Answers(**json.loads(path.read_text(encoding="utf-8"))))
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{path} holds no answers ({type(error).__name__}: {error}).") from None
    return found
