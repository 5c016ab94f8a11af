"""Writes files atomically, and identifies them by their size, time and content."""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nstpipe.errors import DiskFullError, OutputError, UsageError
from nstpipe.system.characters import lookalikes

LONGEST_NAME_BYTES = 255
"""The longest name that common file systems allow. The hidden name of a file is longer than its own."""


PIPELINE_NAMES = ("pipeline.yaml", "pipeline.yml")
"""The names of the file that commands take from the current folder if none is given. The first one that exists counts."""

MOST_NAMED = 8
"""The most files that a message names."""


def partial_path(path: Path) -> Path:
    """Return the hidden path to which a file is written until it is complete: beside it, with its suffix.

    The name is always the same, so the next run overwrites what a killed run left behind.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    if len(os.fsencode(partial.name)) > LONGEST_NAME_BYTES:
        short = hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:32]
        partial = path.with_name(f".{short}.partial{path.suffix}")
    return partial


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file atomically: yield a hidden path, rename it to `path` on success, delete it on any error.

    Raises:
        OutputError: the folder cannot be created, or the file cannot be written or renamed. It is a DiskFullError if the
            disk is full.
    """
    with atomic_writes(path) as [partial]:
        yield partial


@contextmanager
def atomic_writes(*paths: Path) -> Iterator[list[Path]]:
    """Write files of one folder, each atomically. They get their names in this order; see `atomic_write`.

    One after the other, each would wait for the folder to reach the disk.
    """
    ensure_folder(paths[0].parent)
    partials = [partial_path(path) for path in paths]
    try:
        yield partials
        _complete(dict(zip(partials, paths, strict=True)))
    except OSError as error:
        raise _unwritable(paths[0], error) from error
    finally:
        for partial in partials:
            with suppress(OSError):  # the error that is on its way says more
                partial.unlink(missing_ok=True)


def complete(partial: Path, path: Path) -> None:
    """Rename a file that is completely written.

    The content reaches the disk before the name does, so a power cut leaves either nothing or the whole file.

    Raises:
        OutputError: the file cannot be renamed.
    """
    _complete({partial: path})


def _complete(path_of: Mapping[Path, Path]) -> None:
    """Rename files of one folder in their order, given the path of each; see `complete`."""
    path = next(iter(path_of.values()))
    try:
        for partial in path_of:
            _sync(partial)
        for partial, path in path_of.items():
            partial.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    problem = f"{path} cannot be written: {error.strerror or error}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(problem, "Free some space. Finished work is kept.")
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
    """Create a folder and its parents.

    Raises:
        OutputError: it cannot be created, or it is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {folder} cannot be made: {error.strerror}.", "Give another place, or free this one."
        ) from error


def see_that_it_can_be_made(folder: Path) -> None:
    """Check that a folder can be written to, or can be created. This writes nothing.

    Raises:
        OutputError: with the reason.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if os.access(place, os.F_OK))
    problem = f"the folder {folder} cannot be {'written to' if existing == folder else 'made'}:"
    if not existing.is_dir():
        raise OutputError(f"{problem} {existing} is a file.", "Give another place, or free this one.")
    if not os.access(existing, os.W_OK | os.X_OK):
        is_read_only = hasattr(os, "statvfs") and os.statvfs(existing).f_flag & os.ST_RDONLY
        reason = os.strerror(errno.EROFS) if is_read_only else f"nobody may write to {existing} here"
        raise OutputError(f"{problem} {reason}.", "Change its permissions, or give another place.")


def check_replaceable(path: Path, mark: str) -> None:
    """Check that a file that a command is asked to write replaces nothing but an earlier one of its own.

    Args:
        path: the file.
        mark: a text that is in each file that the command writes.

    Raises:
        UsageError: another file is there.
    """
    try:
        is_own = mark.encode() in path.read_bytes()
    except FileNotFoundError:
        return
    except OSError:
        is_own = False
    if not is_own:
        raise UsageError(f"{path} exists already, and `{mark}` did not write it.", "Give another name, or move the file away.")


class SpecialFileError(OSError):
    """A path leads to a named pipe, a socket or a device. Whoever opens it may wait forever, or read without an end."""


_SPECIAL_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_is_no_special_file(path: Path) -> None:
    """Check that a path, if it exists, leads to a file or a folder.

    Raises:
        SpecialFileError: it leads to something else; its `strerror` says what.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # whoever opens it says why it cannot be opened
    for is_kind, name in _SPECIAL_KINDS:
        if is_kind(mode):
            raise SpecialFileError(errno.EINVAL, f"it is {name}, not a file", str(path))


class Resolver:
    """Resolves paths as `Path.resolve` does, but each folder once."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def __call__(self, path: Path) -> str:
        """Return the path of a file without any link."""
        text = str(path)
        if ".." in text or not os.path.isabs(text):  # noqa: PTH117 - as text, which is quicker
            return os.path.realpath(text)
        return self._of_file(text)

    def folder(self, path: Path) -> str:
        """Return the path of a folder without any link."""
        text = str(path)
        if text not in self._folders:
            self._folders[text] = self(path)
        return self._folders[text]

    def _of_file(self, path: str) -> str:
        folder, name = os.path.split(path)
        if not name:
            return path
        if os.path.islink(path):  # noqa: PTH114 - as text, which is quicker
            return os.path.realpath(path)
        if folder not in self._folders:
            self._folders[folder] = self._of_file(folder)
        return os.path.join(self._folders[folder], name)  # noqa: PTH118


def suggest_path(path: Path) -> str:
    """Suggest what the user may have meant by a path that does not exist, in sentences."""
    missing = next((place for place in (path, *path.absolute().parents) if place.parent.is_dir()), path)
    begins = "" if missing == path else f"There is no folder {missing}. "
    if (odd := next(lookalikes(missing.name), None)) is not None:
        begins += f"Character {odd[0] + 1} of {missing.name} is {odd[1]}, if the file's name has it. "
    try:
        names = {found.name.casefold(): found.name for found in sorted(missing.parent.iterdir()) if found.name[0] != "."}
    except OSError:
        return begins.strip()
    near = [names[name] for name in difflib.get_close_matches(missing.name.casefold(), names)]
    if near:
        return f"{begins}Did you mean {' or '.join(near)}?"
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    there = f"are: {', '.join(list(names.values())[:MOST_NAMED])}{more}" if names else "is nothing"
    return f"{begins}In {missing.parent.absolute()} {there}."


def ensure_writable(folder: Path) -> None:
    """Create a folder, and check that files can be written in it.

    Raises:
        OutputError: with the reason.
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
    """Return whether a path is a pattern of numbered pictures, such as ``frame_%05d.png``, and not a file of that name."""
    name = path.name
    if "%" not in name:
        return False
    numbers_one = len(_NUMBER.findall(name)) == 1 == name.count("%")
    return numbers_one and path.suffix.lower() in NUMBERED_SUFFIXES and not path.exists()


def numbered_files(path: Path) -> dict[int, Path]:
    """Return the files that match a pattern, by their number."""
    before, digits, after = _NUMBER.split(path.name)
    wanted = re.compile(re.escape(before) + rf"(\d{{{digits or 1},}})" + re.escape(after))
    found = (wanted.fullmatch(file.name) for file in path.parent.iterdir()) if path.parent.is_dir() else ()
    numbers = {match[0]: int(match[1]) for match in found if match is not None}
    return {number: path.with_name(name) for name, number in numbers.items() if path.name % number == name}


def parts_of(path: Path) -> list[Path]:
    """Return the files of a pattern of numbered pictures, by their number; for any other path itself alone."""
    return [file for _, file in sorted(numbered_files(path).items())] if is_numbered(path) else [path]


@dataclass(frozen=True)
class FileState:
    """The size and time of a file or of numbered files, which show whether it has changed without reading it.

    Attributes:
        size_bytes: total size.
        modified_ns: latest modification time, in nanoseconds since 1970.
    """

    size_bytes: int
    modified_ns: int


def state_of(path: Path) -> FileState:
    """Return the size and time of a file or of numbered files.

    Raises:
        OSError: the file does not exist.
    """
    states = [part.stat() for part in parts_of(path)]
    if not states:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return FileState(sum(state.st_size for state in states), max(state.st_mtime_ns for state in states))


Stamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds of a file."""


def stamp_of(path: Path) -> Stamp | None:
    """Return the stamp of a file; None if there is none."""
    try:
        state = state_of(path)
    except OSError:
        return None
    return state.size_bytes, state.modified_ns


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, or of numbered files one after another, in hexadecimal digits."""
    # hashlib.file_digest does the same, from Python 3.11 on.
    digest = hashlib.sha256()
    for part in parts_of(path):
        check_is_no_special_file(part)
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def is_readable(path: Path) -> bool:
    """Return whether a file, or all of numbered files, can be read to the end."""
    try:
        sha256_of(path)
    except OSError:
        return False
    return True


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not exist yet."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def as_megabytes(count: int) -> str:
    """Format a number of bytes for people, such as ``1.5 MB``."""
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
