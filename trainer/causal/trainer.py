"""`CausalDistillationTrainer`: a causal language model that reads a translation as it read the English text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as functional
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from modeling_optical.evaluation.questions.likelihood import ANSWER_MARKER, QUESTION_MARKER
from modeling_optical.transport import TransportOptions, transport_loss

from ..distillation.collator import text_key
from ..distillation.symmetric import spread_kinds
from ..loop.objective_trainer import ObjectiveTrainer
from ..objectives import ObjectiveContext, ObjectiveSum, WeightSchedule, build_objectives, parse_objectives

NEXT_TOKEN = "next_token"
HIDDEN_STATE_OBJECTIVES = ("transport", "pooled_mse", "token_mse", "contrastive")
"""Objectives that compare hidden states of the two models."""
_MARKERS = {"query": QUESTION_MARKER, "document": ANSWER_MARKER}
_COLUMNS = ("source", "target")


def parse_causal_objectives(specification: Mapping[str, Any]) -> tuple[dict[str, Any], WeightSchedule]:
    """Objectives on hidden states that have a weight, and the weight of `next_token`.

    Raises:
        ValueError: for an unknown objective or a wrong value, or if nothing has a weight.
    """
    known = (*HIDDEN_STATE_OBJECTIVES, NEXT_TOKEN)
    for name in specification:
        if name not in known:
            raise ValueError(f"objectives.{name}: a causal model is distilled by {', '.join(known)}.")
    next_token = WeightSchedule.parse(specification.get(NEXT_TOKEN, 0.0), f"objectives.{NEXT_TOKEN}")
    rest = {name: value for name, value in specification.items() if name != NEXT_TOKEN}
    if not rest or all(value == 0 for value in rest.values()):
        if next_token.largest <= 0:
            raise ValueError("no objective has a weight above 0.")
        return {}, next_token
    return {name: rest[name] for name in parse_objectives(rest)}, next_token


@dataclass
class CausalDistillationArguments(TrainingArguments):
    r"""
    Arguments of a [`CausalDistillationTrainer`]. Only what differs from [`~transformers.TrainingArguments`] is listed.

    Args:
        objectives (`dict[str, float | dict]`, defaults to `{"transport": 1.0, "next_token": 1.0}`):
            `transport`, `pooled_mse`, `token_mse` and `contrastive` between hidden states, and `next_token`, the usual loss of
            a language model on the translation, without which a model that thinks in English forgets to write the language.
        transport (`dict`): options of the transport, see [`TransportOptions`]; marginals are uniform, the plan comes from the
            student.
        layers (`list[int]`, *optional*): whose hidden states are compared: 1 is the first layer's output; -1 the last one's.
            `None`: the middle layer.
        max_length (`int`, defaults to 128): tokens of a text.
        stop_on_non_finite (`bool`, defaults to `True`): stop before a loss or gradient that is infinite or not a number reaches
            the weights, and save the batch.
        remove_unused_columns (`bool`, defaults to `False`): off, because the collator reads the texts.
        learning_rate, warmup_steps: as the parent's; defaults 1e-5 and 0.1 (a share of all steps).
    """

    objectives: dict[str, Any] | str | None = field(default=None, metadata={"help": "objectives and weights, as JSON"})
    transport: dict[str, Any] | str | None = field(default=None, metadata={"help": "options of the transport, as JSON"})
    layers: list[int] | None = field(default=None, metadata={"help": "layers whose hidden states are compared"})
    max_length: int = field(default=128, metadata={"help": "tokens of a text"})
    stop_on_non_finite: bool = field(
        default=True, metadata={"help": "stop before a loss or gradient that is no finite number reaches the weights"}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "off: the collator reads the texts"})
    learning_rate: float = field(default=1e-5, metadata={"help": "learning rate"})
    warmup_steps: float = field(default=0.1, metadata={"help": "warm-up steps; below 1, a share of all steps"})

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [*TrainingArguments._VALID_DICT_FIELDS, "objectives", "transport"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objectives is None:
            self.objectives = {"transport": 1.0, NEXT_TOKEN: 1.0}
        if isinstance(self.objectives, str) or isinstance(self.transport, str):
            raise ValueError('objectives and transport must be mappings; as text JSON, such as {"transport": 1.0}.')
        parse_causal_objectives(self.objectives)
        options = self.transport_options
        if options.marginals != "uniform" or options.plan_from != "student" or options.lexical_prior:
            raise ValueError("transport of a causal model: marginals are 'uniform', plan_from is 'student', no lexical_prior.")
        if self.max_length < 4:
            raise ValueError(f"max_length is {self.max_length}; it must be at least 4.")

    @property
    def transport_options(self) -> TransportOptions:
        """The transport's options as a checked object."""
        assert not isinstance(self.transport, str)
        return TransportOptions.from_dict(self.transport or {})


@dataclass
class CausalCollator:
    """Turns pairs `{"source", "target"}` into token ids of both, each behind the marker of its position.

    A text learnt as `query` stands behind "Question:", one learnt as `document` behind "Answer:", as in
    `answer_by_likelihood`. What stands before the text (the marker, and a first token that the tokenizer adds) takes no mass.

    Args:
        tokenizer: of student and teacher.
        max_length: tokens of a text, marker included.
        with_texts: add `texts`, the pairs themselves, for messages.

    Returns of a call:
        `input_ids`, `attention_mask`, `content_mask` (batch, tokens) of the targets, the same with `source_` of the sources,
        `source_keys` (batch,), and `texts` where asked for.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int = 128
    with_texts: bool = False

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        kinds = [feature.get("kind", "query") for feature in features]
        batch: dict[str, Any] = self._side([feature["target"] for feature in features], kinds)
        sources = self._side([feature["source"] for feature in features], kinds)
        batch |= {f"source_{name}": value for name, value in sources.items()}
        if self.with_texts:
            batch["texts"] = [dict(feature) for feature in features]
        return batch | {"source_keys": torch.tensor([text_key(feature["source"]) for feature in features])}

    def _side(self, texts: Sequence[str], kinds: Sequence[str]) -> dict[str, torch.Tensor]:
        rows = []
        for text, kind in zip(texts, kinds, strict=True):
            before = self.tokenizer(_MARKERS[kind].rstrip(), verbose=False)["input_ids"]
            ids = self.tokenizer(_MARKERS[kind] + text, verbose=False)["input_ids"][: self.max_length]
            rows.append((ids, min(len(before), len(ids))))
        longest = max(len(ids) for ids, _ in rows)
        fill = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        places = torch.arange(longest)
        attention = places < torch.tensor([[len(ids)] for ids, _ in rows])
        return {
            "input_ids": torch.tensor([ids + [fill] * (longest - len(ids)) for ids, _ in rows]),
            "attention_mask": attention.long(),
            "content_mask": attention & (places >= torch.tensor([[before] for _, before in rows])),
        }


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
