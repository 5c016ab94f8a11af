"""Files that are whole or not there at all."""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nstpipe.errors import DiskFullError, OutputError

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
def atomic_write(path: Path) -> Iterator[Path]:
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


def suggest_path(path: Path) -> str:
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


def as_megabytes(count: int) -> str:
    """A number of bytes for people, such as ``1.5 MB``."""
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
