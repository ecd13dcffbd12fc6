"""Rows of tables as texts are exchanged in: TSV without quoting, CSV with it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .lines import MAX_LINE_BYTES, Line

_WITHIN_QUOTES = re.compile(r'(?:[^"]|"")*+')
_UP_TO_COMMA = re.compile(r"[^,]*")


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        place: `file:line` of its first line.
        cells: empty for a blank line.
        problem: what keeps one of its lines from being text; None if there is nothing.
    """

    place: str
    cells: list[str]
    problem: str | None = None


def table_rows(lines: Iterable[Line], delimiter: str) -> Iterator[Row]:
    """The rows of a table; in TSV quotes are text, in CSV a quoted cell may hold commas, doubled quotes and line ends.

    Raises:
        ValueError: for a quoted cell of CSV that never closes, or that ends in a later line in front of other text: a stray
            quote would swallow the lines up to there. The line in which it opens is named.
    """
    if delimiter != ",":
        for line in lines:
            yield Row(line.place, line.text.split(delimiter) if line.text else [], line.problem)
        return
    record = _Record()
    for line in lines:
        row = record.take(line)
        if row is not None:
            yield row
            record = _Record()
    record.end()


def header_names(cells: list[str]) -> list[str]:
    """The names of a line that may be a header, without white space around them and without empty cells at its end."""
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names


def check_header(names: list[str], place: str) -> None:
    """Checks a header line.

    Raises:
        ValueError: for a name that appears twice.
    """
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{place}: the header line names two columns {twice!r}. Rename one of them.")


class _Record:
    """A row of CSV, line by line."""

    def __init__(self) -> None:
        self._place = ""
        self._opened = ""  # place of the line in which the cell that is being read opened
        self._problem: str | None = None
        self._cells: list[str] = []
        self._open: io.StringIO | None = None

    def take(self, line: Line) -> Row | None:
        """The row, if it ends with this line."""
        self._place = self._place or line.place
        self._problem = self._problem or line.problem
        if not line.text and self._open is None:
            return Row(self._place, [], self._problem)
        at = 0
        if self._open is not None:
            self._open.write("\n")
        while at <= len(line.text):
            if self._open is None and not line.text.startswith('"', at):
                cell = _UP_TO_COMMA.match(line.text, at)
                assert cell is not None
                self._cells.append(cell[0])
                at = cell.end() + 1
                continue
            if self._open is None:
                self._open, self._opened, at = io.StringIO(), line.place, at + 1
            quoted = _WITHIN_QUOTES.match(line.text, at)
            assert quoted is not None
            self._open.write(quoted[0].replace('""', '"'))
            if self._open.tell() > MAX_LINE_BYTES:
                raise ValueError(
                    f"{self._opened}: the quoted cell that opens here is longer than {MAX_LINE_BYTES} characters. {_REMEDY}"
                )
            if quoted.end() == len(line.text):
                return None
            rest = _UP_TO_COMMA.match(line.text, quoted.end() + 1)
            assert rest is not None
            if rest[0].strip() and line.place != self._opened:
                raise ValueError(
                    f"{self._opened}: a quote opens here, and the next one, {line.place}, has text behind it. {_REMEDY}"
                )
            self._cells.append(self._open.getvalue() + rest[0])
            self._open, at = None, rest.end() + 1
        return Row(self._place, self._cells, self._problem)

    def end(self) -> None:
        """Nothing follows."""
        if self._open is not None:
            raise ValueError(f"{self._opened}: a quote opens here and never closes. {_REMEDY}")


_REMEDY = "Close it; write a quote that is part of a text as two; or save the table as TSV, where quotes are text."
