"""Files that are whole or not there at all."""

from __future__ import annotations

import difflib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from nstpipe.errors import BusyError, DiskFullError, OutputError

LONGEST_NAME_BYTES = 255
"""What the common file systems take; a name may fit where its hidden one would not."""

MOST_NAMED = 8
"""Files that a message names."""


def partial_path(path: Path) -> Path:
    """Where `path` grows until it is complete: hidden, beside it, with its suffix.

    The name is always the same, so what a killed run left behind is overwritten by the next one.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    if len(os.fsencode(partial.name)) > LONGEST_NAME_BYTES:
        short = hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:32]
        partial = path.with_name(f".{short}.partial{path.suffix}")
    return partial


@contextmanager
def completed(path: Path) -> Iterator[Path]:
    """Give a hidden path to write to; on success it becomes `path`, on any error it is removed.

    Raises:
        OutputError: the folder cannot be made, or the file cannot be written or renamed; a DiskFullError if there is
            no room.
    """
    ensure_folder(path.parent)
    partial = partial_path(path)
    try:
        yield partial
        complete(partial, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):  # the error that is on its way says more
            partial.unlink(missing_ok=True)


def complete(partial: Path, path: Path) -> None:
    """Rename a file that is fully written.

    The content is on the disk before the name is, so a power cut leaves either nothing or the whole file.

    Raises:
        OutputError: the file cannot be renamed.
    """
    try:
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    problem = f"{path} cannot be written: {error.strerror or error}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(problem, "Free some space; what is finished is kept.")
    return OutputError(problem)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no way to sync a folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ensure_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        OutputError: it cannot be made, or it is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {folder} cannot be made: {error.strerror}.", "Give another place, or free this one."
        ) from error


def see_that_it_can_be_made(folder: Path) -> None:
    """See that a folder is there and can be written to, or that nothing stands in the way of making it; nothing is written.

    Raises:
        OutputError: with what stands in the way.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if os.access(place, os.F_OK))
    problem = f"the folder {folder} cannot be {'written to' if existing == folder else 'made'}:"
    if not existing.is_dir():
        raise OutputError(f"{problem} {existing} is a file.", "Give another place, or free this one.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"{problem} nobody may write to {existing} here.", "Change its permissions, or give another place.")


def nearest(path: Path) -> str:
    """What there is instead of a path that does not exist, as sentences for people."""
    missing = next((place for place in (path, *path.absolute().parents) if place.parent.is_dir()), path)
    begins = "" if missing == path else f"There is no folder {missing}. "
    try:
        names = {found.name.casefold(): found.name for found in sorted(missing.parent.iterdir()) if found.name[0] != "."}
    except OSError:
        return begins.strip()
    near = [names[name] for name in difflib.get_close_matches(missing.name.casefold(), names)]
    if near:
        return f"{begins}Did you mean {' or '.join(near)}?"
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    there = f"are: {', '.join(list(names.values())[:MOST_NAMED])}{more}" if names else "is nothing"
    return f"{begins}In {missing.parent} {there}."


def ensure_writable(folder: Path) -> None:
    """Make a folder and see that files can be written in it.

    Raises:
        OutputError: with what stands in the way.
    """
    ensure_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"the folder {folder} cannot be written to: {error.strerror}.",
            "Change its permissions, or give another place.",
        ) from error


_NUMBER = re.compile(r"%(?:0(\d+))?d")
"""The one directive of a pattern: ``%d``, or with leading zeros ``%05d``."""

NUMBERED_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")


def is_numbered(path: Path) -> bool:
    """Whether a path stands for numbered pictures, such as ``frame_%05d.png``, rather than for a file of that name."""
    name = path.name
    numbers_one = len(_NUMBER.findall(name)) == 1 == name.count("%")
    return numbers_one and path.suffix.lower() in NUMBERED_SUFFIXES and not path.exists()


def numbered_files(path: Path) -> dict[int, Path]:
    """The files that a pattern stands for, by number."""
    before, digits, after = _NUMBER.split(path.name)
    wanted = re.compile(re.escape(before) + rf"(\d{{{digits or 1},}})" + re.escape(after))
    found = (wanted.fullmatch(file.name) for file in path.parent.iterdir()) if path.parent.is_dir() else ()
    numbers = {match[0]: int(match[1]) for match in found if match is not None}
    return {number: path.with_name(name) for name, number in numbers.items() if path.name % number == name}


def _parts(path: Path) -> list[Path]:
    return [file for _, file in sorted(numbered_files(path).items())] if is_numbered(path) else [path]


@dataclass(frozen=True)
class FileState:
    """What tells without reading it whether a file, or one of numbered files, has changed.

    Attributes:
        size_bytes: of all together.
        modified_ns: the latest.
    """

    size_bytes: int
    modified_ns: int


def state_of(path: Path) -> FileState:
    """Size and time of a file, or of numbered files.

    Raises:
        OSError: it does not exist.
    """
    states = [part.stat() for part in _parts(path)]
    if not states:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return FileState(sum(state.st_size for state in states), max(state.st_mtime_ns for state in states))


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, or of that of numbered files one after the other, in hexadecimal digits."""
    # hashlib.file_digest does the same, from Python 3.11 on.
    digest = hashlib.sha256()
    for part in _parts(path):
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def is_readable(path: Path) -> bool:
    """Whether the disk gives all of a file, or of numbered files, whatever their content is worth."""
    try:
        sha256_of(path)
    except OSError:
        return False
    return True


def free_bytes(folder: Path) -> int:
    """Room on the disk that holds a folder, or will hold it once it is made."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


@dataclass(frozen=True)
class Holder:
    """Who works on a folder.

    Attributes:
        host: name of the machine.
        process: its number there.
        process_started: seconds since 1970; tells it from a later process of the same number.
        since: seconds since 1970.
    """

    host: str
    process: int
    process_started: float
    since: float

    def is_alive(self) -> bool:
        """Whether it still works, as far as can be known: of another host nothing is known."""
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
"""Within which two start times of a process are the same one, read twice."""

_LOCK = "lock"


def holder_of(folder: Path) -> Holder | None:
    """Who works on a folder now; None if nobody does."""
    holder = _read_holder(folder / _LOCK)
    return holder if holder is not None and holder.is_alive() else None


def _read_holder(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None  # nobody has written into it, or not yet


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one to work on a folder.

    The system's own lock decides between runs on this machine, and ends with the process that holds it. The name written
    into the file decides between machines, where the system's lock may not reach.

    Raises:
        BusyError: another run holds it, on this machine or on another; with who, and since when.
        OutputError: the folder cannot be written to.
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
    with suppress(OSError):  # the system's lock holds without it
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, content)
        os.fsync(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Take the system's lock on an open file; it ends when the file is closed, by whatever."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # a locked byte cannot be read: not one of the text
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Where the file system knows no locks, the name in the file must do.
        return error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    return True


def as_megabytes(count: int) -> str:
    """A number of bytes for people, such as ``1.5 MB``."""
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
