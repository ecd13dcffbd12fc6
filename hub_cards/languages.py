"""Language codes as the Hub wants them, and names to show."""

from __future__ import annotations

from collections.abc import Sequence

import langcodes


def bcp47(code: str) -> str | None:
    """The standard BCP-47 tag of a language code (`iw` is `he`, `zh_hant` is `zh-Hant`); None if it is not a known language."""
    try:
        tag = langcodes.standardize_tag(code)
    except langcodes.LanguageTagError:
        return None
    return tag if langcodes.tag_is_valid(tag) else None


def hub_languages(codes: Sequence[str]) -> dict[str, list[str]]:
    """The metadata `language` (ISO 639 codes, as the Hub's pages filter by) and, where a tag says more, `language_bcp47`.

    Codes that name no language (`mul`, a made-up one) are left out: the Hub refuses a card with one.
    """
    tags = list(dict.fromkeys(tag for code in codes if code != "mul" and (tag := bcp47(code)) is not None))
    primary = list(dict.fromkeys(str(langcodes.Language.get(tag).language) for tag in tags))
    return {"language": primary} | ({"language_bcp47": tags} if tags != primary else {})


def language_name(code: str) -> str:
    """English name of a language (`Swahili`); the code itself if it names none."""
    tag = bcp47(code)
    return code if tag is None else langcodes.Language.get(tag).display_name("en")


def own_name(code: str) -> str:
    """A language's name in itself (`Kiswahili`); the code itself if it names none."""
    tag = bcp47(code)
    return code if tag is None else langcodes.Language.get(tag).autonym()


def right_to_left(code: str) -> bool:
    """Whether a language is usually written from right to left."""
    tag = bcp47(code)
    return tag is not None and langcodes.Language.get(tag).maximize().script in _RIGHT_TO_LEFT


_RIGHT_TO_LEFT = frozenset(("Adlm", "Arab", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa", "Yezi"))
