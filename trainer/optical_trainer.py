"""`OpticalTrainer`: a Trainer whose loss is a weighted sum of distillation objectives."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import Trainer

from modeling_optical import OpticalForDistillation
from modeling_optical.evaluation import translation_retrieval

from .arguments import OpticalTrainingArguments
from .collators import DistillationCollator
from .objectives import build_objectives
from .teacher_cache import TeacherCache
from .teachers import Teacher
from .vocabulary import TranslationTable


class OpticalTrainer(Trainer):
    """Distils a teacher into a student from bitext.

    Everything that `transformers.Trainer` does (checkpoints, resuming, precision, accumulation, several processes, logging,
    pushing) stays as it is. Added: the teacher's vectors in the batches, the objectives, annealing of epsilon, and translation
    retrieval on the evaluation bitext.

    Args:
        model: the student.
        args: the arguments.
        teacher: a `TeacherCache` filled with the sources of both data sets, or a live `Teacher`. It is neither trained, nor
            wrapped, nor saved.
        train_dataset, eval_dataset: bitext with the columns `source` and `target`, as `load_bitext` returns it.
        max_length: the student's tokens per text; its query length if None.
        translations: translation table for `transport.lexical_prior`.
        **kwargs: for the parent (callbacks, optimizers, data_collator …).

    Raises:
        ValueError: if teacher and student differ in dimension, or a data set lacks a column.

    Example:

    ```python
    >>> trainer = OpticalTrainer(model=student, args=arguments, teacher=teacher, train_dataset=bitext)
    >>> trainer.train()
    ```
    """

    # METHOD §6: every objective is a mean over its batch, so the parent divides by the accumulation steps.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: OpticalForDistillation,
        args: OpticalTrainingArguments,
        *,
        teacher: TeacherCache | Teacher,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | None = None,
        max_length: int | None = None,
        translations: TranslationTable | None = None,
        **kwargs: Any,
    ):
        owner = teacher.teacher if isinstance(teacher, TeacherCache) else teacher
        if owner.dim != model.config.vector_dim:
            raise ValueError(
                f"the teacher's token vectors have {owner.dim} dimensions, the student's {model.config.vector_dim}: they must "
                f"share a space. Give the student embedding_dim={owner.dim} (student.config.embedding_dim in a recipe), or "
                "null if its backbone has that hidden size."
            )
        for name, dataset in (("train_dataset", train_dataset), ("eval_dataset", eval_dataset)):
            missing = {"source", "target"} - set(getattr(dataset, "column_names", None) or ("source", "target"))
            if missing:
                raise ValueError(f"{name} lacks the column {sorted(missing)[0]!r}; load_bitext returns what is needed.")
        if args.remove_unused_columns:
            raise ValueError("remove_unused_columns must be False: the collator reads the columns source and target.")
        self.teacher = teacher
        self.max_length = max_length
        assert isinstance(args.objectives, dict)  # the arguments have parsed it
        self.objectives = build_objectives(args.objectives)
        self._parts: dict[str, list[torch.Tensor]] = defaultdict(list)
        kwargs.setdefault("processing_class", model.get_processor())
        kwargs.setdefault(
            "data_collator",
            DistillationCollator(
                kwargs["processing_class"],
                teacher,
                max_length,
                translations,
                model.config.transport_options.lexical_prior,
            ),
        )
        super().__init__(model=model, args=args, train_dataset=train_dataset, eval_dataset=eval_dataset, **kwargs)

    @property
    def _solves_transport(self) -> bool:
        return any(objective.name == "transport" for objective, _ in self.objectives)

    @property
    def epsilon(self) -> float:
        """The transport's epsilon at the present step: geometric from `initial_epsilon` to the configured one."""
        final = self.accelerator.unwrap_model(self.model).config.transport_options.epsilon
        initial = self.args.initial_epsilon
        if initial is None:
            return final
        steps = self.args.epsilon_annealing_steps
        if steps < 1:
            steps *= self.state.max_steps
        progress = min(self.state.global_step / steps, 1.0) if steps > 0 else 1.0
        return initial * (final / initial) ** progress

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Weighted sum of the objectives; every part is logged."""
        arguments: dict[str, Any] = dict(inputs)
        if self._solves_transport:
            arguments["epsilon"] = self.epsilon
        else:  # without teacher vectors the model solves no transport problem
            for name in ("teacher_vectors", "teacher_mask", "teacher_content_mask", "solving_bonus"):
                arguments.pop(name, None)
        output = model(**arguments)
        total = torch.zeros((), device=output["token_vectors"].device)
        for objective, weight in self.objectives:
            value, parts = objective(output, inputs)
            total = total + weight * value
            if model.training:
                for name, part in parts.items():
                    self._parts[name].append(part)
        return (total, output) if return_outputs else total

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

    def evaluate(
        self, eval_dataset: Dataset | None = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The parent's evaluation, and how often a target finds its own source among all of them (METHOD §4: no judgements)."""
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, Dataset):
            found = self.translation_retrieval(dataset)
            added = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
            self.log(added)
            metrics |= added
        return metrics

    def translation_retrieval(self, bitext: Dataset) -> dict[str, float]:
        """Success@1 and RR@10 of targets searching the sources, which the teacher encodes."""
        student = self.accelerator.unwrap_model(self.model)
        vectors = student.encode_queries(
            bitext["target"], processor=self.processing_class, max_length=self.max_length, show_progress_bar=False
        )
        sources = list(dict.fromkeys(bitext["source"]))
        if isinstance(self.teacher, TeacherCache):
            entries = [self.teacher[source].vectors.float() for source in sources]
        else:
            entries = [entry.vectors for source in sources for entry in self.teacher.encode([source])]
        place = {source: index for index, source in enumerate(sources)}
        return translation_retrieval(vectors, entries, [place[source] for source in bitext["source"]])

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the mean of every part since the last log, over all processes."""
        if self._parts and "loss" in logs:
            for name in sorted(self._parts):
                mean = torch.stack([part.float() for part in self._parts[name]]).mean()
                logs[name] = round(self._nested_mean(mean), 6)
            self._parts.clear()
            if self.args.initial_epsilon is not None and self._solves_transport:
                logs["epsilon"] = round(self.epsilon, 6)
        super().log(logs, *args, **kwargs)

    def _nested_mean(self, value: torch.Tensor) -> float:
        return self.accelerator.gather(value.to(self.args.device).reshape(1)).mean().item()

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The parent's optimizer; the input embeddings get a group of their own if they have their own learning rate."""
        optimizer = super().create_optimizer(model) if model is not None else super().create_optimizer()
        rate = self.args.embedding_learning_rate
        if rate is None or any(group.get("embeddings") for group in optimizer.param_groups):
            return optimizer
        embeddings = {id(p) for p in self.accelerator.unwrap_model(self.model).get_input_embeddings().parameters()}
        for group in list(optimizer.param_groups):
            own = [p for p in group["params"] if id(p) in embeddings]
            if own:
                group["params"] = [p for p in group["params"] if id(p) not in embeddings]
                rest = {key: value for key, value in group.items() if key not in ("params", "lr", "initial_lr")}
                optimizer.add_param_group({**rest, "params": own, "lr": rate, "embeddings": True})
        return optimizer
