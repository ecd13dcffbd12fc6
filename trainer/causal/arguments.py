"""Arguments of a causal model's distillation, beyond those of `transformers.TrainingArguments`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from modeling_optical import TransportOptions

from ..loop.arguments import ObjectiveTrainingArguments
from ..objectives import WeightSchedule, parse_objectives

NEXT_TOKEN = "next_token"
HIDDEN_STATE_OBJECTIVES = ("transport", "pooled_mse", "token_mse", "contrastive")
"""Objectives that compare hidden states of the two models."""


def parse_causal_objectives(specification: Mapping[str, Any]) -> tuple[dict[str, Any], WeightSchedule]:
    """Objectives on hidden states that have a weight, and the weight of `next_token`.

    Raises:
        ValueError: for an unknown objective or a wrong value, or if nothing has a weight.
    """
    known = (*HIDDEN_STATE_OBJECTIVES, NEXT_TOKEN)
    for name in specification:
        if name not in known:
            raise ValueError(f"objectives.{name}: a causal model is distilled by {', '.join(known)}.")
    next_token = WeightSchedule.parse(specification.get(NEXT_TOKEN, 0.0), f"objectives.{NEXT_TOKEN}")
    rest = {name: value for name, value in specification.items() if name != NEXT_TOKEN}
    if not rest or all(value == 0 for value in rest.values()):
        if next_token.largest <= 0:
            raise ValueError("no objective has a weight above 0.")
        return {}, next_token
    return {name: rest[name] for name in parse_objectives(rest)}, next_token


@dataclass
class CausalDistillationArguments(ObjectiveTrainingArguments):
    r"""
    Arguments of a [`CausalDistillationTrainer`]. Only what differs from [`ObjectiveTrainingArguments`] is listed.

    Args:
        objectives (`dict[str, float | dict]`, defaults to `{"transport": 1.0, "next_token": 1.0}`):
            `transport`, `pooled_mse`, `token_mse` and `contrastive` between hidden states, and `next_token`, the usual loss of
            a language model on the translation. Without it, a model that thinks in English forgets to write the language.
        transport (`dict`): options of the transport, see [`TransportOptions`]; marginals are uniform, the plan comes from the
            student.
        layers (`list[int]`, *optional*): whose hidden states are compared: 1 is the first layer's output; -1 the last one's.
            `None`: the middle layer.
        max_length (`int`, defaults to 128): tokens of a text.
    """

    transport: dict[str, Any] | str | None = field(default=None, metadata={"help": "options of the transport, as JSON"})
    layers: list[int] | None = field(default=None, metadata={"help": "layers whose hidden states are compared"})
    max_length: int = field(default=128, metadata={"help": "tokens of a text"})

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [*ObjectiveTrainingArguments._VALID_DICT_FIELDS, "transport"]
    _default_objectives: ClassVar[Mapping[str, float]] = {"transport": 1.0, NEXT_TOKEN: 1.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        assert isinstance(self.objectives, dict)
        if isinstance(self.transport, str):
            raise ValueError(f'transport is {self.transport!r}; as text it must be JSON, such as {{"solver": "sinkhorn"}}.')
        parse_causal_objectives(self.objectives)
        self.transport_options = options = TransportOptions.of(self.transport)
        if options.marginals != "uniform" or options.plan_from != "student" or options.lexical_prior:
            raise ValueError("transport of a causal model: marginals are 'uniform', plan_from is 'student', no lexical_prior.")
        if self.max_length < 4:
            raise ValueError(f"max_length is {self.max_length}; it must be at least 4.")
