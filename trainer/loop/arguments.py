"""Arguments that all trainers of this package share, beyond those of `transformers.TrainingArguments`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from transformers import TrainingArguments

from modeling_optical.precision import fastest_device

from .precision import settle_precision


@dataclass
class ObjectiveTrainingArguments(TrainingArguments):
    r"""
    Arguments of an [`ObjectiveTrainer`]. Only what differs from [`~transformers.TrainingArguments`] is listed.

    Args:
        objectives (`dict[str, float | dict]`, *optional*):
            Objectives and their weights; each trainer documents its objectives and the meaning of `None`.
        stop_on_non_finite (`bool`, defaults to `True`):
            Stop before a loss or gradient that is infinite or not a number reaches the weights, and save the batch.
        precision (`str`, defaults to `"auto"`):
            `"bf16"`, `"fp16"`, `"fp32"`, or `"auto"`: bf16 where the device multiplies in bf16, else fp32. The object has what
            `auto` became. `bf16=True` and `fp16=True` name it, too.
        embedding_learning_rate (`float`, *optional*):
            Learning rate of the input embeddings. `None`: `learning_rate`. 0: they are frozen, without gradients and optimizer
            states, which for a small backbone are most of both.
        start_share (`float`, defaults to 0.0):
            Training ends with `start_share * start + (1 - start_share) * trained` instead of the trained weights (weight
            interpolation, WiSE-FT). For a start that finds texts already, and little or narrow
            data. 0: the trained weights.
        remove_unused_columns (`bool`, defaults to `False`):
            Off, because the collator reads the texts.
        accelerator_config: `dispatch_batches` is False: every process reads a separate part of a stream, because batches of
            texts differ in width and cannot be cut out of one.
        learning_rate, warmup_steps: as the parent's; defaults 1e-5 and 0.1 (a share of all steps).
    """

    objectives: dict[str, Any] | str | None = field(default=None, metadata={"help": "objectives and weights, as JSON"})
    stop_on_non_finite: bool = field(
        default=True, metadata={"help": "stop before a loss or gradient that is not a finite number reaches the weights"}
    )
    precision: str = field(default="auto", metadata={"help": "auto (bf16 where the device has it), bf16, fp16 or fp32"})
    bf16: bool | None = field(default=None, metadata={"help": "as precision=bf16"})
    fp16: bool | None = field(default=None, metadata={"help": "as precision=fp16"})
    precision_was_auto: bool = field(init=False, default=False, repr=False)
    embedding_learning_rate: float | None = field(default=None, metadata={"help": "learning rate of the input embeddings"})
    start_share: float = field(
        default=0.0, metadata={"help": "share of the weights at the start in the student that training ends with"}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "off: the collator reads the texts"})
    learning_rate: float = field(default=1e-5, metadata={"help": "learning rate"})
    warmup_steps: float = field(default=0.1, metadata={"help": "warm-up steps; below 1, a share of all steps"})

    # Parsed from JSON on the command line, as the parent does with its dict fields.
    _VALID_DICT_FIELDS: ClassVar[list[str]] = [*TrainingArguments._VALID_DICT_FIELDS, "objectives"]
    _default_objectives: ClassVar[Mapping[str, float]] = {}

    def __post_init__(self) -> None:
        if fastest_device() == "cpu":
            self.use_cpu = True  # else transformers takes bf16 for a GPU's, and refuses
        self.precision_was_auto = self.precision == "auto"
        self.precision = settle_precision(self, self.precision)
        self.bf16, self.fp16 = self.precision == "bf16", self.precision == "fp16"
        super().__post_init__()
        if self.precision == "fp32":
            self.mixed_precision = "no"  # whatever a launcher was given
        if self.objectives is None:
            self.objectives = dict(self._default_objectives)
        if isinstance(self.objectives, str):
            raise ValueError(f'objectives is {self.objectives!r}; as text it must be JSON, such as {{"transport": 1.0}}.')
        if self.embedding_learning_rate is not None and not self.embedding_learning_rate >= 0:
            raise ValueError(
                f"embedding_learning_rate is {self.embedding_learning_rate!r}; it must be at least 0 (the embeddings stay as "
                "they are), or null for learning_rate."
            )
        if not 0 <= self.start_share < 1:
            raise ValueError(
                f"start_share is {self.start_share!r}; it must be at least 0 (the trained weights) and below 1 (the start's)."
            )
        if self.accelerator_config.dispatch_batches:
            raise ValueError("accelerator_config.dispatch_batches must be False: batches of texts differ in width.")
        self.accelerator_config.dispatch_batches = False
