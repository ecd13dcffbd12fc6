"""`RetrievalTrainer`: supervised training of a late-interaction retriever on queries, passages and scores."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from modeling_optical import OpticalModel

from ..labelled_data import LabelledDataset
from ..loop.cpu_attention import fast_cpu_attention
from ..loop.gradient_cache import cached_backward_of_sides
from ..loop.inputs import checked_arguments, checked_processor, inner_model, late_interaction_model, whole
from ..loop.objective_trainer import ObjectiveTrainer, Predictions
from ..objectives import ObjectiveContext, build_retrieval_objectives
from ..objectives.scoring.scores import mean_maxsim_pairwise
from .arguments import RetrievalTrainingArguments
from .collator import PASSAGE_PREFIX, EpochOfNegatives, RetrievalCollator
from .labelled_evaluation import labelled_retrieval

_ENCODER_INPUTS = ("input_ids", "attention_mask", "token_mask")
# Texts that a frozen encoder takes at a time: without a graph, more at once saves nothing.
_FROZEN_TEXTS = 64


class RetrievalTrainer(ObjectiveTrainer):
    """Trains a retriever on labelled queries: in-batch and hard negatives, a cross-encoder's scores, or both.

    Everything that `transformers.Trainer` does (checkpoints, resuming, precision, accumulation, several processes, logging,
    pushing) stays as it is. Added: two batches in a step (queries and passages), the objectives, gradient caching,
    retrieval on held-out queries, a stop at a loss that is not a number, and checksums in checkpoints.

    Args:
        model: the retriever, with its processor, also one with a PEFT adapter, or a path. None with `model_init`, which then
            makes one for every training.
        args: the arguments; None: their defaults.
        train_dataset, eval_dataset: `LabelledDataset`, as `load_labelled` returns it, or rows with `query` and `passages` (the
            positive first), and perhaps `scores` and `known_positives`: a data set, a list, a stream. `eval_dataset` may be a
            mapping of names to such sets.
        columns: for columns of other names: `{"query": "question"}`.
        document_encoder: a frozen model that encodes the passages, for a student whose documents stay the teacher's. None: the
            model encodes them itself, and learns to.
        **kwargs: for the parent (callbacks, optimizers, compute_metrics, model_init …). `compute_metrics` and `predict` get the
            scores of each query's own passages as predictions and the place of the positive, 0, as labels.

    Raises:
        TypeError: for an argument of another kind.
        ValueError: if the two models differ in dimension, or a data set lacks a column.

    Example:

    ```python
    >>> examples, report = load_labelled([LabelledSource(path="triples.tsv")])
    >>> RetrievalTrainer(model=load_checkpoint("bert-base-uncased", embedding_dim=128), args=arguments, train_dataset=examples)
    ```
    """

    # Every objective is a mean over the queries, so the parent divides by the accumulation steps.
    loss_is_scaled_for_ga = False
    _COLUMNS = ("query", "passages")
    _ADVICE = (
        "load_labelled([LabelledSource(path=…)]) reads triples, pairs and scored lists; in memory, give rows "
        '{"query": …, "passages": [positive, negatives …]}.'
    )

    def __init__(
        self,
        model: Any = None,
        args: RetrievalTrainingArguments | None = None,
        *,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        document_encoder: OpticalModel | str | os.PathLike | None = None,
        columns: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        self.args = args = checked_arguments(args, RetrievalTrainingArguments)
        self.columns = columns
        train_dataset = None if train_dataset is None else self._rows(train_dataset, "train_dataset")
        eval_dataset = None if eval_dataset is None else self._evaluation_rows(eval_dataset)
        self.document_encoder: Any = None
        if document_encoder is not None:
            self.document_encoder = late_interaction_model(document_encoder, "document_encoder").eval().requires_grad_(False)
        model = self._first(model, kwargs.get("model_init"))
        processor = checked_processor(kwargs.pop("processing_class", None) or inner_model(model).get_processor())
        collator = kwargs.setdefault(
            "data_collator",
            RetrievalCollator(
                processor,
                None if document_encoder is None else self.document_encoder.get_processor(),
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
            processing_class=processor,
            stop_on_non_finite=args.stop_on_non_finite,
            **kwargs,
        )
        if isinstance(collator, RetrievalCollator):
            self.add_callback(EpochOfNegatives(collator))
        if self.document_encoder is not None:
            self.document_encoder.to(self.args.device)

    def _rows(self, given: Any, name: str) -> Any:
        return given if isinstance(given, LabelledDataset) else super()._rows(given, name)

    def _adopt(self, model: Any) -> Any:
        """The retriever in the form that is trained, and the objectives for its vectors."""
        model = late_interaction_model(model, "model")
        student = inner_model(model)
        _check(student, self.document_encoder)
        assert isinstance(self.args.objectives, dict)  # the arguments have parsed it
        context = ObjectiveContext(student.config.vector_dim, seed=self.args.seed)
        self.objectives = build_retrieval_objectives(self.args.objectives, context)
        if student.pooled_projection is not None:
            student.pooled_projection.requires_grad_(False)  # late interaction does not use it
        return model

    def _inner_training_loop(self, batch_size: int | None = None, **kwargs: Any) -> Any:
        """The parent's loop; short texts on a CPU in bf16 with the attention that is faster there."""
        kinds = ("query",) if self.document_encoder is not None else ("query", "document")
        longest = max(self.processing_class.longest(kind) for kind in kinds)
        with fast_cpu_attention(self.trained, self.args, longest):
            return super()._inner_training_loop(batch_size, **kwargs)

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
        return (total, (queries, passages)) if return_outputs else total

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

    def _measure(self, rows: Any) -> dict[str, float]:
        """Retrieval: every held-out query searches among the passages of all of them."""
        return labelled_retrieval(self.trained, self.document_encoder or self.trained, whole(rows))

    def _predictions(self, outputs: Any, inputs: Mapping[str, torch.Tensor]) -> Predictions:
        """Scores of each query's own passages, and the place of the positive among them, which is the first."""
        queries, passages = outputs
        owners, places = inputs["passage_owners"], inputs["passage_places"]
        found = mean_maxsim_pairwise(
            queries["token_vectors"], passages["token_vectors"], queries["token_mask"], passages["token_mask"], owners
        )
        scores = found.new_full((len(inputs["positive_rows"]), int(places.max()) + 1), -100)
        scores[owners, places] = found
        return scores, torch.zeros_like(inputs["positive_rows"])


def _side(inputs: Mapping[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """The encoder's inputs of the queries or, with the prefix, of the passages."""
    return {name: inputs[prefix + name] for name in _ENCODER_INPUTS}


def _check(model: OpticalModel, document_encoder: OpticalModel | None) -> None:
    if document_encoder is model:
        raise ValueError("model and document_encoder are the same object, which would be frozen: leave document_encoder out.")
    if document_encoder is not None and document_encoder.config.vector_dim != model.config.vector_dim:
        raise ValueError(
            f"the documents' vectors have {document_encoder.config.vector_dim} dimensions, the model's "
            f"{model.config.vector_dim}: they must share a space. Start from a student of that teacher, or let the model "
            "encode the documents, too."
        )
