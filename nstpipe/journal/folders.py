"""The journal's table of folders whose pictures were planned together: the plan holds as long as nothing has changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass

from nstpipe.journal.rows import checksum_of

_FOLDER_OF = "rtrim({0}.path, replace({0}.path, '/', ''))"
"""The key of an output without its name."""

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS folder (output TEXT PRIMARY KEY, state TEXT NOT NULL, pictures INTEGER NOT NULL,"
    " left INTEGER NOT NULL, planned BLOB NOT NULL, checksum TEXT NOT NULL)",
    *(
        f"CREATE TRIGGER IF NOT EXISTS folder_after_{change} AFTER {change} ON output"
        f" BEGIN DELETE FROM folder WHERE {' OR '.join(f'output = {_FOLDER_OF.format(row)}' for row in rows)}; END"
        for change, rows in (("insert", ("NEW",)), ("update", ("OLD", "NEW")), ("delete", ("OLD",)))
    ),
)
"""Whoever changes the record of an output ends what was known of its folder. Triggers do it, so that no writer can forget it,
not even an older version of nstpipe."""


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """What was planned of a folder.

    Attributes:
        state: A hash of everything that the plan depends on, except for the records of the outputs.
        pictures: The number of its pictures.
        left: How many of them are not done.
        planned: The plan, packed by whoever made it.
    """

    state: str
    pictures: int
    left: int
    planned: bytes


class Folders:
    """Reads and writes the table. The caller begins and ends the transactions.

    Args:
        connection: An open connection to the journal.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, output: str) -> FolderPlan | None:
        """Return what was planned of a folder, by the key of its outputs' folder; None if that does not hold, or is damaged."""
        query = "SELECT state, pictures, left, planned, checksum FROM main.folder WHERE output = ?"
        with closing(self._connection.execute(query, (output,))) as cursor:
            row = cursor.fetchone()
        if row is None:
            return None
        *values, checksum = row
        plan = FolderPlan(*values)
        return plan if checksum == _checksum(output, plan) else None

    def put(self, output: str, plan: FolderPlan) -> None:
        """Write what was planned of a folder."""
        row = (output, plan.state, plan.pictures, plan.left, plan.planned, _checksum(output, plan))
        self._connection.execute("INSERT OR REPLACE INTO main.folder VALUES (?, ?, ?, ?, ?, ?)", row)

    def changes_elsewhere(self) -> int:
        """Return a number that changes when another process writes the journal."""
        with closing(self._connection.execute("PRAGMA main.data_version")) as cursor:
            return int(cursor.fetchone()[0])


def _checksum(output: str, plan: FolderPlan) -> str:
    return checksum_of([output, plan.state, plan.pictures, plan.left, plan.planned.hex()])
