"""Reading the forms that bitext comes in, one pair after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from datasets import load_dataset

from modeling_optical.files.lines import check_first_record, parse_json
from modeling_optical.files.tables import check_header, header_names, table_rows

from .files import BitextFile, moses_members
from .sources import BitextSource
from .tmx import read_tmx

# Source text, target text, document ("" where unknown).
Pair = tuple[str, str, str]


def read_pairs(source: BitextSource) -> Iterator[tuple[str, Pair | None, str | None]]:
    """Yields (place, pair, problem): a pair, or the problem that kept it from being one. Nothing is held in memory.

    Raises:
        FileNotFoundError: for a missing file or data set. ValueError: for a file of unknown ending, without the columns asked
            for, damaged, or with sides of different length; the message names the file.
    """
    if source.hub is not None:
        yield from _from_records(source.source, source.target, _hub_records(source))
        return
    files = [BitextFile(path) for path in source.files()]
    if isinstance(source.path, list):
        yield from _moses(*files)
        return
    for file in files:
        yield from _read_file(source, file)


def _read_file(source: BitextSource, file: BitextFile) -> Iterator[tuple[str, Pair | None, str | None]]:
    if file.ending in (".tsv", ".csv", ".txt"):
        yield from _table(source, file, "," if file.ending == ".csv" else "\t")
    elif file.ending in (".jsonl", ".json", ".ndjson"):
        yield from _from_records(source.source, source.target, _json_lines(file))
    elif file.ending == ".tmx":
        yield from _from_records("source", "target", read_tmx(file, str(source.source), str(source.target)))
    elif file.ending == ".zip":
        yield from _moses(*moses_members(file.path, str(source.source), str(source.target)))
    else:
        raise ValueError(
            f"bitext file {file.path!r}: known endings are .jsonl, .tsv and .csv, .tmx, each also with .gz, and .zip (a Moses "
            "pair); two files are read as Moses."
        )


def _json_lines(file: BitextFile) -> Iterator[tuple[str, Any, str | None]]:
    first = True
    for place, line, problem in file.lines():
        if problem is not None:
            yield place, None, problem
        elif line.strip():
            if first:
                check_first_record(place, line)
            first = False
            try:
                record = parse_json(line, place)
            except ValueError:
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
    source: str | int, target: str | int, records: Iterable[tuple[str, Any, str | None]]
) -> Iterator[tuple[str, Pair | None, str | None]]:
    for place, record, problem in records:
        if problem is not None:
            yield place, None, problem
            continue
        texts = []
        for name in (source, target):
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


def _table(source: BitextSource, file: BitextFile, delimiter: str) -> Iterator[tuple[str, Pair | None, str | None]]:
    by_number = isinstance(source.source, int) and isinstance(source.target, int)
    places: tuple[int, int] | None = (int(source.source), int(source.target)) if by_number else None
    document_column: int | None = None
    names: list[str] = []
    for place, row, problem in table_rows(file.lines(), delimiter):
        if problem is not None:
            yield place, None, problem
        elif not row:
            continue
        elif places is None:
            names = header_names(row)
            check_header(names, place)
            missing = [name for name in (source.source, source.target) if name not in names]
            if missing:
                raise ValueError(
                    f"{file}: the header line has no column {missing[0]!r} (it has: {', '.join(row)[:200]}). "
                    "Name the columns with `source` and `target`, or give their numbers from 0 if there is no header."
                )
            places = (names.index(str(source.source)), names.index(str(source.target)))
            document_column = names.index("document") if "document" in names else None
        elif len(row) <= max(places):
            yield place, None, f"fewer than {max(places) + 1} columns"
        elif names and any(cell.strip() for cell in row[len(names) :]):
            yield place, None, f"more columns than the {len(names)} of the header line"
        else:
            document = row[document_column] if document_column is not None and document_column < len(row) else ""
            yield place, (_normalize(row[places[0]]), _normalize(row[places[1]]), document), None


def _moses(source_file: BitextFile, target_file: BitextFile) -> Iterator[tuple[str, Pair | None, str | None]]:
    counts = [sum(1 for _ in file.lines()) for file in (source_file, target_file)]
    if counts[0] != counts[1]:
        raise ValueError(
            f"Moses bitext must have the same number of lines: {source_file} has {counts[0]}, {target_file} has {counts[1]}."
        )
    for ours, theirs in zip(source_file.lines(), target_file.lines(), strict=True):
        if (problem := ours.problem or theirs.problem) is not None:
            yield ours.place, None, problem
        else:
            yield ours.place, (_normalize(ours.text), _normalize(theirs.text), ""), None


def _normalize(text: str) -> str:
    return " ".join(text.split())
