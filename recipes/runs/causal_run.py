"""The flow of one distillation of a causal language model: bitext, training, answers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from modeling_optical.files.atomic_write import replacing_folder, write_text
from modeling_optical.evaluation import ResultRow, format_table, result_rows, write_results
from modeling_optical.evaluation.questions import ACCURACY, Answers, QuestionSet, answer_by_likelihood, save_answers
from trainer import CausalDistillationArguments, CausalDistillationTrainer

from .causal_recipe import CausalModelRecipe, CausalRecipe
from .data import Data, load_data
from .provenance import bitext_files, machine, package_versions
from .run_folder import FolderRun, check_arguments, claim_folder, last_complete_checkpoint, telling_a_full_disk

_WRITTEN = ("student", "baselines", "checkpoints", "answers", "results.json", "run.json", "report.md")
# What training wants of the Trainer where the recipe is silent.
_TRAINING: dict[str, Any] = {
    "report_to": "none",
    "save_total_limit": 1,
    "logging_steps": 50,
    "per_device_train_batch_size": 16,
}


class CausalRun(FolderRun):
    """One recipe, carried out in one folder. Started again, it skips what is done and goes on where it stopped.

    Args:
        recipe: the recipe.
    """

    def __init__(self, recipe: CausalRecipe):
        super().__init__(recipe.output)
        self.recipe = recipe

    def __call__(self) -> list[ResultRow]:
        """Runs all stages; returns the accuracies (on the main process; none on others).

        Raises:
            OSError: among other errors, if the disk is full; the message names the folder and the remedy.
        """
        with telling_a_full_disk(self.folder):
            return self._run()

    def _run(self) -> list[ResultRow]:
        began = time.monotonic()
        recipe = self.recipe
        check_causal_training(recipe)
        with self.state.main_process_first():
            if self.state.is_main_process:
                begun = (self.folder / "checkpoints").exists()
                claim_folder(self.folder, recipe.to_yaml(), begun=begun, overwrite=False, written=_WRITTEN)
        data = load_data(recipe.bitext_recipe, self.say)
        teacher, tokenizer = load_causal(recipe.model)
        for system in recipe.systems:
            self._train(system, data, teacher, tokenizer)
        rows: list[ResultRow] = []
        if self.state.is_main_process:
            del teacher
            for system in recipe.systems:
                model, _ = load_causal(CausalModelRecipe(str(self.student_folder(system)), dtype=recipe.model.dtype))
                rows += answer_all(recipe, system, model.to(self.state.device), tokenizer, data.questions, self.folder)
            self._record(rows, data, time.monotonic() - began)
        self.state.wait_for_everyone()
        return rows

    def _train(self, system: str, data: Data, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        folder = self.student_folder(system)
        if (folder / "config.json").is_file():
            self.say(f"{system}: trained already, {folder}")
            return
        recipe, on_cpu = self.recipe, self.state.device.type == "cpu"
        objectives, training = recipe.system(system)
        self.say(f"Training {system}: {', '.join(f'{weight} × {name}' for name, weight in objectives.items())}")
        checkpoints = self.folder / "checkpoints" / system
        arguments = CausalDistillationArguments(
            output_dir=str(checkpoints),
            objectives=objectives,
            transport=recipe.transport.to_dict(),
            layers=recipe.model.layers,
            max_length=recipe.model.max_length,
            seed=recipe.seed,
            **{"use_cpu": on_cpu, "dataloader_pin_memory": not on_cpu} | _TRAINING | training,
        )
        set_seed(recipe.seed)
        student, _ = load_causal(recipe.model)
        trainer = CausalDistillationTrainer(
            model=student, args=arguments, teacher=teacher, processing_class=tokenizer, train_dataset=data.train
        )
        last = last_complete_checkpoint(checkpoints, self.state)
        if last is not None:
            self.say(f"{system}: going on from {last}")
        trainer.train(resume_from_checkpoint=last)
        if self.state.is_main_process:
            with replacing_folder(folder) as scratch:
                trainer.trained.save_pretrained(scratch)
                tokenizer.save_pretrained(scratch)
                write_text(scratch / "training_log.json", json.dumps(trainer.state.log_history, indent=1) + "\n")
        self.state.wait_for_everyone()

    def _record(self, rows: list[ResultRow], data: Data, seconds: float) -> None:
        write_results(self.folder / "results.json", rows)
        record = {
            "recipe": self.recipe.to_dict(),
            "data": data.report,
            "files": bitext_files(self.recipe.data),
            "versions": package_versions(),
            "processes": self.state.num_processes,
            "machine": machine(),
            "seconds": {"total": round(seconds, 1)},
        }
        write_text(self.folder / "run.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        text = format_table(rows, [ACCURACY])
        write_text(self.folder / "report.md", f"# {self.recipe.name}, {self.recipe.language}\n\n```\n{text}\n```\n")
        self.say(text)


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


def check_causal_training(recipe: CausalRecipe) -> None:
    """Checks names and plain types of the training arguments, so that a slip is told before anything is computed."""
    for name in recipe.systems:
        where = "training" if name == "optical" else f"baselines.{name}.training"
        check_arguments(CausalDistillationArguments, recipe.system(name)[1], where)
