"""Whether a student's vectors still differ from each other: what a falling loss alone does not show."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)

# Texts of a batch that are looked at, so that the cost does not grow with the batch.
_TEXTS = 64
# A student has left its start, where a backbone's vectors may lie close together, after this share of all steps.
_START = 0.1


@dataclass(frozen=True)
class VectorSpread:
    """How token vectors of a batch are spread.

    Attributes:
        token_similarity: mean cosine of two different tokens, in [-1, 1].
        pooled_similarity: mean cosine of the mean vectors of two different texts, in [-1, 1].
        effective_rank: how many directions the tokens fill: the exponential of the entropy of the normalised singular values
            (Roy and Vetterli, EUSIPCO 2007), from 1 to the dimension.
    """

    token_similarity: torch.Tensor
    pooled_similarity: torch.Tensor
    effective_rank: torch.Tensor


@torch.no_grad()
def vector_spread(vectors: torch.Tensor, mask: torch.Tensor) -> VectorSpread:
    """The spread of the masked-in token vectors.

    Args:
        vectors: (batch, tokens, dim), unit vectors.
        mask: (batch, tokens), True where a token counts.

    Returns:
        Scalars on the vectors' device; similarities are 0 where there is no second token or text. Vectors that are not finite
        are left out.
    """
    vectors = vectors.float()
    mask = mask.bool() & torch.isfinite(vectors).all(-1)
    tokens = vectors[mask]
    pooled = torch.where(mask.unsqueeze(-1), vectors, 0.0).sum(1)[mask.any(1)]
    # Singular values by the (dim, dim) Gram matrix, which is small whatever the number of tokens.
    eigenvalues = torch.linalg.eigvalsh(tokens.T @ tokens) if len(tokens) else vectors.new_zeros(1)
    singular = eigenvalues.clamp_min(0).sqrt()
    share = singular / singular.sum().clamp_min(torch.finfo(torch.float32).tiny)
    return VectorSpread(_mean_cosine(tokens), _mean_cosine(pooled), torch.special.entr(share).sum().exp())


def _mean_cosine(rows: torch.Tensor) -> torch.Tensor:
    """Mean cosine of two different rows, in linear time: |sum of unit rows|^2 counts every pair twice and each row once."""
    units = torch.nn.functional.normalize(rows, dim=-1)
    count = len(units)
    return (units.sum(0).square().sum() - count) / max(count * (count - 1), 1) if count > 1 else rows.new_zeros(())


class CollapseMonitor:
    """Compares the spread of the student's token vectors with the teacher's on the same batch, at logging steps.

    Args:
        threshold: share of the teacher's effective rank below which the student counts as collapsed.
    """

    def __init__(self, threshold: float):
        self.threshold = threshold
        self._warned = False
        self._seen: tuple[torch.Tensor, ...] | None = None

    def see(self, vectors: torch.Tensor, mask: torch.Tensor, teacher_vectors: torch.Tensor, teacher_mask: torch.Tensor) -> None:
        """Keeps the first texts of a batch, without their graph, until `spread` reads them.

        Args:
            vectors, teacher_vectors: (batch, tokens, dim).
            mask, teacher_mask: (batch, tokens).
        """
        # A slice of a large batch would keep all of it alive.
        self._seen = tuple(
            t.detach() if len(t) <= _TEXTS else t.detach()[:_TEXTS].clone()
            for t in (vectors, mask, teacher_vectors, teacher_mask)
        )

    def spread(self) -> dict[str, torch.Tensor]:
        """Scalars for the log, named after the compared pairs: two tokens of the student, two of its texts.

        Empty if no batch has been seen since the last call.
        """
        if self._seen is None:
            return {}
        vectors, mask, teacher_vectors, teacher_mask = self._seen
        self._seen = None
        own, teachers = vector_spread(vectors, mask), vector_spread(teacher_vectors, teacher_mask)
        return {
            "cosine_between_own_tokens": own.token_similarity,
            "cosine_between_own_texts": own.pooled_similarity,
            "effective_rank": own.effective_rank,
            "teacher_effective_rank": teachers.effective_rank,
        }

    def judge(self, logs: dict[str, float], progress: float) -> None:
        """Warns once if the logged values say that the student has collapsed.

        Args:
            logs: with `effective_rank` and `teacher_effective_rank`.
            progress: share of all steps that are done.
        """
        rank, teacher_rank = logs["effective_rank"], logs["teacher_effective_rank"]
        if self._warned or progress < _START or rank >= self.threshold * teacher_rank:
            return
        self._warned = True
        logger.warning(
            f"the student's token vectors are collapsing: they fill {rank:.1f} directions where the teacher's fill "
            f"{teacher_rank:.1f} for the same texts (two texts: cosine {logs['cosine_between_own_texts']:.2f}). Such a "
            "student ranks poorly even if its loss falls. Lower learning_rate, lower transport.epsilon (a blurred plan sends "
            "every token to the same mean), or add an objective that tells texts apart: contrastive, or "
            "score_kl. This is said once; the log goes on with effective_rank."
        )
