"""Texts by id that stay on disk: what a row of ids stands for."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
from datasets import Dataset, Features, Value, load_dataset
from transformers.utils import logging

from .sources import TextTable

_TEXT_COLUMNS = ("text", "passage", "query", "document")


class LookedUpTexts:
    """The texts of a table by id. The table is memory-mapped; memory is 16 bytes a text.

    Args:
        table: where the texts are.

    Raises:
        FileNotFoundError: if file or data set cannot be read. ValueError: if a column is missing or an id stands twice.
    """

    def __init__(self, table: TextTable):
        self.label = table.label
        self._rows = load_rows(table)
        columns = self._rows.column_names
        self._id = table.id or next((c for c in columns if c in ("id", "_id") or c.endswith(("_id", "-id"))), None)
        self._text = table.text or next((c for c in _TEXT_COLUMNS if c in columns), None)
        for key, column in (("id", self._id), ("text", self._text)):
            if column not in columns:
                raise ValueError(f"{self.label}: no column for `{key}` (columns: {', '.join(columns)}); name it.")
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
            raise ValueError(f"{self.label}: the id {identifier!r} stands twice.")

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
        text = str(row[self._text])
        return f"{row[self._title]} {text}" if self._title and row[self._title] else text


def load_rows(table: TextTable) -> Dataset:
    """The rows of a table, memory-mapped.

    Raises:
        FileNotFoundError: naming file or data set and the remedy.
    """
    if table.path is None:
        return load_from_hub(str(table.hub), table.name, table.split, table.revision)
    if not os.path.isfile(table.path):
        raise FileNotFoundError(f"texts {table.path!r}: there is no such file.")
    ending = table.path.lower().removesuffix(".gz").rsplit(".", 1)[-1]
    if ending in ("jsonl", "json", "ndjson"):
        return load_dataset("json", data_files=table.path, split="train")
    if ending == "parquet":
        return load_dataset("parquet", data_files=table.path, split="train")
    if ending not in ("tsv", "txt"):
        raise ValueError(f"texts {table.path!r}: known endings are .jsonl, .tsv (id, text, without a header) and .parquet.")
    return load_dataset(
        "csv",
        data_files=table.path,
        split="train",
        delimiter="\t",
        column_names=["id", "text"],
        features=Features({"id": Value("string"), "text": Value("string")}),
        quoting=3,  # csv.QUOTE_NONE: quotes are text
        keep_default_na=False,  # the passage "nan" is a text, too
    )


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
