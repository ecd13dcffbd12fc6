"""Images by their file name: in a folder, in a zip archive, in Parquet files, on the Hub; read one at a time."""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..collections.files import HubFiles

MAX_IMAGE_BYTES = 64 * 2**20
"""The largest encoded image that is read. A packed file of a few megabytes can hold one of many gigabytes."""
_LONGEST_NAME = 4096
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")


class ImageFiles(Protocol):
    """Encoded images (JPEG, PNG …) by file name."""

    label: str

    @property
    def names(self) -> list[str]:
        """File names, without folders, in the order in which they are read fastest."""
        ...

    def signature(self, name: str) -> str:
        """Changes when the image does, as far as that shows without reading it."""
        ...

    def read(self, name: str) -> bytes:
        """The encoded image."""
        ...


class FolderImages:
    """The images below a folder."""

    def __init__(self, folder: Path):
        self.label = str(folder)
        self._places: dict[str, Path] = {}
        for root, _, files in sorted(os.walk(folder)):
            for name in sorted(files):
                if name.lower().endswith(_ENDINGS):
                    self._places.setdefault(name, Path(root, name))

    @property
    def names(self) -> list[str]:
        return list(self._places)

    def signature(self, name: str) -> str:
        found = self._places[name].stat()
        return f"{found.st_size}:{found.st_mtime_ns}"

    def read(self, name: str) -> bytes:
        size = self._places[name].stat().st_size
        if size > MAX_IMAGE_BYTES:
            raise ValueError(f"{self._places[name]} has {size:,} bytes, more than {MAX_IMAGE_BYTES // 2**20} MiB: no image.")
        return self._places[name].read_bytes()


class ZipImages:
    """The images of a zip archive, which is not unpacked.

    Raises:
        ValueError: if it is not a zip archive.
    """

    def __init__(self, file: Path, label: str | None = None):
        self.label = label or str(file)
        with self._telling_damage():
            self._archive = zipfile.ZipFile(file)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._archive.infolist():
            parts = member.filename.split("/")
            # Archives made on a Mac have a twin of every file there.
            if parts[0] != "__MACOSX" and parts[-1].lower().endswith(_ENDINGS):
                self._members.setdefault(parts[-1], member)

    @contextmanager
    def _telling_damage(self) -> Iterator[None]:
        try:
            yield
        # What zipfile raises for damaged, cut off, encrypted and unusual archives.
        except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"{self.label} is not a whole zip archive ({error}). Fetch it again.") from None

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def signature(self, name: str) -> str:
        return f"{self._members[name].CRC:08x}"

    def read(self, name: str) -> bytes:
        member = self._members[name]
        # The size that the archive states is the packer's word: no more than this is unpacked.
        with self._telling_damage(), self._archive.open(member) as stream:
            image = stream.read(MAX_IMAGE_BYTES + 1)
        if len(image) > MAX_IMAGE_BYTES:
            raise ValueError(f"{self.label}: {member.filename} unpacks to more than {MAX_IMAGE_BYTES // 2**20} MiB: no image.")
        return image


class ParquetImages:
    """The images of Parquet files as `datasets` writes them: columns `filename` and `image` (a structure with `bytes`).

    One image is held at a time: equal rows are stored once, so that a small file may hold a group of any size. Images are read
    fastest in the order of the rows.

    Raises:
        ValueError: for a file without these columns, or with longer names than files have.
    """

    def __init__(self, files: Sequence[Path], label: str):
        import pyarrow
        import pyarrow.parquet as parquet

        self.label = label
        self._files: list[Any] = []
        self._rows: dict[str, tuple[int, int, int]] = {}  # file, group, row in the group
        self._reading: tuple[tuple[int, int], int, Iterator[Any]] | None = None  # file and group, next row, rows
        for number, path in enumerate(files):
            schema = parquet.read_schema(path)
            if "image" not in schema.names or "filename" not in schema.names:
                raise ValueError(
                    f"{path}: Parquet files of images have the columns `filename` and `image`; this one has "
                    f"{', '.join(schema.names)}."
                )
            if schema.field("filename").type not in (pyarrow.string(), pyarrow.large_string()):
                raise ValueError(f"{path}: the column `filename` holds {schema.field('filename').type}, not text.")
            file = parquet.ParquetFile(path, read_dictionary=["filename"])  # equal names are held once
            self._files.append(file)
            for group in range(file.num_row_groups):
                for row, name in enumerate(_names(file, group, path)):
                    self._rows.setdefault(name, (number, group, row))

    @property
    def names(self) -> list[str]:
        return list(self._rows)

    def signature(self, name: str) -> str:
        file, group, row = self._rows[name]
        described = self._files[file].metadata.row_group(group)
        return hashlib.sha256(f"{described.total_byte_size}:{described.num_rows}:{row}".encode()).hexdigest()[:16]

    def read(self, name: str) -> bytes:
        file, group, row = self._rows[name]
        if self._reading is None or self._reading[0] != (file, group) or self._reading[1] > row:
            batches = self._files[file].iter_batches(batch_size=1, row_groups=[group], columns=["image"])
            self._reading = (file, group), 0, batches
        _, first, rows = self._reading
        image = next(itertools.islice(rows, row - first, None)).column(0)
        self._reading = (file, group), row + 1, rows
        if len(image.field("bytes")[0].as_buffer()) > MAX_IMAGE_BYTES:
            raise ValueError(f"{self.label}: {name} has more than {MAX_IMAGE_BYTES // 2**20} MiB: no image.")
        return image[0].as_py()["bytes"]


def _names(file: Any, group: int, path: Path) -> list[str]:
    """The file names of a group of rows."""
    column = file.read_row_group(group, columns=["filename"])["filename"]
    for chunk in column.chunks:
        if any(len(name.as_buffer() or b"") > _LONGEST_NAME for name in chunk.dictionary):
            raise ValueError(f"{path}: file names have at most {_LONGEST_NAME} bytes; this file has longer ones.")
    return column.to_pylist()


def open_image_files(path: str | os.PathLike, revision: str | None = None) -> ImageFiles:
    """Finds images.

    Args:
        path: a folder of images, of Parquet files with images, or with a zip archive of them; a zip archive; or a data set on
            the Hub with Parquet files or an archive. The archive (`nlphuji/flickr30k`) is fetched once into the Hub's cache.
        revision: of the Hub data set.

    Raises:
        FileNotFoundError: if there is no such folder or data set. ValueError: without images, or for a damaged archive.
    """
    written = os.fspath(path)
    place = Path(written).expanduser()
    if place.is_file():
        return ZipImages(place)
    found: ImageFiles
    if place.is_dir():
        found = FolderImages(place)
        if not found.names:
            found = _packed({file.name: file for file in sorted(place.rglob("*")) if file.is_file()}, written)
    elif written.startswith((".", "/", "~")) or written.count("/") != 1:
        raise FileNotFoundError(f"images {written!r}: there is no such folder, archive or data set.")
    else:
        files = HubFiles(written, revision)
        wanted = [name for name in files.names if name.endswith((".zip", ".parquet"))]
        found = _packed({name: files.path(name) for name in wanted}, files.label)
    if not found.names:
        raise ValueError(f"images {written!r}: there are none ({', '.join(_ENDINGS)}, a zip archive or Parquet files).")
    return found


def _packed(files: dict[str, Path], label: str) -> ImageFiles:
    tables = [path for name, path in files.items() if name.endswith(".parquet")]
    if tables:
        return ParquetImages(tables, label)
    archives = [path for name, path in files.items() if name.endswith(".zip")]
    if len(archives) != 1:
        raise ValueError(f"images {label!r}: {len(archives)} zip archives and no image and no Parquet file; name one archive.")
    return ZipImages(archives[0], label)
