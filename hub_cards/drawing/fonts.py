"""Installed fonts for the characters of a picture, and the name of the one that is missing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from transformers.utils import logging

logger = logging.get_logger(__name__)

# Scripts that one font has together, and where Debian keeps each; others are in fonts-noto-core.
_CJK = ("Han", "Hiragana", "Katakana", "Hangul", "Bopomofo")
# Fonts of coloured pictures, which matplotlib does not draw, and the one that has a box for every character.
_NO_LETTERS = ("Color", "Last Resort", "LastResort")


def fonts_for(text: str) -> list[str]:
    """Names of installed fonts that together have the characters of a text, matplotlib's own first.

    Says once which font is missing, by its name, where no installed font has a character; that is drawn as a box.
    """
    from matplotlib import font_manager

    _register_new_fonts()
    missing = {ord(character) for character in text if not character.isspace() and character.isprintable()}
    chosen: list[str] = []
    entries = sorted(font_manager.fontManager.ttflist, key=lambda e: (_rank(e.name), e.name, e.style, e.weight))
    for entry in entries:
        if not missing:
            break
        if entry.style != "normal" or entry.stretch != "normal" or entry.name in chosen:
            continue
        if any(word in entry.name for word in _NO_LETTERS):
            continue
        covered = missing & _characters(entry.fname)
        if covered:
            chosen.append(entry.name)
            missing -= covered
    if missing:
        logger.warning(missing_fonts(missing))
    return chosen or ["DejaVu Sans"]


def missing_fonts(characters: Iterable[int]) -> str:
    """A sentence that names the fonts that would have the characters (code points)."""
    characters = sorted(characters)
    names = list(dict.fromkeys(font_of(chr(code)) for code in characters))
    shown = "".join(chr(code) for code in characters[:8])
    packages = sorted({"fonts-noto-cjk" if "CJK" in n else "fonts-noto-core" for n in names if "Emoji" not in n})
    install = f" On Debian: apt-get install {' '.join(packages)}." if packages else ""
    return (
        f"no installed font has the characters {shown!r}; they are drawn as boxes. Missing: {', '.join(names)} "
        f"(fonts.google.com/noto).{install} A picture as .html needs no font here: the reader's browser has it."
    )


def font_of(character: str) -> str:
    """The Noto font that has a character, by its script (Unicode)."""
    from fontTools import unicodedata

    script = unicodedata.script_name(unicodedata.script(character)).replace("_", " ")
    if script in _CJK:
        return "Noto Sans CJK"
    if script in ("Common", "Inherited", "Unknown"):
        return "Noto Emoji" if ord(character) > 0x2000 else "Noto Sans"
    return "Noto Sans" if script in ("Latin", "Greek", "Cyrillic") else f"Noto Sans {script}"


@cache
def _register_new_fonts() -> None:
    """Fonts that were installed since matplotlib last looked."""
    from matplotlib import font_manager

    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known and not any(word in path for word in _NO_LETTERS):
            font_manager.fontManager.addfont(path)


def _rank(name: str) -> int:
    return 0 if name == "DejaVu Sans" else 1 if name.startswith("Noto Sans") else 2


@cache
def _characters(path: str) -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(path).get_charmap())
