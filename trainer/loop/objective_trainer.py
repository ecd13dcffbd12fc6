"""What the trainers of this package share: parts of the loss that are logged, a guard against losses that are no number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from .checked_checkpoints import CheckedCheckpoints
from .finite_training import FiniteGradientCallback, FiniteTraining


class ObjectiveTrainer(CheckedCheckpoints):
    """A `Trainer` whose loss is a sum of named parts, with checkpoints that are checked.

    A subclass gives the parts of every training loss to `_note`. They are logged as means over the steps since the last log and
    over all processes.
    """

    def __init__(self, *args: Any, stop_on_non_finite: bool = False, **kwargs: Any):
        self._parts: dict[str, list[torch.Tensor]] = defaultdict(list)
        super().__init__(*args, **kwargs)
        self._guard = FiniteTraining(str(self.args.output_dir), self.args.process_index) if stop_on_non_finite else None
        # The scaler of fp16 meets infinite gradients and skips their step.
        if self._guard is not None and self.accelerator.scaler is None:
            self.add_callback(FiniteGradientCallback(self._guard))

    def _note(self, parts: Mapping[str, torch.Tensor]) -> None:
        for name, part in parts.items():
            self._parts[name].append(part)

    def _check_and_note(self, loss: torch.Tensor, parts: Mapping[str, torch.Tensor], inputs: Mapping[str, Any]) -> None:
        """Raises `NonFiniteLossError` for a loss that is no number, else keeps its parts for the log."""
        if self._guard is not None:
            self._guard.check_loss(loss, parts, inputs, self.state.global_step)
        self._note(parts)

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The parent's step, or what a subclass makes of it; a transport problem without a finite cost ends the training."""
        with nullcontext() if self._guard is None else self._guard.saving(inputs, self.state.global_step):
            return self._step(model, inputs, num_items_in_batch)

    def _step(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], num_items_in_batch: torch.Tensor | int | None
    ) -> torch.Tensor:
        """Forward and backward pass of one batch; a subclass may make several of them."""
        return super().training_step(model, inputs, num_items_in_batch)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor, None, None]:
        """The loss of an evaluation batch; there is nothing to gather."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = torch.as_tensor(self.compute_loss(model, self._prepare_inputs(inputs)))
        return loss.detach(), None, None

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the mean of every part since the last log, over all processes."""
        if self._parts and "loss" in logs:
            for name in sorted(self._parts):
                mean = torch.stack([part.float() for part in self._parts[name]]).mean()
                logs[name] = round(self._mean_over_processes(mean), 6)
            self._parts.clear()
            self._add_to_log(logs)
        super().log(logs, *args, **kwargs)

    def _add_to_log(self, logs: dict[str, float]) -> None:
        """What else a subclass logs with the loss."""

    def _mean_over_processes(self, value: torch.Tensor) -> float:
        return self.accelerator.gather(value.to(self.args.device).reshape(1)).mean().item()
