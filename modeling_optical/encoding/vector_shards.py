"""Token vectors of many texts in one safetensors file, read through a memory map."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..files.atomic_write import replacing_file
from ..files.fingerprint import file_checksum

STORAGE_TYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}
_TENSOR_TYPES = STORAGE_TYPES | {"bfloat16": torch.bfloat16}  # of caches alone: no engine multiplies it as it is stored

_FILE_NAME = re.compile(r"[a-z0-9][A-Za-z0-9._-]{0,150}\.safetensors")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def largest_value(dtype: str) -> float:
    """The largest number that vectors of this storage type can have."""
    half = float(torch.finfo(torch.float16).max)
    return {"float16": half, "int8": 127 * half}.get(dtype, float(torch.finfo(torch.float32).max))


def is_count(value: Any) -> bool:
    """Whether a value out of JSON is a whole number of at least 0."""
    return type(value) is int and 0 <= value < 2**53


@dataclass(frozen=True)
class ShardDescription:
    """A shard's description in a manifest.

    Attributes:
        file: name inside the manifest's folder.
        documents, tokens: how many.
        sha256: of the file.
    """

    file: str
    documents: int
    tokens: int
    sha256: str

    def __post_init__(self) -> None:
        if not isinstance(self.file, str) or not _FILE_NAME.fullmatch(self.file):
            raise ValueError(f"a shard's file is {self.file!r}; the name of a safetensors file in the same folder is needed")
        if not (is_count(self.documents) and is_count(self.tokens)):
            raise ValueError(
                f"{self.file} has {self.documents!r} documents and {self.tokens!r} tokens; whole numbers are needed"
            )
        if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.file} has no SHA-256")

    @classmethod
    def read(cls, values: Any) -> ShardDescription:
        """From JSON.

        Raises:
            ValueError: if it is none.
        """
        if not isinstance(values, dict) or values.keys() != {"file", "documents", "tokens", "sha256"}:
            raise ValueError("a shard needs file, documents, tokens and sha256, and nothing else")
        return cls(**values)


class VectorShard:
    """A shard on disk. Its vectors are mapped, not read: they take memory only while the system has it to spare.

    The file holds `vectors` (tokens of all texts, dim), `lengths` (texts,), `positions` (texts,): the place of each text in the
    order that the shard was given, `id_bytes` and `id_ends`: the ids in UTF-8; for int8 also `scales` (tokens,). Further
    columns are called `token.NAME` (tokens,) or `text.NAME` (texts, any size).

    Args:
        path: the file.

    Raises:
        ValueError: if it is not a whole shard.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        try:
            handle = safe_open(str(path), framework="pt")
            self._vectors: torch.Tensor = handle.get_tensor("vectors")
            self._scales: torch.Tensor | None = handle.get_tensor("scales") if "scales" in handle.keys() else None  # noqa: SIM118
            self.lengths: torch.Tensor = handle.get_tensor("lengths").long()
            self.positions: torch.Tensor = handle.get_tensor("positions").long()
            self._id_bytes: torch.Tensor = handle.get_tensor("id_bytes")
            self._id_ends: torch.Tensor = handle.get_tensor("id_ends")
        except (
            SafetensorError,
            OSError,
            RuntimeError,
        ) as error:  # PyTorch reads the file, too
            raise ValueError(f"{path} is missing or damaged ({error}). Make it again.") from error
        fault = self._fault()
        if fault:
            raise ValueError(f"{path} is damaged ({fault}). Make it again.")
        self._ends = self.lengths.cumsum(0)

    def _fault(self) -> str | None:
        """A part that does not fit the others, found before anything is computed with it; None if all fit."""
        texts, vectors, scales = self.lengths.numel(), self._vectors, self._scales
        if vectors.ndim != 2 or vectors.dtype not in _TENSOR_TYPES.values():
            return "its vectors are not a matrix of a known type"
        if any(tensor.ndim != 1 for tensor in (self.lengths, self.positions, self._id_bytes, self._id_ends)):
            return "its lengths, positions and ids are not lists"
        if self.lengths.lt(0).any() or self.lengths.gt(len(vectors)).any() or int(self.lengths.sum()) != len(vectors):
            return "its lengths do not add up to its vectors"
        if not torch.equal(self.positions.sort().values, torch.arange(texts)):
            return "its positions are not those of its texts"
        if (vectors.dtype == torch.int8) != (scales is not None) or (scales is not None and scales.shape != (len(vectors),)):
            return "it has not one scale per vector"
        ends = torch.cat([torch.zeros(1, dtype=torch.long), self._id_ends.long()])
        if len(ends) != texts + 1 or (ends[1:] <= ends[:-1]).any() or int(ends[-1]) != len(self._id_bytes):
            return "its ids do not fit its texts"
        return None if self._id_bytes.dtype == torch.uint8 else "its ids are not bytes"

    def check(self, description: ShardDescription, dim: int, dtype: str) -> None:
        """Compares it with what a manifest says of it.

        Raises:
            ValueError: naming the file.
        """
        there = (len(self), len(self._vectors), self.dim, self._vectors.dtype)
        told = (description.documents, description.tokens, dim, _TENSOR_TYPES[dtype])
        if there != told:
            raise ValueError(
                f"{self.path} is not what the manifest names: (texts, vectors, dimension, type) {there}, not {told}."
            )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def dim(self) -> int:
        """Size of a token vector."""
        return self._vectors.shape[1]

    def stored(self, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor | None]:
        """All vectors (tokens, dim) as stored, mapped and not copied on the CPU, and for int8 their scales (tokens,)."""
        return self._vectors.to(device), None if self._scales is None else self._scales.to(device)

    @property
    def nbytes(self) -> int:
        """Size of the vectors."""
        return self._vectors.nbytes

    @cached_property
    def columns(self) -> dict[str, torch.Tensor]:
        """The columns stored for every token or text beside its vectors.

        Raises:
            ValueError: if a column does not have a value for each.
        """
        with safe_open(str(self.path), framework="pt") as handle:
            found = {name: handle.get_tensor(name) for name in handle.keys() if name.startswith(("token.", "text."))}  # noqa: SIM118
        for name, values in found.items():
            whole = values.shape == (len(self._vectors),) if name.startswith("token.") else values.shape[:1] == (len(self),)
            if not whole or values.ndim > 2:
                raise ValueError(f"{self.path} is damaged (its {name} is of the shape {tuple(values.shape)}). Make it again.")
        return found

    def span(self, row: int) -> slice:
        """Places of one text's tokens; `row` counts in the order of the file."""
        stop = int(self._ends[row])
        return slice(stop - int(self.lengths[row]), stop)

    def document(self, row: int) -> torch.Tensor:
        """Vectors (tokens, dim) of one text, float32; `row` counts in the order of the file."""
        span = self.span(row)
        vectors = self._vectors[span].float()
        return vectors if self._scales is None else vectors.mul_(self._scales[span].float().unsqueeze(1))

    def identifier(self, row: int) -> str:
        """Id of one text; `row` counts in the order of the file."""
        start = int(self._id_ends[row - 1]) if row else 0
        return self._named(self._id_bytes[start : int(self._id_ends[row])].numpy().tobytes())

    def _named(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{self.path} is damaged (an id is not UTF-8). Make it again.") from None

    @cached_property
    def rows(self) -> torch.Tensor:
        """Row of the file at each position in the order that the shard was given."""
        return torch.argsort(self.positions)

    def identifiers(self) -> list[str]:
        """Ids in the order that the shard was given."""
        raw, start, ids = self._id_bytes.numpy().tobytes(), 0, []
        for end in self._id_ends.tolist():
            ids.append(self._named(raw[start:end]))
            start = end
        return [ids[row] for row in self.rows.tolist()]


def write_shard(
    path: str | os.PathLike,
    ids: Sequence[str],
    arrays: Sequence[Any],
    dtype: str,
    *,
    by_length: bool = False,
    columns: Mapping[str, torch.Tensor] | None = None,
) -> ShardDescription:
    """Writes a shard beside its place and moves it there.

    Args:
        path: the file.
        ids: one id per text.
        arrays: one array (tokens, dim) per text.
        dtype: `"float32"`, `"float16"`, or `"int8"` (each vector divided by its largest component, kept in half precision).
        by_length: whether texts of like length stand side by side in the file, as `ragged_maxsim` likes them.
        columns: `token.NAME` (tokens,) and `text.NAME` (texts, any size), in the order given (not with `by_length`).

    Raises:
        OSError: if the disk is full; it says how much is needed. Nothing is left half written.
    """
    path = Path(path)
    order = sorted(range(len(ids)), key=lambda i: len(arrays[i])) if by_length else list(range(len(ids)))
    names = [ids[i].encode("utf-8") for i in order]
    tensors = {
        **_stored(torch.cat([torch.as_tensor(arrays[i]) for i in order]), dtype),
        "lengths": torch.tensor([len(arrays[i]) for i in order], dtype=torch.int32),
        "positions": torch.tensor(order, dtype=torch.int32),
        "id_bytes": torch.frombuffer(bytearray(b"".join(names)), dtype=torch.uint8),
        "id_ends": torch.tensor([len(name) for name in names]).cumsum(0),
        **(columns or {}),
    }
    require_space(path.parent, sum(t.numel() * t.element_size() for t in tensors.values()))
    with telling_a_failed_write(path), replacing_file(path) as scratch:
        save_file(tensors, str(scratch))
        description = ShardDescription(path.name, len(ids), len(tensors["vectors"]), file_checksum(scratch))
    return description


@contextmanager
def telling_a_failed_write(path: Path) -> Iterator[None]:
    """Turns what fails in writing a file into a sentence that names the file and the remedy.

    Raises:
        OSError: if it cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise OSError(
            getattr(error, "errno", None) or errno.EIO,
            f"writing {path} failed: {error}. What was there is kept; free space and run again.",
        ) from error


def require_space(folder: Path, needed: int) -> None:
    """Raises OSError (ENOSPC) if the disk of `folder` has no room for `needed` bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"no space for {needed / 1e6:.1f} MB in {folder} ({free / 1e6:.1f} MB are free). Free some space or name another "
            "folder, and run again: what is written is kept.",
        )


def check_storage_type(dtype: str) -> None:
    """Raises ValueError for a dtype that vectors are not stored in."""
    if not isinstance(dtype, str) or dtype not in STORAGE_TYPES:
        raise ValueError(f"vectors are stored as {', '.join(STORAGE_TYPES)}, not as {dtype!r}.")


def _stored(vectors: torch.Tensor, dtype: str) -> dict[str, torch.Tensor]:
    if dtype != "int8":
        return {"vectors": vectors.to(_TENSOR_TYPES[dtype])}
    vectors = vectors.float()
    # At least the smallest normal number of half precision, so that a zero vector divides to zero.
    scales = (vectors.abs().amax(1) / 127).clamp_min(6.2e-5).half()
    codes = (vectors / scales.float().unsqueeze(1)).round_().clamp_(-127, 127).to(torch.int8)
    return {"vectors": codes, "scales": scales}
