"""Queries as people type them: one kind of noise at one level, the same for a query every time, and what it really changed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from trainer.vocabulary.code_switching import with_translated_words

from .typos import with_typos
from .words import with_changed_case, with_shuffled_words, without_diacritics, without_spaces

KINDS = ("typos", "case", "diacritics", "word_order", "spaces", "code_switching")
"""typos: mistyped letters; case: words in capitals; diacritics: words without theirs; word_order: windows of three words
shuffled; spaces: words written together; code_switching: words in another language."""

_WHY_NOT = {
    "typos": "no query has a letter",
    "case": "no letter of these queries has case",
    "diacritics": "no letter of these queries has a diacritic that is left out in writing",
    "word_order": "no query has two words divided by a space",
    "spaces": "no query has two words divided by a space",
    "code_switching": "no word of these queries has a translation",
}


@dataclass(frozen=True)
class NoisyQueries:
    """Queries with noise.

    Attributes:
        kind, level: of the noise.
        texts: query id to text; those that the noise cannot touch are there as they were.
        changed: ids of the queries whose text is another one.
        applicable: how many queries have a unit that the noise could change.
        units: how many units (letters, words, windows of words) all of them have.
    """

    kind: str
    level: float
    texts: dict[str, str]
    changed: frozenset[str]
    applicable: int
    units: int

    @property
    def why_not(self) -> str:
        """Why the noise changes none of the queries, whatever the level; "" if it can."""
        return "" if self.applicable else _WHY_NOT[self.kind]


def check_noise(kind: str, level: float) -> None:
    """Raises a ValueError for a kind or a level that there is not."""
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of noise; there are: {', '.join(KINDS)}.")
    if not 0 < level <= 1:
        raise ValueError(f"the level of {kind} is {level!r}; it is a share, above 0 and at most 1.")


def add_noise(
    queries: Mapping[str, str],
    kind: str,
    level: float,
    *,
    language: str,
    translations: Mapping[str, str] | None = None,
    seed: int = 0,
) -> NoisyQueries:
    """Adds noise to queries.

    Args:
        queries: query id to text.
        kind: one of `KINDS`.
        level: share of a text's units that are changed: of its letters (`typos`), of the words that have case, a diacritic or a
            translation, of its windows of three words (`word_order`), of its spaces (`spaces`). Counts are rounded at random,
            so a query has its share on average; a higher level includes the changes of a lower one.
        language: code of the queries' language: its keyboard, its capitals.
        translations: for `code_switching`: lower-case word to its replacement.
        seed: with the kind and a query's id, decides the query's noise, the same on every machine.

    Raises:
        ValueError: for an unknown kind, a level that is not a share, or `code_switching` without translations.

    Example:

    ```python
    >>> noisy = add_noise({"q1": "Wer erfand das Telefon?"}, "case", 0.5, language="de")
    >>> noisy.texts, noisy.applicable
    ({'q1': 'Wer ERFAND das TELEFON?'}, 1)
    >>> add_noise({"q1": "टेलिफोन"}, "case", 1.0, language="mr").why_not
    'no letter of these queries has case'
    ```
    """
    check_noise(kind, level)
    if kind == "code_switching" and translations is None:
        raise ValueError("code_switching needs `translations`, a mapping of words to the words that take their places.")
    texts: dict[str, str] = {}
    applicable = total = 0
    for query, text in queries.items():
        generator = random.Random(f"{seed}\t{kind}\t{query}")
        texts[query], units = _noisy(text, kind, level, generator, language, translations or {})
        applicable += units > 0
        total += units
    changed = frozenset(query for query, text in queries.items() if texts[query] != text)
    return NoisyQueries(kind, level, texts, changed, applicable, total)


def _noisy(
    text: str, kind: str, level: float, generator: random.Random, language: str, translations: Mapping[str, str]
) -> tuple[str, int]:
    if kind == "code_switching":
        return with_translated_words(text, level, generator, translations)
    change = {
        "typos": with_typos,
        "case": with_changed_case,
        "diacritics": without_diacritics,
        "word_order": with_shuffled_words,
        "spaces": without_spaces,
    }[kind]
    return change(text, level, generator, language)
