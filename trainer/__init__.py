"""Distillation of a late-interaction retriever into other languages, from bitext."""

from .arguments import OpticalTrainingArguments
from .bitext import BitextReport, BitextSource, load_bitext, split_bitext
from .collators import DistillationCollator
from .objectives import Objective, PooledMSE, Transport, build_objectives
from .optical_trainer import OpticalTrainer
from .teacher_cache import TeacherCache
from .teachers import Teacher

__all__ = [
    "BitextReport",
    "BitextSource",
    "DistillationCollator",
    "Objective",
    "OpticalTrainer",
    "OpticalTrainingArguments",
    "PooledMSE",
    "Teacher",
    "TeacherCache",
    "Transport",
    "build_objectives",
    "load_bitext",
    "split_bitext",
]
