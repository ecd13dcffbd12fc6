"""Lines of files that others made: each with its place, none longer than what memory holds, packed by gzip or not."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

MAX_LINE_BYTES = 16 * 2**20
"""The longest line. A packed file of a few kilobytes can hold one of many gigabytes."""


@contextmanager
def damage_told(name: str) -> Iterator[None]:
    """Tells of a packed file that is damaged or cut off.

    Raises:
        ValueError: then.
    """
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{name} is damaged or cut off ({error}). Fetch it again.") from None


def bounded_lines(stream: IO[bytes] | gzip.GzipFile, name: str) -> Iterator[tuple[str, bytes]]:
    """(`name:line`, line with its end).

    Raises:
        ValueError: for a line of more than `MAX_LINE_BYTES`.
    """
    for number in count(1):
        line = stream.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        place = f"{name}:{number}"
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"{place}: the line is longer than {MAX_LINE_BYTES} bytes, so this is no file of records.")
        yield place, line


def text_lines(path: str | os.PathLike, encoding: str = "utf-8") -> Iterator[tuple[str, str]]:
    """(`file:line`, line without its end) of a text file; blank lines too, a byte order mark not.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for bytes that are not in the encoding, a damaged archive, or a line of more than `MAX_LINE_BYTES` (file
            and line named).
    """
    path = Path(path)
    place = f"{path}:1"
    with damage_told(str(path)), gzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb") as stream:
        for number, (place, line) in enumerate(bounded_lines(stream, str(path))):
            try:
                text = line.decode(encoding)
            except UnicodeDecodeError as error:
                raise ValueError(f"{place}: not {encoding.upper()} ({error}).") from None
            yield place, (text if number else text.removeprefix("\ufeff")).rstrip("\r\n")


def json_lines(path: str | os.PathLike) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of a file with a JSON object a line; blank lines are passed over.

    Raises:
        ValueError: for a line that is none (file and line named), or a file without any.
    """
    empty = True
    for place, record in json_objects(text_lines(path)):
        empty = False
        yield place, record
    if empty:
        raise ValueError(f"{path} is empty.")


def json_objects(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of (place, line); blank lines are passed over.

    Raises:
        ValueError: for a line that is no JSON object (its place is named).
    """
    for place, line in lines:
        if not line.strip():
            continue
        record = parse_json(line, place)
        if not isinstance(record, dict):
            raise ValueError(f"{place}: not a JSON object.")
        yield place, record


def parse_json(text: str, place: str) -> Any:
    """A JSON value.

    Raises:
        ValueError: if the text is none, or nested deeper than can be read (the place is named).
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not JSON in UTF-8 ({error}).") from None
