"""Texts by id that stay on disk: what a row of ids stands for."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from datasets import Dataset, Features, Value, load_dataset
from transformers.utils import logging

from modeling_optical.files.lines import json_objects
from modeling_optical.files.tables import check_header, header_names, table_rows

from ..bitext.files import BitextFile
from .sources import TextTable

_FEATURES = Features({"id": Value("string"), "text": Value("string"), "title": Value("string")})
_ID_COLUMNS = ("id", "_id", "pid", "qid", "docid")
_TEXT_COLUMNS = ("text", "passage", "query", "document")


class LookedUpTexts:
    """The texts of a table by id. The table is memory-mapped; memory is 16 bytes a text.

    Args:
        table: where the texts are.

    Raises:
        FileNotFoundError: if file or data set cannot be read. ValueError: if a column is missing or an id appears twice.
    """

    def __init__(self, table: TextTable):
        self.label = table.label
        self._rows = load_rows(table)
        columns = self._rows.column_names
        # A file of text was written anew with these columns; a data set keeps its columns.
        self._id, self._text = _columns(TextTable(path="x") if _is_text(table) else table, columns)
        self._title = "title" if "title" in columns and self._text != "title" else None
        hashes = np.empty(len(self._rows), dtype=np.uint64)
        place = 0
        identifiers = self._rows.select_columns([self._id])
        with logging.tqdm(total=len(self._rows), desc=f"Ids of {self.label}", disable=len(self._rows) < 100_000) as bar:
            for batch in identifiers.iter(batch_size=10_000):
                own = [_hash(str(identifier)) for identifier in batch[self._id]]
                hashes[place : place + len(own)] = own
                place += len(own)
                bar.update(len(own))
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]
        repeated = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        if len(repeated):
            identifier = self._rows[int(self._order[repeated[0]])][self._id]
            raise ValueError(f"{self.label}: the id {identifier!r} appears twice.")

    def __len__(self) -> int:
        return len(self._rows)

    def text(self, identifier: Any, asked_by: str) -> str:
        """The text of an id.

        Raises:
            KeyError: naming the id, the table and who asked.
        """
        key = np.uint64(_hash(str(identifier)))
        place = int(np.searchsorted(self._hashes, key))
        if place == len(self._hashes) or self._hashes[place] != key:
            raise KeyError(f"{asked_by}: the id {identifier!r} is not in {self.label}.")
        row = self._rows[int(self._order[place])]
        text = row[self._text]
        if not isinstance(text, str):
            raise ValueError(
                f"{asked_by}: the text of {identifier!r} in {self.label} is {str(text)[:80]!r}; it must be a text."
            )
        return f"{row[self._title]} {text}" if self._title and row[self._title] else text


def load_rows(table: TextTable) -> Dataset:
    """The rows of a table, memory-mapped.

    Raises:
        FileNotFoundError: naming file or data set and the remedy. ValueError: for a line that cannot be read (file and line
            named).
    """
    if table.path is None:
        return load_from_hub(str(table.hub), table.name, table.split, table.revision)
    if not os.path.isfile(table.path):
        raise FileNotFoundError(f"texts {table.path!r}: there is no such file.")
    if not _is_text(table):
        return load_dataset("parquet", data_files=glob.escape(table.path), split="train")
    stat = os.stat(table.path)
    return written_rows(_file_rows, _FEATURES, {"table": table, "stamp": f"{stat.st_size}:{stat.st_mtime_ns}"})


def _is_text(table: TextTable) -> bool:
    return table.path is not None and not table.path.lower().endswith(".parquet")


def written_rows(
    rows: Callable[..., Iterator[dict[str, Any]]],
    features: Features,
    arguments: dict[str, Any],
    cache_dir: str | os.PathLike | None = None,
) -> Dataset:
    """The rows of a generator, written to disk once and memory-mapped.

    Raises:
        Whatever the generator raises for a mistake of the user's, as it is.
    """
    from datasets.exceptions import DatasetGenerationError

    try:
        home = None if cache_dir is None else os.fspath(cache_dir)
        return Dataset.from_generator(rows, features=features, gen_kwargs=arguments, cache_dir=home)
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, ValueError | OSError | ImportError):
            raise error.__cause__ from None  # what the reader has said, not that reading failed
        raise


def _file_rows(table: TextTable, stamp: str) -> Iterator[dict[str, str]]:
    """Rows `id`, `text` and `title` of a file. `stamp` tells a changed file from the one that was read before."""
    file = BitextFile(str(table.path))
    records: Iterator[tuple[str, Mapping[str, Any]]]
    if file.ending in (".jsonl", ".json", ".ndjson"):
        records = json_objects(file.text_lines())
    elif file.ending in (".tsv", ".txt", ".csv"):
        records = _table_records(file, table)
    else:
        raise ValueError(f"texts {table.path!r}: known endings are .jsonl, .tsv (id, text, title), .csv and .parquet.")
    columns: tuple[str, str] | None = None
    for place, record in records:
        columns = columns or _columns(table, list(record))
        identifier, text, title = record.get(columns[0]), record.get(columns[1]), record.get("title")
        if isinstance(identifier, bool) or not isinstance(identifier, str | int) or not isinstance(text, str):
            raise ValueError(f"{place}: a row needs an id ({columns[0]!r}) and a text ({columns[1]!r}).")
        yield {
            "id": str(identifier).strip(),
            "text": text,
            "title": "" if title is None or columns[1] == "title" else str(title),
        }


def _table_records(file: BitextFile, table: TextTable) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows by column. A first line that names both columns is a header; without one, the columns are id, text and title."""
    names: list[str] = []
    for place, row, problem in table_rows(file.lines(), "," if file.ending == ".csv" else "\t"):
        if problem is not None:
            raise ValueError(f"{place}: {problem}.")
        if not row:
            continue
        if not names:
            names = header_names(row)
            if all(column is not None and column in names for column in _found(table, names)):
                check_header(names, place)
                continue
            names = ["id", "text", "title"]
        while len(row) > 2 and not row[-1].strip():
            row.pop()
        if not 2 <= len(row) <= len(names):
            raise ValueError(f"{place}: {len(row)} columns; expected {', '.join(names)}. Check the tabs in this line.")
        yield place, dict(zip(names, row, strict=False))


def _found(table: TextTable, columns: list[str]) -> tuple[str | None, str | None]:
    identifier = next((c for c in columns if c in _ID_COLUMNS or c.endswith(("_id", "-id"))), None)
    return table.id or identifier, table.text or next((c for c in _TEXT_COLUMNS if c in columns), None)


def _columns(table: TextTable, columns: list[str]) -> tuple[str, str]:
    """The columns of the ids and of the texts.

    Raises:
        ValueError: if one of them is missing.
    """
    identifier, text = _found(table, columns)
    for key, column in (("id", identifier), ("text", text)):
        if column is None or column not in columns:
            raise ValueError(f"{table.label}: no column for `{key}` (columns: {', '.join(columns)}); name it.")
    return str(identifier), str(text)


def load_from_hub(hub: str, name: str | None, split: str, revision: str | None) -> Dataset:
    """A data set of the Hub, or of a local folder of the same layout.

    Raises:
        FileNotFoundError: naming data set, split and the remedy.
    """
    try:
        return load_dataset(hub, name, split=split, revision=revision)
    except Exception as error:  # datasets raises many types; each becomes one sentence with the remedy
        label = hub if name is None else f"{hub}/{name}"
        raise FileNotFoundError(
            f"data set {label!r}, split {split!r}, could not be loaded ({type(error).__name__}: {error}). Check the id, the "
            "configuration, the split and the network, or give a file with `path`."
        ) from error


def _hash(identifier: str) -> int:
    return int.from_bytes(hashlib.blake2b(identifier.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
