"""`CausalDistillationTrainer`: a causal language model that reads a translation as it read the English text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from modeling_optical.transport import transport_loss

from ..distillation.symmetric import spread_kinds
from ..loop.objective_trainer import ObjectiveTrainer
from ..objectives import ObjectiveContext, ObjectiveSum, build_objectives
from .arguments import NEXT_TOKEN, CausalDistillationArguments, parse_causal_objectives
from .collator import CausalCollator

_COLUMNS = ("source", "target")


class CausalDistillationTrainer(ObjectiveTrainer):
    """Distils the hidden states of a frozen causal model that reads English into one that reads the translation.

    The student may be the same model. At each chosen layer the hidden states are taken to unit length, and the objectives that
    distil encoders apply to them unchanged: `transport` between the tokens of the translation and those of the English text
    (METHOD §2), the pooled ones, the contrastive one. The layers count equally. Added is `next_token` on the translation.

    Args:
        model: the student.
        args: the arguments.
        teacher: the frozen model, of the same hidden size and number of layers. It is neither trained, nor wrapped, nor saved.
        processing_class: the tokenizer of both.
        train_dataset: bitext with the columns `source` and `target`, as `load_bitext` returns it; also `kind`.
        **kwargs: for the parent.

    Raises:
        ValueError: if the two models differ in size, a layer does not exist, or the data set lacks a column.
    """

    # Every objective is a mean over its batch, so the parent divides by the accumulation steps.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: PreTrainedModel,
        args: CausalDistillationArguments,
        *,
        teacher: PreTrainedModel,
        processing_class: PreTrainedTokenizerBase,
        train_dataset: Dataset,
        **kwargs: Any,
    ):
        missing = [name for name in _COLUMNS if name not in train_dataset.column_names]
        if missing:
            raise ValueError(f"train_dataset lacks the column {missing[0]!r}; load_bitext returns what is needed.")
        if args.remove_unused_columns:
            raise ValueError("remove_unused_columns must be False: the collator reads the texts.")
        self.layers = checked_layers(model, teacher, args.layers)
        assert isinstance(args.objectives, dict)
        hidden, self.next_token = parse_causal_objectives(args.objectives)
        context = ObjectiveContext(model.config.get_text_config().hidden_size, seed=args.seed)
        self.objectives: ObjectiveSum | None = build_objectives(hidden, context) if hidden else None
        self.teacher = teacher.eval().requires_grad_(False)
        kwargs.setdefault("data_collator", CausalCollator(processing_class, args.max_length, args.stop_on_non_finite))
        super().__init__(
            model=model,
            args=args,
            processing_class=processing_class,
            train_dataset=spread_kinds(train_dataset),
            stop_on_non_finite=args.stop_on_non_finite,
            **kwargs,
        )
        self.teacher.to(self.args.device)

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
