"""What the student is trained for: any weighted sum of objectives, one file each (METHOD §4)."""

from .contrastive import Contrastive, ContrastiveOptions
from .language_adversary import LanguageAdversary, LanguageAdversaryOptions
from .objective import NoOptions, Objective, ObjectiveContext
from .objective_sum import ObjectiveSum
from .pooled_mse import PooledMSE
from .schedules import WeightSchedule
from .score_kl import ScoreKL, ScoreKLOptions
from .specification import (
    OBJECTIVES,
    ObjectiveSetting,
    build_objectives,
    describe_objectives,
    embedding_adversary_setting,
    parse_objectives,
)
from .token_mse import TokenMSE
from .transport import Transport

__all__ = [
    "OBJECTIVES",
    "Contrastive",
    "ContrastiveOptions",
    "LanguageAdversary",
    "LanguageAdversaryOptions",
    "NoOptions",
    "Objective",
    "ObjectiveContext",
    "ObjectiveSetting",
    "ObjectiveSum",
    "PooledMSE",
    "ScoreKL",
    "ScoreKLOptions",
    "TokenMSE",
    "Transport",
    "WeightSchedule",
    "build_objectives",
    "describe_objectives",
    "embedding_adversary_setting",
    "parse_objectives",
]
