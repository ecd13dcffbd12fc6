"""The base class of this package's trainers: named parts of the loss, evaluation, a guard against non-finite losses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from modeling_optical.files.lock import locked

from ..start_interpolation import StartInterpolation
from .arguments import ObjectiveTrainingArguments
from .checked_checkpoints import CheckedCheckpoints
from .finite_training import FiniteGradientCallback, FiniteTraining
from .inputs import as_data_set, check_adapter, check_keywords, inner_model, is_peft_model
from .precision import PrecisionCallback
from .sharding import wrap_layers

Predictions = tuple[torch.Tensor | tuple[torch.Tensor, ...] | None, torch.Tensor | tuple[torch.Tensor, ...] | None]


class ObjectiveTrainer(CheckedCheckpoints):
    """A `Trainer` whose loss is a sum of named parts, with checkpoints that are checked.

    A subclass gives the parts of every training loss to `_note`. They are logged as means over the steps since the last log and
    over all processes. What it measures on an evaluation set (`_measure`) is among the metrics before callbacks see them.

    Args:
        model: the model, or None with `model_init`. `_adopt` makes it ready for training.
        args: the arguments.
        train_dataset, eval_dataset: as `_rows` and `_evaluation_rows` return them.
        stop_on_non_finite: whether a loss or gradient that is not a finite number ends the training.
        write_card: writes the model card into the folder that it is given, for the repository that it is given, before a push
            (`hub_cards.model_card.write_model_card` is one); None leaves the card to the parent.
        **kwargs: for the parent.
    """

    _COLUMNS: ClassVar[tuple[str, ...]] = ("source", "target")
    _ADVICE: ClassVar[str] = "load_bitext returns what is needed."
    objectives: Any = None
    columns: Mapping[str, str] | None = None
    """Name here to name in the data, for columns that are called otherwise."""

    def __init__(
        self,
        model: Any,
        args: ObjectiveTrainingArguments,
        *,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        stop_on_non_finite: bool = False,
        write_card: Callable[[Path, str], object] | None = None,
        **kwargs: Any,
    ):
        check_keywords(kwargs)
        self.write_card = write_card
        self._parts: dict[str, list[torch.Tensor]] = defaultdict(list)
        super().__init__(
            model=None if kwargs.get("model_init") is not None else model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            **kwargs,
        )
        check_adapter(self.model)
        wrap_layers(self.accelerator, self.trained)
        self.add_callback(PrecisionCallback(args.precision))
        self._guard = FiniteTraining(str(self.args.output_dir), self.args.process_index) if stop_on_non_finite else None
        # The scaler of fp16 meets infinite gradients and skips their step.
        if self._guard is not None and self.accelerator.scaler is None:
            self.add_callback(FiniteGradientCallback(self._guard))
        self._follow_model()

    def _rows(self, given: Any, name: str) -> Any:
        """A data set as the collator reads it."""
        return as_data_set(given, name, self._COLUMNS, self._ADVICE, self.columns)

    def _evaluation_rows(self, given: Any) -> Any:
        """An evaluation set, or each of several by name."""
        several = isinstance(given, Mapping) and not set(self._COLUMNS) <= set(given)
        if several and not {*(self.columns or {}).values()} & set(given):
            return {name: self._rows(own, f"eval_dataset[{name!r}]") for name, own in given.items()}
        return self._rows(given, "eval_dataset")

    def _first(self, model: Any, model_init: Any) -> Any:
        """The model that training begins with: the given one, or the first that `model_init` makes.

        Raises:
            ValueError: unless exactly one of them is given.
        """
        if (model is None) == (model_init is None):
            raise ValueError("give either model (a model or a path) or model_init (a function that makes one).")
        if model is not None:
            return self._made_ready(model)
        self.model_init = model_init
        self._made = self._made_ready(super().call_model_init())
        return self._made

    def call_model_init(self, trial: Any = None) -> Any:
        """A new model for every training, ready for it."""
        if (made := self.__dict__.pop("_made", None)) is not None:
            return made
        self.model = self._made_ready(super().call_model_init(trial))
        self._follow_model()
        return self.model

    def _made_ready(self, model: Any) -> Any:
        """The result of `_adopt`; its input embeddings are frozen if their learning rate is 0."""
        model = self._adopt(model)
        if self.args.embedding_learning_rate == 0:
            inner_model(model).get_input_embeddings().requires_grad_(False)
        return model

    def _adopt(self, model: Any) -> Any:
        """A model in the form that is trained."""
        return model

    def _follow_model(self) -> None:
        """Makes ready what belongs to the model that is trained next, and moves it to its device."""
        self.remove_callback(StartInterpolation)
        if not self.args.start_share:
            return
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError(
                "start_share keeps the weights of the start, which cannot be sharded: set start_share=0, or train without FSDP "
                "and DeepSpeed."
            )
        if check_adapter(self.model):
            raise ValueError(
                "start_share takes a mean of all weights, and an adapter's are factors of a product: set start_share=0."
            )
        self.add_callback(StartInterpolation(self.trained, self.args.start_share))

    @property
    def trained(self) -> Any:
        """The model that is trained, without what wraps it for several processes, for compilation or for an adapter."""
        return inner_model(self.accelerator.unwrap_model(self.model))

    def merged(self) -> Any:
        """The trained model, with an adapter merged into its weights, which ends the training of the adapter.

        Raises:
            ValueError: for an adapter on a model that several processes share.
        """
        model = self.accelerator.unwrap_model(self.model)
        if not is_peft_model(model):
            return inner_model(model)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError(
                "an adapter cannot be merged into sharded weights: call save_model(FOLDER), and merge on one process with "
                "load_checkpoint(FOLDER)."
            )
        return model.merge_and_unload()

    def whole_weights(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Weights of what `merged` returned, gathered where processes share them: all call it, the main process has them."""
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        return self.accelerator.get_state_dict(self.model_wrapped) if sharded else model.state_dict()

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """The parent's training, by one process at a time in one `output_dir`.

        Raises:
            TimeoutError: if another training writes there.
        """
        if not self.args.should_save:
            return super().train(*args, **kwargs)
        # A separate folder, whose name keeps it out of the parent's pushes.
        place = Path(str(self.args.output_dir), "_training")
        try:
            with locked(place, timeout=0):
                return super().train(*args, **kwargs)
        finally:
            with suppress(OSError):  # somebody else's by now
                place.rmdir()

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The parent's optimizer; the input embeddings get a separate group if they have another learning rate."""
        optimizer = super().create_optimizer(model) if model is not None else super().create_optimizer()
        rate = self.args.embedding_learning_rate
        if not rate or any(group.get("embeddings") for group in optimizer.param_groups):
            return optimizer
        embeddings = {id(p) for p in self.trained.get_input_embeddings().parameters()}
        for group in list(optimizer.param_groups):
            own = [p for p in group["params"] if id(p) in embeddings]
            if own:
                group["params"] = [p for p in group["params"] if id(p) not in embeddings]
                rest = {key: value for key, value in group.items() if key not in ("params", "lr", "initial_lr")}
                optimizer.add_param_group({**rest, "params": own, "lr": rate, "embeddings": True})
        return optimizer

    def _note(self, parts: Mapping[str, torch.Tensor]) -> None:
        for name, part in parts.items():
            self._parts[name].append(part)

    def _check_and_note(self, loss: torch.Tensor, parts: Mapping[str, torch.Tensor], inputs: Mapping[str, Any]) -> None:
        """Raises `NonFiniteLossError` for a loss that is not a number, else keeps its parts for the log."""
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

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """The parent's, for rows in any form that the trainer takes."""
        named = eval_dataset is None or isinstance(eval_dataset, str)
        return super().get_eval_dataloader(eval_dataset if named else self._rows(eval_dataset, "eval_dataset"))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """The parent's, for rows in any form that the trainer takes."""
        return super().get_test_dataloader(self._rows(test_dataset, "test_dataset"))

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The parent's loop, and metrics of the whole set, which callbacks and `metric_for_best_model` see, too."""
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        found = self._measure(dataloader.dataset)
        if self.objectives is not None and self.objectives.compares_texts:
            # Such a loss is harder the more texts it tells apart, so that it means nothing without their number.
            found["texts_compared"] = self.args.eval_batch_size * self.args.world_size
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in found.items()})
        return output

    def _measure(self, rows: Any) -> dict[str, float]:
        """Metrics of a subclass on an evaluation set, beside the loss; see `whole`."""
        return {}

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor, Any, Any]:
        """The loss of an evaluation batch; what the model predicts and what it should, for `predict` and `compute_metrics`."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        predictions = (None, None) if prediction_loss_only else self._predictions(outputs, inputs)
        return torch.as_tensor(loss).detach(), *predictions

    def _predictions(self, outputs: Any, inputs: Mapping[str, torch.Tensor]) -> Predictions:
        """Predictions and labels of a batch, one row a text; padded with -100 where batches differ in width."""
        raise NotImplementedError

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The card that `push_to_hub` sends: `write_card`'s if there is one."""
        if self.write_card is None:
            super().create_model_card(*args, **kwargs)
        elif self.is_world_process_zero():
            folder = Path(str(self.args.output_dir))
            if is_peft_model(self.model):
                (folder / "README.md").unlink(missing_ok=True)  # PEFT's form, in which nothing is filled in
            self.write_card(folder, str(self.hub_model_id))

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
        """Further values that a subclass logs with the loss."""

    def _mean_over_processes(self, value: torch.Tensor) -> float:
        return self.accelerator.gather(value.to(self.args.device).reshape(1)).mean().item()
