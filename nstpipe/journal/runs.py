"""The journal's table of runs."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from nstpipe.errors import EXIT_DONE, EXIT_SOME_FAILED
from nstpipe.events import JobPlanned
from nstpipe.journal.clips import History
from nstpipe.journal.records import JobPace, LatestRun

_DID_SOMETHING = f"""(exit_code IS NULL OR exit_code NOT IN ({EXIT_DONE}, {EXIT_SOME_FAILED})
OR EXISTS (SELECT 1 FROM frame WHERE frame.run = run.id)
OR EXISTS (SELECT 1 FROM output WHERE state = 'done' AND changed_at >= run.started_at
           AND (run.finished_at IS NULL OR changed_at <= run.finished_at)))"""
"""A condition for runs. The others found everything done, or only failures that they did not try again."""


LOAD_SHARE, PACE_SETUPS = "load_share", "pace_setups"
"""Keys of what is known of a run: the share of the cores that other programs used, and what the pace of each job depends on."""


class Runs:
    """Reads and writes the table. The caller begins and ends the transactions.

    Args:
        connection: An open connection to the journal.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self, run: str, workers: int, planned: Sequence[JobPlanned], about: Mapping[str, Any]) -> None:
        """Record that a run goes on; see `Journal.begin_run`."""
        row = (run, workers, time.time(), _as_json(planned), json.dumps(about))
        self._connection.execute("INSERT OR REPLACE INTO main.run VALUES (?, ?, ?, ?, NULL, NULL, ?, '')", row)

    def describe(self, run: str, about: Mapping[str, Any]) -> None:
        """Record the settings and versions of a run; see `Journal.describe_run`."""
        self._connection.execute("UPDATE main.run SET about = ? WHERE id = ?", (json.dumps(about), run))

    def plan(self, run: str, planned: Sequence[JobPlanned], workers: int) -> None:
        """Record the jobs of a run that goes on, and its number of processes."""
        self._connection.execute("UPDATE main.run SET planned = ?, workers = ? WHERE id = ?", (_as_json(planned), workers, run))

    def end(self, run: str, exit_code: int, error: str) -> None:
        """Record how a run ended; see `Journal.end_run`."""
        query = "UPDATE main.run SET finished_at = ?, exit_code = ?, error = ? WHERE id = ?"
        self._connection.execute(query, (time.time(), exit_code, error, run))

    def note_load(self, run: str, load_share: float) -> None:
        """Record which share of the cores other programs used during a run."""
        [(about,)] = self._connection.execute("SELECT about FROM run WHERE id = ?", (run,)).fetchall() or [("{}",)]
        row = (json.dumps({**json.loads(about), LOAD_SHARE: load_share}), run)
        self._connection.execute("UPDATE main.run SET about = ? WHERE id = ?", row)

    def abouts(self) -> dict[str, dict[str, Any]]:
        """Return what is known of the settings of each run, by its name."""
        with closing(self._connection.execute("SELECT id, about FROM run")) as cursor:
            return {run: json.loads(about) for run, about in cursor}

    def latest_finished(self) -> set[str]:
        """Return the jobs of the run that started last, if it came to its end; none if it did not."""
        query = "SELECT planned, exit_code FROM run ORDER BY started_at DESC LIMIT 1"
        with closing(self._connection.execute(query)) as cursor:
            planned, exit_code = cursor.fetchone() or ("[]", None)
        return {job["job"] for job in json.loads(planned)} if exit_code in (EXIT_DONE, EXIT_SOME_FAILED) else set()

    def latest(self, suffix: str = "") -> LatestRun | None:
        """Return the run that started last, of those whose names end so; None if there was none."""
        return self._latest("substr(id, -length(?)) = ?", suffix, suffix) if suffix else self._latest("1")

    def latest_with_work(self) -> LatestRun | None:
        """Return the latest run that painted, finished or broke something; if none did, the one that started last."""
        return self._latest(_DID_SOMETHING) or self.latest()

    def _latest(self, condition: str, *values: str) -> LatestRun | None:
        query = (
            "SELECT id, workers, started_at, planned, finished_at, exit_code, about, error FROM run "
            f"WHERE {condition} ORDER BY started_at DESC LIMIT 1"
        )
        with closing(self._connection.execute(query, values)) as cursor:
            row = cursor.fetchone()
        if row is None:
            return None
        run, workers, started_at, planned, finished_at, exit_code, about, error = row
        spent = History(self._connection).spent(run)
        jobs = {}
        for event in json.loads(planned):
            event.pop("event")
            job = JobPlanned(**event)
            jobs[job.job] = JobPace(job, *spent.get(job.job, (0, 0.0, 0)))
        return LatestRun(workers, started_at, finished_at, exit_code, jobs, run, json.loads(about), error)


def _as_json(planned: Sequence[JobPlanned]) -> str:
    return json.dumps([job.as_json() for job in planned])
