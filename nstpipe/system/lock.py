"""The lock of a work folder, and who holds it. docs/decisions/2026-11-29-own-lock.md says why it is not a library's."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from nstpipe.errors import BusyError, OutputError
from nstpipe.system.files import ensure_writable


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        host: Name of the machine.
        process: Number of the process on that machine.
        process_started: When the process started, in seconds since 1970. It distinguishes the process from a later one with the
            same number.
        since: When the process took the lock, in seconds since 1970.
    """

    host: str
    process: int
    process_started: float
    since: float

    def is_alive(self) -> bool:
        """Return whether the process may still run. A process on another host counts as running."""
        if self.host != socket.gethostname():
            return True
        try:
            started: float = psutil.Process(self.process).create_time()
        except psutil.Error:
            return False
        return abs(started - self.process_started) < SAME_START_SECONDS

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.process} on {self.host}, since {since}"


SAME_START_SECONDS = 1.0
"""Two start times that differ by less, in seconds, are of the same process."""


_LOCK = "lock"


def holder_of(folder: Path) -> Holder | None:
    """Return who holds the lock of a folder; None if nobody does."""
    holder = _read_holder(folder / _LOCK)
    return holder if holder is not None and holder.is_alive() else None


def _read_holder(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None  # no holder has written its name, or not yet


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder.

    The operating system's lock decides between processes on this machine. It ends with the process that holds it. The name in
    the file decides between machines, where the system's lock may not reach.

    Raises:
        BusyError: Another run holds the lock, on this machine or another. The message says which, and since when.
        OutputError: The folder cannot be written to.
    """
    ensure_writable(folder)
    path = folder / _LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        next_step = "Give it to the user who runs nstpipe, or remove it; another user may have run nstpipe here."
        raise OutputError(f"{path} cannot be written: {error.strerror}.", next_step) from error
    try:
        free = _try_lock(descriptor)
        holder = _read_holder(path)
        if not free or (holder is not None and holder.is_alive()):
            raise _busy(folder, holder)
        process = psutil.Process()
        own = Holder(socket.gethostname(), process.pid, process.create_time(), time.time())
        _rewrite(descriptor, json.dumps(asdict(own)).encode())
        try:
            yield
        finally:
            _rewrite(descriptor, b"")
    finally:
        os.close(descriptor)


def _busy(folder: Path, holder: Holder | None) -> BusyError:
    who = str(holder) if holder is not None else "one that has just started"
    next_step = "Wait for it, give --wait to do so, or give this pipeline a `work` folder of its own."
    if holder is not None and holder.host != socket.gethostname():
        next_step += f" If that machine is gone for good, remove {folder / _LOCK}."
    return BusyError(f"another run works on {folder}: {who}.", next_step)


def _rewrite(descriptor: int, content: bytes) -> None:
    with suppress(OSError):  # the system's lock holds without the name
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, content)
        os.fsync(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Take the system's lock on an open file, and return whether that worked. The lock ends when the file is closed."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # a locked byte cannot be read, so lock one behind the text
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # On a file system without locks, the name in the file decides alone.
        return error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    return True
