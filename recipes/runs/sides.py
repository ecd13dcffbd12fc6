"""Which side of a bitext is in the teacher's language, told by how the teacher's tokenizer cuts it."""

from __future__ import annotations

from collections.abc import Sequence

import langcodes
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from modeling_optical.encoding.words import words

logger = logging.get_logger(__name__)

_SAMPLE = 500
# The teacher's language is cut into fewer pieces a word than others; German and French come to 1.6 to 2.2 times as many.
_PIECES = 1.4
# Words that most English sentences have and that related languages lack.
_ENGLISH = frozenset(
    ("the", "of", "and", "that", "with", "for", "from", "this", "which", "have", "are", "were", "they", "their")
)
_SHARE, _TIMES = 0.08, 4.0


def warn_of_no_code(language: str) -> None:
    """Warns if a language is no code, and names the code where the language is called by its name."""
    if language == "mul" or langcodes.tag_is_valid(language):
        return
    try:
        meant = f": {language} is {langcodes.find(language).to_tag()!r}"
    except LookupError:
        meant = ", such as 'sw'"
    logger.warning(
        f"{language!r} is no language code{meant}. The script of its texts is not checked, and the card cannot say what it is."
    )


def warn_if_swapped(pairs: Dataset, tokenizer: PreTrainedTokenizerBase, teacher_language: str) -> None:
    """Warns if the sides of a bitext look swapped: the target, not the source, is in the teacher's language.

    Args:
        pairs: with `source` and `target`.
        tokenizer: the teacher's.
        teacher_language: its code.
    """
    chosen = pairs.select(range(0, len(pairs), max(len(pairs) // _SAMPLE, 1)))
    source, target = ([word for text in chosen[side] for word in words(text)] for side in ("source", "target"))
    if not source or not target:
        return
    pieces = [_pieces(tokenizer, side) for side in (source, target)]
    english = [_english(side) if teacher_language == "en" else 0.0 for side in (source, target)]
    if pieces[0] < _PIECES * pieces[1] and not (english[1] >= _SHARE and english[1] > _TIMES * english[0]):
        return
    logger.warning(
        f"The sides of the bitext look swapped: the teacher's tokenizer cuts a word of the source into {pieces[0]:.2f} pieces "
        f"and one of the target into {pieces[1]:.2f}, as if the target were in the teacher's language ({teacher_language!r}). "
        "`source` is the teacher's language and `target` yours: stop, and swap the two (`--source`, `--target`). First pair: "
        f"source {chosen[0]['source'][:60]!r}, target {chosen[0]['target'][:60]!r}."
    )


def _pieces(tokenizer: PreTrainedTokenizerBase, found: Sequence[str]) -> float:
    """Mean number of pieces of a word."""
    return sum(map(len, tokenizer(list(found), add_special_tokens=False)["input_ids"])) / len(found)


def _english(found: Sequence[str]) -> float:
    """Share of the words that are English function words."""
    return sum(word in _ENGLISH for word in found) / len(found)
