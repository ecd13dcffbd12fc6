"""The recipe of a retriever that is trained on labelled queries: a teacher, or a student that is fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from trainer.labelled_data import LabelledSource
from trainer.objectives import parse_retrieval_objectives

from .evaluation import EvaluationRecipe
from .run import CheckpointRecipe, RunRecipe, beside


@dataclass
class RetrieverRecipe(CheckpointRecipe):
    """Where the retriever starts; also how that is read, see `CheckpointRecipe`.

    Args:
        start: folder, Hub id or `package:NAME/PATH` of a backbone, a retriever or a student.
        config: values of `OpticalConfig` (embedding_dim, query_length, document_length, query_marker …).
        dropout: replaces the backbone's dropout while training; null keeps it.
    """

    start: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    dropout: float | None = None


@dataclass
class DocumentsRecipe(CheckpointRecipe):
    """A frozen model that encodes the documents, for a student that searches its teacher's index.

    Args:
        model: folder, Hub id or `package:NAME/PATH`.
    """

    model: str = ""


@dataclass
class LabelledDataRecipe:
    """The training data.

    Args:
        train: where the labelled queries come from.
        held_out: share of the queries that are held out and measured on.
        max_held_out: the most held-out queries.
    """

    train: list[LabelledSource] = field(default_factory=list)
    held_out: float = 0.02
    max_held_out: int = 500

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out!r}; it is a share of the queries, from 0 to below 1.")


@dataclass
class RetrievalRecipe(RunRecipe):
    """A whole training on labelled queries; see `RunRecipe` for what every run has.

    Args:
        language: of the queries, and of the evaluation's.
        license: that the retriever is published under; null where it is not chosen yet.
        model, data, evaluation: see their classes.
        documents: frozen encoder of the documents; null: the model itself, which learns to encode them.
        objectives: `contrastive` and `distillation`, as `RetrievalTrainingArguments` takes them.
        training: arguments of `RetrievalTrainingArguments`. Without num_train_epochs and max_steps: one epoch, or with few
            examples the number that gives 100 updates, at most 20.
    """

    other_kinds: ClassVar[dict[str, str]] = dict.fromkeys(
        ("student", "teacher"), "a recipe of distillation: start it with `optical run {path}`"
    )

    name: str = "retriever"
    language: str = "en"
    license: str | None = None
    output: str = "runs/{name}"
    model: RetrieverRecipe = field(default_factory=RetrieverRecipe)
    documents: DocumentsRecipe | None = None
    data: LabelledDataRecipe = field(default_factory=LabelledDataRecipe)
    objectives: dict[str, float | dict[str, Any]] = field(default_factory=lambda: {"contrastive": 1.0})
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)

    def check(self) -> None:
        if not self.model.start:
            raise ValueError("`model.start` is not set: give the backbone, retriever or student to train.")
        if self.documents is not None and not self.documents.model:
            raise ValueError(
                "`documents.model` is not set: give the model that encodes the documents, or leave `documents` out."
            )
        if not self.data.train:
            raise ValueError("`data.train` is empty: give at least one source of labelled queries.")
        if self.evaluation.questions:
            raise ValueError(
                "`evaluation.questions` is for recipes of `optical run`: a retriever trained on labels answers none."
            )
        parse_retrieval_objectives(self.objectives)

    def locate(self, folder: Path) -> None:
        for source in self.data.train:
            if source.path is not None:
                source.path = beside(folder, source.path)
            if source.collection is not None:
                source.collection = beside(folder, source.collection)
            for table in (source.query_texts, source.passage_texts):
                if table is not None:
                    table.path = beside(folder, table.path) if table.path else None
        self.evaluation.locate(folder)
