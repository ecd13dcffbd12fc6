"""A loss or gradient that is not a number ends the training before it reaches the weights, and leaves the batch to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from modeling_optical.files.atomic_write import replacing_folder, save_tensors, write_text
from modeling_optical.transport_problems import NonFiniteCostError

# Longer texts are cut in the message; the file has them whole.
_SHOWN = 80


class NonFiniteLossError(ArithmeticError):
    """A training loss or gradient is infinite or not a number.

    Attributes:
        folder: where the batch lies: `batch.safetensors` (its tensors) and `batch.json` (step, process, parts of the loss,
            texts).
    """

    def __init__(self, message: str, folder: Path):
        super().__init__(message)
        self.folder = folder


class FiniteTraining:
    """Checks every loss before its backward pass, and every gradient before the optimizer's step.

    A process checks the loss of its batch, without communication. One that stops never takes part in the exchange of gradients
    that the others wait for, so no process makes the step. (The launcher then ends the others.)

    Args:
        folder: the run's output folder; the failing batch is written into a folder there.
        process: number of this process.
    """

    def __init__(self, folder: str | Path, process: int):
        self.folder = Path(folder)
        self.process = process
        self._batch: Mapping[str, Any] = {}

    def check_loss(self, loss: torch.Tensor, parts: Mapping[str, torch.Tensor], batch: Mapping[str, Any], step: int) -> None:
        """Raises `NonFiniteLossError` unless the loss is a finite number.

        Args:
            loss: scalar.
            parts: its parts by name, scalars.
            batch: what it was computed on: tensors by name and, as `texts`, the features that the collator was given.
            step: updates made so far.
        """
        self._batch = batch
        if torch.isfinite(loss.detach()).all():
            return
        values = {name: float(part.detach()) for name, part in parts.items()}
        named = ", ".join(f"{name} {value}" for name, value in values.items())
        raise self._error(f"the loss of step {step + 1} is {float(loss.detach())} ({named})", step, values)

    @contextmanager
    def saving(self, batch: Mapping[str, Any], step: int) -> Iterator[None]:
        """Turns the refusal of a transport problem whose cost is not a number into a `NonFiniteLossError`, with the batch."""
        try:
            yield
        except NonFiniteCostError as error:
            self._batch = batch
            raise self._error(f"the loss of step {step + 1} is not a number: {error}", step, {}) from error

    def check_gradient(self, model: nn.Module, step: int) -> None:
        """Raises `NonFiniteLossError` unless all gradients of the update are finite."""
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        if not gradients or torch.isfinite(torch.as_tensor(torch.nn.utils.get_total_norm(gradients))).all():
            return
        wrong = [n for n, p in model.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
        where = wrong[0] if wrong else "their sum"
        raise self._error(f"the gradient of step {step + 1} is not finite, though its loss is (first in {where})", step, {})

    def _error(self, what: str, step: int, parts: Mapping[str, float]) -> NonFiniteLossError:
        texts = self._batch.get("texts") or []
        where = self.folder / f"not-finite-step-{step + 1}-process-{self.process}"
        with replacing_folder(where) as scratch:
            tensors = {name: value.detach().cpu().contiguous() for name, value in self._batch.items() if torch.is_tensor(value)}
            save_tensors(scratch / "batch.safetensors", tensors)
            record = {"step": step + 1, "process": self.process, "what": what, "parts": _as_text(parts), "texts": texts}
            write_text(scratch / "batch.json", json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n")
        return NonFiniteLossError(
            f"{what}. No weight was changed by it. The batch of process {self.process}{_shown(texts)} is in {where}. Look for "
            "texts that are empty or odd; else lower learning_rate, raise transport.epsilon, or train in bf16 or fp32 in place "
            "of fp16. Started again, the run goes on from its last checkpoint.",
            where,
        )


def _as_text(parts: Mapping[str, float]) -> dict[str, str]:
    return {name: str(value) for name, value in parts.items()}  # JSON knows no infinity


def _shown(texts: Sequence[Mapping[str, Any]]) -> str:
    if not texts:
        return ""
    first = str(texts[0].get("target", texts[0].get("query", "")))
    return f" ({len(texts)} texts, the first {first[:_SHOWN]!r})"


class FiniteGradientCallback(TrainerCallback):
    """Has the gradient looked at before every optimizer step."""

    def __init__(self, guard: FiniteTraining):
        self.guard = guard

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.guard.check_gradient(kwargs["model"], state.global_step)
