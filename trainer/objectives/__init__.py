"""Objectives of the student's training: any weighted sum, one file each (docs/method.md §4)."""

from .composition.objective_sum import ObjectiveSum
from .composition.schedules import WeightSchedule
from .composition.specification import (
    OBJECTIVES,
    RETRIEVAL_OBJECTIVES,
    ObjectiveSetting,
    build_objectives,
    build_retrieval_objectives,
    describe_objectives,
    describe_retrieval_objectives,
    embedding_adversary_setting,
    parse_objectives,
    parse_retrieval_objectives,
)
from .contrastive import Contrastive, ContrastiveOptions
from .language_adversary import LanguageAdversary, LanguageAdversaryOptions
from .objective import NoOptions, Objective, ObjectiveContext
from .passage_contrastive import PassageContrastive, PassageContrastiveOptions
from .pooled_mse import PooledMSE
from .pooled_vector_mse import PooledVectorMSE
from .score_distillation import ScoreDistillation, ScoreDistillationOptions
from .score_kl import ScoreKL, ScoreKLOptions
from .token_mse import TokenMSE
from .transport import Transport

__all__ = [
    "OBJECTIVES",
    "RETRIEVAL_OBJECTIVES",
    "Contrastive",
    "ContrastiveOptions",
    "LanguageAdversary",
    "LanguageAdversaryOptions",
    "NoOptions",
    "Objective",
    "ObjectiveContext",
    "ObjectiveSetting",
    "ObjectiveSum",
    "PassageContrastive",
    "PassageContrastiveOptions",
    "PooledMSE",
    "PooledVectorMSE",
    "ScoreDistillation",
    "ScoreDistillationOptions",
    "ScoreKL",
    "ScoreKLOptions",
    "TokenMSE",
    "Transport",
    "WeightSchedule",
    "build_objectives",
    "build_retrieval_objectives",
    "describe_objectives",
    "describe_retrieval_objectives",
    "embedding_adversary_setting",
    "parse_objectives",
    "parse_retrieval_objectives",
]
