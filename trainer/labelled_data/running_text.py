"""Queries and passages from unlabelled running text: a sentence searches for the text around it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modeling_optical.encoding.normal_forms import is_blank

from ..option_checks import check_choice, check_whole

KINDS = ("sentence", "clause", "title", "question")
_FEWEST_WORDS = 4
_CLAUSES = re.compile(r"\s*[,;:()]\s+|\s+[–—-]\s+")
# A year, a number before a word, a name that does not open the sentence, after a preposition of place or not. As in clozes,
# these answers need not be ones that a person would ask for.
_ASKED = (
    ("when", re.compile(r"\b(?:in|since|until|by)\s+(?:1\d|20)\d\d\b")),
    ("how many", re.compile(r"(?<=\s)\d[\d,.]*(?=\s+[a-z])")),
    ("where", re.compile(r"\b(?:in|at|from|near)\s+(?:the\s+)?[A-Z]\w+(?:\s+[A-Z]\w+)*")),
    ("who", re.compile(r"(?<=[a-z,]\s)[A-Z]\w+(?:\s+[A-Z]\w+)+")),
)


@dataclass
class RunningText:
    """How queries are made of consecutive sentences.

    Every sentence of at least four words becomes one query of a kind that is drawn:

    - `sentence`: the sentence, and the passage without it (the inverse cloze task; Lee, Chang and Toutanova, ACL 2019);
      in a share of the passages (`kept`) it stays.
    - `clause`: a part of the sentence between commas, and the whole passage.
    - `title`: the document's first sentence, and a later passage of the document.
    - `question`: a question word instead of a year, number, place or name, then the rest of its clause, and the whole passage
      (a noisy cloze; Lewis, Denoyer and Riedel, ACL 2019). English.

    Where a sentence has nothing for the kind that is drawn, it becomes a `sentence`. A sentence that is a whole passage does
    not become a `sentence`: it would find itself.

    Args:
        kinds: those that are drawn from.
        words: a passage is made of whole sentences until it has this many words.
        kept: share of the passages of kind `sentence` that keep it.
        document: field that names the document of a line. Lines without it belong together as they follow each other.
    """

    kinds: list[str] = field(default_factory=lambda: ["sentence", "clause"])
    words: int = 80
    kept: float = 0.1
    document: str = "document"

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError(f"running_text.kinds is empty; it needs one or more of {', '.join(KINDS)}.")
        for kind in self.kinds:
            check_choice(kind, "running_text.kinds", KINDS)
        check_whole(self.words, "running_text.words", 1)
        if not 0 <= self.kept <= 1:
            raise ValueError(f"running_text.kept is {self.kept!r}; it is a share, from 0 to 1.")


def labelled_rows(
    rows: Iterable[tuple[str, Mapping[str, Any]]], options: RunningText, query: str, passage: str, seed: int = 0
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of every query that the sentences of rows make; a row has `query` and `positives`, a list of one passage.

    Args:
        rows: (place, row); consecutive rows are consecutive sentences.
        options: see its class.
        query, passage: fields of the sentences that queries, and that passages are made of: two languages of a bitext, or one.
        seed: of the draw; a query depends on it and on its sentence alone.

    Raises:
        ValueError: naming place and field, for a row without one of the two, or one that is not a text.
    """
    for title, window in _windows(rows, options, query, passage):
        passages = [text for _, _, text in window]
        for number, (place, sentence, _) in enumerate(window):
            if len(sentence.split()) < _FEWEST_WORDS:
                continue
            drawn = random.Random(f"{seed}:{sentence}")  # not by place: a path differs between machines
            kind, asked = drawn.choice(options.kinds), None
            if kind == "title":
                asked = title
            elif kind == "clause":
                asked = _clause(sentence, drawn)
            elif kind == "question":
                asked = _question(sentence)
            around = passages
            if asked is None:
                asked = sentence
                if len(window) == 1:
                    continue  # it would find itself
                if drawn.random() >= options.kept:
                    around = passages[:number] + passages[number + 1 :]
            yield place, {"query": asked, "positives": [" ".join(around)]}


def _windows(
    rows: Iterable[tuple[str, Mapping[str, Any]]], options: RunningText, query: str, passage: str
) -> Iterator[tuple[str | None, list[tuple[str, str, str]]]]:
    """The document's first sentence, if an earlier passage has it, and (place, sentence, sentence of the passage) of each."""
    title, document, words = None, None, 0
    window: list[tuple[str, str, str]] = []
    for place, row in rows:
        asked, answer = (_text(row, name, place) for name in (query, passage))
        if is_blank(asked) or is_blank(answer):
            continue
        own = row.get(options.document)
        if window and (own != document or words >= options.words):
            yield title, window
            title = None if own is None or own != document else title or window[0][1]
            window, words = [], 0
        document = own
        window.append((place, asked.strip(), answer.strip()))
        words += len(answer.split())
    if window:
        yield title, window


def _text(row: Mapping[str, Any], name: str, place: str) -> str:
    text = row.get(name)
    if not isinstance(text, str):
        there = ", ".join(str(key) for key in row)
        raise ValueError(f"{place}: the field {name!r} is {'missing' if text is None else 'no text'}; there are: {there}.")
    return text


def _clause(sentence: str, drawn: random.Random) -> str | None:
    """One of several clauses."""
    clauses = [part.strip() for part in _CLAUSES.split(sentence)]
    clauses = [part for part in clauses if _FEWEST_WORDS <= len(part.split()) < len(sentence.split())]
    return drawn.choice(clauses) if clauses else None


def _question(sentence: str) -> str | None:
    """The clause with what can be asked for taken out, behind the question word."""
    for clause in [*(part for part in _CLAUSES.split(sentence) if part), sentence]:
        for word, pattern in _ASKED:
            if (found := pattern.search(clause)) is None:
                continue
            rest = f"{clause[: found.start()]} {clause[found.end() :]}".strip(" .!?")
            if len(rest.split()) >= _FEWEST_WORDS - 1:
                return f"{word} {' '.join(rest.split())}?"
    return None
