"""The record of what is finished, in the work folder."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nstpipe.errors import OutputError
from nstpipe.files import ensure_writable, sha256_of, state_of

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE output (
    path TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    finished_at REAL NOT NULL
);
CREATE TABLE lookup (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, key)
);
"""


@dataclass(frozen=True)
class FinishedOutput:
    """What the journal knows of a finished file.

    Attributes:
        fingerprint: of all that decided the result.
        intact: whether the file is still there with the content that was written.
    """

    fingerprint: str
    intact: bool


class Journal:
    """SQLite in the work folder. The parent process is its only writer.

    Raises:
        OutputError: the work folder cannot be written to, or its journal is of a newer version or damaged.
    """

    def __init__(self, work: Path) -> None:
        ensure_writable(work)
        self.path = work / "journal.sqlite"
        try:
            self._connection = sqlite3.connect(self.path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        except sqlite3.Error as error:
            raise OutputError(
                f"the journal {self.path} cannot be used: {error}.",
                "Remove it; outputs that are done will then be made again.",
            ) from error
        if version > SCHEMA_VERSION:
            raise OutputError(
                f"the journal {self.path} has version {version}, this nstpipe knows versions up to {SCHEMA_VERSION}.",
                "Use the newer nstpipe, or another work folder.",
            )

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def finished(self, output: Path) -> FinishedOutput | None:
        """What is known of an output; None if it was never finished."""
        query = "SELECT fingerprint, sha256, size_bytes, modified_ns FROM output WHERE path = ?"
        with closing(self._connection.execute(query, (str(output),))) as cursor:
            row = cursor.fetchone()
        if row is None:
            return None
        fingerprint, sha256, size_bytes, modified_ns = row
        try:
            state = state_of(output)
            unchanged = (state.size_bytes, state.modified_ns) == (size_bytes, modified_ns)
            # A copied or touched file has another time; only its content tells.
            intact = unchanged or (state.size_bytes == size_bytes and sha256_of(output) == sha256)
        except OSError:
            intact = False
        return FinishedOutput(fingerprint, intact)

    def record(self, output: Path, job: str, fingerprint: str, sha256: str, frames: int) -> None:
        """Remember a finished output."""
        state = state_of(output)
        row = (str(output), job, fingerprint, sha256, state.size_bytes, state.modified_ns, frames, time.time())
        self._connection.execute("INSERT OR REPLACE INTO output VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def cached(self, kind: str, key: str, compute: Callable[[], str]) -> str:
        """A value that is costly to find and never changes: computed once for each kind and key."""
        with closing(self._connection.execute("SELECT value FROM lookup WHERE kind = ? AND key = ?", (kind, key))) as cursor:
            row = cursor.fetchone()
        if row is not None:
            return str(row[0])
        value = compute()
        self._connection.execute("INSERT OR REPLACE INTO lookup VALUES (?, ?, ?)", (kind, key, value))
        return value

    def digest(self, path: Path) -> str:
        """sha256 of an input; computed again only when its size or time has changed.

        Raises:
            OSError: the file cannot be read.
        """
        state = state_of(path)
        return self.cached("sha256", f"{path}|{state.size_bytes}|{state.modified_ns}", lambda: sha256_of(path))
