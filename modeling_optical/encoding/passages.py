"""The texts of an index by id, in an SQLite file: read one by one, changed whole or not at all."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .batching import batched

_BATCH = 1000
_SCHEMA = "CREATE TABLE passages (id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID"
_SECONDS = 30.0  # that one call may compute; it looks up single keys
_STEPS = 100_000  # of SQLite's machine between two looks at the clock


class PassageStore:
    """Texts by id on disk.

    The file may come from anybody: it has to hold the one table that this class makes, nothing else (no view, no trigger).

    Args:
        path: the file; made by the first `put`.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def put(self, passages: Iterable[tuple[str, str]]) -> None:
        """Stores pairs of id and text, as a stream; a text that is there under the id is replaced.

        Raises:
            OSError: if the disk is full or the file cannot be written.
        """
        with self._connection("rwc") as connection:
            for batch in batched(passages, _BATCH):
                with connection:
                    connection.executemany("INSERT OR REPLACE INTO passages VALUES (?, ?)", batch)

    def remove(self, ids: Iterable[str]) -> None:
        """Removes texts; unknown ids do not matter."""
        if self.path.is_file():
            with self._connection() as connection, connection:
                connection.executemany("DELETE FROM passages WHERE id = ?", ((identifier,) for identifier in ids))

    def get(self, ids: Iterable[str]) -> dict[str, str]:
        """Texts of those ids that there are.

        Raises:
            OSError: if the file is locked, damaged, or not one of this class.
        """
        if not self.path.is_file():
            return {}
        with self._connection() as connection:
            found = {}
            for identifier in ids:
                row = connection.execute("SELECT text FROM passages WHERE id = ?", (identifier,)).fetchone()
                if row is not None:
                    if not isinstance(row[0], str):
                        raise OSError(f"the passages in {self.path} are damaged: {identifier!r} has no text.")
                    found[identifier] = row[0]
            return found

    def __len__(self) -> int:
        if not self.path.is_file():
            return 0
        with self._connection() as connection:
            return connection.execute("SELECT COUNT(*) FROM passages").fetchone()[0]

    @contextmanager
    def _connection(self, mode: str = "rw") -> Iterator[sqlite3.Connection]:
        # One connection per call: calls may come from any thread of a server. A file that cannot be written can be read.
        try:
            with closing(sqlite3.connect(f"{self.path.resolve().as_uri()}?mode={mode}", uri=True)) as connection:
                connection.execute("PRAGMA trusted_schema = OFF")
                if mode == "rwc":
                    connection.execute(_SCHEMA.replace("TABLE", "TABLE IF NOT EXISTS"))
                else:
                    ends = time.monotonic() + _SECONDS
                    connection.set_progress_handler(lambda: time.monotonic() > ends, _STEPS)
                if [row[0] for row in connection.execute("SELECT sql FROM sqlite_master LIMIT 2")] != [_SCHEMA]:
                    raise OSError(f"{self.path} holds no passages, or more than passages. Make the index again.")
                yield connection
        except sqlite3.Error as error:
            raise OSError(f"the passages in {self.path} cannot be read or written: {error}.") from error
