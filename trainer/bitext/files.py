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

from modeling_optical.files.lines import MAX_LINE_BYTES, bounded_lines, damage_told


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
        with damage_told(str(self)):
            if self.member is not None:
                with _archive(self.path, str(self)) as archive, archive.open(self.member) as stream:
                    yield stream
            elif self.path.lower().endswith(".gz"):
                with gzip.open(self.path, "rb") as stream:
                    yield stream
            else:
                with open(self.path, "rb") as stream:
                    yield stream

    def lines(self) -> Iterator[tuple[str, str | None]]:
        """(`file:line`, line without its end) of the file read as UTF-8; None for a line that is not.

        Raises:
            ValueError: as `open`, and for a line that is longer than memory allows.
        """
        with self.open() as stream:
            for number, (place, raw) in enumerate(bounded_lines(stream, str(self))):
                try:
                    text = raw.decode("utf-8" if number else "utf-8-sig")
                except UnicodeDecodeError:
                    yield place, None
                    continue
                yield place, text.rstrip("\r\n")

    def text_lines(self) -> Iterator[tuple[str, str]]:
        """As `lines`, for files in which every line counts.

        Raises:
            ValueError: also for a line that is not UTF-8.
        """
        for place, line in self.lines():
            if line is None:
                raise ValueError(f"{place}: not UTF-8.")
            yield place, line


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
    """A stream that is read record by record, by readers that themselves set no bound to a record.

    Args:
        stream: bytes or text.
        name: for messages.

    Iterating gives lines, `read` a part. Whoever has read a record calls `next_record`.
    """

    def __init__(self, stream: Any, name: str):
        self._stream = stream
        self._name = name
        self._left = MAX_LINE_BYTES

    def next_record(self) -> None:
        """What is read from here on belongs to another record."""
        self._left = MAX_LINE_BYTES

    def read(self, size: int) -> Any:
        """At most so many bytes or characters.

        Raises:
            ValueError: if one record is longer than `MAX_LINE_BYTES`.
        """
        return self._counted(self._stream.read(size))

    def __iter__(self) -> Iterator[Any]:
        while line := self._counted(self._stream.readline(self._left + 1)):
            yield line

    def _counted(self, part: Any) -> Any:
        self._left -= len(part)
        if self._left < 0:
            raise ValueError(f"{self._name}: a single record is longer than {MAX_LINE_BYTES} bytes, so this is no bitext.")
        return part


def moses_members(path: str, source: str, target: str) -> tuple[BitextFile, BitextFile]:
    """The two sides of a Moses pair in an OPUS-style zip: `Corpus.en-sw.en` and `Corpus.en-sw.sw`.

    Raises:
        ValueError: if the archive is damaged, encrypted, or does not hold exactly one such pair; its members are listed.
    """
    with _archive(path, path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
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
