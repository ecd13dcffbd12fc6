"""The steps of every run: claim its folder, go through its stages, resume from the last checkpoint, keep a record."""

from __future__ import annotations

import json
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from transformers import PreTrainedModel, TrainerCallback, set_seed
from transformers.utils import logging

from modeling_optical.files.atomic_write import replacing_folder, write_text
from modeling_optical.precision import Precision, choose_precision
from trainer.loop.arguments import ObjectiveTrainingArguments
from trainer.loop.checked_checkpoints import damaged_files, write_checksums
from trainer.loop.objective_trainer import ObjectiveTrainer

from ..speed import Speed, speed_of_this_machine
from .progress import Progress
from .provenance import provenance
from .recipe.run import RunRecipe
from .reporting.hub_push import hub_arguments, push_finished
from .run_folder import (
    check_arguments,
    check_claim,
    check_own_folder,
    claim_folder,
    holding,
    is_finished,
    last_complete_checkpoint,
    process_state,
    student_of,
    telling_a_full_disk,
    write_record,
)
from .stopwatch import Stopwatch

logger = logging.get_logger(__name__)

PRECISION_FILE = "precision.json"
SECONDS_FILE = "seconds.json"
_WRITTEN = (
    "start",
    "checkpoints",
    "results.json",
    "added_results.json",
    "run.json",
    "report.md",
    PRECISION_FILE,
    SECONDS_FILE,
)
START_RECORD = "data.json"
"""Beside a model before training: what it was made for."""


class _OnSave(TrainerCallback):
    """Calls a function after every checkpoint."""

    def __init__(self, then: Callable[[], None]):
        self._then = then

    def on_save(self, *arguments: Any, **values: Any) -> None:
        self._then()


RecipeT = TypeVar("RecipeT", bound=RunRecipe)
ResultT = TypeVar("ResultT")


class FolderRun(ABC, Generic[RecipeT, ResultT]):
    """Runs one recipe in one folder, in one process or several. A restart skips the finished parts and resumes.

    A subclass names its class of arguments and what it writes, and does the work.

    Args:
        recipe: the recipe.
        overwrite: start afresh even if the folder holds another recipe's run.
    """

    arguments_class: ClassVar[type[ObjectiveTrainingArguments]]
    written: ClassVar[tuple[str, ...]]
    """Files of a run in its folder, beside those of every run; `--overwrite` removes them."""
    training_defaults: ClassVar[dict[str, Any]] = {}
    """Defaults of the Trainer's arguments that the recipe does not set."""

    def __init__(self, recipe: RecipeT, *, overwrite: bool = False):
        self.recipe = recipe
        self.overwrite = overwrite
        self.folder = Path(recipe.output).expanduser()
        self.state = process_state()
        self.stopwatch = Stopwatch()
        self.precision = "auto"
        self.progress: Progress | None = None

    def __call__(self) -> ResultT:
        """Runs all stages; only the main process has results.

        Raises:
            ValueError: if the folder holds something else, or the recipe is wrong. TimeoutError: if another process runs in the
                folder. OSError: among other errors, if the disk is full; the message names the folder and the remedy.
        """
        self.stopwatch = Stopwatch()
        with telling_a_full_disk(self.folder):
            self.check_training(self.recipe)
            self.prepare()
            check_own_folder(self.folder)
            # One run a folder: the main process holds the lock for all.
            with holding(self.folder) if self.state.is_main_process else nullcontext():
                if not self.overwrite and self._is_finished():
                    self.say(f"{self.folder} holds this run, and it is complete. --overwrite starts it afresh.")
                    return self.again()
                begun = self._has_begun()
                with self.state.main_process_first():
                    if self.state.is_main_process:
                        claim_folder(
                            self.folder,
                            self.recipe.to_yaml(),
                            begun=begun,
                            overwrite=self.overwrite,
                            written=(*self.written, *_WRITTEN),
                        )
                self._settle_precision(begun)
                if self.state.is_main_process:
                    self.stopwatch.go_on(self.folder / SECONDS_FILE)
                result = self.work()
                self.state.wait_for_everyone()
        return result

    def check_folder(self) -> None:
        """Whether the run could take its folder, as a run does before it begins.

        Raises:
            ValueError: if the folder holds other files, or a run of another recipe that is not to be overwritten.
        """
        check_claim(self.folder, self.recipe.to_yaml(), begun=self._has_begun(), overwrite=self.overwrite)

    def _has_begun(self) -> bool:
        """Whether a run in this folder has made a model."""
        made = any((self.folder / name).exists() for name in ("start", "checkpoints"))
        return made or any(map(self.is_trained, self.systems))

    def _settle_precision(self, begun: bool) -> None:
        """Takes the precision that the run in this folder began with; a run that begins decides and records it."""
        record = self.folder / PRECISION_FILE
        with self.state.main_process_first():
            if self.state.is_main_process and not (begun and record.is_file()):
                write_text(record, json.dumps(asdict(choose_precision(self.recipe.precision, self.state.device))) + "\n")
        chosen = Precision(**json.loads(record.read_text(encoding="utf-8")))
        self.say(f"Precision: {chosen}")
        self.precision = chosen.name

    def prepare(self) -> None:
        """Cheap checks, before the folder is claimed."""

    @abstractmethod
    def work(self) -> ResultT:
        """The stages."""

    @abstractmethod
    def again(self) -> ResultT:
        """The result of a run that was complete before it was started."""

    @property
    @abstractmethod
    def systems(self) -> list[str]:
        """The systems to train, in this order."""

    @abstractmethod
    def files(self) -> dict[str, str]:
        """Name to fingerprint of the files that the run reads its training data from."""

    def _is_finished(self) -> bool:
        students = [self.student_folder(system) for system in self.systems]
        return is_finished(self.folder, self.recipe.to_dict(), self.files, students)

    @classmethod
    def check_training(cls, recipe: RecipeT) -> None:
        """Checks names and plain types of the training arguments, so that a wrong key fails before anything is computed.

        Raises:
            ValueError: naming the key, and the nearest known one.
        """
        for key, training in recipe.trainings.items():
            check_arguments(cls.arguments_class, training, key)

    def say(self, text: str) -> None:
        """Prints on the main process."""
        if self.state.is_main_process:
            print(text, flush=True)

    def stage(self, name: str, work: Callable[[], Any]) -> Any:
        """Does a part of the run and notes how long it took."""
        began = time.monotonic()
        if self.progress is not None:
            self.progress.begin(name)
        result = work()
        self.stopwatch.keep(name, began)
        return result

    def expect(self, expected: Callable[[Speed], Mapping[str, float]]) -> None:
        """Prints how long the run will take here, and before every later stage the time left.

        Args:
            expected: stage to seconds at a speed, in the order of the run, without the finished ones.
        """
        if self.state.is_main_process:
            speed = speed_of_this_machine(self.precision)
            self.progress = Progress(self.say, expected(speed))
            self.progress.announce(busy=speed.busy)

    def is_trained(self, system: str) -> bool:
        """Whether a system is trained already."""
        return (self.student_folder(system) / "config.json").is_file()

    def trained_already(self, system: str) -> bool:
        """Whether a system is trained already; says so."""
        if found := self.is_trained(system):
            self.say(f"{system}: trained already, {self.student_folder(system)}")
        return found

    @property
    def start_folder(self) -> Path:
        """The model before training."""
        return self.folder / "start"

    def student_folder(self, system: str) -> Path:
        """The trained model of a system."""
        return student_of(self.folder, system)

    def checkpoints_folder(self, system: str) -> Path:
        """The checkpoints of a system's training."""
        return self.folder / "checkpoints" / system

    def prepare_start(self, data: str, seen: str, make: Callable[[Path], None], **record: Any) -> None:
        """Makes the model before training once, on the main process; a damaged one is made again.

        Args:
            data: what the training data is called.
            seen: its fingerprint.
            make: writes the model into a folder.
            record: what else is noted beside it.

        Raises:
            ValueError: if the data has changed since it was made.
        """
        with self.state.main_process_first():
            if not self.state.is_main_process:
                return
            if damaged := damaged_files(self.start_folder):
                logger.warning(
                    f"{self.start_folder} is damaged ({', '.join(damaged)} differs from what was written): made again."
                )
                shutil.rmtree(self.start_folder)
            if self.same_data(self.start_folder / START_RECORD, data, seen):
                return
            set_seed(self.recipe.seed)
            with replacing_folder(self.start_folder) as scratch:
                make(scratch)
                write_text(scratch / START_RECORD, json.dumps({"fingerprint": seen} | record) + "\n")
                write_checksums(scratch)

    def same_data(self, record: Path, data: str, seen: str) -> bool:
        """Whether the run in this folder has begun with the same data; False if it has not begun.

        Args:
            record: the file that says with which; others as for `prepare_start`.

        Raises:
            ValueError: if it has begun with other data.
        """
        if not record.is_file():
            return False
        if json.loads(record.read_text(encoding="utf-8"))["fingerprint"] != seen:
            raise ValueError(
                f"the {data} has changed since the run in {self.folder} began. Choose another folder with output=FOLDER, or "
                "start afresh with --overwrite."
            )
        return True

    def training_arguments(self, system: str, training: Mapping[str, Any], **own: Any) -> ObjectiveTrainingArguments:
        """Arguments of a system's training: what the recipe says, over what suits this machine and this kind of run."""
        on_cpu = self.state.device.type == "cpu"
        defaults = {
            "use_cpu": on_cpu,
            "dataloader_pin_memory": not on_cpu,
            **({} if {"precision", "bf16", "fp16"} & set(training) else {"precision": self.precision}),
            "report_to": "none",
            "run_name": f"{self.hub_name}-{system}",  # what Weights & Biases and others call it
            "save_total_limit": 2,
            "logging_steps": 50,
            "per_device_train_batch_size": 32,
        }
        return self.arguments_class(
            output_dir=str(self.checkpoints_folder(system)),
            seed=self.recipe.seed,
            **defaults | self.training_defaults | dict(training) | hub_arguments(training, self.hub_name) | own,
        )

    def train(
        self,
        system: str,
        what: str,
        build: Callable[[], ObjectiveTrainer],
        save: Callable[[PreTrainedModel, Mapping[str, torch.Tensor], Path], None] | None = None,
    ) -> None:
        """Trains a system on from its last whole checkpoint and saves it, or finds it trained.

        Args:
            system: its name.
            what: what it learns by, for the user.
            build: makes its trainer.
            save: writes the model with its weights, which processes may have shared, into a folder. None: `save_pretrained`.
        """
        folder = self.student_folder(system)
        if self.trained_already(system):
            return
        if self.progress is not None:
            self.progress.begin(f"training {system}")
        self.say(f"Training {system}: {what}")
        began = time.monotonic()
        set_seed(self.recipe.seed)
        trainer = build()
        last = last_complete_checkpoint(self.checkpoints_folder(system), self.state)
        if last is not None:
            self.say(f"{system}: going on from {last}")
        part = f"training {system}"
        trainer.add_callback(_OnSave(lambda: self.stopwatch.keep(part, began)))
        trainer.train(resume_from_checkpoint=last)
        model = trainer.merged()
        weights = trainer.whole_weights(model)
        if self.state.is_main_process:
            with replacing_folder(folder) as scratch:
                model.save_pretrained(scratch, state_dict=weights) if save is None else save(model, weights, scratch)
                if "train_runtime" in (last_entry := trainer.state.log_history[-1]):  # it knows of this start alone
                    last_entry["train_runtime"] += self.stopwatch.before(part)
                write_text(scratch / "training_log.json", json.dumps(trainer.state.log_history, indent=1) + "\n")
        self.state.wait_for_everyone()
        self.stopwatch.keep(part, began)

    @property
    def hub_name(self) -> str:
        """Name of the model's repository, where the recipe pushes it and names none."""
        return f"{self.recipe.name}-{self.recipe.language}"

    def push(self, system: str) -> None:
        """Sends a finished model with its card, where the recipe asks for it."""
        if address := push_finished(self.student_folder(system), self.recipe.training, self.hub_name):
            self.say(f"Pushed to {address}")

    def record(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Writes `run.json` and returns what it holds: recipe, data, fingerprints of its files, versions, machine, seconds."""
        recipe, processes = self.recipe.to_dict(), self.state.num_processes
        record = provenance(recipe, data, self.files(), self.stopwatch.seconds, self.precision, processes)
        write_record(self.folder, record)
        return record
