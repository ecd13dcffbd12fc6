"""One writer a folder: a lock that ends with the process that holds it, however it ends."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import logging

logger = logging.get_logger(__name__)

LOCK_FILE = ".lock"
_TOLD_AFTER = 1.0  # seconds
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# Folder to (thread that holds it, how often, descriptor): a thread may lock again what it holds.
_held: dict[str, tuple[int, int, int]] = {}

if sys.platform == "win32":
    import msvcrt

    def _try(descriptor: int) -> bool:
        os.lseek(descriptor, 2**30, os.SEEK_SET)  # behind the text, which stays readable
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _leave_to_parent() -> None:
        for _, _, descriptor in _held.values():
            os.close(descriptor)
        _held.clear()

    # A lock belongs to the process that took it: a forked worker that outlives it must not keep it.
    os.register_at_fork(after_in_child=_leave_to_parent)


@contextmanager
def locked(folder: str | os.PathLike, timeout: float = 600.0) -> Iterator[None]:
    """Holds the one lock of a folder; makes the folder if needed.

    The operating system frees the lock when its process ends, also when it is killed. The same thread may lock a folder again;
    other threads and processes wait. Readers need no lock.

    Args:
        folder: what the block changes.
        timeout: seconds to wait for another holder; 0: do not wait.

    Raises:
        TimeoutError: if another process (or thread) holds the lock for longer; the message says which.
        OSError: if the folder cannot be written.
    """
    folder = Path(folder).expanduser()
    key, me = str(folder.resolve()), threading.get_ident()
    thread, count, descriptor = _held.get(key, (0, 0, -1))
    if thread != me:
        count, descriptor = 0, _acquire(folder, timeout)
    _held[key] = (me, count + 1, descriptor)
    try:
        yield
    finally:
        # A forked child that leaves the block holds nothing.
        if key in _held:
            if count:
                _held[key] = (me, count, descriptor)
            else:
                del _held[key]
                _release(folder / LOCK_FILE, descriptor)


def _acquire(folder: Path, timeout: float) -> int:
    place = folder / LOCK_FILE
    started, told, pause = time.monotonic(), False, 0.005
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise OSError(error.errno, f"the folder {folder} cannot be written ({error.strerror}: {place.name}).") from error
        try:
            if _try(descriptor) and _is_at(place, descriptor):
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, str(os.getpid()).encode())
                return descriptor
            holder = _holder(descriptor)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                logger.warning_once(f"the file system of {folder} has no locks: let one process at a time write there.")
                return descriptor
            os.close(descriptor)
            raise
        os.close(descriptor)
        waited = time.monotonic() - started
        if waited >= timeout:
            late = f" and did not end in {waited:.0f} seconds" if timeout else ""
            raise TimeoutError(
                f"{folder} is in use: {holder} is writing there{late}. Wait until it ends, or end it, and start again."
            )
        if not told and waited > _TOLD_AFTER:
            logger.warning(f"{folder}: waiting for {holder}, which is writing there.")
            told = True
        time.sleep(min(pause, timeout - waited))
        pause = min(pause * 1.5, 0.2)


def _is_at(place: Path, descriptor: int) -> bool:
    """Whether the locked file still is the folder's: its last holder removes it."""
    try:
        return os.path.samestat(os.stat(place), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    number = os.read(descriptor, 20).decode("ascii", "replace")
    if not number.isdigit():
        return "another process"
    return "this process" if int(number) == os.getpid() else f"process {number}"


def _release(place: Path, descriptor: int) -> None:
    # Removed while it is held, so that nothing stays behind; who waits for it takes a new file (`_is_at`).
    if sys.platform != "win32" and _is_at(place, descriptor):
        place.unlink(missing_ok=True)
    os.close(descriptor)
