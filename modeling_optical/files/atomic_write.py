"""Files and folders that appear whole or not at all, readable by whom the user's umask lets read."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file


@contextmanager
def replacing_file(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a name beside `path` to write to. The file takes the place of `path` if the block ends well, and vanishes if not.

    Raises:
        OSError: if it cannot be written (full disk, read-only folder); what stood there before is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = _scratch_name(path)
    try:
        # safetensors makes files that only their owner can read; this one has the mode of an ordinary file.
        descriptor = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        mode = os.fstat(descriptor).st_mode
        os.close(descriptor)
        yield scratch
        with open(scratch, "r+b") as stream:  # Windows flushes only what may be written
            os.fsync(stream.fileno())
        os.chmod(scratch, mode)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Writes a text file under a temporary name beside its place and moves it there; raises as `replacing_file`."""
    with replacing_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="")
    return Path(path)


def save_tensors(path: str | os.PathLike, tensors: Mapping[str, torch.Tensor]) -> Path:
    """Writes a safetensors file, as `write_text` does.

    Raises:
        OSError: as `replacing_file`; a full disk, too.
    """
    with replacing_file(path) as scratch, _raising_os_errors(path):
        save_file(dict(tensors), str(scratch), metadata={"format": "pt"})
    return Path(path)


@contextmanager
def replacing_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Gives an empty folder to write into, which takes the place of `path` if the block ends well, and vanishes if not.

    At every moment, also after a kill, one whole folder exists: the old one or the new one. On systems that cannot exchange two
    folders in one step, a kill can leave the old one as `.NAME-….old`; `restore_folder` puts it back. A link stays, and the
    folder that it points to is replaced.

    Raises:
        NotADirectoryError: if a file has the name.
        OSError: if the folder cannot be written; what stood there before is untouched.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    restore_folder(path)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file. A folder has to be written there: move the file, or name another.")
    scratch = _scratch_name(path)
    scratch.mkdir()
    try:
        with _raising_os_errors(path):
            yield scratch
        for weights in scratch.rglob("*.safetensors"):
            weights.chmod(scratch.stat().st_mode & 0o666)  # a folder's mode is a file's, with the right to enter
        _swap(scratch, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def restore_folder(path: str | os.PathLike) -> None:
    """Puts a folder back that a killed process had moved away to replace it. Nothing happens if the folder is there."""
    path = Path(path)
    if os.path.lexists(path):
        return
    moved = _scratch(path, ".old")
    if moved:
        os.rename(max(moved, key=lambda old: old.stat().st_mtime), path)


def sweep_scratch(path: str | os.PathLike) -> None:
    """Removes what killed processes had begun to write under temporary names for a file or folder; the last whole copy of it
    is put back, never removed. Only for those who know that no other process is writing there."""
    path = Path(path)
    restore_folder(path)
    for rest in [*_scratch(path), *_scratch(path, ".old")]:
        if rest.is_dir() and not rest.is_symlink():
            shutil.rmtree(rest, ignore_errors=True)
        else:
            rest.unlink(missing_ok=True)


def _scratch_name(path: Path) -> Path:
    return path.with_name(f".{path.name}-{secrets.token_hex(4)}")


def _scratch(path: Path, suffix: str = "") -> list[Path]:
    """Paths with temporary names for `path`: eight characters, so that `a-b` is not taken for a scratch of `a`."""
    return list(path.parent.glob(f".{glob.escape(path.name)}-{'[a-z0-9_]' * 8}{suffix}"))


def _swap(new: Path, path: Path) -> None:
    """Moves a folder to its place; the folder that was there lies in `new` afterwards, or is gone."""
    try:
        os.rename(new, path)  # works if nothing is there, or an empty folder
        return
    except OSError:
        if not path.is_dir():
            raise
    if _exchange(new, path):
        return
    old = new.with_name(f"{new.name}.old")
    os.rename(path, old)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two folders in one step; False where the system or the file system cannot."""
    call = _exchanging_call()
    if call is None:
        return False
    if call(os.fsencode(one), os.fsencode(other)) == 0:
        return True
    error = ctypes.get_errno()
    if error in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(error, os.strerror(error), str(one), None, str(other))


@cache
def _exchanging_call() -> Any:
    """`renameat2(…, RENAME_EXCHANGE)` of Linux or `renamex_np(…, RENAME_SWAP)` of macOS."""
    library: Any = ctypes.CDLL(None, use_errno=True) if sys.platform in ("linux", "darwin") else None
    here = -100  # AT_FDCWD
    if hasattr(library, "renameat2"):
        return lambda one, other: library.renameat2(here, one, here, other, 2)
    if hasattr(library, "renamex_np"):
        return lambda one, other: library.renamex_np(one, other, 2)
    return None


@contextmanager
def _raising_os_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turns what libraries raise when they cannot write into OSError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) or not (tells_of_space(error) or isinstance(error, SafetensorError)):
            raise
        number = errno.ENOSPC if tells_of_space(error) else errno.EIO
        raise OSError(number, f"{path} cannot be written: {error}. What was there is kept; free space, run again.") from error


def tells_of_space(error: BaseException) -> bool:
    """Whether the disk, a quota or a limit on the size of files is in the way."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    # safetensors, tokenizers and torch raise other errors, with the reason in the message.
    return any(text in str(error) for text in ("No space left", "quota exceeded", "File too large"))
