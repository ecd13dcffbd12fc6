"""Short pairs out of long ones, so that a student that is trained on sentences sees query-like text too."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import regex
from datasets import Dataset

from modeling_optical.encoding.normal_forms import comparable

from .near_duplicates import NearDuplicateIndex

# Marks that end a clause, by what they do. Marks of ASCII count before white space or the end only: not those of "3.5".
_MARKS = {"sentence": ".!?…", "part": ",;", "colon": ":", "dash": "–—"}
_OTHER_MARKS = {"sentence": "।॥。！？؟።", "part": "،؛、，；፣", "colon": "：", "dash": ""}
_CLAUSE_END = regex.compile(
    "(?:[{ascii}]+(?=\\s|$)|[{other}]+)".format(
        ascii=regex.escape("".join(_MARKS.values())), other=regex.escape("".join(_OTHER_MARKS.values()))
    )
)
_KIND = {mark: kind for marks in (_MARKS, _OTHER_MARKS) for kind, characters in marks.items() for mark in characters}
_LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{N}]")
# How far the places of two clauses may differ, as a share of the texts.
_DRIFT = 0.15


@dataclass
class ShorteningOptions:
    """Short pairs beside the long ones.

    Args:
        share: share of the pairs that are given a short one, where their punctuation allows.
        min_words, max_words: words of a short text, on either side.
    """

    share: float = 0.3
    min_words: int = 2
    max_words: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"shortened.share is {self.share!r}; it is a share above 0, at most 1.")
        if not 1 <= self.min_words <= self.max_words:
            raise ValueError(
                f"shortened: min_words {self.min_words!r} and max_words {self.max_words!r} must be at least 1, in that order."
            )


class KeptOut:
    """Texts that must not come into training: those of held-out pairs, and those that repeat a test text.

    Args:
        held_out: pairs with the columns `source` and `target`.
        near_duplicates: index of the test texts.
    """

    def __init__(self, held_out: Dataset | None = None, near_duplicates: NearDuplicateIndex | None = None):
        texts = () if held_out is None else (*held_out["source"], *held_out["target"])
        self._held_out = {comparable(text) for text in texts}
        self._near_duplicates = near_duplicates

    def holds_out(self, text: str) -> bool:
        """Whether a held-out pair has the text."""
        return comparable(text) in self._held_out

    def __contains__(self, text: object) -> bool:
        tests = self._near_duplicates
        return self.holds_out(str(text)) or (tests is not None and tests.find(str(text)) is not None)


def shorten(source: str, target: str, options: ShorteningOptions | None = None, *, seed: int = 0) -> tuple[str, str] | None:
    """One clause of a pair and its translation, without the mark that ends it; None where clauses do not match.

    Both texts are cut at the punctuation that ends clauses. Both must have the same sequence of marks (kinds of marks: a danda
    is a full stop). Clauses are then taken for translations of each other, one by one, if they are at about the same place of
    their texts. So word order within a clause is free, and a pair with different punctuation gives nothing. Texts of scripts
    without spaces count a word per two characters. A short sentence gives itself without its full stop.

    Args:
        source, target: a pair.
        options: see `ShorteningOptions`; its `share` is ignored here.
        seed: with the texts, decides which of several clauses is taken.

    Example:

    ```python
    >>> shorten("When it rains, the road is closed.", "Mvua ikinyesha, barabara hufungwa.")
    ('the road is closed', 'barabara hufungwa')
    ```
    """
    options = options or ShorteningOptions()
    ours, our_marks = _clauses(source)
    theirs, their_marks = _clauses(target)
    if our_marks != their_marks or len(ours) != len(theirs):
        return None
    candidates = [
        (a.text, b.text)
        for a, b in zip(ours, theirs, strict=True)
        if all(options.min_words <= _words(clause.text) <= options.max_words for clause in (a, b))
        and abs(a.start - b.start) <= _DRIFT
        and abs(a.stop - b.stop) <= _DRIFT
        and (a.text, b.text) != (source, target)
    ]
    return candidates[_number(f"{seed}\0{source}\0{target}") % len(candidates)] if candidates else None


def short_rows(
    rows: Iterable[dict[str, Any]], options: ShorteningOptions, *, seed: int = 0, kept_out: Container[str] = ()
) -> Iterator[dict[str, Any]]:
    """Short pairs of `options.share` of the rows; each keeps the other columns of the row that it is cut from.

    A clause may be a text of its own: a short pair with a side in `kept_out` is left out.
    """
    for row in rows:
        if _number(f"share\0{seed}\0{row['source']}\0{row['target']}") >= options.share * 2**64:
            continue
        found = shorten(row["source"], row["target"], options, seed=seed)
        if found is not None and not any(text in kept_out for text in found):
            yield row | {"source": found[0], "target": found[1]}


def add_short_pairs(
    bitext: Dataset, options: ShorteningOptions, *, seed: int = 0, kept_out: Container[str] = ()
) -> tuple[Dataset, int]:
    """The pairs and, behind them, their short ones; and how many these are. Repeated ones are left out; see `short_rows`."""
    there = {_compared(row) for row in bitext}
    new = []
    for row in short_rows(bitext, options, seed=seed, kept_out=kept_out):
        key = _compared(row)
        if key not in there:
            there.add(key)
            new.append(row)
    return with_rows(bitext, new), len(new)


def with_rows(bitext: Dataset, rows: Sequence[Mapping[str, Any]]) -> Dataset:
    """The pairs and, behind them, rows with the same columns."""
    return Dataset.from_dict({name: [*bitext[name], *(row[name] for row in rows)] for name in bitext.column_names})


def _compared(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return comparable(row["source"]), comparable(row["target"]), row["language"]


@dataclass(frozen=True)
class _Clause:
    text: str
    start: float  # places as shares of the whole text
    stop: float


def _clauses(text: str) -> tuple[list[_Clause], list[str]]:
    """Clauses and the kinds of the marks between them; the mark at the very end does not count."""
    clauses: list[_Clause] = []
    marks: list[str] = []
    place = 0
    for start, stop, mark in [*((m.start(), m.end(), m[0][0]) for m in _CLAUSE_END.finditer(text)), (len(text), len(text), "")]:
        clause = text[place:start].strip()
        if _LETTER_OR_DIGIT.search(clause):
            clauses.append(_Clause(clause, place / len(text), start / len(text)))
            marks.append(_KIND.get(mark, ""))
        place = stop
    return clauses, marks[:-1]


def _words(text: str) -> int:
    words = text.split()
    return len(words) if len(words) > 1 or text.isascii() else max(len(words), len(text) // 2 if _unspaced(text) else 1)


def _unspaced(text: str) -> bool:
    return regex.search(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]", text) is not None


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
