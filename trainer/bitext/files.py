"""Files of bitext as streams of bytes: plain, gzip, or a member of a zip archive that is never unpacked."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO


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
        try:
            if self.member is not None:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                    yield stream
            elif self.path.lower().endswith(".gz"):
                with gzip.open(self.path, "rb") as stream:
                    yield stream
            else:
                with open(self.path, "rb") as stream:
                    yield stream
        except (gzip.BadGzipFile, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{self} is damaged or cut off ({error}). Fetch it again.") from None

    def lines(self) -> Iterator[tuple[str, str | None]]:
        """(`file:line`, line without its end) of the file read as UTF-8; None for a line that is not."""
        with self.open() as stream:
            for number, raw in enumerate(stream, 1):
                place = f"{self}:{number}"
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError:
                    yield place, None
                    continue
                yield place, text.rstrip("\r\n")


def moses_members(path: str, source: str, target: str) -> tuple[BitextFile, BitextFile]:
    """The two sides of a Moses pair in an OPUS-style zip: `Corpus.en-sw.en` and `Corpus.en-sw.sw`.

    Raises:
        ValueError: if the archive is damaged, encrypted, or does not hold exactly one such pair; its members are listed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged or no zip archive ({error}). Fetch it again.") from None
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
