"""The flow of one training on labelled queries: data, start, training, evaluation, card."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, ClassVar

from hub_cards.retriever_card import RetrieverCard, write_retriever_card
from modeling_optical import OpticalConfig, OpticalModel, load_checkpoint
from modeling_optical.checkpoints import resolve_model_path
from modeling_optical.checkpoints.names import shown_name
from modeling_optical.evaluation import Collection, Evaluator, ResultRow, format_table, read_results
from modeling_optical.files.atomic_write import write_text
from trainer import LabelledDataset, RetrievalTrainer, RetrievalTrainingArguments, load_labelled, split_labelled
from trainer.loop.dropout import set_dropout
from trainer.objectives import describe_retrieval_objectives
from trainer.retrieval.labelled_evaluation import labelled_collection

from ..speed import Speed, Work
from .data import examples_seen
from .progress import relative_length, relative_size
from .provenance import file_fingerprints
from .recipe.evaluation import check_distinct
from .recipe.retrieval import RetrievalRecipe
from .skeleton import FolderRun

_FEWEST_UPDATES = 100
_MOST_EPOCHS = 20


class RetrievalRun(FolderRun[RetrievalRecipe, list[ResultRow]]):
    """Training on labelled queries and its evaluation; see `FolderRun`. Returns the results, on the main process."""

    arguments_class = RetrievalTrainingArguments
    written = ("data", "model", "runs")
    training_defaults: ClassVar[dict[str, Any]] = {"per_device_eval_batch_size": 32}

    def student_folder(self, system: str) -> Path:
        return self.folder / {"start": "start", "trained": "model"}[system]

    def checkpoints_folder(self, system: str) -> Path:
        return self.folder / "checkpoints"

    def prepare(self) -> None:
        recipe = self.recipe
        for name in (recipe.model.start, recipe.documents.model if recipe.documents else recipe.model.start):
            resolve_model_path(name)
        # Read first: a collection that is not there should not cost a training run.
        self._collections = [
            source.load(one) for source in recipe.evaluation.collections for one in source.of([recipe.language])
        ]
        check_distinct(self._collections)

    def work(self) -> list[ResultRow]:
        recipe = self.recipe
        with self.state.main_process_first():
            examples, report = load_labelled(recipe.data.train, seed=recipe.seed, cache_dir=self.folder / "data")
        self.say(f"Labelled data:\n{report}")
        if "distillation" in recipe.objectives and not all(report.scored.values()):
            missing = next(label for label, scored in report.scored.items() if not scored)
            raise ValueError(f"objectives.distillation needs scores for every passage; {missing} has rows without.")
        train, held_out = split_labelled(
            examples, held_out=recipe.data.held_out, max_held_out=recipe.data.max_held_out, seed=recipe.seed
        )
        self.say(f"Training on {len(train):,} examples; {len(held_out):,} of held-out queries.")
        documents = self._documents()
        collections = list(self._collections)
        if len(held_out):
            collections.append(labelled_collection(held_out, language=recipe.language))
        # Where rows hold ids, the texts lie in files of their own.
        seen = train.fingerprint if train.holds_texts else hashlib.sha256(json.dumps(self.files()).encode()).hexdigest()[:16]
        # A projection or marker that the backbone lacks is made once.
        own = recipe.model

        def make(folder: Path) -> None:
            load_checkpoint(own.start, **own.config, **own.load_arguments()).save_pretrained(folder)

        self.prepare_start("labelled data", seen, make)
        self.expect(lambda speed: self._expected(train, collections, speed))
        self._train(train, held_out, documents)
        if not self.state.is_main_process:
            return []
        rows = self.stage("evaluation", lambda: self._evaluate(collections, documents))
        counts = report.to_dict() | {"fingerprint": seen, "training examples": len(train)}
        self._tell(rows, self.record(counts), len(train))
        return rows

    def again(self) -> list[ResultRow]:
        return read_results(self.folder / "results.json")

    @property
    def systems(self) -> list[str]:
        return ["trained"]

    def files(self) -> dict[str, str]:
        return file_fingerprints(path for source in self.recipe.data.train for path in source.files())

    def _documents(self) -> OpticalModel | None:
        documents = self.recipe.documents
        return (
            None
            if documents is None
            else load_checkpoint(documents.model, precision=self.precision, **documents.load_arguments())
        )

    def _expected(self, train: LabelledDataset, collections: list[Collection], speed: Speed) -> dict[str, float]:
        """Seconds of each stage."""
        recipe = self.recipe
        size = relative_size(OpticalConfig.from_pretrained(self.start_folder).get_text_config())
        some = [train[number] for number in range(min(len(train), 100))]
        query = relative_length([row["query"] for row in some])
        passage = relative_length([row["passages"][0] for row in some])
        expected = {}
        if not self.is_trained("trained"):
            seen = examples_seen(recipe.training, len(train), epochs=default_epochs(len(train), 32))
            passages = passage * recipe.training.get("passages_per_query", RetrievalTrainingArguments.passages_per_query)
            frozen = recipe.documents is not None
            work = Work(seen * passages if frozen else 0, seen * (query + (0 if frozen else passages)), 5.0, size)
            expected["training trained"] = work.seconds(speed)
        texts = sum(query * len(own.queries) + passage * len(own.corpus) for own in collections)
        return expected | {"evaluation": Work(2 * texts, 0, 10.0, size).seconds(speed)}

    def _train(self, train: LabelledDataset, held_out: LabelledDataset, documents: OpticalModel | None) -> None:
        recipe = self.recipe

        def build() -> RetrievalTrainer:
            arguments = self.training_arguments("trained", recipe.training, objectives=recipe.objectives)
            if not {"num_train_epochs", "max_steps"} & set(recipe.training):
                batch = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
                arguments.num_train_epochs = default_epochs(len(train), batch * self.state.num_processes)
            model = load_checkpoint(self.start_folder)
            set_dropout(model, recipe.model.dropout)
            return RetrievalTrainer(
                model=model,
                args=arguments,
                train_dataset=train,
                eval_dataset=held_out if len(held_out) else None,
                document_encoder=documents,
            )

        self.train("trained", describe_retrieval_objectives(recipe.objectives), build)

    def _evaluate(self, collections: list[Collection], documents: OpticalModel | None) -> list[ResultRow]:
        """Start and trained model on all collections; writes results and run files."""
        evaluation = self.recipe.evaluation
        evaluator = Evaluator(self.folder, evaluation.metrics, batch_size=evaluation.batch_size)
        if documents is not None:
            documents.to(self.state.device)
        for system in ("start", "trained"):
            model = load_checkpoint(self.student_folder(system), precision=self.precision).to(self.state.device)
            for collection in collections:
                evaluator.measure(system, model, collection, documents)
        evaluator.write_results()
        return evaluator.rows

    def _tell(self, rows: list[ResultRow], record: dict[str, Any], examples: int) -> None:
        """Writes report and card, and prints the results."""
        recipe = self.recipe
        metrics = recipe.evaluation.metrics
        shown = [metric for metric in ("RR@10", "nDCG@10", "Success@1") if metric in metrics] or metrics[:3]
        text = format_table(sorted(rows, key=lambda row: row.collection), shown)
        model = self.student_folder("trained")
        card = RetrieverCard(
            name=recipe.name,
            language=recipe.language,
            start=recipe.model.start,
            documents=recipe.documents.model if recipe.documents else None,
            objectives=describe_retrieval_objectives(recipe.objectives),
            examples=examples,
            sources=[shown_name(source.label) for source in recipe.data.train],
            rows=rows,
            versions=record["versions"],
            precision=recipe.training.get("precision", record["precision"]),
            license=recipe.license,
        )
        write_retriever_card(model, card)
        # Last: it is how a run is known to be complete.
        write_text(self.folder / "report.md", f"# {recipe.name}\n\n```\n{text}\n```\n")
        self.push("trained")
        minutes = record["seconds"]["total"] / 60
        self.say(f"{text}\n\n{minutes:.1f} minutes. Model: {model}   results: {self.folder / 'results.json'}")


def default_epochs(examples: int, batch_size: int) -> int:
    """One epoch, or with few examples the number that gives 100 updates, at most 20.

    Args:
        examples: training examples.
        batch_size: examples per update, over all processes.
    """
    updates = max(math.ceil(examples / batch_size), 1)
    return min(math.ceil(_FEWEST_UPDATES / updates), _MOST_EPOCHS)
