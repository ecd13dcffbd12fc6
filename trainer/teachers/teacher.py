"""The teacher: a frozen encoder that is good in one language."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.encoding.batching import batched
from modeling_optical.files.fingerprint import model_fingerprint
from modeling_optical.precision import autocast, check_precision


@dataclass
class TeacherVectors:
    """A teacher's output for one text.

    Attributes:
        vectors: (tokens, dim) unit vectors.
        content_mask: (tokens,) bool, tokens that are neither special, marker nor expansion.
        input_ids: (tokens,) int64.
        expansion_mask: (tokens,) bool, the mask tokens that the text was padded with for `transport.tokens="with_expansion"`.
        weights: name ("norm", "attention") to (tokens,), see `TransportOptions.marginals`; what the teacher was asked for.
        pooled: (pooled dim,), of a teacher that has one vector per text beside its token vectors.
    """

    vectors: torch.Tensor
    content_mask: torch.Tensor
    input_ids: torch.Tensor
    expansion_mask: torch.Tensor | None = None
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    pooled: torch.Tensor | None = None

    def first(self, tokens: int) -> TeacherVectors:
        """The first `tokens` tokens. A text's vectors do not depend on mask tokens that nothing attends to."""
        return TeacherVectors(
            self.vectors[:tokens],
            self.content_mask[:tokens],
            self.input_ids[:tokens],
            None if self.expansion_mask is None else self.expansion_mask[:tokens],
            {name: weights[:tokens] for name, weights in self.weights.items()},
            self.pooled,
        )

    @property
    def unexpanded(self) -> int:
        """Number of tokens without the expansion."""
        return len(self.input_ids) if self.expansion_mask is None else int((~self.expansion_mask).sum())


@runtime_checkable
class TeacherOfTexts(Protocol):
    """The interface of a teacher, live (`Teacher`) or cached (`TeacherCache`): vectors of texts, and their encoder."""

    @property
    def teacher(self) -> Teacher:
        """The encoder of the vectors."""

    def vectors_of(self, texts: Sequence[str], kinds: Sequence[str]) -> list[TeacherVectors]:
        """The vectors of texts, each processed as its kind, `"query"` or `"document"`.

        Raises:
            KeyError: if a cache lacks a text.
        """

    def build(self, texts: Sequence[str], kind: str = "query") -> int:
        """Computes and keeps the vectors of texts that will be asked for many times; returns how many were computed."""

    def refresh(self) -> None:
        """Takes notice of what other processes have computed since."""


class Teacher:
    """A late-interaction model that is never trained: in eval mode, without gradients, outside the student's checkpoint.

    Args:
        model: the model, with its processor.
        max_length: tokens per text when encoding bitext as queries; the model's query length if None.
        max_document_length: the same for documents; the model's document length if None.
        weigh_tokens_by: `"norm"` and `"attention"`, for `transport.marginals`: the weights that come with the vectors.
        expand: pad queries to `max_length` with mask tokens, for `transport.tokens="with_expansion"`.
        precision: what it encodes in; `auto` is bf16 where the hardware has it. Caches do not tell vectors of bf16 from those
            of fp32: they differ by less than what quality depends on (docs/speed.md).

    Raises:
        ValueError: if the texts are to be expanded and attention sees the expansion, so that it would change the vectors, or
            there is no length to expand them to.

    Example:

    ```python
    >>> teacher = Teacher.from_pretrained("org/english-colbert", max_length=64)
    >>> teacher.encode(["good morning"])[0].vectors.shape
    ```
    """

    def __init__(
        self,
        model: OpticalModel,
        max_length: int | None = None,
        *,
        max_document_length: int | None = None,
        weigh_tokens_by: Sequence[str] = (),
        expand: bool = False,
        precision: str = "auto",
    ):
        check_precision(precision)
        if expand and model.config.attend_to_expansion_tokens:
            raise ValueError(
                "transport.tokens='with_expansion' needs a teacher with attend_to_expansion_tokens=False: with attention to "
                "mask tokens, their number changes the vectors of the text."
            )
        if expand and (max_length or model.config.query_length) is None:
            raise ValueError(
                "transport.tokens='with_expansion' pads the teacher's texts to one length, and this teacher has no "
                "query_length: give max_length."
            )
        if "attention" in weigh_tokens_by:
            model.set_attn_implementation("eager")  # no other implementation returns it
        self.model = model.eval().requires_grad_(False)
        self.precision = precision
        self.processor = model.get_processor()
        self.max_length = max_length or model.config.query_length
        self.max_document_length = max_document_length or model.config.document_length
        self.weigh_tokens_by = tuple(sorted(weigh_tokens_by))
        self.expand = expand
        self._fingerprint: str | None = None
        self._kept: dict[tuple[str, str], TeacherVectors] = {}

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike,
        *,
        max_length: int | None = None,
        max_document_length: int | None = None,
        weigh_tokens_by: Sequence[str] = (),
        expand: bool = False,
        precision: str = "auto",
        **kwargs: Any,
    ) -> Teacher:
        """Loads a teacher as `load_checkpoint` does; the other arguments as for the class."""
        return cls(
            load_checkpoint(name, precision=precision, **kwargs),
            max_length,
            max_document_length=max_document_length,
            weigh_tokens_by=weigh_tokens_by,
            expand=expand,
            precision=precision,
        )

    @property
    def teacher(self) -> Teacher:
        """Itself, as `TeacherOfTexts` asks."""
        return self

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
            use = f"query:{self.max_length}"
            if self.weigh_tokens_by or self.expand:
                use += f"weights:{self.weigh_tokens_by}:expand:{self.expand}"
            self._fingerprint = model_fingerprint(self.model, use)
        return self._fingerprint

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], kind: str = "query") -> list[TeacherVectors]:
        """Vectors of the scoring tokens of each text, encoded together in one padded batch, on the CPU in float32.

        Args:
            texts: the texts.
            kind: `"query"` or `"document"`, as which they are processed.
        """
        length = self.max_length if kind == "query" else self.max_document_length
        features = self.processor.tokenize(texts, kind, length)
        own_lengths = [len(feature["input_ids"]) for feature in features]
        if self.expand and kind == "query":
            features = [self.processor.expand(feature, length) for feature in features]
        batch = self.processor.pad(features).to(self.model.device)
        content = batch.pop("content_mask").cpu()
        weighing: dict[str, Any] = {"weigh_tokens_by": self.weigh_tokens_by} if self.weigh_tokens_by else {}
        with autocast(self.precision, self.model.device, self.model.dtype, batch["input_ids"].numel()):
            output = self.model(**batch, **weighing)
        vectors, mask, ids = output.token_vectors.float().cpu(), output.token_mask.cpu(), batch["input_ids"].cpu()
        weights = {name: values.float().cpu() for name, values in (output.token_weights or {}).items()}
        pooled = None if output.pooled_vector is None else output.pooled_vector.float().cpu()
        expansion = torch.arange(mask.shape[1]) >= torch.tensor(own_lengths).unsqueeze(1)
        return [
            TeacherVectors(
                vectors[row][mask[row]],
                content[row][mask[row]],
                ids[row][mask[row]],
                expansion[row][mask[row]] if self.expand else None,
                {name: values[row][mask[row]] for name, values in weights.items()},
                None if pooled is None else pooled[row],
            )
            for row in range(len(features))
        ]

    def build(self, texts: Sequence[str], kind: str = "query", *, batch_size: int = 32) -> int:
        """Encodes texts, and keeps their vectors in memory for `vectors_of`. Returns how many were encoded."""
        missing = [text for text in dict.fromkeys(texts) if (text, kind) not in self._kept]
        for batch in batched(missing, batch_size):
            self._kept |= zip(((text, kind) for text in batch), self.encode(batch, kind), strict=True)
        return len(missing)

    def refresh(self) -> None:
        """Nothing to do: every process encodes for itself."""

    def vectors_of(self, texts: Sequence[str], kinds: Sequence[str]) -> list[TeacherVectors]:
        """Vectors of texts, each processed as its kind; those of a kind that are not kept are encoded in one padded batch."""
        pairs = list(zip(texts, kinds, strict=True))
        found: list[TeacherVectors | None] = [self._kept.get(pair) for pair in pairs]
        for kind in sorted(set(kinds)):
            rows = [row for row, (_, own) in enumerate(pairs) if own == kind and found[row] is None]
            for row, entry in zip(rows, self.encode([texts[row] for row in rows], kind) if rows else (), strict=True):
                found[row] = entry
        return [entry for entry in found if entry is not None]
