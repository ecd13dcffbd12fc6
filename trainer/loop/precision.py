"""The precision of a training: decided once, kept when training resumes from a checkpoint."""

from __future__ import annotations

import os
from typing import Any

from transformers import TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from modeling_optical.precision import PRECISIONS, check_precision, choose_precision, fastest_device


def settle_precision(arguments: TrainingArguments, precision: str) -> str:
    """The precision that training arguments ask for.

    Args:
        arguments: their `bf16` and `fp16` are None where the user has not set them. `auto` becomes the one that is True, and
            never one that is False.
        precision: one of `PRECISIONS`. `auto` is otherwise the launcher's (`accelerate launch --mixed_precision bf16`), or the
            fastest on this machine.

    Returns:
        `"bf16"`, `"fp16"` or `"fp32"`.

    Raises:
        ValueError: if the precision is unknown, or it and the flags ask for different ones.
    """
    check_precision(precision)
    flags = {"bf16": arguments.bf16, "fp16": arguments.fp16}
    wanted = [name for name, value in flags.items() if value]
    if precision == "auto":
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        if wanted:
            precision = wanted[0]
        elif launched in PRECISIONS:
            precision = launched
        else:
            precision = choose_precision("auto", "cpu" if arguments.use_cpu else fastest_device()).name
            if flags.get(precision) is False:
                precision = "fp32"
    for name in wanted:
        if name != precision:
            raise ValueError(f"precision {precision} and {name}=True contradict each other: leave {name} out.")
    if flags.get(precision) is False:
        raise ValueError(f"precision {precision} and {precision}=False contradict each other: leave {precision} out.")
    return precision


class PrecisionCallback(TrainerCallback, ExportableState):
    """Keeps the precision in the checkpoints, and refuses to resume in another one that the user did not choose.

    Args:
        precision: `"bf16"`, `"fp16"` or `"fp32"`.
    """

    def __init__(self, precision: str = "fp32"):
        self.precision = precision

    def state(self) -> dict[str, Any]:
        """For `trainer_state.json`."""
        return {"args": {}, "attributes": {"precision": self.precision}}

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        kept = (state.stateful_callbacks or {}).get(type(self).__name__, {})
        began = kept.get("attributes", {}).get("precision", self.precision)
        if began != self.precision and args.precision_was_auto:
            raise ValueError(
                f"the checkpoint was trained in {began}, and precision auto is {self.precision} on this machine. Set "
                f"precision={began} to go on as it began, or precision={self.precision} to change."
            )
