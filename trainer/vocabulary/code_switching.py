"""Code-switching: words replaced by their translations, as speakers of two languages mix them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import regex
from datasets import Dataset

from ..bitext.shortening import with_rows

# Letters with their marks, joined by apostrophes and hyphens; ZWNJ and ZWJ stand inside words of Persian and Indic languages.
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}\u200c\u200d]+(?:['’\-][\p{L}\p{M}\p{N}\u200c\u200d]+)*")


@dataclass
class CodeSwitchingOptions:
    """Pairs of a text and the same text with some of its words translated.

    Args:
        share: share of the pairs that are given such a pair.
        rate: share of the words with a known translation that are translated.
    """

    share: float = 0.3
    rate: float = 0.5

    def __post_init__(self) -> None:
        for name in ("share", "rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"code_switching.{name} is {getattr(self, name)!r}; it is a share above 0, at most 1.")


def add_switched_pairs(
    bitext: Dataset, options: CodeSwitchingOptions, translations: Mapping[str, Mapping[str, str]], *, seed: int = 0
) -> tuple[Dataset, int]:
    """The pairs and, behind them, pairs of a source and the same source with translated words; and how many these are.

    It costs no data: the table of translations is learnt from the bitext itself, or is a dictionary (Qin et al., CoSDA-ML,
    IJCAI 2020).

    Args:
        bitext: with the columns of `trainer.bitext.load_bitext`.
        options: how many pairs, how many words.
        translations: language to a table of source word, in small letters, to target word.
        seed: with a pair's texts, decides what happens to it.
    """
    new = []
    for row in bitext:
        generator = random.Random(f"{seed}\t{row['source']}\t{row['target']}")
        if generator.random() >= options.share:
            continue
        mixed, _ = with_translated_words(row["source"], options.rate, generator, translations.get(row["language"], {}))
        if mixed != row["source"]:
            new.append(row | {"target": mixed})
    return with_rows(bitext, new), len(new)


def with_translated_words(
    text: str, level: float, generator: random.Random, translations: Mapping[str, str]
) -> tuple[str, int]:
    """Words replaced by their translation, as speakers of two languages mix them.

    Args:
        text: the text.
        level: share of the words that have a translation.
        generator: of random numbers.
        translations: lower-case word to its translation.

    Returns:
        The text, and how many of its words have a translation that is another word.
    """

    def translated(word: str) -> str | None:
        found = translations.get(word.lower())
        if found is None or found.lower() == word.lower():
            return None
        return found[:1].upper() + found[1:] if word[:1].isupper() else found

    return replaced_words(text, level, generator, translated)


def replaced_words(text: str, level: float, generator: random.Random, change: Callable[[str], str | None]) -> tuple[str, int]:
    """The text with a share of the words changed for which `change` gives something, and how many those are."""
    changes = [(match.span(), changed) for match in _WORD.finditer(text) if (changed := change(match.group())) is not None]
    chosen = chosen_units(len(changes), level, generator)
    for number in sorted(chosen, reverse=True):
        (start, end), changed = changes[number]
        text = text[:start] + changed + text[end:]
    return text, len(changes)


def chosen_units(units: int, level: float, generator: random.Random) -> set[int]:
    """Positions of the units that are changed: `level * units` of them, on average over texts.

    The number is rounded up or down at random, so that short texts have their share, too. From the same state of the generator
    a higher level chooses all that a lower one does, and the generator is left in the same state.
    """
    rounding = generator.random()
    order = generator.sample(range(units), units)
    return set(order[: min(int(level * units + rounding), units)])
