"""Batches of queries with their passages."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from transformers import TrainerCallback

from modeling_optical import OpticalProcessor
from modeling_optical.encoding.normal_forms import comparable

from ..distillation.collator import text_key

PASSAGE_PREFIX = "passage_"
_ENCODER_INPUTS = ("input_ids", "attention_mask", "token_mask")


class RetrievalCollator:
    """Tokenizes queries as queries and passages as documents, and says which belong together.

    Input: rows with `query`, `passages` (the positive first) and perhaps `scores` (one per passage) and `known_positives`.
    Output, for B queries with P passages in all:

    | key | what | shape |
    |---|---|---|
    | `input_ids`, `attention_mask`, `token_mask` | the queries | (B, tokens) |
    | `passage_input_ids`, `passage_attention_mask`, `passage_token_mask` | the passages, query by query | (P, tokens) |
    | `passage_owners`, `passage_places` | position of a passage's query, and of the passage there (positive: 0) | (P,) |
    | `positive_rows` | position of each query's positive among the passages | (B,) |
    | `passage_keys`, `positive_keys` | numbers for texts: of the passages; of all that are relevant | (P,), (B, most) |
    | `passage_scores` | given scores, where asked for | (P,) |
    | `texts` | the rows themselves, where asked for | B |

    Args:
        processor: the model's.
        document_processor: of the passages' encoder; the same by default.
        passages_per_query: the positive and `passages_per_query - 1` negatives. If there are more, the seed, the epoch and the
            query alone decide which, so neither the number of processes nor a restart changes them.
        seed: of that choice.
        with_scores: whether every row must have scores.
        with_texts: add the rows, for messages.

    Raises:
        ValueError: for a row without scores, if they are requested; the message names the query.
    """

    def __init__(
        self,
        processor: OpticalProcessor,
        document_processor: OpticalProcessor | None = None,
        *,
        passages_per_query: int = 2,
        seed: int = 0,
        with_scores: bool = False,
        with_texts: bool = False,
    ):
        self.processor = processor
        self.document_processor = document_processor or processor
        self.passages_per_query = passages_per_query
        self.seed = seed
        self.with_scores = with_scores
        self.with_texts = with_texts
        # In shared memory, so that workers that outlive an epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch whose negatives are drawn."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._epoch.fill_(number)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        passages: list[str] = []
        scores: list[float] = []
        owners: list[int] = []
        places: list[int] = []
        firsts: list[int] = []
        for owner, row in enumerate(rows):
            chosen = self._choose(row)
            firsts.append(len(passages))
            passages += [row["passages"][index] for index in chosen]
            owners += [owner] * len(chosen)
            places += range(len(chosen))
            if self.with_scores:
                given = row.get("scores") or ()
                if len(given) != len(row["passages"]):
                    raise ValueError(
                        f"the query {row['query'][:80]!r} has {len(given)} scores for {len(row['passages'])} passages: "
                        "objectives.distillation needs one for each. Leave it out, or leave out the data without scores."
                    )
                scores += [given[index] for index in chosen]
        queries = self.processor.pad(self.processor.tokenize([row["query"] for row in rows], "query"))
        documents = self.document_processor.pad(self.document_processor.tokenize(passages, "document"))
        batch: dict[str, Any] = {name: queries[name] for name in _ENCODER_INPUTS}
        batch |= {PASSAGE_PREFIX + name: documents[name] for name in _ENCODER_INPUTS}
        batch["passage_owners"] = torch.tensor(owners)
        batch["passage_places"] = torch.tensor(places)
        batch["positive_rows"] = torch.tensor(firsts)
        batch["passage_keys"] = torch.tensor([text_key(comparable(passage)) for passage in passages])
        batch["positive_keys"] = _positive_keys(rows)
        if self.with_scores:
            batch["passage_scores"] = torch.tensor(scores, dtype=torch.float32)
        if self.with_texts:
            batch["texts"] = [dict(row) for row in rows]
        return batch

    def _choose(self, row: dict[str, Any]) -> list[int]:
        """Positions of the passages that take part: the positive, and some of the others in their order."""
        negatives, wanted = len(row["passages"]) - 1, self.passages_per_query - 1
        if negatives <= wanted:
            return list(range(negatives + 1))
        generator = random.Random(f"{self.seed}:{self.epoch}:{row['query']}")
        return [0, *sorted(generator.sample(range(1, negatives + 1), wanted))]


class EpochOfNegatives(TrainerCallback):
    """Tells the collator which epoch it is, so that every epoch sees other negatives.

    Args:
        collator: the collator.
    """

    def __init__(self, collator: RetrievalCollator):
        self.collator = collator

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.collator.epoch = int((state.epoch or 0) + 1e-6)


def _positives(row: dict[str, Any]) -> list[str]:
    return [row["passages"][0], *(row.get("known_positives") or ())]


def _positive_keys(rows: Sequence[dict[str, Any]]) -> torch.Tensor:
    keys = [[text_key(comparable(text)) for text in _positives(row)] for row in rows]
    most = max(len(own) for own in keys)
    return torch.tensor([own + own[:1] * (most - len(own)) for own in keys])
