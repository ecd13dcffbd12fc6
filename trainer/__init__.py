"""Distillation of a late-interaction retriever into other languages, from bitext."""

from .arguments import OpticalTrainingArguments
from .bitext import BitextReport, BitextSource, load_bitext, split_bitext
from .collators import DistillationCollator
from .objectives import Objective, PooledMSE, Transport, build_objectives
from .optical_trainer import OpticalTrainer
from .sentence_transformers_loss import OpticalTransportLoss, bitext_collator, teacher_labels
from .teacher_cache import TeacherCache
from .teachers import Teacher

__all__ = [
    "BitextReport",
    "BitextSource",
    "DistillationCollator",
    "Objective",
    "OpticalTrainer",
    "OpticalTrainingArguments",
    "OpticalTransportLoss",
    "PooledMSE",
    "Teacher",
    "TeacherCache",
    "Transport",
    "bitext_collator",
    "build_objectives",
    "load_bitext",
    "split_bitext",
    "teacher_labels",
]
