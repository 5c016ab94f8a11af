"""Takes a picture of a work folder while a run works in it, which takes moments and copies little.

A database is copied by SQLite's backup. A file that is only ever replaced as a whole gets a second name, which keeps its
content even if the run deletes it meanwhile. Anything else is small, and copied.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from nstpipe.errors import DiskFullError, OutputError
from nstpipe.storage.checkpoint import StoredFile
from nstpipe.storage.index import INDEX, waiting_in
from nstpipe.storage.remotes import MIRROR

DATABASE_SUFFIX = ".sqlite"

_REPLACED_AS_A_WHOLE = (".npy", ".safetensors", ".training")
"""The suffixes of files that are never changed in place, and may be large."""

_OF_THIS_MACHINE = ("window-", "journal.damaged-")
"""How the names of files begin that say nothing to another machine."""

_SUFFIXES_OF_THIS_MACHINE = ("-wal", "-shm", "-journal")

_FOLDERS_OF_THIS_MACHINE = frozenset({"cluster"})


@dataclass(frozen=True)
class Piece:
    """A file of a work folder at one moment.

    Attributes:
        path: Its path within the work folder, with slashes.
        content: Where its content is kept until it is copied; None if it is that of `known`.
        known: What is known of it, if it has not changed.
        modified_ns: Its modification time; 0 for a database.
    """

    path: str
    content: Path | None
    known: StoredFile | None
    modified_ns: int


def belongs(work: Path) -> Iterator[str]:
    """Yield the files that belong into a copy of a work folder, but not its databases.

    Of the mirror of remote files, those belong that were made here and are not uploaded yet.
    """
    for folder, folders, names in os.walk(work):
        inside = Path(folder).relative_to(work)
        if inside == Path():
            folders[:] = [name for name in folders if name != MIRROR and name not in _FOLDERS_OF_THIS_MACHINE]
        for name in names:
            if not _is_of_this_machine(name) and not name.endswith(DATABASE_SUFFIX):
                yield (inside / name).as_posix()
    for path in waiting_in(work / MIRROR):
        yield f"{MIRROR}/{path}"


def databases_in(work: Path) -> Iterator[str]:
    """Yield the databases of a work folder."""
    for folder, folders, names in os.walk(work):
        inside = Path(folder).relative_to(work)
        if inside == Path():
            folders[:] = [name for name in folders if name != MIRROR and name not in _FOLDERS_OF_THIS_MACHINE]
        yield from (
            (inside / name).as_posix() for name in names if name.endswith(DATABASE_SUFFIX) and not _is_of_this_machine(name)
        )
    if (work / MIRROR / INDEX).exists():
        yield f"{MIRROR}/{INDEX}"


def _is_of_this_machine(name: str) -> bool:
    is_hidden_or_lock = name.startswith(".") or name == "lock"
    return is_hidden_or_lock or name.startswith(_OF_THIS_MACHINE) or name.endswith(_SUFFIXES_OF_THIS_MACHINE)


def take(work: Path, into: Path, known: Mapping[str, StoredFile], hollow: Collection[str] = frozenset()) -> list[Piece]:
    """Return all files of a work folder as they are now.

    Args:
        work: The work folder. A run may work in it.
        into: A folder on the same disk for what has changed. It is emptied first.
        known: The files of the latest copy, by path.
        hollow: The paths of those whose content is not on this machine. It is that of the latest copy.

    Raises:
        OutputError: The files cannot be kept; a DiskFullError if there is no room.
    """
    shutil.rmtree(into, ignore_errors=True)
    pieces: dict[str, Piece] = {}
    try:
        into.mkdir(parents=True)
        # What a journal names is there before it names it, and may be gone right after. So files are looked for twice.
        _take_files(work, into, known, hollow, pieces)
        for path in databases_in(work):
            content = into / str(len(pieces))
            if _is_backed_up(work / path, content):
                pieces[path] = Piece(path, content, None, 0)
        _take_files(work, into, known, hollow, pieces)
    except (OSError, sqlite3.Error) as error:
        problem = f"the work folder {work} cannot be kept for its copy in {into}: {error}."
        if "full" in str(error) or "No space" in str(error):
            raise DiskFullError(problem, "Free some space. Finished work is kept.") from error
        raise OutputError(problem, "Look at the disk of storage.live.") from error
    return sorted(pieces.values(), key=lambda piece: piece.path)


def _take_files(
    work: Path, into: Path, known: Mapping[str, StoredFile], hollow: Collection[str], pieces: dict[str, Piece]
) -> None:
    for path in belongs(work):
        if path in pieces:
            continue
        with suppress(FileNotFoundError):  # it was deleted meanwhile
            state = (work / path).stat()
            before = known.get(path)
            is_same = before is not None and (before.size, before.modified_ns) == (state.st_size, state.st_mtime_ns)
            if is_same or path in hollow:  # some disks keep times less exactly
                pieces[path] = Piece(path, None, before, state.st_mtime_ns)
                continue
            content = into / str(len(pieces))
            _keep(work / path, content, is_replaced=path.startswith(f"{MIRROR}/") or path.endswith(_REPLACED_AS_A_WHOLE))
            pieces[path] = Piece(path, content, None, state.st_mtime_ns)
    # A file that was uploaded meanwhile may have been hollowed out before it was kept.
    waiting = {f"{MIRROR}/{path}" for path in waiting_in(work / MIRROR)}
    for path in [path for path in pieces if path.startswith(f"{MIRROR}/") and path != f"{MIRROR}/{INDEX}"]:
        if path not in waiting:
            del pieces[path]


def _keep(path: Path, content: Path, *, is_replaced: bool) -> None:
    if not (is_replaced and _is_linked(path, content)):
        shutil.copyfile(path, content)


def _is_linked(path: Path, content: Path) -> bool:
    """Give a file a second name, and return whether it has one: some file systems know none."""
    try:
        os.link(path, content)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True


def _is_backed_up(database: Path, copy: Path) -> bool:
    """Copy a database, and return whether it was still there: that of a shard goes when it is joined."""
    try:
        with (
            closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=60.0)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.OperationalError:
        if database.exists():
            raise
        return False
    return True
