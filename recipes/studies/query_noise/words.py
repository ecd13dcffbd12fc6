"""Noise that changes whole words: their case, their diacritics, their order."""

from __future__ import annotations

import random
import unicodedata

import regex

from trainer.vocabulary.code_switching import chosen_units, replaced_words

_CASED = regex.compile(r"[\p{Lu}\p{Ll}\p{Lt}]")
_ENDS = regex.compile(r"^([\p{P}\s]*)(.*?)([\p{P}\s]*)$", regex.DOTALL)
_GAP = regex.compile(r"(?<=[\p{L}\p{M}\p{N}])\s+(?=[\p{L}\p{M}\p{N}])")
_WINDOW = 3
# Letters whose stroke or dot is not a mark in Unicode, but which people also write without it.
_UNDECOMPOSED = str.maketrans("łŁđĐøØıħĦ", "lLdDoOihH")
_DOTTED = ("tr", "az")


def with_changed_case(text: str, level: float, generator: random.Random, language: str) -> tuple[str, int]:
    """Words in capitals; those that are in capitals already in small letters.

    Returns:
        The text, and how many of its words have a letter with case: none in Arabic, Devanagari, Han …
    """

    def turned(word: str) -> str | None:
        if not _CASED.search(word):
            return None
        return _lower(word, language) if word.isupper() else _upper(word, language)

    return replaced_words(text, level, generator, turned)


def _upper(word: str, language: str) -> str:
    return (word.replace("i", "İ") if language in _DOTTED else word).upper()


def _lower(word: str, language: str) -> str:
    return (word.replace("I", "ı").replace("İ", "i") if language in _DOTTED else word).lower()


def without_diacritics(text: str, level: float, generator: random.Random, language: str) -> tuple[str, int]:
    """Words without the marks that people leave out.

    Returns:
        The text, and how many of its words have such a mark.

    After canonical decomposition, the combining class decides which marks go: accents, cedillas, horns (Latin, Greek,
    Cyrillic), the vowel points and hamzas of Arabic, the points of Hebrew, and the nukta of Devanagari and its relatives. Vowel
    signs, viramas, tone marks of Thai and the voicing of Kana stay: without them it is another word. So in Marathi, which has
    few nuktas (ऱ), this noise has little to change. Russian й stays: it is a separate letter. Of the letters that Unicode does
    not decompose, ł, đ, ø, ı and ħ lose their stroke or dot.
    """

    def bare(word: str) -> str | None:
        found = strip_diacritics(word)
        return None if found == word else found

    return replaced_words(text, level, generator, bare)


def strip_diacritics(word: str) -> str:
    """The word without diacritics, see `without_diacritics`.

    Example:

    ```python
    >>> strip_diacritics("Führungskräfte"), strip_diacritics("żółty"), strip_diacritics("क़लम"), strip_diacritics("का")
    ('Fuhrungskrafte', 'zolty', 'कलम', 'का')
    ```
    """
    kept: list[str] = []
    for character in unicodedata.normalize("NFD", word):
        if not _is_diacritic(character) or (kept and kept[-1] in "иИ" and character == "\u0306"):
            kept.append(character)
    bare = unicodedata.normalize("NFC", "".join(kept)).translate(_UNDECOMPOSED)
    return word if bare == unicodedata.normalize("NFC", word) else bare


def _is_diacritic(character: str) -> bool:
    # Canonical combining classes: 7 nukta, 10 to 36 points of Hebrew, Arabic and Syriac, from 200 on marks around a letter.
    combining = unicodedata.combining(character)
    return combining == 7 or 10 <= combining <= 36 or combining >= 200


def with_shuffled_words(text: str, level: float, generator: random.Random, language: str) -> tuple[str, int]:
    """Words in another order, each within a window of three; the punctuation at the ends of the text stays there.

    Returns:
        The text, and how many windows it has: none in a text of one word, or of a script without spaces.
    """
    begin, middle, end = _ENDS.match(text).groups()
    words = middle.split()
    first = generator.randrange(_WINDOW)
    starts = range(first - _WINDOW, len(words), _WINDOW)
    windows = [(max(start, 0), min(start + _WINDOW, len(words))) for start in starts]
    windows = [window for window in windows if window[1] - window[0] > 1]
    if not windows and len(words) > 1:
        windows = [(0, len(words))]
    chosen = chosen_units(len(windows), level, generator)
    for number, (start, stop) in enumerate(windows):
        order = list(range(start, stop))
        while order == list(range(start, stop)):
            generator.shuffle(order)
        if number in chosen:
            words[start:stop] = [words[place] for place in order]
    return (begin + " ".join(words) + end if chosen else text), len(windows)


def without_spaces(text: str, level: float, generator: random.Random, language: str) -> tuple[str, int]:
    """Words written together with the next one.

    Returns:
        The text, and how many spaces between two words it has: none in a script without spaces.
    """
    gaps = [match.span() for match in _GAP.finditer(text)]
    for number in sorted(chosen_units(len(gaps), level, generator), reverse=True):
        start, end = gaps[number]
        text = text[:start] + text[end:]
    return text, len(gaps)
