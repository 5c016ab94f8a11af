"""The journal's tables of clips and frames: what was planned, started, finished and failed, and when.

They serve people and `nstpipe status`. The disk decides: a frame is done when its file is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from nstpipe.events import FrameDone
from nstpipe.journal.records import Entry, FrameRecord, FrameSums

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
    optimizing_seconds REAL,
    PRIMARY KEY (job, path, frame_index)
);
"""
"""`clip.path` is the path of the output, `frame.path` that of the input. A frame that was never started has no row."""


class History:
    """Reads and writes both tables. The caller begins and ends the transactions.

    Args:
        connection: An open connection to the journal.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def plan(self, output: str, clips: Sequence[tuple[int, int]]) -> None:
        """Record the first and end frame index of each clip of an output, in place of what was known of its clips."""
        self._connection.execute("DELETE FROM main.clip WHERE path = ?", (output,))
        rows = [(output, first, end) for first, end in clips]
        self._connection.executemany(
            "INSERT INTO main.clip (path, first_frame_index, end_frame_index, state) VALUES (?, ?, ?, 'planned')", rows
        )

    def forget_frames(self, source: str, job: str) -> None:
        """Delete what is known of the frames of an input, because they will be stylized again."""
        self._connection.execute("DELETE FROM main.frame WHERE path = ? AND job = ?", (source, job))

    def start(self, run: str, output: str, job: str, source: str, first: int, frame_index: int, at: float) -> None:
        """Record that work on a clip has started, at one of its frames."""
        self._connection.execute(
            "UPDATE main.clip SET state = 'started', started_at = ?, finished_at = NULL"
            " WHERE path = ? AND first_frame_index = ?",
            (at, output, first),
        )
        self._start_frame(run, job, source, first, frame_index, at)

    def _start_frame(self, run: str, job: str, source: str, first: int, frame_index: int, at: float) -> None:
        self._connection.execute(
            "INSERT INTO main.frame (run, job, path, first_frame_index, frame_index, state, started_at)"
            " VALUES (?, ?, ?, ?, ?, 'started', ?) ON CONFLICT (job, path, frame_index) DO UPDATE SET"
            " run = excluded.run, state = 'started', started_at = excluded.started_at, finished_at = NULL"
            " WHERE frame.state != 'done'",
            (run, job, source, first, frame_index, at),
        )

    def finish_frame(self, run: str, frame: FrameDone, end_frame_index: int) -> None:
        """Record a finished frame. If the clip does not end there, its next frame is started."""
        self._connection.execute(
            "INSERT INTO main.frame (run, job, path, first_frame_index, frame_index, state, started_at, finished_at, seconds,"
            " evaluations, most_evaluations, pixels, loss, content_loss, style_loss, warping_error, optimizing_seconds)"
            " VALUES (?, ?, ?, ?, ?, 'done', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (job, path, frame_index) DO UPDATE SET run = excluded.run, state = 'done',"
            " finished_at = excluded.finished_at, seconds = excluded.seconds, evaluations = excluded.evaluations,"
            " most_evaluations = excluded.most_evaluations, pixels = excluded.pixels, loss = excluded.loss,"
            " content_loss = excluded.content_loss, style_loss = excluded.style_loss,"
            " warping_error = excluded.warping_error, optimizing_seconds = excluded.optimizing_seconds",
            (
                run, frame.job, frame.path, frame.first_frame_index, frame.frame_index, frame.at - frame.seconds, frame.at,
                frame.seconds, frame.evaluations, frame.most_evaluations, frame.pixels, frame.loss,
                frame.content_loss, frame.style_loss, frame.warping_error, frame.optimising_seconds,
            ),
        )  # fmt: skip
        if frame.frame_index + 1 < end_frame_index:
            self._start_frame(run, frame.job, frame.path, frame.first_frame_index, frame.frame_index + 1, frame.at)

    def finish(self, output: str, first: int, at: float) -> None:
        """Record that all frames of a clip are done."""
        self._connection.execute(
            "UPDATE main.clip SET state = 'done', finished_at = ? WHERE path = ? AND first_frame_index = ?", (at, output, first)
        )

    def fail(self, output: str, job: str, source: str, first: int, reason: str, log: str, at: float, *, given_up: bool) -> None:
        """Record a failed attempt, for the clip and for its frame under way.

        Args:
            output: Path of the clip's output.
            job: Name of the output's job.
            source: Path of the input.
            first: Index of the clip's first frame.
            reason: Why the attempt failed.
            log: Where the log tells of it.
            at: When it failed, in seconds since 1970.
            given_up: Whether it was the last attempt.
        """
        change = "attempts = attempts + 1, reason = ?, log = ?" + (", state = 'failed', finished_at = ?" if given_up else "")
        values = (reason, log, at) if given_up else (reason, log)
        self._connection.execute(
            f"UPDATE main.clip SET {change} WHERE path = ? AND first_frame_index = ?",
            (*values, output, first),
        )
        self._connection.execute(
            f"UPDATE main.frame SET {change} WHERE job = ? AND path = ? AND first_frame_index = ? AND state = 'started'",
            (*values, job, source, first),
        )

    def clips_of(self, output: str) -> tuple[Entry, ...]:
        """Return an output's clips, in the order of the file."""
        query = (
            "SELECT first_frame_index, end_frame_index, state, started_at, finished_at, attempts, reason, log"
            " FROM clip WHERE path = ? ORDER BY first_frame_index"
        )
        return tuple(Entry(*row) for row in self._rows(query, output))

    def count_done(self, source: str, job: str) -> int:
        """Return how many frames of an input are finished."""
        [(count,)] = self._rows("SELECT count(*) FROM frame WHERE path = ? AND job = ? AND state = 'done'", source, job)
        return int(count)

    def finished_frames(self, job: str) -> tuple[FrameRecord, ...]:
        """Return a job's finished frames, sorted by input and frame index."""
        columns = "path, first_frame_index, frame_index, seconds, evaluations, loss, content_loss, style_loss, warping_error"
        query = f"SELECT {columns} FROM frame WHERE job = ? AND state = 'done' ORDER BY path, frame_index"
        return tuple(FrameRecord(*row) for row in self._rows(query, job))

    def sums(self, job: str) -> FrameSums:
        """Return what a job's finished frames took together."""
        done = "FROM frame WHERE job = ? AND state = 'done'"
        query = f"SELECT count(*), total(seconds), coalesce(sum(evaluations), 0), count(loss), avg(warping_error) {done}"
        [(frames, seconds, iterations, losses, warping_error)] = self._rows(query, job)
        query = f"SELECT loss {done} AND loss IS NOT NULL ORDER BY loss LIMIT 1 OFFSET ?"
        median = self._rows(query, job, losses // 2)
        return FrameSums(frames, seconds, iterations, median[0][0] if median else None, warping_error)

    def losses(self, job: str, most: int) -> tuple[int, tuple[float | None, ...]]:
        """Return the losses of a job's finished frames, or of each so many; with how many that are."""
        done = "FROM frame WHERE job = ? AND state = 'done'"
        [(frames,)] = self._rows(f"SELECT count(*) {done}", job)
        step = max(1, -(-frames // most))
        numbered = f"SELECT loss, row_number() OVER (ORDER BY path, frame_index) AS number {done}"
        rows = self._rows(f"SELECT loss FROM ({numbered}) WHERE number % ? = 0 ORDER BY number", job, step)
        return step, tuple(loss for (loss,) in rows)

    def spent(self, run: str) -> dict[str, tuple[int, float, int]]:
        """Return by job: the frames finished in a run, the seconds spent, and the iterations times pixels allowed."""
        query = (
            "SELECT job, count(*), sum(seconds), sum(most_evaluations * pixels) FROM frame"
            " WHERE run = ? AND state = 'done' GROUP BY job"
        )
        return {job: (frames, seconds, work) for job, frames, seconds, work in self._rows(query, run)}

    def latest_times(self, most: int) -> Iterator[tuple[Any, ...]]:
        """Yield the name of the run, the job, the kind and the times of the frames finished last, the latest first."""
        query = (
            "SELECT frame.run, frame.job, CASE WHEN output.frames = 1"
            " THEN CASE WHEN warping_error IS NULL THEN 'picture' ELSE 'linked' END"
            " ELSE CASE WHEN frame_index = first_frame_index THEN 'first' ELSE 'later' END END,"
            " pixels, evaluations, most_evaluations, seconds, optimizing_seconds"
            " FROM frame LEFT JOIN output ON output.input = frame.path AND output.job = frame.job"
            " WHERE frame.state = 'done' AND pixels > 0 ORDER BY frame.finished_at DESC LIMIT ?"
        )
        yield from self._rows(query, most)

    def _rows(self, query: str, *values: str | int) -> list[Any]:
        with closing(self._connection.execute(query, values)) as cursor:
            return cursor.fetchall()
