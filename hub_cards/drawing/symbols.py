"""Ids of emoji and symbols as the symbols themselves."""

from __future__ import annotations


def symbol(identifier: str) -> str:
    """The symbol of an id such as `U+1F4EF` or `U+1F1E6 U+1F1E8`; the id itself if it is none."""
    try:
        return "".join(chr(int(part.removeprefix("U+"), 16)) for part in identifier.replace("_", " ").split())
    except ValueError:
        return identifier
