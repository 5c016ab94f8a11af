"""Opens the journal's SQLite file, replaces it if it is damaged, and changes it in transactions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from nstpipe.errors import DiskFullError, OutputError
from nstpipe.journal import folders, second_record
from nstpipe.journal.migrations import SCHEMA_VERSION, converted_in_memory, create
from nstpipe.journal.path_keys import PathKeys, has_old_keys, renew_keys
from nstpipe.journal.rows import put_row
from nstpipe.system.files import ensure_writable

JOURNAL = "journal.sqlite"
"""Name of the file in the work folder."""

BUSY_SECONDS, SHARD_BUSY_SECONDS = 5.0, 60.0
"""How long a process waits for another one that writes the same journal, which takes moments. Readers of a shard's journal
keep it waiting, too, as it has no write-ahead log."""

LARGE_BYTES = 100_000_000
"""Whoever only reads a larger journal does not check all of it, which takes seconds. Each row has a checksum of its own."""

_INDICES = (
    "CREATE INDEX IF NOT EXISTS output_state ON output (job, state, frames)",
    "CREATE INDEX IF NOT EXISTS output_input ON output (input, job)",
    "CREATE INDEX IF NOT EXISTS output_maker ON output (maker)",
    "CREATE INDEX IF NOT EXISTS output_changed ON output (state, changed_at)",
    "CREATE INDEX IF NOT EXISTS frame_run ON frame (run)",
)

_MOVED_ASIDE = "journal.damaged-{}.sqlite"


def damaged_journals(work: Path) -> tuple[Path, ...]:
    """Return the damaged journals of a work folder that were moved aside, the oldest first."""
    return tuple(sorted(work.glob(_MOVED_ASIDE.format("*"))))


class Database:
    """An open journal. A damaged one is moved aside, and made again from the second record.

    Args:
        work: The work folder, or the folder of a shard in it. It is created if it is missing.
        keys: The keys of the files of the work folder.
        repair: Whether to replace a damaged journal, which only the holder of the folder's lock may do. Otherwise the second
            record is read into memory.
        read_only: Whether to change nothing at all.
        is_shard: Whether it is the journal of a shard, which other machines may read while it is written.

    Attributes:
        path: The file.
        read_only: The same as the argument.
        notices: What the user should know about the journal.

    Raises:
        OutputError: The work folder cannot be written to, or the journal is of a newer version. If read-only, also: the journal
            is missing or damaged.
    """

    def __init__(self, work: Path, keys: PathKeys, *, repair: bool, read_only: bool, is_shard: bool = False) -> None:
        self.path = work / JOURNAL
        # Machines that share a disk share no memory, which the write-ahead log needs.
        self._journal_mode = "TRUNCATE" if is_shard else "WAL"
        self._busy_seconds = SHARD_BUSY_SECONDS if is_shard else BUSY_SECONDS
        self._keys = keys
        self.read_only = read_only
        self.notices: list[str] = []
        self._work = work
        if read_only:
            self.connection = self._open_to_read()
            return
        ensure_writable(work)
        is_new = not self.path.exists()
        try:
            self.connection = self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise _unwritable(self.path, error) from error
            self._replace(error, repair=repair)
            return
        if is_new and (known := self._take_second_record()):
            self.notices.append(f"the journal was gone; {_known(known)}")

    def _open_to_read(self) -> sqlite3.Connection:
        try:
            address = f"{self.path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
            if self._version_of(connection) < SCHEMA_VERSION or has_old_keys(connection, self._keys):
                connection = converted_in_memory(connection)
                renew_keys(connection, self._keys)
            if self.path.stat().st_size < LARGE_BYTES:
                _check(connection)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"the journal {self.path} cannot be read: {error}.", "`nstpipe run` makes it anew.") from error
        return connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=self._busy_seconds, uri=True)
        try:
            version = self._version_of(connection)
            connection.execute(f"PRAGMA journal_mode = {self._journal_mode}")
            connection.execute("PRAGMA synchronous = FULL")
            if version < SCHEMA_VERSION:
                create(connection)
            if has_old_keys(connection, self._keys):
                connection.execute("BEGIN IMMEDIATE")
                renew_keys(connection, self._keys)
                connection.execute("COMMIT")
            _check(connection)
            for statement in (*_INDICES, *folders.SCHEMA):
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection

    def _version_of(self, connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            connection.close()
            raise OutputError(
                f"the journal {self.path} has version {version}, this nstpipe knows versions up to {SCHEMA_VERSION}.",
                "Use the newer nstpipe, or another work folder.",
            )
        return int(version)

    def _replace(self, error: sqlite3.Error, *, repair: bool) -> None:
        """Continue with the second record in place of a damaged journal."""
        if repair:
            where = f"is now {self._move_aside(error).name}"
        else:
            where = "will be made anew by the next run"
            self.connection = sqlite3.connect(":memory:", isolation_level=None)
            create(self.connection)
            for statement in folders.SCHEMA:
                self.connection.execute(statement)
        known = self._take_second_record()
        self.notices.append(f"the journal is damaged ({error}) and {where}; {_known(known)}")

    def _move_aside(self, error: sqlite3.Error) -> Path:
        """Move the damaged journal aside and open a new one; return where the damaged one is."""
        aside = self.path.with_name(_MOVED_ASIDE.format(time.strftime("%Y%m%d-%H%M%S")))
        try:
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            self.connection = self._open()
        except (OSError, sqlite3.Error) as again:
            raise OutputError(
                f"the journal {self.path} is damaged ({error}) and cannot be replaced: {again}.", "Give another work folder."
            ) from again
        return aside

    def _take_second_record(self) -> int:
        """Write the outputs of the second record into the journal; return how many there are."""
        rows = second_record.read(self._work)
        with self.changing():
            for row in rows:
                put_row(self.connection, {**row, **{name: self._keys.key(row[name]) for name in ("path", "input")}})
        return len({row["path"] for row in rows})

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Make the changes of a block all at once, or none of them if it raises. A block within another one is part of it.

        Raises:
            OutputError: The journal cannot be written; a DiskFullError if there is no room.
        """
        if self.connection.in_transaction:
            yield
            return
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield
            self.connection.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _unwritable(self.path, error) from error
            raise

    def rows(self, query: str, *values: object) -> list[Any]:
        """Return all rows of a query."""
        with closing(self.connection.execute(query, values)) as cursor:
            return cursor.fetchall()


_NO_DAMAGE = ("full", "locked", "unable to open", "disk I/O")
"""Words in SQLite's messages about errors that do not lie in the file. Python 3.10 does not give their numbers."""


def _is_damage(error: sqlite3.Error) -> bool:
    return not any(words in str(error) for words in _NO_DAMAGE)


def _unwritable(path: Path, error: sqlite3.Error) -> OutputError:
    problem = f"the journal {path} cannot be written: {error}."
    if "full" in str(error):
        return DiskFullError(problem, "Free some space. Finished work is kept.")
    return OutputError(problem, "Look at the disk of the work folder.")


def _check(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _known(outputs: int) -> str:
    """Return the end of a notice about the second record."""
    return f"{outputs} finished {'output is' if outputs == 1 else 'outputs are'} known from {second_record.SECOND_RECORD}"
