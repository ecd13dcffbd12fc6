"""The flow of one run: bitext, vocabulary, teacher vectors, training, evaluation, card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from datasets import Dataset
from transformers import PreTrainedModel, set_seed
from transformers.utils import logging

from modeling_optical import OpticalForDistillation, OpticalModel, load_checkpoint
from modeling_optical.checkpoints import resolve_model_path
from modeling_optical.checkpoints.names import recorded_name
from modeling_optical.evaluation import read_results
from modeling_optical.evaluation.references import check_bm25
from modeling_optical.files.atomic_write import write_text
from trainer import (
    InverseDocumentFrequencies,
    OpticalTrainer,
    OpticalTrainingArguments,
    Teacher,
    TeacherCache,
    TeacherOfTexts,
    describe_objectives,
)
from trainer.distillation.selection import FILE as SELECTION_FILE
from trainer.distillation.selection import HeldOutRetrieval, Selection, select_weights
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

from .data import Data, for_updates, load_data, load_prealignment
from .lora import check_lora, with_lora
from .progress import expected_stages
from .provenance import data_files
from .recipe.distillation import Recipe
from .reporting.finished import differs, finished_run, rewrite_card
from .reporting.report import Report, evaluate_systems
from .reporting.rivals import check_rivals
from .reporting.verdict import next_steps
from .retrieval_run import RetrievalRun
from .run_folder import checkpoints_of
from .sides import warn_if_swapped, warn_of_no_code
from .skeleton import FolderRun

logger = logging.get_logger(__name__)

_MUCH_UNKNOWN = 0.05
_FREQUENCIES = {True: "prealigned_token_frequencies.safetensors", False: "token_frequencies.safetensors"}
"""Before the bitext, the student meets other text; so it counts its tokens there."""


class Run(FolderRun[Recipe, Report]):
    """The distillation of a student, its baselines and their evaluation; see `FolderRun`.

    Returns the report: with results on the main process, empty on others.
    """

    arguments_class = OpticalTrainingArguments
    written = ("student", "baselines", "prealigned", "runs", "alignment.png", *_FREQUENCIES.values())
    training_defaults: ClassVar[dict[str, Any]] = {"per_device_eval_batch_size": 64, "ddp_find_unused_parameters": False}

    @classmethod
    def check_training(cls, recipe: Recipe) -> None:
        super().check_training(recipe)
        check_lora(recipe.student.lora)
        if "bm25" in recipe.evaluation.references:
            check_bm25()
        for key, training in recipe.trainings.items():
            if recipe.data.streaming is not None and training.get("topics") is not None:
                raise ValueError(
                    f"{key}.topics and data.streaming cannot go together: topics need all pairs before training. Set "
                    f"{key}.topics=null, or leave streaming out."
                )

    def prepare(self) -> None:
        if self.recipe.teacher.recipe is None:
            resolve_model_path(self.recipe.teacher.model)
        check_rivals(self.recipe.evaluation)
        for language in self.recipe.languages:
            warn_of_no_code(language)

    def work(self) -> Report:
        data = for_updates(self.stage("data", lambda: load_data(self.recipe, self.say)), self.recipe, self.state.num_processes)
        if (seen := data.report.training_pairs_in_updates) is not None:
            self.say(f"The updates see {seen:,} pairs, drawn at random: the teacher encodes no others.")
        self._make_teacher()  # after the data: a mistake there should not cost the training of a teacher
        teacher = self._load_teacher().to(self.state.device)
        if self.state.is_main_process:
            warn_if_swapped(data.sample, teacher.processor.tokenizer, self.recipe.teacher.language)
        done = [system for system in ("prealigned", *self.systems) if self.is_trained(system)]
        backbone = teacher.model.config.get_text_config()
        self.expect(lambda speed: expected_stages(self.recipe, data, backbone, speed, done))
        self.stage("start", lambda: self._prepare_start(data, teacher))
        vectors = self.stage("teacher vectors", lambda: self._teacher_vectors(data, teacher))
        if self.recipe.student.prealign is not None:
            self._prealign(data, vectors)
        for name, recipe in self.recipe.systems.items():
            self._train(name, recipe, data, vectors)
        if not self.state.is_main_process:
            return Report([], "", [])
        report = self.stage(
            "evaluation",
            lambda: evaluate_systems(
                self.recipe, self.folder, data, teacher.model, self._systems(teacher.model), self.precision
            ),
        )
        self.say(report.finish(self.recipe, self.folder, self.record(data.report.to_dict())))
        self.push("optical")
        return report

    def again(self) -> Report:
        """Nothing is computed; the card takes a name or a licence that has changed."""
        if self.state.is_main_process:
            _, record = finished_run(self.folder)
            if differs(self.recipe, record):
                self.say(f"Name or licence have changed: {rewrite_card(self.recipe, self.folder, record)} is written anew.")
            self.say(f"Report: {self.folder / 'report.md'}\n{next_steps(self.recipe, self.folder)}")
            self.push("optical")
        return Report(read_results(self.folder / "results.json"), (self.folder / "report.md").read_text(encoding="utf-8"))

    @property
    def systems(self) -> list[str]:
        return list(self.recipe.systems)

    def files(self) -> dict[str, str]:
        prealign = self.recipe.student.prealign
        texts = [] if prealign is None else [path for source in prealign.texts for path in source.files()]
        return data_files(self.recipe.data, [*texts, *self.recipe.passage_files])

    def _systems(self, teacher: OpticalModel) -> Iterator[tuple[str, OpticalModel]]:
        """Floor, start, baselines and student, loaded one after the other."""
        own = self.recipe.student
        yield "floor", teacher
        if own.start != "teacher" or own.vocabulary is not None:
            yield "start", load_checkpoint(self.start_folder, precision=self.precision)
        if own.prealign is not None:
            yield "prealigned", load_checkpoint(self.trained_from, precision=self.precision)
        for name in self.systems:
            yield name, load_checkpoint(self.student_folder(name), precision=self.precision)

    def _make_teacher(self) -> None:
        """The teacher that the recipe names by a recipe, if it is not there."""
        if (first := self.recipe.teacher_recipe) is not None:
            self.say(f"The teacher, by {self.recipe.teacher.recipe}:")
            RetrievalRun(first)()

    def _load_teacher(self) -> Teacher:
        """The teacher, with all that any system's transport asks of its tokens."""
        recipe = self.recipe
        transports = [own.transport for own in recipe.systems.values()]
        return Teacher.from_pretrained(
            recipe.teacher.model,
            max_length=recipe.student.max_length,
            max_document_length=recipe.student.max_document_length,
            weigh_tokens_by=sorted({t.marginals for t in transports} & {"norm", "attention"}),
            expand=any(t.tokens == "with_expansion" for t in transports),
            precision=self.precision,
            **recipe.teacher.load_arguments(),
        )

    def _prepare_start(self, data: Data, teacher: Teacher) -> None:
        """Saves the student that every system starts from, and the translation table if its vocabulary was adapted."""
        seen = data.report.fingerprint

        def make(folder: Path) -> None:
            student = load_start(self.recipe, teacher.dim)
            check_dimension(student, teacher.dim)
            self._adapt_vocabulary(student, data.sample, seen, teacher, folder)
            unknown = unknown_share(student.get_processor().tokenizer, data.sample["target"][:2000])
            if unknown > _MUCH_UNKNOWN:
                logger.warning(
                    f"{unknown:.0%} of the tokens of the {self.recipe.language!r} side are the unknown token: this "
                    "vocabulary cannot spell the language, and what it cannot spell cannot be learnt. Set "
                    "student.vocabulary (with a size, for instance 8000), or start from a multilingual backbone."
                )
            student.save_pretrained(folder)

        self.prepare_start("bitext", seen, make, pairs=data.report.training_pairs)

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
                            for part in (data.train, data.held_out)
                            for source, own in zip(part["source"], part["kind"], strict=True)
                            if own in (kind, "both")
                        ],
                        kind,
                    )
        return cache

    @property
    def trained_from(self) -> Path:
        """The model that every system is trained from."""
        return self.student_folder("prealigned") if self.recipe.student.prealign is not None else self.start_folder

    def _prealign(self, data: Data, vectors: TeacherOfTexts) -> None:
        """Trains the start on text of the teacher's language with itself; all systems start from the result."""
        if self.trained_already("prealigned"):
            return
        recipe, texts = self.recipe.prealignment(), load_prealignment(self.recipe, data)
        alone = replace(data, train=texts, sample=texts, held_out=texts.select([]))
        alone = for_updates(alone, recipe, self.state.num_processes)
        if not isinstance(vectors, Teacher):
            with self.state.main_process_first():
                if self.state.is_main_process:
                    vectors.build(alone.train["source"], "query")
            vectors.refresh()
        self._train("prealigned", recipe, alone, vectors, start=self.start_folder)

    def _train(self, name: str, recipe: Recipe, data: Data, vectors: TeacherOfTexts, start: Path | None = None) -> None:
        start = start or self.trained_from
        selects = recipe.selection is not None and len(data.held_out) > 0

        def build() -> OpticalTrainer:
            # A recipe names one repository, and only the student is pushed there.
            own = {} if name == "optical" else {"push_to_hub": False}
            arguments = self.training_arguments(name, recipe.training, objectives=recipe.objectives, **own)
            student = OpticalForDistillation.from_pretrained(start)
            student.config.transport = recipe.transport
            set_dropout(student, recipe.student.dropout)
            table = self._translations(recipe, student, vectors)
            return OpticalTrainer(
                model=with_lora(student, recipe.student.lora),
                args=arguments,
                teacher=vectors,
                train_dataset=data.train,
                eval_dataset=data.held_out if len(data.held_out) else None,
                max_length=recipe.student.max_length,
                max_document_length=recipe.student.max_document_length,
                translations=table,
                frequencies=self._frequencies(name, recipe, student, data, vectors),
            )

        def save(student: PreTrainedModel, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
            model = OpticalModel.from_pretrained(start)
            before = {key: value.clone() for key, value in model.state_dict().items()} if selects else {}
            model.load_state_dict(weights)
            model.config.transport = student.config.transport
            model.config.teacher = recorded_name(recipe.teacher.model)
            model.config.teacher_fingerprint = student.config.teacher_fingerprint
            if selects:
                chosen = self._select(name, model, before, data, vectors)
                write_text(folder / SELECTION_FILE, json.dumps(chosen.to_dict(), indent=1) + "\n")
            model.save_pretrained(folder)
            _copy_vocabulary_record(self.start_folder, folder)

        self.train(name, describe_objectives(recipe.objectives), build, save)

    def _select(
        self, name: str, model: OpticalModel, start: Mapping[str, torch.Tensor], data: Data, vectors: TeacherOfTexts
    ) -> Selection:
        """Gives a trained model the weights that retrieve best on the held-out bitext."""
        options = self.recipe.selection
        assert options is not None
        model.to(self.state.device)
        score = HeldOutRetrieval(vectors, data.held_out, self.recipe.student.max_length)
        found = select_weights(model, start, checkpoints_of(self.checkpoints_folder(name)), score, options)
        self.say(f"{name}: {found}")
        return found

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
        self, name: str, recipe: Recipe, student: OpticalModel, data: Data, vectors: TeacherOfTexts
    ) -> InverseDocumentFrequencies | None:
        """Token frequencies for the marginals `idf`, counted once for all systems that train on the same text."""
        if recipe.transport.marginals != "idf":
            return None
        file = self.folder / _FREQUENCIES[name == "prealigned"]
        with self.state.main_process_first():
            if self.state.is_main_process and not file.is_file():
                counted = InverseDocumentFrequencies.count(data.sample, student.get_processor(), vectors.teacher.processor)
                counted.save(file)
        return InverseDocumentFrequencies.load(file)


def load_teacher(recipe: Recipe) -> OpticalModel:
    """The teacher's model, which encodes in the run's precision."""
    return load_checkpoint(recipe.teacher.model, precision=recipe.precision, **recipe.teacher.load_arguments())


def load_start(recipe: Recipe, dim: int) -> OpticalModel:
    """The student before training: a copy of the teacher, or another backbone, projected to the teacher's dimension `dim`.

    What starts random follows the recipe's seed, so a study measures the same start as its runs.
    """
    own = recipe.student
    copied = own.start == "teacher"
    name = recipe.teacher.model if copied else own.start
    settings: dict[str, Any] = own.config | (recipe.teacher if copied else own).load_arguments()
    settings["precision"] = recipe.precision
    set_seed(recipe.seed)
    student = load_checkpoint(name, **settings)
    if student.projection is None and "embedding_dim" not in settings and student.config.vector_dim != dim:
        set_seed(recipe.seed)
        student = load_checkpoint(name, embedding_dim=dim, **settings)
    return student


def check_dimension(student: OpticalModel, dim: int) -> None:
    """Rejects a start whose token vectors have another dimension than the teacher's, `dim`.

    Raises:
        ValueError: naming both and the key.
    """
    if student.config.vector_dim != dim:
        raise ValueError(
            f"the student's token vectors have {student.config.vector_dim} dimensions, the teacher's {dim}. "
            f"Set student.config.embedding_dim={dim} (a projection of that size)."
        )


def _copy_vocabulary_record(source: Path, target: Path) -> None:
    for name in (TABLE_FILE, REPORT_FILE):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
