"""Bitext: reading, cleaning, counting and splitting pairs of sentences that translate each other."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from .symmetric import KINDS

_EXAMPLES_KEPT = 5


@dataclass
class BitextSource:
    """Where pairs come from.

    Args:
        path: a file `.jsonl` / `.json` (one object a line), `.tsv` / `.csv`, or two files (source language first) with a line
            each (Moses). Exactly one of `path` and `hub` is given.
        hub: a data set id on the Hub, or a local folder that `datasets.load_dataset` reads.
        source: field of the teacher's language; for a TSV without a header line, a column number from 0.
        target: field of the student's language, alike. A dotted name reaches into nested objects (`translation.sw`).
        language: language code of the targets; the name of `target` if None.
        name, split, revision: for `hub`, as for `load_dataset`.
        max_pairs: the first so many pairs only.
        kind: what the texts are learnt as: `query`, `document`, or `both` (each pair stands twice); documents are for students
            that encode documents, too.
    """

    path: str | list[str] | None = None
    hub: str | None = None
    source: str | int = "en"
    target: str | int = "target"
    language: str | None = None
    name: str | None = None
    split: str = "train"
    revision: str | None = None
    max_pairs: int | None = None
    kind: str = "query"

    def __post_init__(self) -> None:
        if (self.path is None) == (self.hub is None):
            raise ValueError("a bitext source needs either `path` (one file, or a list of two) or `hub` (a data set id).")
        if isinstance(self.path, list) and len(self.path) != 2:
            raise ValueError(f"bitext path lists {len(self.path)} files; Moses bitext is two: teacher's language, then yours.")
        if self.kind not in KINDS:
            raise ValueError(f"bitext kind is {self.kind!r}; allowed: {', '.join(map(repr, KINDS))}.")
        if self.language is None:
            self.language = str(self.target)

    @property
    def label(self) -> str:
        """Short name of the source, for reports."""
        if self.hub is not None:
            return self.hub if self.name is None else f"{self.hub}/{self.name}"
        return " + ".join(self.path) if isinstance(self.path, list) else str(self.path)


@dataclass
class BitextReport:
    """What was read and what was dropped, and why: counts per source, with the first places of each kind."""

    read: Counter = field(default_factory=Counter)
    kept: Counter = field(default_factory=Counter)
    dropped: dict[str, Counter] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def drop(self, label: str, reason: str, place: str) -> None:
        """Counts a dropped pair."""
        self.dropped.setdefault(label, Counter())[reason] += 1
        places = self.examples.setdefault(reason, [])
        if len(places) < _EXAMPLES_KEPT:
            places.append(place)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "read": dict(self.read),
            "kept": dict(self.kept),
            "dropped": {label: dict(reasons) for label, reasons in self.dropped.items()},
            "examples": self.examples,
        }

    def __str__(self) -> str:
        lines = []
        for label, count in self.read.items():
            reasons: Mapping[str, int] = self.dropped.get(label, {})
            why = ", ".join(f"{reason} {number:,}" for reason, number in sorted(reasons.items()))
            lines.append(f"{label}: {count:,} pairs read, {self.kept[label]:,} kept" + (f" (dropped: {why})" if why else ""))
        for reason, places in self.examples.items():
            lines.append(f"  {reason}, for instance: {'; '.join(places)}")
        return "\n".join(lines)


def load_bitext(
    sources: Sequence[BitextSource], *, max_length_ratio: float = 4.0, max_characters: int = 2000
) -> tuple[Dataset, BitextReport]:
    """Reads and cleans bitext.

    Dropped and counted: lines that are not JSON or lack a field, empty sides, identical sides, length ratios in characters
    beyond `max_length_ratio` (shorter texts get 10 characters of grace), texts over `max_characters`, repeated pairs.

    Returns:
        A data set with the columns `source`, `target`, `language`, `document` (empty where unknown), `origin` and `kind`, and
        a report.

    Raises:
        FileNotFoundError: for a missing file. ValueError: if nothing usable is left, or a field is missing everywhere; the
            message names file, line and field.
    """
    report = BitextReport()
    columns: dict[str, list[str]] = {name: [] for name in ("source", "target", "language", "document", "origin", "kind")}
    seen: set[bytes] = set()
    for source in sources:
        label = source.label
        report.read[label] = report.kept[label] = 0
        for place, pair, problem in _read(source):
            if source.max_pairs is not None and report.read[label] >= source.max_pairs:
                break
            report.read[label] += 1
            if pair is not None:
                problem = _problem(pair, max_length_ratio, max_characters)
                if problem is None:
                    key = hashlib.blake2b(f"{source.language}\0{pair[0]}\0{pair[1]}".encode(), digest_size=12).digest()
                    if key in seen:
                        problem = "repeated"
                    seen.add(key)
            if problem is not None:
                report.drop(label, problem, place)
                continue
            assert pair is not None
            report.kept[label] += 1
            values = (pair[0], pair[1], str(source.language), pair[2], label, source.kind)
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
        if report.kept[label] == 0:
            raise ValueError(
                f"no usable pair in {label} (fields {source.source!r} and {source.target!r}; "
                f"{report.read[label]} lines read).\n{report}"
            )
    if not columns["source"]:
        raise ValueError("no bitext source is given.")
    return Dataset.from_dict(columns), report


def split_bitext(
    bitext: Dataset, *, held_out: float = 0.02, max_held_out: int = 1000, seed: int = 0
) -> tuple[Dataset, Dataset]:
    """Splits off a held-out part: whole documents where they are known, else pairs with the same source text together.

    Documents (or source texts) are ordered by a seeded hash, so the split does not depend on the order of the files, and are
    taken until `held_out` of the pairs, at most `max_held_out`, are reached. A training pair that repeats a held-out source or
    target text is dropped from training.

    Returns:
        The training and the held-out part.

    Raises:
        ValueError: if a part would be empty.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is {held_out}; it is a share of the pairs, from 0 to below 1.")
    wanted = min(round(len(bitext) * held_out), max_held_out)
    groups: dict[str, list[int]] = {}
    for index, (document, source, origin) in enumerate(
        zip(bitext["document"], bitext["source"], bitext["origin"], strict=True)
    ):
        name = f"d\0{os.path.basename(origin)}\0{document}" if document else f"s\0{source}"
        groups.setdefault(name, []).append(index)

    def order(name: str) -> bytes:
        return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=12).digest()

    chosen: list[int] = []
    for name in sorted(groups, key=order):
        if len(chosen) >= wanted:
            break
        # A document that would overshoot by more than half of what is wanted is left to training.
        if len(chosen) + len(groups[name]) <= max(wanted * 1.5, 1):
            chosen += groups[name]
    held = set(chosen)
    held_sources = {bitext[i]["source"] for i in chosen}
    held_targets = {bitext[i]["target"] for i in chosen}
    sources, targets = bitext["source"], bitext["target"]
    rest = [
        i for i in range(len(bitext)) if i not in held and sources[i] not in held_sources and targets[i] not in held_targets
    ]
    if wanted and not chosen:
        raise ValueError(
            f"no document is small enough to hold out {wanted} of {len(bitext)} pairs: the smallest has "
            f"{min(map(len, groups.values()))}. Raise data.held_out, or set it to 0."
        )
    if not rest:
        raise ValueError(f"nothing is left to train on: {len(bitext)} pairs, {len(held)} held out. Lower data.held_out.")
    return bitext.select(rest), bitext.select(sorted(held))


def fingerprint(bitext: Dataset) -> str:
    """A hash of all pairs in their order, for the record of a run."""
    digest = hashlib.sha256()
    for source, target, language in zip(bitext["source"], bitext["target"], bitext["language"], strict=True):
        digest.update(f"{language}\0{source}\0{target}\n".encode())
    return digest.hexdigest()[:16]


def _problem(pair: tuple[str, str, str], max_ratio: float, max_characters: int) -> str | None:
    source, target, _ = pair
    try:
        "".join(pair).encode("utf-8")
    except UnicodeEncodeError:
        return "not UTF-8"
    if not source or not target:
        return "empty"
    if source == target:
        return "identical"
    if max(len(source), len(target)) > max_characters:
        return "too long"
    shorter, longer = sorted((len(source), len(target)))
    if longer > max_ratio * (shorter + 10):
        return "length ratio"
    return None


_Pair = tuple[str, str, str]


def _read(source: BitextSource) -> Iterator[tuple[str, _Pair | None, str | None]]:
    """Yields (place, pair, problem): a pair, or the problem that kept it from being one."""
    if source.hub is not None:
        yield from _from_records(source, _hub_records(source))
        return
    paths = source.path if isinstance(source.path, list) else [str(source.path)]
    for path in paths:
        if not os.path.isfile(path):
            raise FileNotFoundError(f"bitext file {path!r} does not exist.")
    if len(paths) == 2:
        yield from _moses(paths)
        return
    suffix = "".join(Path(paths[0]).suffixes[-1:]).lower()
    if suffix in (".tsv", ".csv", ".txt"):
        yield from _table(source, paths[0], "," if suffix == ".csv" else "\t")
    elif suffix in (".jsonl", ".json", ".ndjson"):
        yield from _from_records(source, _json_lines(paths[0]))
    else:
        raise ValueError(f"bitext file {paths[0]!r}: known endings are .jsonl, .tsv and .csv; two files are read as Moses.")


def _lines(path: str) -> Iterator[tuple[str, str | None]]:
    with open(path, "rb") as stream:
        for number, raw in enumerate(stream, 1):
            place = f"{path}:{number}"
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                yield place, None
                continue
            yield place, text.rstrip("\r\n")


def _json_lines(path: str) -> Iterator[tuple[str, Any, str | None]]:
    for place, line in _lines(path):
        if line is None:
            yield place, None, "not UTF-8"
        elif line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                yield place, None, "not JSON"
                continue
            yield (place, record, None) if isinstance(record, dict) else (place, None, "not an object")


def _hub_records(source: BitextSource) -> Iterator[tuple[str, Any, str | None]]:
    number = -1
    try:
        rows = load_dataset(source.hub, source.name, split=source.split, revision=source.revision, streaming=True)
        for number, record in enumerate(rows):
            yield f"{source.label}[{number}]", record, None
    except Exception as error:  # datasets raises many types; each becomes one sentence with the remedy
        raise FileNotFoundError(
            f"data set {source.label!r}, split {source.split!r}, could not be "
            f"{'loaded' if number < 0 else f'read beyond row {number}'} ({type(error).__name__}: {error}). "
            "Check the id, the configuration and the network, or give files with `path`."
        ) from error


def _field(record: dict[str, Any], name: str | int) -> Any:
    value: Any = record
    if name in record:
        return record[name]
    for part in str(name).split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


def _from_records(
    source: BitextSource, records: Iterable[tuple[str, Any, str | None]]
) -> Iterator[tuple[str, _Pair | None, str | None]]:
    for place, record, problem in records:
        if problem is not None:
            yield place, None, problem
            continue
        texts = []
        for name in (source.source, source.target):
            value = _field(record, name)
            if not isinstance(value, str):
                problem = f"no text in field {name!r}"
                break
            texts.append(_normalize(value))
        if problem is not None:
            yield place, None, problem
        else:
            document = record.get("document")
            yield place, (texts[0], texts[1], "" if document is None else str(document)), None


def _table(source: BitextSource, path: str, delimiter: str) -> Iterator[tuple[str, _Pair | None, str | None]]:
    # TSV as it is exchanged for bitext has no quoting; CSV has.
    by_number = isinstance(source.source, int) and isinstance(source.target, int)
    places: tuple[int, int] | None = (int(source.source), int(source.target)) if by_number else None
    csv.field_size_limit(2**31 - 1)  # the cleaning judges lengths, with a count
    # Bytes that are not UTF-8 become surrogates, which the cleaning finds.
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        rows = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE)
        document_column: int | None = None
        for row in rows:
            place = f"{path}:{rows.line_num}"
            if places is None:
                missing = [name for name in (source.source, source.target) if name not in row]
                if missing:
                    raise ValueError(
                        f"{path}: the header line has no column {missing[0]!r} (it has: {', '.join(row)[:200]}). "
                        "Name the columns with `source` and `target`, or give their numbers from 0 if there is no header."
                    )
                places = (row.index(str(source.source)), row.index(str(source.target)))
                document_column = row.index("document") if "document" in row else None
                continue
            if not row:
                continue
            if len(row) <= max(places):
                yield place, None, f"fewer than {max(places) + 1} columns"
                continue
            document = row[document_column] if document_column is not None and document_column < len(row) else ""
            yield place, (_normalize(row[places[0]]), _normalize(row[places[1]]), document), None


def _moses(paths: list[str]) -> Iterator[tuple[str, _Pair | None, str | None]]:
    counts = [sum(1 for _ in _lines(path)) for path in paths]
    if counts[0] != counts[1]:
        raise ValueError(
            f"Moses bitext must have the same number of lines: {paths[0]} has {counts[0]}, {paths[1]} has {counts[1]}."
        )
    for (place, source), (_, target) in zip(_lines(paths[0]), _lines(paths[1]), strict=True):
        if source is None or target is None:
            yield place, None, "not UTF-8"
        else:
            yield place, (_normalize(source), _normalize(target), ""), None


def _normalize(text: str) -> str:
    return " ".join(text.split())
