"""From a row of a data set to a query, its positives, its negatives and their scores."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modeling_optical.encoding.normal_forms import comparable, is_blank

from .sources import LabelledSource

QUERY = ("query", "anchor", "question", "query_id")
_USUAL = {
    "query": QUERY,
    "positives": ("positive", "positives", "pos", "answer", "positive_passages", "positive_id", "positive_ids"),
    "negatives": ("negative", "negatives", "neg", "negative_passages", "negative_id", "negative_ids"),
    "passages": ("passages", "documents", "document_ids", "passage_ids", "doc_ids"),
    "scores": ("scores",),
}
_NUMBERED = re.compile(r"negative_(\d+)")


@dataclass
class Record:
    """A query with its passages, as texts or ids.

    Attributes:
        query: the query.
        positives: relevant passages, at least one.
        negatives: passages that are not, or not known to be.
        scores: one per passage, positives first; empty where there are none.
    """

    query: str
    positives: list[str]
    negatives: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def examples(self) -> Iterator[dict[str, Any]]:
        """A row per positive: `query`, `passages` with the positive first, `scores` of them, `known_positives`."""
        own = dict(zip([*self.positives, *self.negatives], self.scores, strict=False)) if self.scores else {}
        relevant = {comparable(positive) for positive in self.positives}
        negatives = [passage for passage in dict.fromkeys(self.negatives) if comparable(passage) not in relevant]
        for positive in dict.fromkeys(self.positives):
            passages = [positive, *negatives]
            yield {
                "query": self.query,
                "passages": passages,
                "scores": [own[passage] for passage in passages] if own else [],
                "known_positives": list(dict.fromkeys(self.positives)),
            }


class RecordReader:
    """Finds the columns of a source: those of query and positives in its first row, for all rows; the others row by row.

    Args:
        source: the source; the columns that it names must be there, the others are looked for.
    """

    def __init__(self, source: LabelledSource):
        self._named = {
            "query": source.query,
            "positives": source.positives,
            "negatives": source.negatives,
            "passages": source.passages,
            "scores": source.scores,
        }
        self._required: dict[str, str] | None = None

    def read(self, place: str, row: Mapping[str, Any]) -> Record | None:
        """The row as a record; None if its query or all its positives are empty.

        Raises:
            ValueError: naming place and field, for a missing field or a value of another type.
        """
        if self._required is None:
            self._required = self._find(place, row)
        for name in self._required.values():
            if name not in row:
                raise ValueError(f"{place}: the field {name!r} is missing, which the first row has.")
        query = _text(row[self._required["query"]], place, self._required["query"])
        column = self._column("scores", place, row)
        scores = _scores(row[column], place, column) if column is not None else []
        if "passages" in self._required:
            name = self._required["passages"]
            passages = _texts(row[name], place, name)
            _check_count(place, column, scores, len(passages))
            return _from_passages(query, passages, scores)
        positives = _texts(row[self._required["positives"]], place, self._required["positives"])
        negatives = self._negatives(place, row)
        _check_count(place, column, scores, len(positives) + len(negatives))
        return _record(query, positives, negatives, scores)

    def _negatives(self, place: str, row: Mapping[str, Any]) -> list[str]:
        column = self._column("negatives", place, row)
        columns = [column] if column is not None else sorted(filter(_NUMBERED.fullmatch, row), key=_number)
        return [text for name in columns for text in _texts(row[name], place, name)]

    def _column(self, key: str, place: str, row: Mapping[str, Any]) -> str | None:
        """The row's column for one of the keys of a source; None if it has none."""
        named = self._named[key]
        if named is not None and named not in row:
            raise ValueError(f"{place}: there is no field {named!r} ({key}); there are: {', '.join(map(str, row))}.")
        return named or next((name for name in _USUAL[key] if name in row), None)

    def _find(self, place: str, row: Mapping[str, Any]) -> dict[str, str]:
        found = {}
        for key in ("query", "positives", "passages"):
            column = self._column(key, place, row)
            if column is not None:
                found[key] = column
        if "positives" in found and self._named["passages"] is None:
            found.pop("passages", None)  # labels say more than a list without
        for key, remedy in (("query", "`query`"), ("positives", "`positives`, or `passages` for a list without labels")):
            if key not in found and not (key == "positives" and "passages" in found):
                raise ValueError(
                    f"{place}: no field for the {key} (there are: {', '.join(map(str, row))}). "
                    f"Name it in the source with {remedy}."
                )
        return found


def _from_passages(query: str, passages: list[str], scores: list[float]) -> Record | None:
    if scores:
        best = max(range(len(passages)), key=lambda i: scores[i])
        order = [best, *(i for i in range(len(passages)) if i != best)]
        passages, scores = [passages[i] for i in order], [scores[i] for i in order]
    return _record(query, passages[:1], passages[1:], scores)


def _record(query: str, positives: list[str], negatives: list[str], scores: list[float]) -> Record | None:
    if not query or not any(positives):
        return None
    if not all(positives) or not all(negatives):  # empty passages, with their scores
        kept = [bool(passage) for passage in (*positives, *negatives)]
        scores = [score for score, keep in zip(scores, kept, strict=False) if keep]
        positives, negatives = [p for p in positives if p], [n for n in negatives if n]
    return Record(query, positives, negatives, scores)


def _check_count(place: str, column: str | None, scores: list[float], passages: int) -> None:
    if scores and len(scores) != passages:
        raise ValueError(f"{place}: {column!r} has {len(scores)} scores for {passages} passages.")


def _number(name: str) -> int:
    found = _NUMBERED.fullmatch(name)
    assert found is not None
    return int(found.group(1))


def _texts(value: Any, place: str, name: str) -> list[str]:
    """A passage, or a list of passages, as a list."""
    if value is None:
        return []
    return [_text(one, place, name) for one in (value if isinstance(value, list | tuple) else [value])]


def _text(value: Any, place: str, name: str) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):  # with docid and title, as Tevatron publishes them
        title = value.get("title")
        return _stripped(f"{title} {value['text']}" if title else value["text"])
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{place}: the field {name!r} is {str(value)[:80]!r}; it must be a text or an id.")
    if "\0" in str(value):
        raise ValueError(f"{place}: the field {name!r} has a NUL character, which no text has.")
    return _stripped(str(value))


def _stripped(text: str) -> str:
    return "" if is_blank(text) else text.strip()


def _scores(value: Any, place: str, name: str) -> list[float]:
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(
        isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in value
    ):
        raise ValueError(f"{place}: the field {name!r} is {str(value)[:80]!r}; it must be a list of finite numbers.")
    return [float(one) for one in value]
