"""The tables of the journal, and how older versions of them are taken over."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from nstpipe.journal.clips import SCHEMA as CLIP_SCHEMA
from nstpipe.journal.lookups import Lookups
from nstpipe.journal.rows import DEFAULTS, FIELDS_OF_4, checked_row, put_row

SCHEMA_VERSION = 7
"""Version 7 has the seconds in which a frame was optimized. Version 6 has the tables of version 5; its keys are relative where
they can be, which `path_keys` sees to."""


_SCHEMA = """
CREATE TABLE output (
    path TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    input TEXT NOT NULL,
    state TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    described TEXT NOT NULL,
    frames INTEGER NOT NULL,
    sha256 TEXT NOT NULL DEFAULT '',
    size_bytes INTEGER NOT NULL DEFAULT 0,
    modified_ns INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    next_step TEXT NOT NULL DEFAULT '',
    log TEXT NOT NULL DEFAULT '',
    changed_at REAL NOT NULL,
    maker TEXT NOT NULL DEFAULT '',
    checksum TEXT NOT NULL
);
CREATE TABLE run (
    id TEXT PRIMARY KEY,
    workers INTEGER NOT NULL,
    started_at REAL NOT NULL,
    planned TEXT NOT NULL DEFAULT '[]',
    finished_at REAL,
    exit_code INTEGER,
    about TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT ''
);
CREATE TABLE lookup (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (kind, key)
);
"""


def create(connection: sqlite3.Connection) -> None:
    """Create the tables, or convert those of an older version with what they hold."""
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < SCHEMA_VERSION:  # another process may have been quicker
        if version in (2, 3, 4, 5, 6):
            for statement in _FROM_2_TO_3 if version == 2 else ():
                connection.execute(statement)
            if version < 4:
                _convert_3(connection)
            if version < 5:
                _convert_4(connection)
            columns = {row[1] for row in connection.execute("PRAGMA table_info(frame)").fetchall()}
            if "optimizing_seconds" not in columns:  # the table of `_convert_3` has it
                connection.execute("ALTER TABLE frame ADD COLUMN optimizing_seconds REAL")
        else:
            outputs, lookups = _taken_from_1(connection) if version == 1 else ([], [])
            for statement in (_SCHEMA + CLIP_SCHEMA).split(";"):
                connection.execute(statement)
            for row in outputs:
                put_row(connection, row)
            for kind, key, value in lookups:
                Lookups(connection).put(kind, key, value)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


_FROM_2_TO_3 = (
    "ALTER TABLE frame ADD COLUMN content_loss REAL",
    "ALTER TABLE frame ADD COLUMN style_loss REAL",
    "ALTER TABLE frame ADD COLUMN warping_error REAL",
    "ALTER TABLE run ADD COLUMN about TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE run ADD COLUMN error TEXT NOT NULL DEFAULT ''",
)


def converted_in_memory(older: sqlite3.Connection) -> sqlite3.Connection:
    """Return a converted copy of an older version's tables. The file stays as it is."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    with closing(older):
        older.backup(copy)
    create(copy)
    return copy


def _taken_from_1(connection: sqlite3.Connection) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    """Remove the tables of version 1, and return the rows of finished outputs and of lookups. Version 1 knew no others."""
    names = ("path", "job", "fingerprint", "sha256", "size_bytes", "modified_ns", "frames", "changed_at")
    query = "SELECT path, job, fingerprint, sha256, size_bytes, modified_ns, frames, finished_at FROM output"
    rows = connection.execute(query).fetchall()
    outputs = [
        {**DEFAULTS, "input": "", "state": "done", "described": "{}", **dict(zip(names, row, strict=True))} for row in rows
    ]
    lookups = connection.execute("SELECT kind, key, value FROM lookup").fetchall()
    connection.execute("DROP TABLE output")
    connection.execute("DROP TABLE lookup")
    return outputs, lookups


def _convert_3(connection: sqlite3.Connection) -> None:
    """Replace the tables of version 3 by those of version 4, with what they hold."""
    connection.execute("ALTER TABLE clip RENAME TO clip_3")
    connection.execute("ALTER TABLE frame RENAME TO frame_3")
    for statement in CLIP_SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO clip (path, first_frame_index, end_frame_index, state, started_at)"
        " SELECT path, first_frame_index, end_frame_index,"
        " CASE WHEN started_at IS NULL THEN 'planned' ELSE 'started' END, started_at FROM clip_3"
    )
    connection.execute(
        "INSERT INTO frame (run, job, path, first_frame_index, frame_index, state, started_at, finished_at, seconds,"
        " evaluations, most_evaluations, pixels, loss, content_loss, style_loss, warping_error)"
        " SELECT run, job, path, first_frame_index, frame_index, 'done', finished_at - seconds, finished_at, seconds,"
        " evaluations, most_evaluations, pixels, loss, content_loss, style_loss, warping_error FROM frame_3"
    )
    connection.execute("DROP TABLE clip_3")
    connection.execute("DROP TABLE frame_3")


def _convert_4(connection: sqlite3.Connection) -> None:
    """Add the column that says which pipeline made an output. Rows that are damaged stay so."""
    rows = connection.execute(f"SELECT {', '.join(FIELDS_OF_4)}, checksum FROM output").fetchall()
    connection.execute("ALTER TABLE output ADD COLUMN maker TEXT NOT NULL DEFAULT ''")
    for row in rows:
        checked = checked_row(row, FIELDS_OF_4)
        if checked is not None:
            put_row(connection, {**DEFAULTS, **checked})
