"""The flow of one distillation of a causal language model: bitext, training, answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from hub_cards.causal_card import CausalCard, write_causal_card
from modeling_optical.evaluation import ResultRow, format_table, read_results, result_rows, write_results
from modeling_optical.evaluation.questions import ACCURACY, Answers, QuestionSet, answer_by_likelihood, save_answers
from modeling_optical.files.atomic_write import write_text
from modeling_optical.files.json_files import write_json
from trainer import CausalDistillationArguments, CausalDistillationTrainer

from ..speed import Speed, Work
from .data import Data, examples_seen, load_data
from .progress import relative_length, relative_size
from .provenance import data_files
from .recipe.causal import CausalModelRecipe, CausalRecipe
from .skeleton import START_RECORD, FolderRun


class CausalRun(FolderRun[CausalRecipe, list[ResultRow]]):
    """The distillation of a causal language model and its answers; see `FolderRun`.

    Returns the accuracies, on the main process.
    """

    arguments_class = CausalDistillationArguments
    written = ("student", "baselines", "answers", START_RECORD)
    training_defaults: ClassVar[dict[str, Any]] = {"save_total_limit": 1, "per_device_train_batch_size": 16}

    def work(self) -> list[ResultRow]:
        recipe = self.recipe
        data = load_data(recipe.bitext_recipe, self.say)
        with self.state.main_process_first():
            if self.state.is_main_process and not self.same_data(self.folder / START_RECORD, "bitext", data.report.fingerprint):
                write_json(self.folder / START_RECORD, {"fingerprint": data.report.fingerprint})
        teacher, tokenizer = load_causal(recipe.model)
        config = teacher.config.get_text_config()
        self.expect(lambda speed: self._expected(data, config, speed))
        for system in recipe.systems:
            self._train(system, data, teacher, tokenizer)
        del teacher
        if not self.state.is_main_process:
            return []
        rows: list[ResultRow] = self.stage("evaluation", lambda: self._evaluate(data, tokenizer))
        write_results(self.folder / "results.json", rows)
        record = self.record(data.report.to_dict())
        text = format_table(rows, [ACCURACY])
        write_text(self.folder / "report.md", f"# {recipe.name}, {recipe.language}\n\n```\n{text}\n```\n")
        card = CausalCard(
            name=recipe.name,
            language=str(recipe.language),
            start=recipe.model.start,
            objectives=_described(recipe.objectives),
            pairs=data.report.training_pairs,
            rows=rows,
            versions=record["versions"],
            precision=recipe.training.get("precision", record["precision"]),
        )
        write_causal_card(self.student_folder("optical"), card)
        self.push("optical")
        self.say(text)
        return rows

    def _evaluate(self, data: Data, tokenizer: PreTrainedTokenizerBase) -> list[ResultRow]:
        """Answers of all systems."""
        recipe = self.recipe
        rows: list[ResultRow] = []
        for system in recipe.systems:
            model, _ = load_causal(CausalModelRecipe(str(self.student_folder(system)), dtype=recipe.model.dtype))
            rows += answer_all(recipe, system, model.to(self.state.device), tokenizer, data.questions, self.folder)
        return rows

    def _expected(self, data: Data, config: Any, speed: Speed) -> dict[str, float]:
        """Seconds of each stage. A step of training is the student's, and the teacher reads its side, too."""
        recipe, size = self.recipe, relative_size(config)
        unit = relative_length([*data.sample[:200]["source"], *data.sample[:200]["target"]])
        expected = {}
        for system in recipe.systems:
            if not self.is_trained(system):
                texts = unit * examples_seen(recipe.system(system)[1], len(data.sample), batch_size=16)
                expected[f"training {system}"] = Work(texts, texts, 5.0, size).seconds(speed)
        asked = [f"{q.text} {choice}" for own in data.questions for q in own.questions for choice in q.choices]
        read = len(recipe.systems) * len(asked) * relative_length(asked)
        return expected | {"evaluation": Work(read, 0, 5.0, size).seconds(speed)}

    def again(self) -> list[ResultRow]:
        return read_results(self.folder / "results.json")

    @property
    def systems(self) -> list[str]:
        return self.recipe.systems

    def files(self) -> dict[str, str]:
        return data_files(self.recipe.data)

    def _train(self, system: str, data: Data, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        recipe = self.recipe
        objectives, training = recipe.system(system)

        def build() -> CausalDistillationTrainer:
            arguments = self.training_arguments(
                system,
                training,
                **({} if system == "optical" else {"push_to_hub": False}),
                objectives=objectives,
                transport=recipe.transport.to_dict(),
                layers=recipe.model.layers,
                max_length=recipe.model.max_length,
            )
            student, _ = load_causal(recipe.model)
            return CausalDistillationTrainer(
                model=student, args=arguments, teacher=teacher, processing_class=tokenizer, train_dataset=data.train
            )

        def save(student: PreTrainedModel, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
            student.save_pretrained(folder, state_dict=weights)
            tokenizer.save_pretrained(folder)

        self.train(system, _described(objectives), build, save)


def _described(objectives: Mapping[str, Any]) -> str:
    return ", ".join(f"{weight} × {name}" for name, weight in objectives.items())


def load_causal(model: CausalModelRecipe) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer."""
    loaded = AutoModelForCausalLM.from_pretrained(model.start, revision=model.revision, dtype=getattr(torch, model.dtype))
    return loaded, AutoTokenizer.from_pretrained(model.start, revision=model.revision)


def answer_all(
    recipe: CausalRecipe,
    system: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: list[QuestionSet],
    folder: Path,
) -> list[ResultRow]:
    """A system's answers to all questions, kept below the folder, and their accuracies."""
    rows = []
    for own in questions:
        answers: Answers = answer_by_likelihood(
            system,
            model,
            tokenizer,
            own,
            max_length=recipe.model.max_question_length,
            batch_size=recipe.evaluation.batch_size,
        )
        save_answers(folder, answers)
        rows += result_rows(system, answers.language, answers.collection, {ACCURACY: answers.accuracy})
    return rows
