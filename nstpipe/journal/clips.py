"""The journal's tables of clips and frames: what was planned, begun, finished and failed, and when.

They are for people and for `nstpipe status`. What decides is on disk: a frame is done when its file is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from nstpipe.events import FrameDone

SCHEMA = """
CREATE TABLE clip (
    path TEXT NOT NULL,
    first_frame_index INTEGER NOT NULL,
    end_frame_index INTEGER NOT NULL,
    state TEXT NOT NULL,
    started_at REAL,
    finished_at REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    log TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (path, first_frame_index)
);
CREATE TABLE frame (
    run TEXT NOT NULL,
    job TEXT NOT NULL,
    path TEXT NOT NULL,
    first_frame_index INTEGER NOT NULL,
    frame_index INTEGER NOT NULL,
    state TEXT NOT NULL,
    started_at REAL,
    finished_at REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    log TEXT NOT NULL DEFAULT '',
    seconds REAL NOT NULL DEFAULT 0,
    evaluations INTEGER NOT NULL DEFAULT 0,
    most_evaluations INTEGER NOT NULL DEFAULT 0,
    pixels INTEGER NOT NULL DEFAULT 0,
    loss REAL,
    content_loss REAL,
    style_loss REAL,
    warping_error REAL,
    PRIMARY KEY (job, path, frame_index)
);
"""
"""`clip.path` is the output's, `frame.path` the input's. A frame that has not been begun has no row."""

State = Literal["planned", "started", "done", "failed"]


@dataclass(frozen=True)
class Entry:
    """What is known of a clip, or of a frame.

    Attributes:
        first_frame_index: of the clip, from 0 in the file; of a frame its own index.
        end_frame_index: the first one that is no longer part of it.
        state: how far it has come.
        started_at: seconds since 1970, the last time; None if it never was.
        finished_at: likewise, also of a failure.
        attempts: that went wrong since it was planned.
        reason: why the last one did.
        log: where the log tells of it.
    """

    first_frame_index: int
    end_frame_index: int
    state: State
    started_at: float | None
    finished_at: float | None
    attempts: int
    reason: str
    log: str


class History:
    """Reads and writes both tables; who calls it begins and ends the transactions.

    Args:
        connection: to the journal.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def plan(self, output: str, clips: Sequence[tuple[int, int]]) -> None:
        """Remember the first and end frame index of each clip of an output; what was known of them goes."""
        self._connection.execute("DELETE FROM clip WHERE path = ?", (output,))
        rows = [(output, first, end) for first, end in clips]
        self._connection.executemany(
            "INSERT INTO clip (path, first_frame_index, end_frame_index, state) VALUES (?, ?, ?, 'planned')", rows
        )

    def forget_frames(self, source: str, job: str) -> None:
        """Frames of an input that are to be painted anew."""
        self._connection.execute("DELETE FROM frame WHERE path = ? AND job = ?", (source, job))

    def start(self, run: str, output: str, job: str, source: str, first: int, frame_index: int, at: float) -> None:
        """Remember that work on a clip has begun, at one of its frames."""
        self._connection.execute(
            "UPDATE clip SET state = 'started', started_at = ?, finished_at = NULL WHERE path = ? AND first_frame_index = ?",
            (at, output, first),
        )
        self._start_frame(run, job, source, first, frame_index, at)

    def _start_frame(self, run: str, job: str, source: str, first: int, frame_index: int, at: float) -> None:
        self._connection.execute(
            "INSERT INTO frame (run, job, path, first_frame_index, frame_index, state, started_at)"
            " VALUES (?, ?, ?, ?, ?, 'started', ?) ON CONFLICT (job, path, frame_index) DO UPDATE SET"
            " run = excluded.run, state = 'started', started_at = excluded.started_at, finished_at = NULL"
            " WHERE frame.state != 'done'",
            (run, job, source, first, frame_index, at),
        )

    def finish_frame(self, run: str, frame: FrameDone, end_frame_index: int) -> None:
        """Remember a finished frame, and that the one behind it has begun, if the clip does not end there."""
        self._connection.execute(
            "INSERT INTO frame (run, job, path, first_frame_index, frame_index, state, started_at, finished_at, seconds,"
            " evaluations, most_evaluations, pixels, loss, content_loss, style_loss, warping_error)"
            " VALUES (?, ?, ?, ?, ?, 'done', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (job, path, frame_index) DO UPDATE SET run = excluded.run, state = 'done',"
            " finished_at = excluded.finished_at, seconds = excluded.seconds, evaluations = excluded.evaluations,"
            " most_evaluations = excluded.most_evaluations, pixels = excluded.pixels, loss = excluded.loss,"
            " content_loss = excluded.content_loss, style_loss = excluded.style_loss,"
            " warping_error = excluded.warping_error",
            (
                run, frame.job, frame.path, frame.first_frame_index, frame.frame_index, frame.at - frame.seconds, frame.at,
                frame.seconds, frame.evaluations, frame.most_evaluations, frame.pixels, frame.loss,
                frame.content_loss, frame.style_loss, frame.warping_error,
            ),
        )  # fmt: skip
        if frame.frame_index + 1 < end_frame_index:
            self._start_frame(run, frame.job, frame.path, frame.first_frame_index, frame.frame_index + 1, frame.at)

    def finish(self, output: str, first: int, at: float) -> None:
        """Remember that all frames of a clip are done."""
        self._connection.execute(
            "UPDATE clip SET state = 'done', finished_at = ? WHERE path = ? AND first_frame_index = ?", (at, output, first)
        )

    def fail(self, output: str, job: str, source: str, first: int, reason: str, log: str, at: float, *, given_up: bool) -> None:
        """Remember an attempt that went wrong, at the clip and at its frame in hand.

        Args:
            output: that the clip is of.
            job: likewise.
            source: the input.
            first: index of the clip's first frame.
            reason: why.
            log: where the log tells of it.
            at: seconds since 1970.
            given_up: whether it was the last attempt.
        """
        change = "attempts = attempts + 1, reason = ?, log = ?" + (", state = 'failed', finished_at = ?" if given_up else "")
        values = (reason, log, at) if given_up else (reason, log)
        self._connection.execute(
            f"UPDATE clip SET {change} WHERE path = ? AND first_frame_index = ?",
            (*values, output, first),
        )
        self._connection.execute(
            f"UPDATE frame SET {change} WHERE job = ? AND path = ? AND first_frame_index = ? AND state = 'started'",
            (*values, job, source, first),
        )

    def clips_of(self, output: str) -> tuple[Entry, ...]:
        """An output's clips, in the order of the file."""
        return self._entries("clip WHERE path = ? ORDER BY first_frame_index", output)

    def frames_of(self, source: str, job: str) -> tuple[Entry, ...]:
        """The frames of an input that were begun, in the order of the file."""
        return self._entries("frame WHERE path = ? AND job = ? ORDER BY frame_index", source, job)

    def _entries(self, where: str, *values: str) -> tuple[Entry, ...]:
        bounds = "first_frame_index, end_frame_index" if where.startswith("clip") else "frame_index, frame_index + 1"
        query = f"SELECT {bounds}, state, started_at, finished_at, attempts, reason, log FROM {where}"
        return tuple(Entry(*row) for row in self._rows(query, *values))

    def count_done(self, source: str, job: str) -> int:
        """How many frames of an input are finished."""
        [(count,)] = self._rows("SELECT count(*) FROM frame WHERE path = ? AND job = ? AND state = 'done'", source, job)
        return int(count)

    def spent(self, run: str) -> dict[str, tuple[int, float, int]]:
        """By job: frames finished in a run, seconds, and iterations times pixels that they might have taken."""
        query = (
            "SELECT job, count(*), sum(seconds), sum(most_evaluations * pixels) FROM frame"
            " WHERE run = ? AND state = 'done' GROUP BY job"
        )
        return {job: (frames, seconds, work) for job, frames, seconds, work in self._rows(query, run)}

    def _rows(self, query: str, *values: str) -> list[Any]:
        with closing(self._connection.execute(query, values)) as cursor:
            return cursor.fetchall()


def brought_over(connection: sqlite3.Connection) -> None:
    """Replace the tables of version 3 by those of version 4, with what they hold."""
    connection.execute("ALTER TABLE clip RENAME TO clip_3")
    connection.execute("ALTER TABLE frame RENAME TO frame_3")
    for statement in SCHEMA.split(";"):
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
