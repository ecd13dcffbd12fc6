"""Multiple-choice questions in a run: every system answers them by late interaction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging

from modeling_optical import OpticalModel
from modeling_optical.evaluation import NotRun, ResultRow, result_rows
from modeling_optical.evaluation.questions import ACCURACY, Answers, QuestionSet, save_answers
from modeling_optical.evaluation.questions.late_interaction import answer, encode_choices, fit_choice_head, with_choice_head

from ..recipe.distillation import Recipe

logger = logging.get_logger(__name__)


class QuestionAnswerer:
    """Lets systems answer the questions of a recipe and keeps their answers.

    The system encodes choices in the student's language, the teacher those in the teacher's language.

    Args:
        recipe: the recipe.
        questions: its questions, as loaded.
        teacher: the teacher; with a choice head, its English answers teach it.
        folder: the answers' folder.

    Raises:
        ValueError: if the choice head would be learned from questions that are tested.

    Attributes:
        not_run: ceilings that could not be measured.
    """

    def __init__(self, recipe: Recipe, questions: Sequence[QuestionSet], teacher: OpticalModel, folder: Path):
        self.recipe, self.questions, self.teacher, self.folder = recipe, questions, teacher, folder
        own = recipe.evaluation
        self.not_run: list[NotRun] = []
        self._choices: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
        self.head = None
        if own.choice_head is not None:
            language = recipe.teacher.language
            examples = own.choice_head.questions.load(language)
            _check_apart(examples, questions)
            self.head = fit_choice_head(teacher, examples, question_length=own.question_length, batch_size=own.batch_size)

    def __call__(self, system: str, model: OpticalModel) -> list[ResultRow]:
        """A system's answers to all questions, kept below the folder."""
        return [row for questions in self.questions for row in self._rows(self._answer(system, model, questions))]

    def ceilings(self) -> list[ResultRow]:
        """The teacher's answers to the same questions in English; a set without English ones is left out, with a warning."""
        rows = []
        for source in self.recipe.evaluation.questions:
            for language in source.of(self.recipe.tested_languages):
                try:
                    english = source.load(language, in_english=True)
                except FileNotFoundError as error:
                    logger.warning(f"{source.path}: no ceiling, there are no English questions ({error}).")
                    self.not_run.append(NotRun("ceiling", language, Path(source.path).name, "there are no English questions"))
                    continue
                rows += self._rows(self._answer("ceiling", self.teacher, english))
        return rows

    def _answer(self, system: str, model: OpticalModel, questions: QuestionSet) -> Answers:
        own = self.recipe.evaluation
        return answer(
            system,
            with_choice_head(model, self.head),
            questions,
            choices=self._teachers_choices(questions),
            question_length=own.question_length,
            batch_size=own.batch_size,
        )

    def _teachers_choices(self, questions: QuestionSet) -> dict[str, torch.Tensor] | None:
        """The choices as the teacher reads them, once for all systems; None where they are not in its language."""
        if questions.choice_language != self.recipe.teacher.language:
            return None
        key = (questions.name, questions.language)
        if key not in self._choices:
            self._choices[key] = encode_choices(self.teacher, questions, batch_size=self.recipe.evaluation.batch_size)
        return self._choices[key]

    def _rows(self, answers: Answers) -> list[ResultRow]:
        save_answers(self.folder, answers)
        return result_rows(answers.system, answers.language, answers.collection, {ACCURACY: answers.accuracy})


def _check_apart(examples: QuestionSet, tested: Sequence[QuestionSet]) -> None:
    known = {question.identifier for question in examples.questions}
    for own in tested:
        both = [question.identifier for question in own.questions if question.identifier in known]
        if both:
            raise ValueError(
                f"evaluation.choice_head: {len(both)} of its questions are tested, too, such as {both[0]}. Take another split."
            )
