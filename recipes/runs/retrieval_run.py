"""The flow of one training on labelled queries: data, start, training, evaluation, card."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import set_seed

from hub_cards.retriever_card import RetrieverCard, write_retriever_card
from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.files.atomic_write import replacing_folder, write_text
from modeling_optical.checkpoints import resolve_model_path
from modeling_optical.evaluation import (
    Collection,
    ResultRow,
    SearchableCorpus,
    format_table,
    per_query,
    result_rows,
    save_run,
    write_results,
)
from trainer import LabelledDataset, RetrievalTrainer, RetrievalTrainingArguments, load_labelled, split_labelled
from trainer.loop.dropout import set_dropout
from trainer.retrieval.labelled_evaluation import labelled_collection
from trainer.objectives import describe_retrieval_objectives

from .hub_push import hub_arguments, push_finished
from .provenance import file_fingerprint, machine, package_versions
from .retrieval_recipe import RetrievalRecipe
from .run_folder import FolderRun, check_arguments, claim_folder, last_complete_checkpoint, telling_a_full_disk

# What a run writes, and `--overwrite` removes.
_WRITTEN = ("data", "start", "model", "checkpoints", "runs", "results.json", "run.json", "report.md")
# What training wants of the Trainer where the recipe is silent.
_TRAINING: dict[str, Any] = {
    "report_to": "none",
    "save_total_limit": 2,
    "logging_steps": 50,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 32,
}
_FEWEST_UPDATES = 100
_MOST_EPOCHS = 20


class RetrievalRun(FolderRun):
    """One recipe, carried out in one folder. Started again, it skips what is done and goes on where it stopped.

    Args:
        recipe: the recipe.
        overwrite: start afresh even if the folder holds another recipe's run.
    """

    def __init__(self, recipe: RetrievalRecipe, *, overwrite: bool = False):
        super().__init__(recipe.output)
        self.recipe = recipe
        self.overwrite = overwrite

    def __call__(self) -> list[ResultRow]:
        """Runs all stages; returns the results (on the main process; none on others).

        Raises:
            OSError: among other errors, if the disk is full; the message names the folder and the remedy.
        """
        with telling_a_full_disk(self.folder):
            return self._run()

    @property
    def model_folder(self) -> Path:
        """Where the trained retriever is saved."""
        return self.folder / "model"

    @property
    def start_folder(self) -> Path:
        """Where the retriever stands before training."""
        return self.folder / "start"

    def _run(self) -> list[ResultRow]:
        began = time.monotonic()
        recipe = self.recipe
        check_training(recipe)
        for name in (recipe.model.start, recipe.documents.model if recipe.documents else recipe.model.start):
            resolve_model_path(name)
        # Read first: a collection that is not there should not cost a training run.
        collections = [source.load(recipe.language) for source in recipe.evaluation.collections]
        with self.state.main_process_first():
            if self.state.is_main_process:
                claim_folder(
                    self.folder,
                    recipe.to_yaml(),
                    begun=self.start_folder.exists(),
                    overwrite=self.overwrite,
                    written=_WRITTEN,
                )
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
        seen = train.fingerprint
        self._prepare_start(seen)
        self._train(train, held_out, documents)
        rows: list[ResultRow] = []
        if self.state.is_main_process:
            if len(held_out):
                collections.append(labelled_collection(held_out, language=recipe.language))
            rows = self._evaluate(collections, documents)
            self._record(rows, report.to_dict() | {"fingerprint": seen}, len(train), time.monotonic() - began)
        self.state.wait_for_everyone()
        return rows

    def _documents(self) -> OpticalModel | None:
        documents = self.recipe.documents
        return None if documents is None else load_checkpoint(documents.model, **documents.load_arguments())

    def _prepare_start(self, seen: str) -> None:
        """Saves the retriever before training: a projection or marker that the backbone lacks is made once."""
        with self.state.main_process_first():
            if not self.state.is_main_process:
                return
            if self.start_folder.exists():
                if json.loads((self.start_folder / "data.json").read_text(encoding="utf-8"))["fingerprint"] != seen:
                    raise ValueError(
                        f"the labelled data has changed since the run in {self.folder} began. Choose another folder with "
                        "output=FOLDER, or start afresh with --overwrite."
                    )
                return
            own = self.recipe.model
            set_seed(self.recipe.seed)
            model = load_checkpoint(own.start, **own.config, **own.load_arguments())
            with replacing_folder(self.start_folder) as scratch:
                model.save_pretrained(scratch)
                write_text(scratch / "data.json", json.dumps({"fingerprint": seen}) + "\n")

    def _train(self, train: LabelledDataset, held_out: LabelledDataset, documents: OpticalModel | None) -> None:
        if (self.model_folder / "config.json").is_file():
            self.say(f"trained already: {self.model_folder}")
            return
        recipe, on_cpu = self.recipe, self.state.device.type == "cpu"
        checkpoints = self.folder / "checkpoints"
        settings = {"use_cpu": on_cpu, "dataloader_pin_memory": not on_cpu} | _TRAINING | recipe.training
        if not {"num_train_epochs", "max_steps"} & set(recipe.training):
            batch = settings["per_device_train_batch_size"] * settings.get("gradient_accumulation_steps", 1)
            settings["num_train_epochs"] = default_epochs(len(train), batch * self.state.num_processes)
        arguments = RetrievalTrainingArguments(
            output_dir=str(checkpoints),
            objectives=recipe.objectives,
            seed=recipe.seed,
            **settings | hub_arguments(recipe.training, f"{recipe.name}-{recipe.language}"),
        )
        self.say(f"Training: {describe_retrieval_objectives(recipe.objectives)}")
        set_seed(recipe.seed)
        model = load_checkpoint(self.start_folder)
        set_dropout(model, recipe.model.dropout)
        trainer = RetrievalTrainer(
            model=model,
            args=arguments,
            train_dataset=train,
            eval_dataset=held_out if len(held_out) else None,
            document_encoder=documents,
        )
        last = last_complete_checkpoint(checkpoints, self.state)
        if last is not None:
            self.say(f"going on from {last}")
        trainer.train(resume_from_checkpoint=last)
        trained = trainer.trained
        if self.state.is_main_process:
            with replacing_folder(self.model_folder) as scratch:
                trained.save_pretrained(scratch)
                write_text(scratch / "training_log.json", json.dumps(trainer.state.log_history, indent=1) + "\n")
        self.state.wait_for_everyone()

    def _evaluate(self, collections: list[Collection], documents: OpticalModel | None) -> list[ResultRow]:
        """Start and trained model on all collections; writes results and run files."""
        recipe, rows = self.recipe, []
        searchable: dict[int, SearchableCorpus] = {}
        for system, folder in (("start", self.start_folder), ("trained", self.model_folder)):
            model = load_checkpoint(folder)
            model.to(self.state.device)
            for collection in collections:
                if documents is None:
                    corpus = SearchableCorpus(model, collection.corpus, batch_size=recipe.evaluation.batch_size)
                else:  # encoded once
                    documents.to(self.state.device)
                    corpus = searchable.setdefault(
                        id(collection), SearchableCorpus(documents, collection.corpus, batch_size=recipe.evaluation.batch_size)
                    )
                found = corpus.retrieve(model, collection.queries)
                save_run(self.folder / "runs", system, collection, found)
                values = per_query(collection.qrels, found, recipe.evaluation.metrics)
                rows += result_rows(system, collection.language, collection.name, values)
        write_results(self.folder / "results.json", rows)
        return rows

    def _record(self, rows: list[ResultRow], data: dict[str, Any], examples: int, seconds: float) -> None:
        recipe = self.recipe
        files = [source.path for source in recipe.data.train if source.path is not None]
        record = {
            "recipe": recipe.to_dict(),
            "data": data | {"training examples": examples},
            "files": {Path(path).name: file_fingerprint(path) for path in files},
            "versions": package_versions(),
            "processes": self.state.num_processes,
            "machine": machine(),
            "seconds": {"total": round(seconds, 1)},
        }
        write_text(self.folder / "run.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        metrics = recipe.evaluation.metrics
        shown = [metric for metric in ("RR@10", "nDCG@10", "Success@1") if metric in metrics] or metrics[:3]
        text = format_table(sorted(rows, key=lambda row: row.collection), shown)
        write_text(self.folder / "report.md", f"# {recipe.name}\n\n```\n{text}\n```\n")
        card = RetrieverCard(
            name=recipe.name,
            language=recipe.language,
            start=recipe.model.start,
            documents=recipe.documents.model if recipe.documents else None,
            objectives=describe_retrieval_objectives(recipe.objectives),
            examples=examples,
            sources=[source.label if source.path is None else Path(source.path).name for source in recipe.data.train],
            rows=rows,
            versions=package_versions(),
        )
        write_retriever_card(self.model_folder, card)
        if address := push_finished(self.model_folder, recipe.training, f"{recipe.name}-{recipe.language}"):
            self.say(f"Pushed to {address}")
        self.say(f"{text}\n\n{seconds / 60:.1f} minutes. Model: {self.model_folder}   results: {self.folder / 'results.json'}")


def default_epochs(examples: int, batch_size: int) -> int:
    """One epoch, or with few examples as many as make 100 updates, but never more than 20.

    Args:
        examples: training examples.
        batch_size: examples per update, over all processes.
    """
    updates = max(math.ceil(examples / batch_size), 1)
    return min(math.ceil(_FEWEST_UPDATES / updates), _MOST_EPOCHS)


def check_training(recipe: RetrievalRecipe) -> None:
    """Checks names and plain types of the training arguments, so that a slip is told before anything is computed."""
    check_arguments(RetrievalTrainingArguments, recipe.training, "training")
