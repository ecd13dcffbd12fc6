"""The teacher: a frozen encoder that is good in one language."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.fingerprint import model_fingerprint


@dataclass
class TeacherVectors:
    """What a teacher says of one text.

    Attributes:
        vectors: (tokens, dim) unit vectors.
        content_mask: (tokens,) bool, tokens that are neither special, marker nor expansion.
        input_ids: (tokens,) int64.
    """

    vectors: torch.Tensor
    content_mask: torch.Tensor
    input_ids: torch.Tensor


class Teacher:
    """A late-interaction model that is never trained: in eval mode, without gradients, outside the student's checkpoint.

    Args:
        model: the model, with its processor.
        max_length: tokens per text when encoding bitext; the model's query length if None.

    Example:

    ```python
    >>> teacher = Teacher.from_pretrained("org/english-colbert", max_length=64)
    >>> teacher.encode(["good morning"])[0].vectors.shape
    ```
    """

    def __init__(self, model: OpticalModel, max_length: int | None = None):
        self.model = model.eval().requires_grad_(False)
        self.processor = model.get_processor()
        self.max_length = max_length or model.config.query_length
        self._fingerprint: str | None = None

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike, *, max_length: int | None = None, **kwargs: Any) -> Teacher:
        """Loads a teacher as `load_checkpoint` does."""
        return cls(load_checkpoint(name, **kwargs), max_length)

    @property
    def dim(self) -> int:
        """Size of a token vector."""
        return self.model.config.vector_dim

    def to(self, device: torch.device | str) -> Teacher:
        """Moves the model."""
        self.model.to(device)
        return self

    @property
    def fingerprint(self) -> str:
        """Hash of everything that a vector depends on: weights, settings, tokenizer, length."""
        if self._fingerprint is None:
            self._fingerprint = model_fingerprint(self.model, f"query:{self.max_length}")
        return self._fingerprint

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> list[TeacherVectors]:
        """Vectors of the scoring tokens of each text, encoded together in one padded batch, on the CPU in float32."""
        features = self.processor.tokenize(texts, "query", self.max_length)
        batch = self.processor.pad(features).to(self.model.device)
        content = batch.pop("content_mask").cpu()
        output = self.model(**batch)
        vectors, mask, ids = output.token_vectors.float().cpu(), output.token_mask.cpu(), batch["input_ids"].cpu()
        return [
            TeacherVectors(vectors[row][mask[row]], content[row][mask[row]], ids[row][mask[row]])
            for row in range(len(features))
        ]
