"""Checks of the options of objectives: an error names the key, its value and the allowed values."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any


def finite_number(value: Any, where: str, rule: str, least: float) -> float:
    """The value as a float.

    Raises:
        ValueError: if it is not a finite number of at least `least`; the message ends with the rule.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < least:
        raise ValueError(f"{where} is {value!r}; {rule}.")
    return float(value)


def check_positive(value: Any, where: str) -> None:
    """Raises a ValueError unless the value is a finite number above 0."""
    if finite_number(value, where, "it must be a number above 0", 0.0) == 0:
        raise ValueError(f"{where} is {value!r}; it must be a number above 0.")


def check_whole(value: Any, where: str, least: int) -> None:
    """Raises a ValueError unless the value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{where} is {value!r}; it must be a whole number of at least {least}.")


def check_choice(value: Any, where: str, allowed: tuple[str, ...]) -> None:
    """Raises a ValueError unless the value is one of the allowed ones."""
    if value not in allowed:
        raise ValueError(f"{where} is {value!r}; allowed: {', '.join(map(repr, allowed))}.")


def check_flag(value: Any, where: str) -> None:
    """Raises a ValueError unless the value is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{where} is {value!r}; it must be true or false.")


def unknown_key(where: str, key: str, known: Iterable[str]) -> str:
    """A sentence about an unknown key that names the nearest known one."""
    known = list(known)
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"unknown key `{where}`.{hint} Known here: {', '.join(sorted(known))}."
