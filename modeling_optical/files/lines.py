"""Lines of text files from other programs. Every reader of this package uses this module.

The rules are the same for all readers:

- A line ends in LF or CRLF. A lone CR is white space, and so are U+2028, U+0085 and their like.
- Text is UTF-8. A byte order mark of UTF-8 is dropped; another byte order mark is an error that names it.
- A line with a NUL byte is an error: the file is UTF-16 without a mark, or not a text file.
- A line's length is limited, so that it fits into memory. Files that end in `.gz` are unpacked while they are read.
"""

from __future__ import annotations

import codecs
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import IO, Any, NamedTuple

CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that move a terminal's cursor, start its commands, or turn the direction of a text."""
MAX_BLANK_LINES = 1_000_000
MAX_LINE_BYTES = 16 * 2**20
"""The longest line. A packed file of a few kilobytes can hold one of many gigabytes."""

_WHITE_SPACE = re.compile(r"[ \t\v\f]+")


def printable(text: str) -> str:
    """A text of others in one line that a terminal shows as it is: nothing in it moves the cursor or gives a command."""
    return CONTROLS.sub(lambda found: " " if found[0].isspace() else "\ufffd", text)


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
        ValueError: for a line of more than `MAX_LINE_BYTES`, or more than `MAX_BLANK_LINES` blank ones in a row.
    """
    blank = 0
    for number in count(1):
        line = stream.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        place = f"{name}:{number}"
        blank = blank + 1 if len(line) < 3 and line.isspace() else 0
        if blank > MAX_BLANK_LINES:
            raise ValueError(f"{place}: more than {MAX_BLANK_LINES:,} blank lines in a row, so this is not a file of records.")
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"{place}: the line is longer than {MAX_LINE_BYTES} bytes, so this is not a file of records.")
        yield place, line


class Line(NamedTuple):
    """A line of a text file.

    Attributes:
        place: `file:line`.
        text: the line without its end; every lone carriage return is a space.
        problem: what keeps the line from being text; None if it is text.
    """

    place: str
    text: str
    problem: str | None = None


# The marks of UTF-32 begin with those of UTF-16, so they come first.
_FOREIGN_MARKS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
                  codecs.BOM_UTF16_BE: "UTF-16"}  # fmt: skip
_PACKED = {
    b"\x1f\x8b": ("gzip", "Give it a name that ends in .gz, or unpack it: gunzip FILE"),
    b"BZh": ("bzip2", "Unpack it: bunzip2 FILE"),
    b"\xfd7zXZ": ("xz", "Unpack it: unxz FILE"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", "Unpack it: unzstd FILE"),
    b"PK\x03\x04": ("zip", "Unpack it: unzip FILE"),
}
"""First bytes of a packed file to its kind and the remedy."""


def read_lines(stream: IO[bytes] | gzip.GzipFile, name: str, encoding: str = "utf-8") -> Iterator[Line]:
    """The lines of a text, also those that are not in the encoding or hold a NUL byte: these have a `problem`.

    Raises:
        ValueError: for a file that is packed, that begins with the byte order mark of UTF-16 or UTF-32, whose lines end in
            carriage returns alone, or with a line of more than `MAX_LINE_BYTES`.
    """
    for number, (place, raw) in enumerate(bounded_lines(stream, name)):
        content = raw.rstrip(b"\r\n")
        if number == 0:
            _check_first(raw, content, place)
        problem = None
        if b"\0" in content:
            problem = "a NUL byte (UTF-16?)"
        try:
            # Files that are joined end to end have a mark in their middle, too.
            text = content.removeprefix(codecs.BOM_UTF8).decode(encoding)
        except UnicodeDecodeError:
            text, problem = content.decode(encoding, "replace"), f"not {encoding.upper()}"
        yield Line(place, text.replace("\r", " "), problem)


def _check_first(raw: bytes, content: bytes, place: str) -> None:
    for mark, (kind, remedy) in _PACKED.items():
        if raw.startswith(mark):
            raise ValueError(f"{place}: the file is packed ({kind}). {remedy}")
    for mark, encoding in _FOREIGN_MARKS.items():
        if raw.startswith(mark):
            raise ValueError(
                f"{place}: not UTF-8: the file begins with the byte order mark of {encoding}. "
                f"Convert it: iconv -f {encoding} -t UTF-8 FILE > NEW_FILE"
            )
    if b"\r" in content and not raw.endswith(b"\n"):
        raise ValueError(
            f"{place}: the lines end in carriage returns alone, as on old Macs. Convert them: tr '\\r' '\\n' < FILE > NEW_FILE"
        )


@contextmanager
def open_bytes(path: str | os.PathLike) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """The bytes of a file, unpacked as they are read if its name ends in `.gz`.

    Raises:
        FileNotFoundError: if there is no such file. ValueError: for a damaged archive.
    """
    name = os.fspath(path)
    with damage_told(name), gzip.open(name, "rb") if name.lower().endswith(".gz") else open(name, "rb") as stream:
        yield stream


def text_lines(path: str | os.PathLike, encoding: str = "utf-8") -> Iterator[tuple[str, str]]:
    """(`file:line`, line without its end) of a text file; blank lines too.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: as `read_lines`, and for a line with a problem or a damaged archive (file and line named).
    """
    with open_bytes(path) as stream:
        yield from checked(read_lines(stream, os.fspath(path), encoding))


def columns(line: str) -> list[str]:
    """The words between white space. Only ASCII white space counts, as for trec_eval: an id may hold a no-break space."""
    return [cell for cell in _WHITE_SPACE.split(line) if cell]


def checked(lines: Iterable[Line]) -> Iterator[tuple[str, str]]:
    """(place, text) of lines that all have to be text.

    Raises:
        ValueError: for a line that is not (the message names its place).
    """
    for place, text, problem in lines:
        if problem is not None:
            remedy = " If it is Latin-1: iconv -f ISO-8859-1 -t UTF-8 FILE > NEW_FILE" if problem.startswith("not ") else ""
            raise ValueError(f"{place}: {problem}.{remedy}")
        yield place, text


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
        ValueError: for a line that is not a JSON object (the message names its place).
    """
    first = True
    for place, line in lines:
        if not line.strip():
            continue
        if first:
            check_first_record(place, line)
            first = False
        record = parse_json(line, place)
        if not isinstance(record, dict):
            raise ValueError(f"{place}: not a JSON object.")
        yield place, record


def check_first_record(place: str, line: str) -> None:
    """Tells a JSON document that spreads over lines, or a list, from a file with a JSON object a line, by its first line.

    Raises:
        ValueError: with the command that converts it.
    """
    start = line.strip()
    if start.startswith("["):
        what, command = "a JSON list", "jq -c '.[]' FILE > NEW_FILE.jsonl"
    elif start == "{":
        what, command = "one JSON object over several lines", "jq -c . FILE > NEW_FILE.jsonl"
    else:
        return
    raise ValueError(f"{place}: not JSON Lines: the file is {what}. One JSON object a line is needed. Convert it: {command}")


def parse_json(text: str, place: str) -> Any:
    """A JSON value.

    Raises:
        ValueError: if the text is none, or nested deeper than can be read (the message names the place).
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not JSON in UTF-8 ({error}).") from None
