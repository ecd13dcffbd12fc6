"""Distillation of a late-interaction retriever into other languages, from bitext."""

from .arguments import OpticalTrainingArguments
from .bitext import BitextReport, BitextSource, load_bitext, split_bitext
from .collators import DistillationCollator
from .objectives import (
    OBJECTIVES,
    Objective,
    ObjectiveContext,
    ObjectiveSum,
    build_objectives,
    describe_objectives,
    parse_objectives,
)
from .optical_trainer import OpticalTrainer
from .sentence_transformers_loss import OpticalTransportLoss, bitext_collator, teacher_labels
from .teacher_cache import TeacherCache
from .teachers import Teacher
from .token_frequencies import InverseDocumentFrequencies

__all__ = [
    "OBJECTIVES",
    "BitextReport",
    "BitextSource",
    "DistillationCollator",
    "InverseDocumentFrequencies",
    "Objective",
    "ObjectiveContext",
    "ObjectiveSum",
    "OpticalTrainer",
    "OpticalTrainingArguments",
    "OpticalTransportLoss",
    "Teacher",
    "TeacherCache",
    "bitext_collator",
    "build_objectives",
    "describe_objectives",
    "load_bitext",
    "parse_objectives",
    "split_bitext",
    "teacher_labels",
]
