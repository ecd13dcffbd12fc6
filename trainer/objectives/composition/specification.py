"""From `{"contrastive": {"weight": 1.0, "temperature": 0.05}}` to objectives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ...option_checks import unknown_key
from ..contrastive import Contrastive
from ..embedding_adversary import EmbeddingAdversaryOptions
from ..language_adversary import LanguageAdversary
from ..objective import Objective, ObjectiveContext
from ..passage_contrastive import PassageContrastive
from ..pooled_mse import PooledMSE
from ..pooled_vector_mse import PooledVectorMSE
from ..score_distillation import ScoreDistillation
from ..score_kl import ScoreKL
from ..token_mse import TokenMSE
from ..transport import Transport
from .objective_sum import ObjectiveSum
from .schedules import WeightSchedule

# Of distillation from bitext, and of training on labelled queries. You may add objectives to them (docs/extending.md).
OBJECTIVES: dict[str, type[Objective]] = {
    cls.name: cls for cls in (Transport, PooledMSE, TokenMSE, Contrastive, PooledVectorMSE, ScoreKL, LanguageAdversary)
}
RETRIEVAL_OBJECTIVES: dict[str, type[Objective]] = {cls.name: cls for cls in (PassageContrastive, ScoreDistillation)}
EMBEDDING_ADVERSARY = "embedding_adversary"


@dataclass(frozen=True)
class ObjectiveSetting:
    """The setting of one objective: its weight, and its options (an instance of the objective's options class)."""

    weight: WeightSchedule
    options: Any


def parse_objectives(specification: Mapping[str, Any]) -> dict[str, ObjectiveSetting]:
    """Checks what a recipe or the arguments ask for.

    Args:
        specification: name to weight, or to a mapping with `weight` and options. A weight is a number or a schedule
            `{"initial": …, "final": …, "steps": …}`.

    Returns:
        Name to setting, for the objectives whose weight is ever above 0.

    Raises:
        ValueError: for an unknown objective or option, a value out of range, or if nothing is left; it names key and remedy.
    """
    return _parse_all(specification, _options_of(OBJECTIVES) | {EMBEDDING_ADVERSARY: EmbeddingAdversaryOptions})


def parse_retrieval_objectives(specification: Mapping[str, Any]) -> dict[str, ObjectiveSetting]:
    """The same for the objectives of `RETRIEVAL_OBJECTIVES`."""
    return _parse_all(specification, _options_of(RETRIEVAL_OBJECTIVES))


def _options_of(objectives: Mapping[str, type[Objective]]) -> dict[str, type]:
    return {name: cls.options_class for name, cls in objectives.items()}


def _parse_all(specification: Mapping[str, Any], known: Mapping[str, type]) -> dict[str, ObjectiveSetting]:
    settings = {}
    for name, value in specification.items():
        if name not in known:
            raise ValueError(f"unknown objective {name!r}; known: {', '.join(known)}.")
        settings[name] = _parse(value, known[name], f"objectives.{name}")
    settings = {name: setting for name, setting in settings.items() if setting.weight.largest > 0}
    if not set(settings) - {EMBEDDING_ADVERSARY}:
        raise ValueError("no objective has a weight above 0.")
    return settings


def _parse(value: Any, options_class: type, where: str) -> ObjectiveSetting:
    schedule_keys = {field.name for field in fields(WeightSchedule)}
    if not isinstance(value, Mapping) or (value and set(value) <= schedule_keys):
        return ObjectiveSetting(WeightSchedule.parse(value, where), options_class())
    known = [field.name for field in fields(options_class)]
    for key in value:
        if key != "weight" and key not in known:
            raise ValueError(unknown_key(f"{where}.{key}", str(key), ["weight", *known]))
    if "weight" not in value:
        raise ValueError(f"{where} lacks the key 'weight': a number, or {{initial: …, final: …, steps: …}}.")
    try:
        options = options_class(**{key: item for key, item in value.items() if key != "weight"})
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None
    return ObjectiveSetting(WeightSchedule.parse(value["weight"], f"{where}.weight"), options)


def build_objectives(specification: Mapping[str, Any], context: ObjectiveContext) -> ObjectiveSum:
    """The objectives of a specification, without `embedding_adversary`, which is not a function of the student's output.

    Raises:
        ValueError: as `parse_objectives`.
    """
    settings = parse_objectives(specification)
    return ObjectiveSum(
        [(OBJECTIVES[name](s.options, context), s.weight) for name, s in settings.items() if name != EMBEDDING_ADVERSARY]
    )


def build_retrieval_objectives(specification: Mapping[str, Any], context: ObjectiveContext) -> ObjectiveSum:
    """The objectives of a specification for training on labelled queries.

    Raises:
        ValueError: as `parse_retrieval_objectives`.
    """
    settings = parse_retrieval_objectives(specification)
    return ObjectiveSum([(RETRIEVAL_OBJECTIVES[name](s.options, context), s.weight) for name, s in settings.items()])


def embedding_adversary_setting(specification: Mapping[str, Any]) -> ObjectiveSetting | None:
    """The setting of `embedding_adversary`, or None."""
    return parse_objectives(specification).get(EMBEDDING_ADVERSARY)


def describe_objectives(specification: Mapping[str, Any]) -> str:
    """One line for people: `1 × transport + 0 to 0.5 × contrastive (temperature 0.1)`."""
    return _describe(parse_objectives(specification))


def describe_retrieval_objectives(specification: Mapping[str, Any]) -> str:
    """The same for the objectives of `RETRIEVAL_OBJECTIVES`."""
    return _describe(parse_retrieval_objectives(specification))


def _describe(settings: Mapping[str, ObjectiveSetting]) -> str:
    described = []
    for name, setting in settings.items():
        changed = [
            f"{field.name} {getattr(setting.options, field.name)}"
            for field in fields(setting.options)
            if getattr(setting.options, field.name) != field.default
        ]
        described.append(f"{setting.weight} × {name}" + (f" ({', '.join(changed)})" if changed else ""))
    return " + ".join(described)
