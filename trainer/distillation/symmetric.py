"""Texts that are learnt as queries, as documents, or as both: for students that encode documents, too."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, IterableDataset

KINDS = ("query", "document", "both")


def spread_kinds(bitext: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """A bitext whose rows are of the kind `query` or `document`: a row of the kind `both` appears twice, once as each.

    A bitext without the column `kind` stays as it is; its texts are queries.

    Raises:
        ValueError: for another kind; the message has the row's text.
    """
    if "kind" not in (bitext.column_names or ()):
        return bitext
    if isinstance(bitext, Dataset) and set(bitext.unique("kind")) <= {"query", "document"}:
        return bitext
    return bitext.map(_spread, batched=True)


def kinds_of(bitext: Dataset | IterableDataset | None) -> set[str]:
    """The kinds, `query` and `document`, that a bitext has once it is spread; a stream with the column `kind` may have both."""
    if bitext is None or "kind" not in (bitext.column_names or ()):
        return {"query"}
    return set(bitext.unique("kind")) if isinstance(bitext, Dataset) else {"query", "document"}


def _spread(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    spread: dict[str, list[Any]] = {name: [] for name in rows}
    for index, kind in enumerate(rows["kind"]):
        if kind not in KINDS:
            text = str(rows["target"][index])[:60]
            raise ValueError(f"the pair {text!r} is of the kind {kind!r}; allowed: {', '.join(map(repr, KINDS))}.")
        for own in ("query", "document") if kind == "both" else (kind,):
            for name, values in rows.items():
                spread[name].append(own if name == "kind" else values[index])
    return spread
