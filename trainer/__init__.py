"""Distillation of a late-interaction retriever into other languages, from bitext; and training of retrievers on labels."""

from .bitext import BitextReport, BitextSource, load_bitext, split_bitext
from .causal.arguments import CausalDistillationArguments
from .causal.collator import CausalCollator
from .causal.trainer import CausalDistillationTrainer
from .distillation.arguments import OpticalTrainingArguments
from .distillation.collator import DistillationCollator
from .distillation.sentence_transformers_loss import OpticalTransportLoss, bitext_collator, teacher_labels
from .distillation.token_frequencies import InverseDocumentFrequencies
from .distillation.trainer import OpticalTrainer
from .labelled_data import LabelledDataset, LabelledSource, TextTable, load_labelled, split_labelled
from .loop.finite_training import NonFiniteLossError
from .objectives import (
    OBJECTIVES,
    Objective,
    ObjectiveContext,
    ObjectiveSum,
    build_objectives,
    describe_objectives,
    parse_objectives,
)
from .retrieval.arguments import RetrievalTrainingArguments
from .retrieval.collator import RetrievalCollator
from .retrieval.trainer import RetrievalTrainer
from .teachers.cache import TeacherCache
from .teachers.projection import TeacherProjection, fit_projection, project_model
from .teachers.teacher import Teacher, TeacherOfTexts

__all__ = [
    "OBJECTIVES",
    "BitextReport",
    "BitextSource",
    "CausalCollator",
    "CausalDistillationArguments",
    "CausalDistillationTrainer",
    "DistillationCollator",
    "InverseDocumentFrequencies",
    "LabelledDataset",
    "LabelledSource",
    "NonFiniteLossError",
    "Objective",
    "ObjectiveContext",
    "ObjectiveSum",
    "OpticalTrainer",
    "OpticalTrainingArguments",
    "OpticalTransportLoss",
    "RetrievalCollator",
    "RetrievalTrainer",
    "RetrievalTrainingArguments",
    "Teacher",
    "TeacherCache",
    "TeacherOfTexts",
    "TeacherProjection",
    "TextTable",
    "bitext_collator",
    "build_objectives",
    "describe_objectives",
    "fit_projection",
    "load_bitext",
    "load_labelled",
    "parse_objectives",
    "project_model",
    "split_bitext",
    "split_labelled",
    "teacher_labels",
]
