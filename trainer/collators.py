"""Batches for distillation: the student's tokens and the teacher's vectors of the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from modeling_optical import OpticalProcessor

from .teacher_cache import TeacherCache
from .teachers import Teacher
from .vocabulary import TranslationTable


@dataclass
class DistillationCollator:
    """Turns pairs `{"source", "target"}` into the arguments of `OpticalForDistillation.forward`.

    Args:
        processor: the student's processor.
        teacher: a `TeacherCache` that holds all sources, or a live `Teacher`.
        max_length: the student's tokens per text; its query length if None.
        translations: translation table for the lexical prior; needs `lexical_prior` > 0.
        lexical_prior: weight of the table in the cost that the plan is solved on.

    Returns of a call:
        `input_ids`, `attention_mask`, `token_mask`, `content_mask` (batch, tokens); `teacher_vectors` (batch, teacher tokens,
        dim) float32; `teacher_mask`, `teacher_content_mask` (batch, teacher tokens); with a table also `solving_bonus`.
    """

    processor: OpticalProcessor
    teacher: TeacherCache | Teacher
    max_length: int | None = None
    translations: TranslationTable | None = None
    lexical_prior: float = 0.0

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = dict(self.processor.pad(self.processor.tokenize([f["target"] for f in features], "query", self.max_length)))
        sources = [feature["source"] for feature in features]
        if isinstance(self.teacher, TeacherCache):
            entries = [self.teacher[source] for source in sources]
        else:
            entries = self.teacher.encode(sources)
        longest = max(entry.vectors.shape[0] for entry in entries)
        vectors = torch.zeros(len(entries), longest, entries[0].vectors.shape[1])
        mask = torch.zeros(len(entries), longest, dtype=torch.bool)
        content = torch.zeros_like(mask)
        for row, entry in enumerate(entries):
            length = entry.vectors.shape[0]
            vectors[row, :length] = entry.vectors
            mask[row, :length] = True
            content[row, :length] = entry.content_mask
        batch |= {"teacher_vectors": vectors, "teacher_mask": mask, "teacher_content_mask": content}
        if self.translations is not None and self.lexical_prior > 0:
            bonus = torch.zeros(len(entries), batch["input_ids"].shape[1], longest)
            for row, entry in enumerate(entries):
                found = self.translations.lookup(batch["input_ids"][row], entry.input_ids)
                bonus[row, :, : found.shape[1]] = self.lexical_prior * found
            batch["solving_bonus"] = bonus
        return batch
