"""Arguments of training on labelled queries, beyond those of `transformers.TrainingArguments`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from transformers import TrainingArguments

from ..objectives import parse_retrieval_objectives
from ..option_checks import check_whole


@dataclass
class RetrievalTrainingArguments(TrainingArguments):
    r"""
    Arguments of a [`RetrievalTrainer`]. Only what differs from [`~transformers.TrainingArguments`] is listed.

    Args:
        objectives (`dict[str, float | dict]`, defaults to `{"contrastive": 1.0}`):
            Objectives and their weights: `contrastive` (in-batch and hard negatives) and `distillation` (given scores). A
            weight is a number or a schedule; with options: `{"distillation": {"weight": 1.0, "teacher_temperature": 0.2}}`.
        passages_per_query (`int`, defaults to 2):
            Passages that a query takes part with in a step: its positive, and so many minus one of its negatives, drawn anew in
            every epoch where it has more.
        gradient_cache_chunk_size (`int`, *optional*):
            Encode so many texts at a time and add up the gradient of the whole batch exactly (GradCache). `None`: off.
        stop_on_non_finite (`bool`, defaults to `True`):
            Stop before a loss or gradient that is infinite or not a number reaches the weights, and save the batch.
        remove_unused_columns (`bool`, defaults to `False`):
            Off, because the collator reads the texts.
        ddp_broadcast_buffers, ddp_find_unused_parameters (`bool`, default to `False`):
            Off, because the model runs twice in a step, on queries and on passages, and uses all its weights in each.
        learning_rate, warmup_steps: as the parent's; defaults 1e-5 and 0.1 (a share of all steps).
    """

    objectives: dict[str, Any] | str | None = field(
        default=None, metadata={"help": 'objectives and weights, as JSON: {"contrastive": 1.0, "distillation": 1.0}'}
    )
    passages_per_query: int = field(default=2, metadata={"help": "the positive and so many minus one negatives in a step"})
    gradient_cache_chunk_size: int | None = field(
        default=None, metadata={"help": "texts that are encoded at a time, for batches beyond the memory; null: off"}
    )
    stop_on_non_finite: bool = field(
        default=True, metadata={"help": "stop before a loss or gradient that is no finite number reaches the weights"}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "off: the collator reads the texts"})
    ddp_broadcast_buffers: bool | None = field(default=False, metadata={"help": "off: the model runs twice in a step"})
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "off: all weights are used"})
    learning_rate: float = field(default=1e-5, metadata={"help": "learning rate"})
    warmup_steps: float = field(default=0.1, metadata={"help": "warm-up steps; below 1, a share of all steps"})

    # Parsed from JSON on the command line, as the parent does with its own dict fields.
    _VALID_DICT_FIELDS: ClassVar[list[str]] = [*TrainingArguments._VALID_DICT_FIELDS, "objectives"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objectives is None:
            self.objectives = {"contrastive": 1.0}
        if isinstance(self.objectives, str):
            raise ValueError(f'objectives is {self.objectives!r}; as text it must be JSON, such as {{"contrastive": 1.0}}.')
        parse_retrieval_objectives(self.objectives)  # a wrong name, weight or option fails here
        check_whole(self.passages_per_query, "passages_per_query", 1)
        if self.gradient_cache_chunk_size is not None:
            check_whole(self.gradient_cache_chunk_size, "gradient_cache_chunk_size", 1)
