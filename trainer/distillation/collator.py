"""Batches for distillation: the student's tokens and the teacher's vectors of the same pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from modeling_optical import OpticalProcessor

from ..teachers.teacher import TeacherOfTexts, TeacherVectors
from ..vocabulary import TranslationTable
from .token_frequencies import InverseDocumentFrequencies


@dataclass
class DistillationCollator:
    """Turns pairs `{"source", "target"}` into the arguments of `OpticalForDistillation.forward`.

    A pair may have a `language` and a `kind`, `"query"` (the default) or `"document"`; both of its texts are processed as that
    kind.

    Args:
        processor: the student's processor.
        teacher: a `TeacherCache` that holds all sources, or a live `Teacher`.
        max_length: the student's tokens per query-like text; its query length if None.
        translations: translation table for the lexical prior; needs `lexical_prior` > 0.
        lexical_prior: weight of the table in the cost that the plan is solved on.
        max_document_length: the student's tokens per document-like text; its document length if None.
        expand: pad both texts of a pair with mask tokens to the same number (`transport.tokens="with_expansion"`).
        marginals: as `TransportOptions.marginals`; brings the weights of the teacher's tokens, for `"idf"` of both sides'.
        frequencies: for `marginals="idf"`.
        with_source_keys: add `source_keys`, which show an objective that two sources are the same text.
        languages: add `language_ids`, positions in this list.
        with_pooled: add `teacher_pooled`, the teacher's one vector per text.
        with_texts: add `texts`, the pairs themselves, for messages.

    Returns of a call:
        `input_ids`, `attention_mask`, `token_mask`, `content_mask` (batch, tokens); `teacher_vectors` (batch, teacher tokens,
        dim) float32; `teacher_mask`, `teacher_content_mask` (batch, teacher tokens); with a table also `solving_bonus`; with
        marginals other than uniform `teacher_weights` and, for idf, `token_weights`; `source_keys` and `language_ids` (batch,)
        int64, `teacher_pooled` (batch, pooled dim) float32 and `texts` if requested.
    """

    processor: OpticalProcessor
    teacher: TeacherOfTexts
    max_length: int | None = None
    translations: TranslationTable | None = None
    lexical_prior: float = 0.0
    max_document_length: int | None = None
    expand: bool = False
    marginals: str = "uniform"
    frequencies: InverseDocumentFrequencies | None = None
    with_source_keys: bool = False
    languages: Sequence[str] = ()
    with_pooled: bool = False
    with_texts: bool = False

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        kinds = [feature.get("kind", "query") for feature in features]
        texts = self._tokenize([feature["target"] for feature in features], kinds)
        entries = self.teacher.vectors_of([feature["source"] for feature in features], kinds)
        if self.expand:
            texts, entries = self._expand(texts, entries)
        batch = dict(self.processor.pad(texts))
        batch |= self._teacher_tensors(entries)
        if self.marginals != "uniform":
            batch |= self._weights(batch, entries)
        if self.translations is not None and self.lexical_prior > 0:
            batch["solving_bonus"] = self._solving_bonus(batch, entries, self.translations)
        if self.with_source_keys:
            batch["source_keys"] = torch.tensor([text_key(feature["source"]) for feature in features])
        if self.with_pooled:
            batch["teacher_pooled"] = _pooled(entries)
        if self.languages:
            batch["language_ids"] = torch.tensor([self._language(feature) for feature in features])
        if self.with_texts:
            batch["texts"] = [dict(feature) for feature in features]
        return batch

    def _tokenize(self, texts: list[str], kinds: list[str]) -> list[dict[str, list[Any]]]:
        lengths = {"query": self.max_length, "document": self.max_document_length}
        if len(set(kinds)) == 1:
            return self.processor.tokenize(texts, kinds[0], lengths.get(kinds[0]))
        found: list[Any] = [None] * len(texts)
        for kind in sorted(set(kinds)):
            rows = [row for row, own in enumerate(kinds) if own == kind]
            tokenized = self.processor.tokenize([texts[row] for row in rows], kind, lengths.get(kind))
            for row, feature in zip(rows, tokenized, strict=True):
                found[row] = feature
        return found

    def _expand(
        self, texts: list[dict[str, list[Any]]], entries: list[TeacherVectors]
    ) -> tuple[list[dict[str, list[Any]]], list[TeacherVectors]]:
        """Both sides of every pair at the number of tokens of the longer one."""
        lengths = [max(len(text["input_ids"]), entry.unexpanded) for text, entry in zip(texts, entries, strict=True)]
        texts = [self.processor.expand(text, length) for text, length in zip(texts, lengths, strict=True)]
        return texts, [entry.first(length) for entry, length in zip(entries, lengths, strict=True)]

    def _teacher_tensors(self, entries: list[TeacherVectors]) -> dict[str, torch.Tensor]:
        if not self.expand:
            entries = [entry.first(entry.unexpanded) if entry.expansion_mask is not None else entry for entry in entries]
        longest = max(entry.vectors.shape[0] for entry in entries)
        vectors = torch.zeros(len(entries), longest, entries[0].vectors.shape[1])
        mask = torch.zeros(len(entries), longest, dtype=torch.bool)
        content = torch.zeros_like(mask)
        for row, entry in enumerate(entries):
            length = entry.vectors.shape[0]
            vectors[row, :length] = entry.vectors
            mask[row, :length] = True
            content[row, :length] = entry.content_mask
        return {"teacher_vectors": vectors, "teacher_mask": mask, "teacher_content_mask": content}

    def _weights(self, batch: dict[str, torch.Tensor], entries: list[TeacherVectors]) -> dict[str, torch.Tensor]:
        teacher = torch.zeros(batch["teacher_mask"].shape)
        if self.marginals == "idf":
            if self.frequencies is None:
                raise ValueError("transport.marginals='idf' needs frequencies: InverseDocumentFrequencies.count(...).")
            for row, entry in enumerate(entries):
                values = self.frequencies.teacher[entry.input_ids][: teacher.shape[1]]
                teacher[row, : len(values)] = values
            return {"teacher_weights": teacher, "token_weights": self.frequencies.student[batch["input_ids"]]}
        for row, entry in enumerate(entries):
            if self.marginals not in entry.weights:
                raise ValueError(
                    f"transport.marginals={self.marginals!r}: the teacher's vectors come without it. Make the teacher with "
                    f"Teacher.from_pretrained(…, weigh_tokens_by=[{self.marginals!r}])."
                )
            values = entry.weights[self.marginals][: teacher.shape[1]]
            teacher[row, : len(values)] = values
        return {"teacher_weights": teacher}

    def _solving_bonus(
        self, batch: dict[str, torch.Tensor], entries: list[TeacherVectors], translations: TranslationTable
    ) -> torch.Tensor:
        longest = batch["teacher_mask"].shape[1]
        bonus = torch.zeros(len(entries), batch["input_ids"].shape[1], longest)
        for row, entry in enumerate(entries):
            found = translations.lookup(batch["input_ids"][row], entry.input_ids[:longest])
            bonus[row, :, : found.shape[1]] = self.lexical_prior * found
        return bonus

    def _language(self, feature: dict[str, Any]) -> int:
        try:
            return self.languages.index(feature["language"])
        except ValueError:
            raise ValueError(
                f"the pair {feature['target'][:60]!r} is in {feature['language']!r}, which is none of the languages trained on "
                f"({', '.join(self.languages)})."
            ) from None


def _pooled(entries: Sequence[TeacherVectors]) -> torch.Tensor:
    rows = [entry.pooled for entry in entries if entry.pooled is not None]
    if len(rows) < len(entries):
        raise ValueError(
            "pooled_vector_mse needs the teacher's pooled vectors, and the cache was made without them. Name another folder "
            "for the teacher cache."
        )
    return torch.stack(rows).float()


def text_key(text: str) -> int:
    """A number that identifies a text: 63 bits and a sign of its hash."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True)
