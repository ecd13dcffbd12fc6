"""When two texts are one text: comparison in the normal form NFKC. The texts themselves stay as they are."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any


@cache
def _patterns() -> tuple[Any, Any]:
    import regex  # transformers depends on it

    ignorable = r"\p{Default_Ignorable_Code_Point}"
    return regex.compile(ignorable), regex.compile(rf"(?V1)[^\p{{White_Space}}{ignorable}\p{{Cc}}\p{{Cf}}\u2800]")


def comparable(text: str) -> str:
    """A text for comparison: in NFKC, without characters that are not shown, white space as one space.

    Composed and decomposed letters, full-width and half-width forms, ligatures and presentation forms are the same then; so are
    words with and without soft hyphens, joiners and zero-width spaces. Capital letters count.

    Example:

    ```python
    >>> comparable("cafe\\u0301\\u200b \\ufb01ne") == comparable("café  fine")
    True
    ```
    """
    if text.isascii():
        return " ".join(text.split())
    ignorable, _ = _patterns()
    return " ".join(unicodedata.normalize("NFKC", ignorable.sub("", text)).split())


def caseless(text: str) -> str:
    """As `comparable`, and capital letters do not count (Unicode, D146: compatibility caseless matching)."""
    if text.isascii():
        return comparable(text).casefold()
    decomposed = unicodedata.normalize("NFD", comparable(text))
    return comparable(comparable(decomposed.casefold()).casefold())


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: white space, control and zero-width characters only."""
    return not text or _patterns()[1].search(text) is None
