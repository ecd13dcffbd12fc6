"""The flow of one run: bitext, vocabulary, teacher vectors, training, evaluation, card."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import set_seed
from transformers.utils import logging

from modeling_optical import OpticalForDistillation, OpticalModel, load_checkpoint
from modeling_optical.files.atomic_write import replacing_folder, write_text
from modeling_optical.checkpoints import resolve_model_path
from trainer import (
    InverseDocumentFrequencies,
    OpticalTrainer,
    OpticalTrainingArguments,
    Teacher,
    TeacherCache,
    TeacherOfTexts,
    describe_objectives,
)
from trainer.loop.checked_checkpoints import damaged_files, write_checksums
from trainer.loop.dropout import set_dropout
from trainer.vocabulary import (
    REPORT_FILE,
    TABLE_FILE,
    TranslationTable,
    adapt_vocabulary,
    save_vocabulary_record,
    tokenizer_fingerprint,
    translation_table,
    unknown_share,
    vocabulary_provenance,
)

from .data import Data, load_data
from .provenance import provenance
from .distillation_recipe import Recipe
from .hub_push import hub_arguments, push_finished
from .report import Report, evaluate_run
from .run_folder import FolderRun, check_arguments, claim_folder, last_complete_checkpoint, telling_a_full_disk

logger = logging.get_logger(__name__)

_MUCH_UNKNOWN = 0.05
# What a run of this package writes, and `--overwrite` removes.
_WRITTEN = ("start", "student", "baselines", "checkpoints", "runs", "results.json", "run.json", "report.md", "alignment.png",
            "token_frequencies.safetensors")  # fmt: skip


class Run(FolderRun):
    """One recipe, carried out in one folder. Started again, it skips what is done and goes on where it stopped.

    Args:
        recipe: the recipe.
        overwrite: start afresh even if the folder holds another recipe's run.
    """

    def __init__(self, recipe: Recipe, *, overwrite: bool = False):
        super().__init__(recipe.output)
        self.recipe = recipe
        self.overwrite = overwrite
        self.seconds: dict[str, float] = {}

    def __call__(self) -> Report:
        """Runs all stages; returns the report (on the main process with results, on others without).

        Raises:
            OSError: among other errors, if the disk is full; the message names the folder and the remedy.
        """
        with telling_a_full_disk(self.folder):
            return self._run()

    def _run(self) -> Report:
        began = time.monotonic()
        check_training(self.recipe)
        resolve_model_path(self.recipe.teacher.model)
        self._claim_folder()
        data = self._stage("data", lambda: load_data(self.recipe, self.say))
        teacher = self._load_teacher().to(self.state.device)
        self._stage("start", lambda: self._prepare_start(data, teacher))
        vectors = self._stage("teacher vectors", lambda: self._teacher_vectors(data, teacher))
        for name in self.recipe.baselines:
            self._train(name, self.recipe.baseline(name), data, vectors)
        self._train("optical", self.recipe, data, vectors)
        report = Report([], "", [])
        if self.state.is_main_process:
            report = self._stage("evaluation", lambda: evaluate_run(self, data, teacher.model))
            self.seconds["total"] = time.monotonic() - began
            record = provenance(self.recipe, data.report, self.seconds, self.state.num_processes)
            write_text(self.folder / "run.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
            report.finish(self, record)
            if address := push_finished(self.student_folder("optical"), self.recipe.training, f"{self.recipe.name}-{self.recipe.language}"):
                self.say(f"Pushed to {address}")
        self.state.wait_for_everyone()
        return report

    def _load_teacher(self) -> Teacher:
        """The teacher, with all that any system's transport asks of its tokens."""
        recipe = self.recipe
        transports = [recipe.transport, *(recipe.baseline(name).transport for name in recipe.baselines)]
        return Teacher.from_pretrained(
            recipe.teacher.model,
            max_length=recipe.student.max_length,
            max_document_length=recipe.student.max_document_length,
            weigh_tokens_by=sorted({t.marginals for t in transports} & {"norm", "attention"}),
            expand=any(t.tokens == "with_expansion" for t in transports),
            **recipe.teacher.load_arguments(),
        )

    @property
    def start_folder(self) -> Path:
        """Where the student stands before training."""
        return self.folder / "start"

    def _stage(self, name: str, work: Any) -> Any:
        began = time.monotonic()
        result = work()
        self.seconds[name] = time.monotonic() - began
        return result

    def _claim_folder(self) -> None:
        """Records the recipe, or refuses a folder that holds another one."""
        with self.state.main_process_first():
            if self.state.is_main_process:
                claim_folder(
                    self.folder,
                    self.recipe.to_yaml(),
                    begun=self.start_folder.exists(),
                    overwrite=self.overwrite,
                    written=_WRITTEN,
                )

    def _prepare_start(self, data: Data, teacher: Teacher) -> None:
        """Saves the student that every system starts from, and the translation table if its vocabulary was adapted."""
        with self.state.main_process_first():
            if not self.state.is_main_process:
                return
            seen = data.report["fingerprint"]
            if damaged := damaged_files(self.start_folder):
                logger.warning(
                    f"{self.start_folder} is damaged ({', '.join(damaged)} differs from what was written): made again."
                )
                shutil.rmtree(self.start_folder)
            if (self.start_folder / "data.json").is_file():
                if json.loads((self.start_folder / "data.json").read_text(encoding="utf-8"))["fingerprint"] != seen:
                    raise ValueError(
                        f"the bitext has changed since the run in {self.folder} began. Choose another folder with "
                        "output=FOLDER, or start afresh with --overwrite."
                    )
                return
            set_seed(self.recipe.seed)
            student = load_start(self.recipe, teacher.dim)
            if student.config.vector_dim != teacher.dim:
                raise ValueError(
                    f"the student's token vectors have {student.config.vector_dim} dimensions, the teacher's {teacher.dim}. "
                    f"Set student.config.embedding_dim={teacher.dim} (a projection of that size)."
                )
            with replacing_folder(self.start_folder) as scratch:
                self._adapt_vocabulary(student, data.sample, seen, teacher, scratch)
                unknown = unknown_share(student.get_processor().tokenizer, data.sample["target"][:2000])
                if unknown > _MUCH_UNKNOWN:
                    logger.warning(
                        f"{unknown:.0%} of the tokens of the {self.recipe.language!r} side are the unknown token: this "
                        "vocabulary cannot spell the language, and what it cannot spell cannot be learnt. Set "
                        "student.vocabulary (with a size, for instance 8000), or start from a multilingual backbone."
                    )
                student.save_pretrained(scratch)
                write_text(
                    scratch / "data.json", json.dumps({"fingerprint": seen, "pairs": data.report["training pairs"]}) + "\n"
                )
                write_checksums(scratch)

    def _adapt_vocabulary(
        self, student: OpticalModel, pairs: Dataset, bitext_fingerprint: str, teacher: Teacher, folder: Path
    ) -> None:
        """Adapts the student's vocabulary if asked; leaves the table between its pieces and the teacher's in the folder."""
        options, start = self.recipe.student.vocabulary, self.recipe.student.start
        if options is None:
            if start != "teacher":  # what `optical adapt-vocabulary` made has its table beside it
                _copy_vocabulary_record(Path(start).expanduser(), folder)
            return
        report, table = adapt_vocabulary(student, pairs["source"], pairs["target"], options, languages=pairs["language"])
        self.say(f"Vocabulary: {report}")
        theirs = teacher.processor.tokenizer
        if table.source_tokenizer != tokenizer_fingerprint(theirs):
            # The lexical plan is solved between the student's pieces and the teacher's, not those that the student had.
            tokenizer = student.get_processor().tokenizer
            table = translation_table(tokenizer, theirs, pairs["target"], pairs["source"], iterations=options.iterations)
        save_vocabulary_record(folder, report, table, vocabulary_provenance(options, bitext_fingerprint, len(pairs)))

    def _teacher_vectors(self, data: Data, teacher: Teacher) -> TeacherOfTexts:
        if self.recipe.teacher.live:
            return teacher
        folder = self.recipe.teacher.cache or self.folder / "teacher_cache"
        with self.state.main_process_first():
            cache = TeacherCache(Path(folder).expanduser(), teacher, dtype=self.recipe.teacher.cache_dtype)
            if self.state.is_main_process:
                for kind in ("query", "document"):
                    cache.build(
                        [
                            source
                            for part in (data.sample, data.held_out)
                            for source, own in zip(part["source"], part["kind"], strict=True)
                            if own in (kind, "both")
                        ],
                        kind,
                    )
        return cache

    def _train(self, name: str, recipe: Recipe, data: Data, vectors: TeacherOfTexts) -> None:
        folder = self.student_folder(name)
        if (folder / "config.json").is_file():
            self.say(f"{name}: trained already, {folder}")
            return
        self.say(f"Training {name}: {describe_objectives(recipe.objectives)}")
        began = time.monotonic()
        checkpoints = self.folder / "checkpoints" / name
        on_cpu = self.state.device.type == "cpu"
        # A recipe names one repository, and the student is what goes there.
        own = hub_arguments(recipe.training, f"{self.recipe.name}-{self.recipe.language}") if name == "optical" else {"push_to_hub": False}
        arguments = OpticalTrainingArguments(
            output_dir=str(checkpoints),
            objectives=recipe.objectives,
            seed=recipe.seed,
            **{"use_cpu": on_cpu, "dataloader_pin_memory": not on_cpu} | _TRAINING | recipe.training | own,
        )
        set_seed(recipe.seed)
        student = OpticalForDistillation.from_pretrained(self.start_folder)
        student.config.transport = recipe.transport
        set_dropout(student, recipe.student.dropout)
        table = self._translations(recipe, student, vectors)
        trainer = OpticalTrainer(
            model=student,
            args=arguments,
            teacher=vectors,
            train_dataset=data.train,
            eval_dataset=data.held_out if len(data.held_out) else None,
            max_length=recipe.student.max_length,
            max_document_length=recipe.student.max_document_length,
            translations=table,
            frequencies=self._frequencies(recipe, student, data, vectors),
        )
        last = last_complete_checkpoint(checkpoints, self.state)
        if last is not None:
            self.say(f"{name}: going on from {last}")
        trainer.train(resume_from_checkpoint=last)
        if self.state.is_main_process:
            _save_student(trainer, folder, self.start_folder, recipe.teacher.model)
        self.state.wait_for_everyone()
        self.seconds[f"training {name}"] = time.monotonic() - began

    def _translations(self, recipe: Recipe, student: OpticalModel, vectors: TeacherOfTexts) -> TranslationTable | None:
        """The translation table for the lexical prior or plan, where the recipe asks for one."""
        lexical_plan = recipe.transport.plan_from == "lexical"
        if recipe.transport.lexical_prior <= 0 and not lexical_plan:
            return None
        file = self.start_folder / TABLE_FILE
        if not file.is_file():
            key = "plan_from: lexical" if lexical_plan else "lexical_prior"
            raise ValueError(f"transport.{key} needs a translation table: set student.vocabulary, which makes one.")
        table = TranslationTable.load(file)
        table.check(student.get_processor().tokenizer, vectors.teacher.processor.tokenizer)
        return table

    def _frequencies(
        self, recipe: Recipe, student: OpticalModel, data: Data, vectors: TeacherOfTexts
    ) -> InverseDocumentFrequencies | None:
        """Token frequencies for the marginals `idf`, counted once per run."""
        if recipe.transport.marginals != "idf":
            return None
        file = self.folder / "token_frequencies.safetensors"
        with self.state.main_process_first():
            if self.state.is_main_process and not file.is_file():
                counted = InverseDocumentFrequencies.count(data.sample, student.get_processor(), vectors.teacher.processor)
                counted.save(file)
        return InverseDocumentFrequencies.load(file)


# What a distillation run wants of the Trainer where the recipe is silent.
_TRAINING: dict[str, Any] = {
    "report_to": "none",
    "save_total_limit": 2,
    "logging_steps": 50,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 64,
    "ddp_find_unused_parameters": False,
}


def load_start(recipe: Recipe, dim: int) -> OpticalModel:
    """The student before training: a copy of the teacher, or another backbone, projected to the teacher's dimension `dim`."""
    own = recipe.student
    copied = own.start == "teacher"
    name = recipe.teacher.model if copied else own.start
    settings: dict[str, Any] = own.config | (recipe.teacher if copied else own).load_arguments()
    student = load_checkpoint(name, **settings)
    if student.projection is None and "embedding_dim" not in settings and student.config.vector_dim != dim:
        set_seed(recipe.seed)
        student = load_checkpoint(name, embedding_dim=dim, **settings)
    return student


def _save_student(trainer: OpticalTrainer, folder: Path, start: Path, teacher: str) -> None:
    """Saves the student as a plain `OpticalModel`, whole or not at all, with the log of its training."""
    student = trainer.trained
    with replacing_folder(folder) as scratch:
        model = OpticalModel.from_pretrained(start)
        model.load_state_dict(student.state_dict())
        model.config.transport = student.config.transport
        model.config.teacher = teacher
        model.save_pretrained(scratch)
        _copy_vocabulary_record(start, scratch)
        write_text(scratch / "training_log.json", json.dumps(trainer.state.log_history, indent=1) + "\n")


def _copy_vocabulary_record(source: Path, target: Path) -> None:
    for name in (TABLE_FILE, REPORT_FILE):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def check_training(recipe: Recipe) -> None:
    """Checks names and plain types of the training arguments, so that a slip is told before anything is computed."""
    for name, training in [
        ("", recipe.training),
        *((f"baselines.{n}.", recipe.baseline(n).training) for n in recipe.baselines),
    ]:
        check_arguments(OpticalTrainingArguments, training, f"{name}training")
        if recipe.data.streaming is not None and training.get("topics") is not None:
            raise ValueError(
                f"{name}training.topics and data.streaming cannot go together: topics need all pairs before training. Set "
                f"{name}training.topics=null, or leave streaming out."
            )
