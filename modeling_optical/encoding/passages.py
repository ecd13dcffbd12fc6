"""The texts of an index by id, in an SQLite file: read one by one, changed whole or not at all."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .batching import batched

_BATCH = 1000


class PassageStore:
    """Texts by id on disk.

    Args:
        path: the file; made if needed.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def put(self, passages: Iterable[tuple[str, str]]) -> None:
        """Stores pairs of id and text, as a stream; a text that is there under the id is replaced.

        Raises:
            OSError: if the disk is full or the file cannot be written.
        """
        with self._connection() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS passages (id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID")
            for batch in batched(passages, _BATCH):
                with connection:
                    connection.executemany("INSERT OR REPLACE INTO passages VALUES (?, ?)", batch)

    def remove(self, ids: Iterable[str]) -> None:
        """Removes texts; unknown ids do not matter."""
        with self._connection() as connection, connection:
            connection.executemany("DELETE FROM passages WHERE id = ?", ((identifier,) for identifier in ids))

    def get(self, ids: Iterable[str]) -> dict[str, str]:
        """Texts of those ids that there are."""
        if not self.path.is_file():
            return {}
        with self._connection() as connection:
            found = {}
            for identifier in ids:
                row = connection.execute("SELECT text FROM passages WHERE id = ?", (identifier,)).fetchone()
                if row is not None:
                    found[identifier] = row[0]
            return found

    def texts(self, ids: Iterable[str]) -> Iterator[str]:
        """The text of each id, in the order given.

        Raises:
            KeyError: if one is not there.
        """
        for batch in batched(ids, _BATCH):
            found = self.get(batch)
            for identifier in batch:
                yield found[identifier]

    def __len__(self) -> int:
        if not self.path.is_file():
            return 0
        with self._connection() as connection:
            return connection.execute("SELECT COUNT(*) FROM passages").fetchone()[0]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # One connection per call: calls may come from any thread of a server.
        try:
            with closing(sqlite3.connect(self.path)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise OSError(f"the passages in {self.path} cannot be read or written: {error}.") from error
