"""Which token of a translation meets which token of the source: the transport plan of one pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from modeling_optical import TransportOptions, cosine_cost, solve_transport
from modeling_optical.text_encoding import TextEncoder


@dataclass
class Alignment:
    """A solved pair.

    Attributes:
        student_tokens, teacher_tokens: the tokens that take mass, as text.
        plan: (student tokens, teacher tokens), sums to 1 (or to the share that moves, if not all does).
        costs: (student tokens, teacher tokens), 1 - cosine.
        cost: `<P, C>`.
        text, translation: the teacher's text and the student's.
    """

    student_tokens: list[str]
    teacher_tokens: list[str]
    plan: np.ndarray
    costs: np.ndarray
    cost: float
    text: str
    translation: str

    @property
    def student_marginal(self) -> np.ndarray:
        """Mass that leaves each token of the student."""
        return self.plan.sum(1)

    @property
    def teacher_marginal(self) -> np.ndarray:
        """Mass that reaches each token of the teacher."""
        return self.plan.sum(0)

    @property
    def shares(self) -> np.ndarray:
        """The plan with every row scaled to 1: where a student's token sends its mass."""
        return self.plan / np.maximum(self.plan.sum(1, keepdims=True), 1e-12)


@torch.inference_mode()
def align(
    student: TextEncoder, teacher: TextEncoder, translation: str, text: str, *, options: TransportOptions | None = None
) -> Alignment:
    """Solves the transport between a text and its translation with the student's own transport options.

    Marginals are uniform, whatever the student was trained with.

    Args:
        student: encodes the translation.
        teacher: encodes the text.
        translation: in the student's language.
        text: in the teacher's.
        options: of the transport; the student's own if None.

    Raises:
        ValueError: if a side has no token that takes mass, or the models' vectors differ in dimension.
    """
    if student.config.vector_dim != teacher.config.vector_dim:
        raise ValueError(
            f"the student's vectors have {student.config.vector_dim} dimensions, the teacher's {teacher.config.vector_dim}: "
            "give the teacher that the student was distilled from."
        )
    options = options or student.config.transport
    sides = []
    for model, sentence in ((student, translation), (teacher, text)):
        processor = model.get_processor()
        batch = processor(sentence, "query", max_length=256).to(model.device)
        chosen = batch.pop("content_mask") if options.tokens == "content" else batch["token_mask"]
        vectors = model(batch["input_ids"], batch["attention_mask"], chosen).token_vectors
        if not bool(chosen.any()):
            raise ValueError(f"{sentence!r} has no token that takes mass: give a sentence with words.")
        tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][chosen].tolist())
        sides.append((vectors[chosen].unsqueeze(0).float().cpu(), [_readable(processor.tokenizer, token) for token in tokens]))
    costs = cosine_cost(sides[0][0], sides[1][0])
    solved = solve_transport(costs, options=options, max_iterations=5000)  # one pair is solved as exactly as it can be
    return Alignment(
        sides[0][1], sides[1][1], solved.plan[0].numpy(), costs[0].numpy(), float(solved.cost[0]), text, translation
    )


def _readable(tokenizer: object, token: str) -> str:
    """A piece as its characters: byte-level tokenizers write them as other ones."""
    if "▁" in token or token.startswith("##"):
        return token.replace("▁", "").replace("##", "") or token
    decoded = tokenizer.convert_tokens_to_string([token]).strip()  # type: ignore[attr-defined]
    return decoded if decoded and "�" not in decoded else token.replace("Ġ", "") or token
