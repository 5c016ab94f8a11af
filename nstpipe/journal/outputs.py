"""The journal's table of outputs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from nstpipe.journal.records import Record
from nstpipe.journal.rows import FIELDS, after, checked_row, put_row
from nstpipe.storage.contents import content_sha256
from nstpipe.system.files import state_of

Damage = Literal["", "missing", "changed"]


ROWS_AT_ONCE = 1000
"""Rows that are in memory at the same time."""


class Outputs:
    """Reads and writes the table. The caller begins and ends the transactions.

    Args:
        connection: An open connection to the journal.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the row of an output, by column; None if there is none, or if it is damaged."""
        return next(self._rows("WHERE path = ?", path), None)

    def below(self, folder: str) -> dict[str, dict[str, Any]]:
        """Return the rows of the outputs below a folder, by path. The folder's key ends with a slash."""
        return {row["path"]: row for row in self._rows("WHERE path >= ? AND path < ?", folder, after(folder))}

    def all(self, *, finished: bool = True) -> Iterator[dict[str, Any]]:
        """Yield every row that is not damaged, sorted by path; those of finished outputs only if they are wanted."""
        yield from self._rows("ORDER BY path" if finished else "WHERE state != 'done' ORDER BY path")

    def tally(self, job: str) -> dict[str, tuple[int, int]]:
        """Return the number of a job's outputs and that of their frames, by state."""
        query = "SELECT state, count(*), sum(frames) FROM output WHERE job = ? GROUP BY state"
        with closing(self._connection.execute(query, (job,))) as cursor:
            return {state: (count, frames) for state, count, frames in cursor}

    def some_done(self, job: str, most: int) -> Iterator[dict[str, Any]]:
        """Yield the rows of some finished outputs of a job, evenly spaced in the order in which they were recorded."""
        done, _ = self.tally(job).get("done", (0, 0))
        count = min(most, done)
        places = [round(index * (done - 1) / max(1, count - 1)) for index in range(count)]
        found = "SELECT path FROM output WHERE job = ? AND state = 'done' ORDER BY frames, rowid LIMIT 1 OFFSET ?"
        for place in places:
            yield from self._rows(f"WHERE path = ({found})", job, place)

    def begun(self, job: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a job's outputs that have been begun and are not finished, or have failed."""
        yield from self._rows("WHERE job = ? AND state IN ('started', 'failed') ORDER BY path", job)

    def _rows(self, where: str, *values: str | int) -> Iterator[dict[str, Any]]:
        with closing(self._connection.execute(f"SELECT {', '.join(FIELDS)}, checksum FROM output {where}", values)) as cursor:
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                yield from (checked for row in rows if (checked := checked_row(row)) is not None)

    def put(self, row: Mapping[str, Any]) -> None:
        """Write a row, in place of one with the same path."""
        put_row(self._connection, row)

    def forget_unplanned(self, jobs: Sequence[str]) -> None:
        """Delete the failures of inputs of these jobs that could not be planned."""
        marks = ", ".join("?" for _ in jobs)
        query = f"DELETE FROM main.output WHERE job IN ({marks}) AND state = 'failed' AND fingerprint = ''"
        self._connection.execute(query, list(jobs))


class _Described(Mapping[str, Any]):
    """What a fingerprint was made of. It is read when somebody asks for it, which is where something has changed."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self._text)
        return values

    def __getitem__(self, key: str) -> Any:
        return self._values()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and self._values() == dict(other)

    __hash__ = None  # type: ignore[assignment]

    def items(self) -> ItemsView[str, Any]:
        """Return the entries, read once."""
        return self._values().items()


def as_record(row: Mapping[str, Any], damage: Damage = "") -> Record:
    """Return a row as a record.

    Args:
        row: The row, by column.
        damage: What is wrong with the file, as `damage_of` says.
    """
    return Record(
        state=row["state"],
        fingerprint=row["fingerprint"],
        fingerprint_inputs=_Described(row["described"]),
        damage=damage,
        attempts=row["attempts"],
        reason=row["reason"],
        next_step=row["next_step"],
        log=row["log"],
        job=row["job"],
        path=row["path"],
        input=row["input"],
        frames=row["frames"],
        changed_at=row["changed_at"],
        was_made=bool(row["sha256"]),
        maker=row["maker"],
    )


def damage_of(row: Mapping[str, Any], output: Path) -> Damage:
    """Return what is wrong with a finished file; empty if it is as it was written."""
    try:
        state = state_of(output)
        if (state.size_bytes, state.modified_ns) == (row["size_bytes"], row["modified_ns"]):
            return ""
        # A copied or touched file has another time; only its content tells.
        return "" if state.size_bytes == row["size_bytes"] and content_sha256(output) == row["sha256"] else "changed"
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "changed"
