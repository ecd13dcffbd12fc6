"""`RetrievalTrainer`: supervised training of a late-interaction retriever on queries, passages and scores."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset
from torch import nn

from modeling_optical import OpticalModel

from ..labelled_data import LabelledDataset
from ..loop.gradient_cache import cached_backward_of_sides
from ..loop.objective_trainer import ObjectiveTrainer
from ..objectives import ObjectiveContext, build_retrieval_objectives
from .arguments import RetrievalTrainingArguments
from .collator import PASSAGE_PREFIX, EpochOfNegatives, RetrievalCollator
from .labelled_evaluation import labelled_retrieval

_ENCODER_INPUTS = ("input_ids", "attention_mask", "token_mask")
_COLUMNS = ("query", "passages", "scores", "known_positives")
# Texts that a frozen encoder takes at a time: without a graph, more at once saves nothing.
_FROZEN_TEXTS = 64


class RetrievalTrainer(ObjectiveTrainer):
    """Trains a retriever on labelled queries: in-batch and hard negatives, a cross-encoder's scores, or both.

    Everything that `transformers.Trainer` does (checkpoints, resuming, precision, accumulation, several processes, logging,
    pushing) stays as it is. Added: two batches in a step (queries and passages), the objectives, gradient caching,
    retrieval on held-out queries, a stop at a loss that is not a number, and checksums in checkpoints.

    Args:
        model: the retriever, with its processor.
        args: the arguments.
        train_dataset, eval_dataset: `LabelledDataset`, as `load_labelled` returns it, or any data set with its columns.
        document_encoder: a frozen model that encodes the passages, for a student whose documents stay the teacher's. None: the
            model encodes them itself, and learns to.
        **kwargs: for the parent (callbacks, optimizers …).

    Raises:
        ValueError: if the two models differ in dimension, or a data set lacks a column.

    Example:

    ```python
    >>> examples, report = load_labelled([LabelledSource(path="triples.tsv")])
    >>> RetrievalTrainer(model=load_checkpoint("bert-base-uncased", embedding_dim=128), args=arguments, train_dataset=examples)
    ```
    """

    # Every objective is a mean over the queries, so the parent divides by the accumulation steps.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: OpticalModel,
        args: RetrievalTrainingArguments,
        *,
        train_dataset: LabelledDataset | Dataset | None = None,
        eval_dataset: LabelledDataset | Dataset | None = None,
        document_encoder: OpticalModel | None = None,
        **kwargs: Any,
    ):
        _check(model, args, document_encoder, train_dataset, eval_dataset)
        assert isinstance(args.objectives, dict)  # the arguments have parsed it
        self.objectives = build_retrieval_objectives(args.objectives, ObjectiveContext(model.config.vector_dim, seed=args.seed))
        self.document_encoder = None if document_encoder is None else document_encoder.eval().requires_grad_(False)
        if model.pooled_projection is not None:
            model.pooled_projection.requires_grad_(False)  # late interaction does not use it
        processor = kwargs.setdefault("processing_class", model.get_processor())
        collator = kwargs.setdefault(
            "data_collator",
            RetrievalCollator(
                processor,
                None if document_encoder is None else document_encoder.get_processor(),
                passages_per_query=args.passages_per_query,
                seed=args.seed,
                with_scores="distillation" in self.objectives.weights,
                with_texts=args.stop_on_non_finite,
            ),
        )
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            stop_on_non_finite=args.stop_on_non_finite,
            **kwargs,
        )
        if isinstance(collator, RetrievalCollator):
            self.add_callback(EpochOfNegatives(collator))
        if self.document_encoder is not None:
            self.document_encoder.to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Weighted sum of the objectives; every part is logged."""
        queries = model(**_side(inputs))
        passages = self._frozen(inputs) if self.document_encoder is not None else model(**_side(inputs, PASSAGE_PREFIX))
        total = self._weighted_sum(queries, passages, inputs, logged=model.training)
        return (total, queries) if return_outputs else total

    @torch.no_grad()
    def _frozen(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Vectors and mask of the passages by the frozen encoder."""
        assert self.document_encoder is not None
        side = _side(inputs, PASSAGE_PREFIX)
        outputs = [
            self.document_encoder(**{name: value[start : start + _FROZEN_TEXTS] for name, value in side.items()})
            for start in range(0, side["input_ids"].shape[0], _FROZEN_TEXTS)
        ]
        return {name: torch.cat([output[name] for output in outputs]) for name in ("token_vectors", "token_mask")}

    def _weighted_sum(self, queries: Any, passages: Any, inputs: Mapping[str, torch.Tensor], *, logged: bool) -> torch.Tensor:
        output = {
            "token_vectors": queries["token_vectors"],
            "token_mask": queries["token_mask"],
            "passage_vectors": passages["token_vectors"],
            "passage_mask": passages["token_mask"],
        }
        total, parts = self.objectives(output, inputs, self.state.global_step, self.state.max_steps)
        if logged:
            self._check_and_note(total, parts, inputs)
        return total

    def _step(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], num_items_in_batch: torch.Tensor | int | None
    ) -> torch.Tensor:
        """The parent's step, or one with gradient caching."""
        chunk_size = self.args.gradient_cache_chunk_size
        if chunk_size is None:
            return super()._step(model, inputs, num_items_in_batch)
        model.train()
        if callable(getattr(self.optimizer, "train", None)):  # schedule-free optimizers, as the parent does
            self.optimizer.train()
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            sides = [_side(inputs)]
            frozen = None if self.document_encoder is None else self._frozen(inputs)
            if frozen is None:
                sides.append(_side(inputs, PASSAGE_PREFIX))
            loss = cached_backward_of_sides(
                model,
                sides,
                chunk_size,
                loss_of=lambda outputs: self._weighted_sum(outputs[0], frozen or outputs[1], inputs, logged=True),
                backward=lambda value: self.accelerator.backward(value / self.current_gradient_accumulation_steps),
                no_sync=functools.partial(self.accelerator.no_sync, model),
            )
        return loss / self.current_gradient_accumulation_steps

    def evaluate(
        self,
        eval_dataset: LabelledDataset | Dataset | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """The parent's evaluation, and retrieval: every held-out query searches among the passages of all of them."""
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        model = self.accelerator.unwrap_model(self.model)
        found = labelled_retrieval(model, self.document_encoder or model, dataset)
        added = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(added)
        return metrics | added


def _side(inputs: Mapping[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """What the encoder reads of the queries or, with the prefix, of the passages."""
    return {name: inputs[prefix + name] for name in _ENCODER_INPUTS}


def _check(
    model: OpticalModel,
    args: RetrievalTrainingArguments,
    document_encoder: OpticalModel | None,
    train_dataset: Any,
    eval_dataset: Any,
) -> None:
    if document_encoder is not None and document_encoder.config.vector_dim != model.config.vector_dim:
        raise ValueError(
            f"the documents' vectors have {document_encoder.config.vector_dim} dimensions, the model's "
            f"{model.config.vector_dim}: they must share a space. Start from a student of that teacher, or let the model "
            "encode the documents, too."
        )
    if args.remove_unused_columns:
        raise ValueError("remove_unused_columns must be False: the collator reads the texts.")
    for name, dataset in (("train_dataset", train_dataset), ("eval_dataset", eval_dataset)):
        if dataset is None or not len(dataset):
            continue
        missing = [column for column in _COLUMNS if column not in dataset[0]]
        if missing:
            raise ValueError(f"{name} lacks the column {missing[0]!r}; load_labelled returns what is needed.")
