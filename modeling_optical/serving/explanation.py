"""Why a document was found: which of its tokens each query token met."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..late_interaction import ragged_maxsim
from ..text_encoding import TextEncoder

_SHOWN = 20  # words of a query in the printed table


@dataclass(frozen=True)
class Token:
    """A token that scores.

    Attributes:
        piece: as the tokenizer writes it.
        start, end: characters of the text that it stands for; None for markers, special and expansion tokens.
    """

    piece: str
    start: int | None
    end: int | None


@dataclass(frozen=True)
class Match:
    """A query token and the document token that it met.

    Attributes:
        query, document: the tokens.
        similarity: their inner product, which is what the query token adds to the score.
    """

    query: Token
    document: Token
    similarity: float


@dataclass(frozen=True)
class Explanation:
    """MaxSim of one query with one document, taken apart.

    Attributes:
        score: MaxSim; the sum of the similarities.
        matches: one per scoring query token, in order; empty if the document has no scoring token.
    """

    score: float
    matches: list[Match]

    def __str__(self) -> str:
        """A short table: the words of the query, what each met, and what that adds to the score."""
        words = [match for match in self.matches if match.query.start is not None]
        lines = [f"score {self.score:.3f}, the sum of the similarities"]
        width = max((len(match.query.piece) for match in words[:_SHOWN]), default=0)
        lines += [f"  {m.query.piece.ljust(width)}  {m.similarity:6.3f}  {m.document.piece}" for m in words[:_SHOWN]]
        rest = [*words[_SHOWN:], *(match for match in self.matches if match.query.start is None)]
        if rest:
            lines.append(
                f"  and {sum(match.similarity for match in rest):.3f} from {len(rest)} more (markers, expansion, later words)"
            )
        return "\n".join(lines)

    def spans(self) -> list[tuple[int, int, float]]:
        """Characters (start, end) of the document that words of the query met, in order, each with its best similarity.

        Special, marker and expansion tokens of both sides are left out.
        """
        best: dict[tuple[int, int], float] = {}
        for match in self.matches:
            if match.query.start is None or match.document.start is None or match.document.end is None:
                continue
            place = (match.document.start, match.document.end)
            best[place] = max(match.similarity, best.get(place, -1.0))
        return [(start, end, similarity) for (start, end), similarity in sorted(best.items())]


@torch.inference_mode()
def explain(query_model: TextEncoder, document_model: TextEncoder, query: str, document: str) -> Explanation:
    """Takes the score of a query and a document apart.

    Raises:
        ValueError: if the models' vectors differ in dimension, or a tokenizer cannot tell where its tokens stand.
    """
    query_vectors, query_tokens = _scoring_tokens(query_model, query, "query")
    document_vectors, document_tokens = _scoring_tokens(document_model, document, "document")
    score = float(ragged_maxsim(query_vectors, [len(query_vectors)], document_vectors, [len(document_vectors)]))
    if not document_tokens or not query_tokens:
        return Explanation(score, [])
    similarity, met = (query_vectors @ document_vectors.T).max(1)
    matches = [
        Match(token, document_tokens[position], value)
        for token, position, value in zip(query_tokens, met.tolist(), similarity.tolist(), strict=True)
    ]
    return Explanation(score, matches)


def _scoring_tokens(model: TextEncoder, text: str, kind: str) -> tuple[torch.Tensor, list[Token]]:
    """Vectors (tokens, dim) and tokens of a text, those alone that score."""
    processor = model.get_processor()
    (feature,) = processor.tokenize([text], kind, return_offsets=True)
    pieces = processor.tokenizer.convert_ids_to_tokens(feature["input_ids"])
    tokens = [
        Token(piece, *(place or (None, None)))
        for piece, place, scores in zip(pieces, feature["offsets"], feature["token_mask"], strict=True)
        if scores
    ]
    return torch.from_numpy(model.encode([text], kind)[0]), tokens
