"""`CausalDistillationTrainer`: a causal language model that reads a translation as it read the English text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from modeling_optical.transport import transport_loss

from ..distillation.symmetric import spread_kinds
from ..loop.inputs import checked_arguments, inner_model
from ..loop.objective_trainer import ObjectiveTrainer, Predictions
from ..objectives import ObjectiveContext, build_objectives
from .arguments import NEXT_TOKEN, CausalDistillationArguments, parse_causal_objectives
from .collator import CausalCollator


class CausalDistillationTrainer(ObjectiveTrainer):
    """Distils the hidden states of a frozen causal model that reads English into one that reads the translation.

    The student may be the same model. At each chosen layer the hidden states are taken to unit length, and the objectives that
    distil encoders apply to them unchanged: `transport` between the tokens of the translation and those of the English text
    (docs/method.md §2), the pooled ones, the contrastive one. The layers count equally. `next_token` is the loss on the
    translation.

    Args:
        model: the student, also one with a PEFT adapter, or a path. None with `model_init`, which then makes one for every
            training.
        args: the arguments; None: their defaults.
        teacher: the frozen model or its path, of the same hidden size and number of layers. It is neither trained, nor wrapped,
            nor saved.
        processing_class: the tokenizer of both; None: that of the student's folder or repository.
        train_dataset, eval_dataset, columns: as for `OpticalTrainer`.
        **kwargs: for the parent.

    Raises:
        ValueError: if the two models differ in size, a layer does not exist, or the data set lacks a column.
    """

    # Every objective is a mean over its batch, so the parent divides by the accumulation steps.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: Any = None,
        args: CausalDistillationArguments | None = None,
        *,
        teacher: PreTrainedModel | str | os.PathLike,
        processing_class: PreTrainedTokenizerBase | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        columns: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        self.args = args = checked_arguments(args, CausalDistillationArguments)
        self.columns = columns
        train_dataset = None if train_dataset is None else self._rows(train_dataset, "train_dataset")
        eval_dataset = None if eval_dataset is None else self._evaluation_rows(eval_dataset)
        assert isinstance(args.objectives, dict)
        self._hidden, self.next_token = parse_causal_objectives(args.objectives)
        self.teacher = _causal_model(teacher, "teacher").eval().requires_grad_(False)
        model = self._first(model, kwargs.get("model_init"))
        if processing_class is None:
            name = inner_model(model).config._name_or_path
            if not name:
                raise ValueError("this model was made in memory: give processing_class, the tokenizer of both models.")
            processing_class = AutoTokenizer.from_pretrained(name)
        kwargs.setdefault("data_collator", CausalCollator(processing_class, args.max_length, args.stop_on_non_finite))
        super().__init__(
            model=model,
            args=args,
            processing_class=processing_class,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            stop_on_non_finite=args.stop_on_non_finite,
            **kwargs,
        )
        self.teacher.to(self.args.device)

    def _rows(self, given: Any, name: str) -> Any:
        return spread_kinds(super()._rows(given, name))

    def _adopt(self, model: Any) -> Any:
        """The student, and the objectives for its hidden states."""
        model = _causal_model(model, "model")
        student = inner_model(model)
        if student is self.teacher:
            raise ValueError("model and teacher are the same object, which would be frozen: load it twice.")
        self.layers = checked_layers(student, self.teacher, self.args.layers)
        context = ObjectiveContext(student.config.get_text_config().hidden_size, seed=self.args.seed)
        self.objectives = build_objectives(self._hidden, context) if self._hidden else None
        return model

    def _predictions(self, outputs: Any, inputs: Mapping[str, torch.Tensor]) -> Predictions:
        """Logits of the translations, and their tokens, as for any causal language model."""
        return outputs.logits, inputs["input_ids"].masked_fill(~inputs["content_mask"], -100)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """The objectives' weighted sum, mean over the layers, and the weighted loss of the next token; every part is logged."""
        output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], output_hidden_states=True)
        step, steps = self.state.global_step, self.state.max_steps
        following = next_token_loss(output.logits, inputs["input_ids"], inputs["content_mask"])
        total = self.next_token.at(step, steps) * following
        parts = {NEXT_TOKEN: following.detach()}
        if self.objectives is not None:
            states = self._teacher_states(inputs)
            for layer in self.layers:
                value, named = self._at_layer(output.hidden_states[layer], states[layer], inputs, step, steps)
                total = total + value / len(self.layers)
                for name, part in named.items():
                    parts[name] = parts.get(name, torch.zeros_like(part)) + part / len(self.layers)
        if model.training:
            self._check_and_note(total, parts, inputs)
        return (total, output) if return_outputs else total

    @torch.no_grad()
    def _teacher_states(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return self.teacher(
            input_ids=inputs["source_input_ids"], attention_mask=inputs["source_attention_mask"], output_hidden_states=True
        ).hidden_states

    def _at_layer(
        self, student: torch.Tensor, teacher: torch.Tensor, inputs: Mapping[str, torch.Tensor], step: int, steps: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        assert self.objectives is not None
        vectors, frozen = (functional.normalize(states.float(), dim=-1) for states in (student, teacher))
        mask, frozen_mask = inputs["content_mask"], inputs["source_content_mask"]
        encoded: dict[str, Any] = {"token_vectors": vectors, "token_mask": mask}
        if self.objectives.needs_plan:
            options = self.args.transport_options
            encoded["loss"], encoded["plan"] = transport_loss(vectors, frozen, mask, frozen_mask, options=options)
        batch = {"teacher_vectors": frozen, "teacher_mask": frozen_mask, "source_keys": inputs["source_keys"]}
        return self.objectives(encoded, batch, step, steps)


def _causal_model(given: Any, name: str) -> Any:
    """A causal language model: loaded from a path, or the one that is given, also inside PEFT's wrapper."""
    if isinstance(given, (str, os.PathLike)):
        return AutoModelForCausalLM.from_pretrained(given)
    inner = inner_model(given)
    if not isinstance(inner, PreTrainedModel) or inner.get_output_embeddings() is None:
        raise TypeError(
            f"{name} is a {type(inner).__name__}: give a causal language model (AutoModelForCausalLM.from_pretrained(PATH)), "
            "or the path itself."
        )
    return given


def next_token_loss(logits: torch.Tensor, input_ids: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the tokens that count, each predicted from those before it: mean over all of them in the batch.

    Args:
        logits: (batch, tokens, vocabulary).
        input_ids: (batch, tokens).
        counts: (batch, tokens) bool, the tokens that are predicted.
    """
    losses = functional.cross_entropy(logits[:, :-1].float().transpose(1, 2), input_ids[:, 1:], reduction="none")
    return torch.where(counts[:, 1:], losses, 0).sum() / counts[:, 1:].sum().clamp_min(1)


def checked_layers(student: PreTrainedModel, teacher: PreTrainedModel, layers: Sequence[int] | None) -> list[int]:
    """Positions among the hidden states, the middle layer's by default.

    Raises:
        ValueError: if the models differ in hidden size or number of layers, or a layer does not exist.
    """
    configs = [model.config.get_text_config() for model in (student, teacher)]
    sizes = [(config.hidden_size, config.num_hidden_layers) for config in configs]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"student and teacher must have the same hidden size and number of layers; they have {sizes[0]} and {sizes[1]}."
        )
    count = sizes[0][1]
    found = []
    for layer in [max(count // 2, 1)] if layers is None else layers:
        place = layer if layer > 0 else count + 1 + layer
        if layer == 0 or not 1 <= place <= count:
            raise ValueError(f"layers: {layer} is none of the model's {count} layers (1 to {count}, or -1 for the last).")
        found.append(place)
    if not found or len(set(found)) != len(found):
        raise ValueError(f"layers is {layers!r}; it lists at least one layer, each once.")
    return found
