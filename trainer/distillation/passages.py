"""English passages for `score_kl`: encoded once by the frozen teacher, drawn anew in every step."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from modeling_optical.encoding.normal_forms import comparable
from modeling_optical.late_interaction import pad_vectors

from ..teachers.teacher import TeacherOfTexts
from ..text_files import stream_texts


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
        teacher: keeps the vectors, a `TeacherCache` on its disk, a live `Teacher` in memory.
    """

    def __init__(self, passages: Sequence[str], teacher: TeacherOfTexts):
        self.passages = list(passages)
        self.teacher = teacher
        teacher.build(self.passages, "document")

    def sample(self, count: int, step: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (count, tokens, dim) and mask of passages that step and seed alone decide, so that all processes agree.

        All passages, if there are no more than `count`.
        """
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        chosen = torch.randperm(len(self.passages), generator=generator)[:count].tolist()
        entries = self.teacher.vectors_of([self.passages[index] for index in chosen], ["document"] * len(chosen))
        return pad_vectors([entry.vectors.float() for entry in entries])
