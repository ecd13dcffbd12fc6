"""Slips of the finger: a neighbouring key, a letter too many, one too few, two in the wrong order."""

from __future__ import annotations

import random
import unicodedata

import regex

from trainer.vocabulary.code_switching import chosen_units

from .keyboards import layout_of, neighbours

_CLUSTER = regex.compile(r"\X")
_LETTER = regex.compile(r"\p{L}")
_EDITS = ("substitute", "insert", "delete", "transpose")


def with_typos(text: str, level: float, generator: random.Random, language: str) -> tuple[str, int]:
    """A text with a share of its letters mistyped.

    Args:
        text: the text.
        level: share of the letters (grapheme clusters that begin with a letter).
        generator: of random numbers.
        language: whose keyboard is used.

    Returns:
        The text, and how many letters it has.

    Each typo is, with the same probability, a neighbouring key instead of the right one, a neighbouring key hit as well, a
    letter left out, or a letter swapped with the next one. Letters on no known keyboard (Han, Hangul …) are doubled, left out
    or exchanged. Whole clusters are moved and left out, and a letter takes the place of a letter, a vowel sign that of a vowel
    sign.
    """
    clusters = _CLUSTER.findall(text)
    letters = [place for place, cluster in enumerate(clusters) if _LETTER.match(cluster)]
    chosen = chosen_units(len(letters), level, generator)
    # Every letter has its slip, whether or not it is chosen, so that a higher level has all slips of a lower one.
    draws = [(generator.random(), generator.random()) for _ in letters]
    slots = [[cluster] for cluster in clusters]
    for number in sorted(chosen):
        _slip(clusters, slots, letters[number], *draws[number], language)
    return "".join(part for slot in slots for part in slot), len(letters)


def _slip(clusters: list[str], slots: list[list[str]], place: int, which: float, key: float, language: str) -> None:
    beside = _beside(clusters[place], language)
    next_letter = place + 1 < len(clusters) and _LETTER.match(clusters[place + 1]) is not None
    alone = not next_letter and (place == 0 or not _LETTER.match(clusters[place - 1]))
    edits = [
        edit
        for edit in _EDITS
        if (edit != "substitute" or beside)
        and (edit != "delete" or not alone)
        and (edit != "transpose" or (next_letter and clusters[place] != clusters[place + 1]))
    ]
    edit = edits[int(which * len(edits))]
    wrong = beside[int(key * len(beside))] if beside else clusters[place]
    if edit == "substitute":
        slots[place] = [wrong]
    elif edit == "insert":
        slots[place] = [clusters[place], wrong]
    elif edit == "delete":
        slots[place] = []
    else:
        slots[place], slots[place + 1] = slots[place + 1], slots[place]


def _beside(cluster: str, language: str) -> list[str]:
    """The cluster with one of its characters mistyped, in every way that the keyboard offers."""
    composed = unicodedata.normalize("NFC", cluster)
    layout = layout_of(language, composed[0])
    if layout is None:
        return []
    capital = composed.isupper()
    # Only capitals become small letters first: there is no small form of other scripts' letters to look for.
    typed = composed.lower() if capital else composed
    found = [
        typed[:place] + other + typed[place + 1 :]
        for place, character in enumerate(typed)
        for other in neighbours(layout, character)
    ]
    return [other.upper() if capital else other for other in found]
