"""Batches for a causal model's distillation: token ids of the pairs, each text behind the marker of its position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from modeling_optical.evaluation.questions.likelihood import ANSWER_MARKER, QUESTION_MARKER

from ..distillation.collator import text_key

_MARKERS = {"query": QUESTION_MARKER, "document": ANSWER_MARKER}


@dataclass
class CausalCollator:
    """Turns pairs `{"source", "target"}` into token ids of both, each after the marker of its position.

    A `query` text follows "Question:", a `document` text "Answer:", as in `answer_by_likelihood`. The tokens before the text
    (the marker, and a first token that the tokenizer adds) take no mass.

    Args:
        tokenizer: of student and teacher.
        max_length: tokens of a text, marker included.
        with_texts: add `texts`, the pairs themselves, for messages.

    Returns of a call:
        `input_ids`, `attention_mask`, `content_mask` (batch, tokens) of the targets, the same with `source_` of the sources,
        `source_keys` (batch,), and `texts` if requested.
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
