"""Arguments of training on labelled queries, beyond those of `transformers.TrainingArguments`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..loop.arguments import ObjectiveTrainingArguments
from ..objectives import parse_retrieval_objectives
from ..option_checks import check_whole


@dataclass
class RetrievalTrainingArguments(ObjectiveTrainingArguments):
    r"""
    Arguments of a [`RetrievalTrainer`]. Only what differs from [`ObjectiveTrainingArguments`] is listed.

    Args:
        objectives (`dict[str, float | dict]`, defaults to `{"contrastive": 1.0}`):
            Objectives and their weights: `contrastive` (in-batch and hard negatives) and `distillation` (given scores). A
            weight is a number or a schedule; with options: `{"distillation": {"weight": 1.0, "teacher_temperature": 0.2}}`.
        passages_per_query (`int`, defaults to 2):
            Passages of a query in a step: its positive and `passages_per_query - 1` negatives, drawn anew in every epoch if it
            has more.
        gradient_cache_chunk_size (`int`, *optional*):
            Texts that are encoded at a time; the gradient of the whole batch is added up exactly (GradCache). `None`: off.
        ddp_broadcast_buffers, ddp_find_unused_parameters (`bool`, default to `False`):
            Off, because the model runs twice in a step, on queries and on passages, and uses all its weights in each.
    """

    passages_per_query: int = field(default=2, metadata={"help": "the positive and so many minus one negatives in a step"})
    gradient_cache_chunk_size: int | None = field(
        default=None, metadata={"help": "texts that are encoded at a time, for batches beyond the memory; null: off"}
    )
    ddp_broadcast_buffers: bool | None = field(default=False, metadata={"help": "off: the model runs twice in a step"})
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "off: all weights are used"})

    _default_objectives: ClassVar[Mapping[str, float]] = {"contrastive": 1.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        assert isinstance(self.objectives, dict)
        parse_retrieval_objectives(self.objectives)  # a wrong name, weight or option fails here
        check_whole(self.passages_per_query, "passages_per_query", 1)
        if self.gradient_cache_chunk_size is not None:
            check_whole(self.gradient_cache_chunk_size, "gradient_cache_chunk_size", 1)
