"""English passages for `score_kl`: encoded once by the frozen teacher, drawn anew in every step."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from modeling_optical.encoding.normal_forms import comparable
from modeling_optical.late_interaction import pad_vectors

from ..teachers.cache import TeacherCache
from ..teachers.teacher import Teacher, TeacherVectors
from ..text_files import stream_texts

_TEXTS_AT_A_TIME = 32


def read_passages(path: str | os.PathLike) -> list[str]:
    """Passages of a file: JSONL with the field `text` (and `title`), or a passage a line. Empty lines are left out.

    Raises:
        FileNotFoundError: if there is no such file. ValueError: for a line that is not what it should be (named), or if fewer
            than two passages are there.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"objectives.score_kl.passages: the file {str(path)!r} does not exist.")
    passages = list({comparable(text): text for text in stream_texts(path)}.values())
    if len(passages) < 2:
        raise ValueError(f"{path} holds {len(passages)} passages; a ranking needs at least two.")
    return passages


class PassageSet:
    """Passages with the teacher's document vectors.

    Args:
        passages: the texts.
        teacher: a `TeacherCache`, on whose disk the vectors go, or a live `Teacher`, with which they stay in memory.
    """

    def __init__(self, passages: Sequence[str], teacher: TeacherCache | Teacher):
        self.passages = list(passages)
        self.cache = teacher if isinstance(teacher, TeacherCache) else None
        self._vectors: list[TeacherVectors] = []
        if self.cache is not None:
            self.cache.build(self.passages, "document")
        else:
            assert isinstance(teacher, Teacher)
            for start in range(0, len(self.passages), _TEXTS_AT_A_TIME):
                self._vectors += teacher.encode(self.passages[start : start + _TEXTS_AT_A_TIME], "document")

    def sample(self, count: int, step: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (count, tokens, dim) and mask of passages that step and seed alone decide, so that all processes agree.

        All passages, if there are no more than `count`.
        """
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        chosen = torch.randperm(len(self.passages), generator=generator)[:count].tolist()
        if self.cache is None:
            entries = [self._vectors[index] for index in chosen]
        else:
            entries = [self.cache.get(self.passages[index], "document") for index in chosen]
        return pad_vectors([entry.vectors.float() for entry in entries])
