"""The journal's table of values that are costly to compute and never change."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from nstpipe.journal.rows import after, checksum_of


class Lookups:
    """Reads and writes the table. The caller begins and ends the transactions.

    Args:
        connection: An open connection to the journal.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, kind: str, key: str) -> str | None:
        """Return a value; None if there is none, or if it is damaged."""
        query = "SELECT value, checksum FROM lookup WHERE kind = ? AND key = ?"
        with closing(self._connection.execute(query, (kind, key))) as cursor:
            row = cursor.fetchone()
        return str(row[0]) if row is not None and row[1] == checksum_of([kind, key, row[0]]) else None

    def below(self, kind: str, folder: str) -> dict[str, str]:
        """Return the values of a kind whose keys begin with the key of a folder, which ends with a slash."""
        query = "SELECT key, value, checksum FROM lookup WHERE kind = ? AND key >= ? AND key < ?"
        with closing(self._connection.execute(query, (kind, folder, after(folder)))) as cursor:
            return {key: str(value) for key, value, checksum in cursor if checksum == checksum_of([kind, key, value])}

    def count(self, kind: str) -> int:
        """Return the number of values of a kind, damaged or not."""
        with closing(self._connection.execute("SELECT count(*) FROM lookup WHERE kind = ?", (kind,))) as cursor:
            return int(cursor.fetchone()[0])

    def put(self, kind: str, key: str, value: str) -> None:
        """Write a value, in place of one with the same kind and key."""
        row = (kind, key, value, checksum_of([kind, key, value]))
        self._connection.execute("INSERT OR REPLACE INTO main.lookup VALUES (?, ?, ?, ?)", row)
