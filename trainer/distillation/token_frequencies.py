"""Inverse document frequencies of tokens in the training bitext: the marginals `idf` of docs/method.md §3."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from modeling_optical import OpticalProcessor
from modeling_optical.encoding.batching import batched
from modeling_optical.files.atomic_write import save_tensors

_TEXTS_AT_A_TIME = 1024


@dataclass
class InverseDocumentFrequencies:
    """`log(1 + N / (1 + n))` for every token, with N texts of which n hold it; always above 0.

    Attributes:
        student: (student vocabulary,) float32, counted on the targets.
        teacher: (teacher vocabulary,) float32, counted on the sources.
    """

    student: torch.Tensor
    teacher: torch.Tensor

    @classmethod
    def count(
        cls, bitext: Iterable[Mapping[str, Any]], student: OpticalProcessor, teacher: OpticalProcessor
    ) -> InverseDocumentFrequencies:
        """Counts on a bitext with the columns `source` and `target`; expansion tokens are in every text.

        Raises:
            ValueError: if the bitext is empty.
        """
        counts = [torch.zeros(len(student.tokenizer)), torch.zeros(len(teacher.tokenizer))]
        texts = 0
        for pairs in batched(bitext, _TEXTS_AT_A_TIME):
            texts += len(pairs)
            for count, processor, column in zip(counts, (student, teacher), ("target", "source"), strict=True):
                for feature in processor.tokenize([pair[column] for pair in pairs], "query"):
                    count[torch.tensor(sorted(set(feature["input_ids"])))] += 1
        if not texts:
            raise ValueError("transport.marginals='idf': there is no pair to count on.")
        return cls(*(torch.log1p(texts / (1 + count)) for count in counts))

    def save(self, path: str | os.PathLike) -> None:
        """Writes both tables, whole or not at all."""
        save_tensors(path, {"student": self.student, "teacher": self.teacher})

    @classmethod
    def load(cls, path: str | os.PathLike) -> InverseDocumentFrequencies:
        """Reads both tables.

        Raises:
            ValueError: if the file is none of these.
        """
        try:
            tensors = load_file(str(path))
            return cls(tensors["student"], tensors["teacher"])
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{path} holds no token frequencies ({error}). Remove it; they are counted again.") from error
