"""Files of bitext as streams of bytes: plain, gzip, or a member of a zip archive that is never unpacked."""

from __future__ import annotations

import gzip
import lzma
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any

from modeling_optical.files.lines import MAX_LINE_BYTES, Line, checked, damage_told, open_bytes, read_lines


@dataclass(frozen=True)
class BitextFile:
    """A file, or a member of a zip archive.

    Args:
        path: the file.
        member: name of the member, if `path` is an archive.
    """

    path: str
    member: str | None = None

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}:{self.member}"

    @property
    def ending(self) -> str:
        """The ending in lower case, without `.gz`: `.tsv` for `x.TSV.gz`."""
        path = PurePath(self.path.lower())
        return PurePath(path.stem).suffix if path.suffix == ".gz" else path.suffix

    @contextmanager
    def open(self) -> Iterator[IO[bytes] | gzip.GzipFile]:
        """The bytes, unpacked as they are read.

        Raises:
            ValueError: if a packed file is damaged, cut off or encrypted.
        """
        if self.member is None:
            with open_bytes(self.path) as stream:
                yield stream
        else:
            with damage_told(str(self)), _archive(self.path, str(self)) as archive, archive.open(self.member) as stream:
                yield stream

    def lines(self) -> Iterator[Line]:
        """The lines, also those that are not UTF-8 or hold a NUL byte: these have a `problem`.

        Raises:
            ValueError: as `open` and `read_lines`.
        """
        with self.open() as stream:
            yield from read_lines(stream, str(self))

    def text_lines(self) -> Iterator[tuple[str, str]]:
        """(`file:line`, text) of files in which every line counts.

        Raises:
            ValueError: also for a line with a problem.
        """
        yield from checked(self.lines())


@contextmanager
def _archive(path: str, name: str) -> Iterator[zipfile.ZipFile]:
    try:
        with damage_told(name), zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, struct.error, lzma.LZMAError) as error:
        raise ValueError(f"{name} is damaged or no zip archive ({error}). Fetch it again.") from None
    except NotImplementedError as error:
        raise ValueError(
            f"{path} is packed in a way that is not read here ({error}). Unpack it and name the two files."
        ) from None


class BoundedRecords:
    """A stream that is read record by record, by a reader that itself sets no bound to a record.

    Args:
        stream: bytes.
        name: for messages.

    Whoever has read a record calls `next_record`.
    """

    def __init__(self, stream: Any, name: str):
        self._stream = stream
        self._name = name
        self._left = MAX_LINE_BYTES

    def next_record(self) -> None:
        """The next bytes belong to another record."""
        self._left = MAX_LINE_BYTES

    def read(self, size: int) -> bytes:
        """At most `size` bytes.

        Raises:
            ValueError: if one record is longer than `MAX_LINE_BYTES`.
        """
        part = self._stream.read(size)
        self._left -= len(part)
        if self._left < 0:
            raise ValueError(f"{self._name}: a single record is longer than {MAX_LINE_BYTES} bytes, so this is not a bitext.")
        return part


def moses_members(path: str, source: str, target: str) -> tuple[BitextFile, BitextFile]:
    """The two sides of a Moses pair in an OPUS-style zip: `Corpus.en-sw.en` and `Corpus.en-sw.sw`.

    Raises:
        ValueError: if the archive is damaged, encrypted, or does not hold exactly one such pair; its members are listed.
    """
    with _archive(path, path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir() and not _by_the_system(info.filename)]
    names = [info.filename for info in infos]
    stems = [name.removesuffix(f".{source}") for name in names if name.endswith(f".{source}")]
    stems = [stem for stem in stems if f"{stem}.{target}" in names]
    if len(stems) != 1:
        raise ValueError(
            f"{path} must hold one pair of files that end in .{source} and .{target}; it holds {len(stems) or 'none'} "
            f"(members: {', '.join(names)[:300]}). Set `source` and `target` to the endings, or unpack it and name two files."
        )
    wanted = {f"{stems[0]}.{source}", f"{stems[0]}.{target}"}
    if any(info.flag_bits & 1 for info in infos if info.filename in wanted):
        raise ValueError(f"{path} is encrypted. Unpack it and name the two files.")
    return BitextFile(path, f"{stems[0]}.{source}"), BitextFile(path, f"{stems[0]}.{target}")


def _by_the_system(name: str) -> bool:
    """Whether a member is what macOS puts beside the files: resource forks (`__MACOSX/._x`) and `.DS_Store`."""
    path = PurePath(name)
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name == ".DS_Store"
