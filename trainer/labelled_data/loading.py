"""Labelled data as one map-style data set whose texts stay on disk."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from datasets import Dataset, Features, Value, concatenate_datasets
from datasets import Sequence as ListOf

from modeling_optical.encoding.normal_forms import comparable

from .readers import read_rows
from .records import RecordReader
from .sources import LabelledSource
from .text_tables import LookedUpTexts, load_from_hub, written_rows

_FEATURES = Features(
    {
        "query": Value("string"),
        "passages": ListOf(Value("string")),
        "scores": ListOf(Value("float32")),
        "known_positives": ListOf(Value("string")),
        "source": Value("int32"),
    }
)
_ROW_FEATURES = Features(_FEATURES | {"dropped": Value("int64")})


@dataclass
class LabelledReport:
    """Counts of the data that were read.

    Attributes:
        examples: rows (a query with one positive) per source.
        queries: different queries per source.
        negatives: mean number of negatives a row, per source.
        scored: whether every row of a source has scores.
        dropped: rows without a query or without a positive, per source.
    """

    examples: dict[str, int] = field(default_factory=dict)
    queries: dict[str, int] = field(default_factory=dict)
    negatives: dict[str, float] = field(default_factory=dict)
    scored: dict[str, bool] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {name: dict(values) for name, values in vars(self).items()}

    def __str__(self) -> str:
        lines = []
        for label, count in self.examples.items():
            scores = "with scores" if self.scored[label] else "without scores"
            dropped = f", {self.dropped[label]:,} empty rows dropped" if self.dropped[label] else ""
            lines.append(
                f"  {label}: {count:,} examples of {self.queries[label]:,} queries, {self.negatives[label]:.1f} negatives "
                f"each, {scores}{dropped}"
            )
        return "\n".join(lines)


class LabelledDataset(torch.utils.data.Dataset):
    """Rows `query`, `passages` (the positive first), `scores` (one per passage, or none), `known_positives`, all as texts.

    Args:
        rows: a data set with those columns, texts or ids, and `source`.
        query_texts, passage_texts: per source, where its rows hold ids: the texts.
    """

    def __init__(
        self,
        rows: Dataset,
        query_texts: Sequence[LookedUpTexts | None] = (None,),
        passage_texts: Sequence[LookedUpTexts | None] = (None,),
    ):
        self.rows = rows
        self.query_texts = list(query_texts)
        self.passage_texts = list(passage_texts)

    @classmethod
    def from_list(cls, examples: Sequence[dict[str, Any]]) -> LabelledDataset:
        """From rows in memory; `scores` and `known_positives` may be missing."""
        complete = [
            {"scores": [], "known_positives": example["passages"][:1], "source": 0} | dict(example) for example in examples
        ]
        return cls(Dataset.from_list(complete, features=_FEATURES))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = dict(self.rows[int(index)])
        source = row.pop("source")
        asked_by = f"labelled example {index}"
        if (queries := self.query_texts[source]) is not None:
            row["query"] = queries.text(row["query"], asked_by)
        if (passages := self.passage_texts[source]) is not None:
            row["passages"] = [passages.text(passage, asked_by) for passage in row["passages"]]
            row["known_positives"] = [passages.text(passage, asked_by) for passage in row["known_positives"]]
        return row

    def select(self, indices: Sequence[int]) -> LabelledDataset:
        """Some of the rows."""
        return LabelledDataset(self.rows.select(list(indices)), self.query_texts, self.passage_texts)

    @property
    def holds_texts(self) -> bool:
        """Whether the rows have the texts themselves, and no ids that stand for them."""
        return not any(tables is not None for tables in (*self.query_texts, *self.passage_texts))

    @property
    def fingerprint(self) -> str:
        """Hash of the rows (ids count as they are)."""
        import pyarrow

        digest = hashlib.sha256()
        rows = self.rows.select_columns(["query", "passages", "scores"]).with_format("arrow")
        for table in rows.iter(batch_size=10_000):
            written = pyarrow.BufferOutputStream()
            plain = table.combine_chunks().replace_schema_metadata(None)
            with pyarrow.ipc.new_stream(written, plain.schema) as stream:
                stream.write_table(plain)
            digest.update(written.getvalue())
        return digest.hexdigest()[:16]


def load_labelled(
    sources: Sequence[LabelledSource], *, seed: int = 0, cache_dir: str | os.PathLike | None = None
) -> tuple[LabelledDataset, LabelledReport]:
    """Reads labelled data. Rows go to disk and are mapped into memory.

    Args:
        sources: where it comes from.
        seed: of random negatives.
        cache_dir: where the rows are kept; the cache of `datasets` if None. A file that changes is read again.

    Raises:
        FileNotFoundError: for a missing file or data set. ValueError: for a row that cannot be read (file, line and field
            named), or a source without a row.
    """
    report = LabelledReport()
    parts, query_texts, passage_texts = [], [], []
    for number, source in enumerate(sources):
        source.check_file()
        arguments = {"source": source, "number": number, "seed": seed, "stamp": _stamp(source)}
        rows = written_rows(_examples, _ROW_FEATURES, arguments, cache_dir)
        _describe(report, source, rows)
        parts.append(rows.select_columns(list(_FEATURES)))
        query_texts.append(LookedUpTexts(source.query_texts) if source.query_texts else None)
        passage_texts.append(LookedUpTexts(source.passage_texts) if source.passage_texts else None)
    if not parts:
        raise ValueError("there is no labelled data: give at least one source.")
    return LabelledDataset(concatenate_datasets(parts), query_texts, passage_texts), report


def _examples(source: LabelledSource, number: int, seed: int, stamp: str) -> Iterator[dict[str, Any]]:
    def examples() -> Iterator[dict[str, Any]]:
        # Rows that are made of running text have the usual names.
        named = source if source.running_text is None else replace(source, query=None, positives=None, running_text=None)
        reader, dropped = RecordReader(named), 0
        last: dict[str, Any] | None = None
        for place, row in read_rows(source, seed):
            record = reader.read(place, row)
            dropped += record is None
            for example in record.examples() if record is not None else ():
                if last is not None:
                    yield last
                last, dropped = example | {"source": number, "dropped": dropped}, 0
        if last is not None:
            yield last | {"dropped": last["dropped"] + dropped}

    found = False
    for example in islice(examples(), source.max_examples):
        found = True
        yield example
    if not found:
        raise ValueError(f"labelled data {source.label}: there is no row with a query and a positive passage.")


def _stamp(source: LabelledSource) -> str:
    """A text that changes with the data, so that the cache of an older file is not used."""
    if source.hub is not None:
        return load_from_hub(source.hub, source.name, source.split, source.revision)._fingerprint
    stats = [os.stat(path) for path in source.own_files()]
    # A text: a list among the arguments of a generator would be taken for shards.
    return ",".join(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats)


def _describe(report: LabelledReport, source: LabelledSource, rows: Dataset) -> None:
    negatives = scored = dropped = 0
    queries: set[int] = set()
    for batch in rows.select_columns(["query", "passages", "scores", "dropped"]).iter(batch_size=1000):
        queries.update(hash(query) for query in batch["query"])
        negatives += sum(len(passages) - 1 for passages in batch["passages"])
        scored += sum(len(scores) > 0 for scores in batch["scores"])
        dropped += sum(batch["dropped"])
    label = source.label if source.label not in report.examples else f"{source.label} ({len(report.examples)})"
    report.examples[label], report.queries[label] = len(rows), len(queries)
    report.negatives[label], report.scored[label] = round(negatives / len(rows), 2), scored == len(rows)
    report.dropped[label] = dropped


def split_labelled(
    examples: LabelledDataset, *, held_out: float, max_held_out: int, seed: int = 0
) -> tuple[LabelledDataset, LabelledDataset]:
    """Splits by query, so that no held-out query is trained on; queries are compared in NFKC.

    Args:
        examples: the data set.
        held_out: share of the queries that are held out.
        max_held_out: the most held-out queries.
        seed: of the choice.

    Returns:
        Training part and held-out part; the latter may be empty.
    """
    queries = examples.rows["query"]
    compared = [comparable(query) for query in queries]
    different = list(dict.fromkeys(compared))
    count = min(int(len(different) * held_out), max_held_out, len(different) - 1)
    chosen = set(random.Random(seed).sample(different, count))
    kept = [index for index, query in enumerate(compared) if query not in chosen]
    out = [index for index, query in enumerate(compared) if query in chosen]
    return examples.select(kept), examples.select(out)
