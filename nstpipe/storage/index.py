"""The index of a mirror: what each of its files stands for, and whether its content is there."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nstpipe.errors import OutputError

INDEX = "index.sqlite"


def index_of_shard(shard: str) -> str:
    """Return the name of the index that comes from a shard's machine, to be taken over."""
    return f"index.{shard}.sqlite"


State = Literal["hollow", "whole", "made"]
"""hollow: only the first bytes are there. whole: the content is there. made: the content was made here, and is not uploaded."""


@dataclass(frozen=True)
class Row:
    """What is known of a file.

    Attributes:
        path: Its path within the mirror.
        identity: What changes with its remote content; empty if it is not uploaded yet.
        size: Its size in bytes; -1 if its server does not tell.
        modified_ns: The modification time of the local file, in nanoseconds. It changes with the identity.
        state: Whether its content is there.
        etag: The server's mark.
        remote_modified: When the remote file was changed, in seconds since 1970.
    """

    path: str
    identity: str
    size: int
    modified_ns: int
    state: State
    etag: str = ""
    remote_modified: float = 0.0


_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    path TEXT PRIMARY KEY, identity TEXT NOT NULL, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL, state TEXT NOT NULL,
    etag TEXT NOT NULL, remote_modified REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS present ON file (state) WHERE state != 'hollow';
CREATE TABLE IF NOT EXISTS fact (
    path TEXT NOT NULL, name TEXT NOT NULL, identity TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (path, name)
) WITHOUT ROWID;
"""

_COLUMNS = "path, identity, size, modified_ns, state, etag, remote_modified"


class Index:
    """Reads and writes the index. Threads may share it.

    Args:
        folder: The folder of the mirror.

    Raises:
        OutputError: It cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(folder / INDEX, timeout=60.0, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(_SCHEMA)
            for other in sorted(folder.glob(index_of_shard("*"))):
                self._take_over(other)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(
                f"{folder / INDEX}, which knows the remote files, cannot be opened: {error}.",
                f"Remove {folder}: what is finished and uploaded is known without it.",
            ) from error

    def _take_over(self, other: Path) -> None:
        """Take over what a shard has known, and delete its index. The times of what it has made are known to its journal."""
        self._connection.execute("ATTACH ? AS other", (str(other),))
        for table in ("file", "fact"):
            self._connection.execute(f"INSERT OR REPLACE INTO main.{table} SELECT * FROM other.{table}")
        self._connection.execute("DETACH other")
        other.unlink()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Make all changes of the block, or none."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def get(self, path: str) -> Row | None:
        """Return what is known of a file; None if nothing is."""
        with self._lock:
            row = self._connection.execute(f"SELECT {_COLUMNS} FROM file WHERE path = ?", (path,)).fetchone()
        return Row(*row) if row is not None else None

    def below(self, folder: str) -> list[Row]:
        """Return what is known of a file, and of all files below it if it is a folder."""
        query = f"SELECT {_COLUMNS} FROM file WHERE path = ? OR (path > ? AND path < ?)"
        with self._lock:
            return [Row(*row) for row in self._connection.execute(query, (folder, f"{folder}/", f"{folder}0"))]

    def present(self) -> list[Row]:
        """Return the files whose content is there."""
        with self._lock:
            return [Row(*row) for row in self._connection.execute(f"SELECT {_COLUMNS} FROM file WHERE state != 'hollow'")]

    def put(self, rows: Iterable[Row]) -> None:
        """Write rows, in place of those with the same paths."""
        with self._lock:
            self._connection.executemany(
                f"INSERT OR REPLACE INTO file ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(row.path, row.identity, row.size, row.modified_ns, row.state, row.etag, row.remote_modified) for row in rows],
            )

    def forget(self, paths: Iterable[str]) -> None:
        """Delete rows, with what is remembered of the files."""
        gone = [(path,) for path in paths]
        with self._lock:
            for table in ("file", "fact"):
                self._connection.executemany(f"DELETE FROM {table} WHERE path = ?", gone)

    def fact(self, path: str, name: str, identity: str) -> str | None:
        """Return what is remembered of a content; None if nothing is."""
        query = "SELECT value FROM fact WHERE path = ? AND name = ? AND identity = ?"
        with self._lock:
            row = self._connection.execute(query, (path, name, identity)).fetchone()
        return row[0] if row is not None else None

    def remember(self, path: str, name: str, identity: str, value: str) -> None:
        """Store a fact of a content, in place of that of an earlier one."""
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?, ?, ?)", (path, name, identity, value))


def waiting_in(folder: Path) -> list[str]:
    """Return the files of a mirror that were made here and are not uploaded yet, by their paths in it.

    Raises:
        sqlite3.Error: The index cannot be read.
    """
    if not (folder / INDEX).exists():
        return []
    with closing(sqlite3.connect(f"{(folder / INDEX).absolute().as_uri()}?mode=ro", uri=True, timeout=60.0)) as connection:
        return [path for (path,) in connection.execute("SELECT path FROM file WHERE state = 'made' ORDER BY path")]
