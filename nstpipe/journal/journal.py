"""The record of what was planned, started, finished and failed, in the work folder."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from nstpipe.errors import DiskFullError, OutputError
from nstpipe.events import FrameDone, ItemFailed, JobPlanned, OutputDone
from nstpipe.journal.clips import SCHEMA as HISTORY_SCHEMA
from nstpipe.journal.clips import Entry, History, brought_over
from nstpipe.journal.records import FrameRecord, JobPace, LatestRun, Record
from nstpipe.system.files import ensure_writable, sha256_of, state_of

SCHEMA_VERSION = 4


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


_FIELDS = (
    "path", "job", "input", "state", "fingerprint", "described", "frames", "sha256", "size_bytes", "modified_ns",
    "attempts", "reason", "next_step", "log", "changed_at",
)  # fmt: skip
"""Columns of `output` that its checksum covers."""


_MOVED_ASIDE = "journal.damaged-{}.sqlite"


SECOND_RECORD = "finished.jsonl"
"""One line for each finished output, from which a lost journal is made anew."""


def damaged_journals(work: Path) -> tuple[Path, ...]:
    """Journals of a work folder that were moved aside, the oldest first."""
    return tuple(sorted(work.glob(_MOVED_ASIDE.format("*"))))


class Journal:
    """SQLite in the work folder. The parent process of a run, which holds the folder's lock, is its only writer.

    A journal that is damaged is moved aside and made anew from `SECOND_RECORD`; `notices` says so. A row that is damaged
    counts as not there.

    Args:
        work: the folder; made if it is missing.
        repair: whether to replace a damaged journal; only for whoever holds the folder's lock. Others look at what the
            second record says.
        read_only: change nothing at all.

    Raises:
        OutputError: the work folder cannot be written to, or its journal is of a newer version; if only read, also
            if it is missing or damaged.
    """

    def __init__(self, work: Path, *, repair: bool = True, read_only: bool = False) -> None:
        self.path = work / "journal.sqlite"
        self.notices: list[str] = []
        self._read_only = read_only
        self._second_record = work / SECOND_RECORD
        self._aside = self.path
        if read_only:
            self._connection = self._opened_to_read()
            return
        ensure_writable(work)
        is_new = not self.path.exists()
        try:
            self._connection = self._opened()
            if is_new and (known := self._read_second_record()):
                self.notices.append(f"the journal was gone; {known} finished outputs are known from {SECOND_RECORD}")
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise _unwritable(self.path, error) from error
            if repair:
                self._start_anew(error)
            else:
                self._connection = sqlite3.connect(":memory:", isolation_level=None)
                _create(self._connection)
            known = self._read_second_record()
            where = f"is now {self._aside.name}" if repair else "will be made anew by the next run"
            self.notices.append(
                f"the journal is damaged ({error}) and {where}; {known} finished outputs are known from {SECOND_RECORD}"
            )

    def _opened_to_read(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
            if self._refuse_newer(connection) < SCHEMA_VERSION:
                connection = _brought_over_in_memory(connection)
            _check(connection)
        except sqlite3.Error as error:
            raise OutputError(f"the journal {self.path} cannot be read: {error}.", "`nstpipe run` makes it anew.") from error
        return connection

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            version = self._refuse_newer(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if version < SCHEMA_VERSION:
                _create(connection)
            _check(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_newer(self, connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            connection.close()
            raise OutputError(
                f"the journal {self.path} has version {version}, this nstpipe knows versions up to {SCHEMA_VERSION}.",
                "Use the newer nstpipe, or another work folder.",
            )
        return int(version)

    def _start_anew(self, error: sqlite3.Error) -> None:
        """Move a damaged journal aside and make one from the second record."""
        self._aside = self.path.with_name(_MOVED_ASIDE.format(time.strftime("%Y%m%d-%H%M%S")))
        try:
            self.path.replace(self._aside)
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            self._connection = self._opened()
        except (OSError, sqlite3.Error) as again:
            raise OutputError(
                f"the journal {self.path} is damaged ({error}) and cannot be replaced: {again}.", "Give another work folder."
            ) from again

    def _read_second_record(self) -> int:
        rows = [row for row in _lines(self._second_record) if set(row) == set(_FIELDS)]
        with self._changing():
            for row in rows:
                self._put(row)
        return len({row["path"] for row in rows})

    @property
    def _history(self) -> History:
        return History(self._connection)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """All of it or nothing.

        Raises:
            OutputError: it cannot be written; a DiskFullError if there is no room.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _unwritable(self.path, error) from error
            raise

    def _rows(self, query: str, *values: object) -> list[Any]:
        with closing(self._connection.execute(query, values)) as cursor:
            return cursor.fetchall()

    def _put(self, row: Mapping[str, Any]) -> None:
        _put(self._connection, row)

    def _get(self, path: str) -> dict[str, Any] | None:
        rows = self._rows(f"SELECT {', '.join(_FIELDS)}, checksum FROM output WHERE path = ?", path)
        return _checked(rows[0]) if rows else None

    def record_of(self, output: Path) -> Record | None:
        """What is known of an output; None if it was never planned, or if what is known is damaged."""
        row = self._get(str(output))
        if row is None:
            return None
        return _as_record(row, _damage(row, output) if row["state"] == "done" else "")

    def records(self) -> Iterator[Record]:
        """What is known of all outputs, without a look at the files."""
        for row in self._rows(f"SELECT {', '.join(_FIELDS)}, checksum FROM output ORDER BY path"):
            checked = _checked(row)
            if checked is not None:
                yield _as_record(checked, "")

    def forget_unplanned(self, jobs: Sequence[str]) -> None:
        """What failed of these jobs before there was anything to plan is over: all of it was looked at again."""
        marks = ", ".join("?" for _ in jobs)
        query = f"DELETE FROM output WHERE job IN ({marks}) AND state = 'failed' AND fingerprint = ''"
        with self._changing():
            self._connection.execute(query, list(jobs))

    def record_plan(
        self,
        output: Path,
        job: str,
        source: Path,
        fingerprint: str,
        fingerprint_inputs: Mapping[str, Any],
        clips: Sequence[tuple[int, int]],
    ) -> None:
        """Remember an output that will be made, and the first and end frame index of each of its clips."""
        before = self._get(str(output))
        same = before is not None and before["fingerprint"] == fingerprint
        with self._changing():
            self._put(
                {
                    **_NOTHING,
                    "path": str(output),
                    "job": job,
                    "input": str(source),
                    "state": "planned",
                    "fingerprint": fingerprint,
                    "described": json.dumps(fingerprint_inputs, sort_keys=True),
                    "frames": clips[-1][1],
                    "attempts": before["attempts"] if before is not None and same else 0,
                    "changed_at": time.time(),
                }
            )
            if before is None or not same or before["state"] == "done":
                self._history.forget_frames(str(source), job)
            self._history.plan(str(output), clips)

    def record_start(self, run: str, output: Path, first_frame_index: int, next_frame_index: int) -> None:
        """Remember that work on a clip has begun, at its next frame."""
        row = self._get(str(output))
        if row is None:
            return
        now = time.time()
        # Of an output one of whose shots has failed, the others are done all the same; it stays failed.
        state = "failed" if row["state"] == "failed" else "started"
        with self._changing():
            self._put({**row, "state": state, "changed_at": now})
            self._history.start(run, str(output), row["job"], row["input"], first_frame_index, next_frame_index, now)

    def record_frame(self, run: str, frame: FrameDone, end_frame_index: int) -> None:
        """Remember a finished frame, and that the one behind it has begun, if its clip does not end there."""
        with self._changing():
            self._history.finish_frame(run, frame, end_frame_index)

    def record_clip(self, output: Path, first_frame_index: int) -> None:
        """Remember that all frames of a clip are done."""
        with self._changing():
            self._history.finish(str(output), first_frame_index, time.time())

    def record_attempt(self, output: Path, first_frame_index: int, reason: str, log: str, *, given_up: bool) -> None:
        """Remember that a clip went wrong, and its frame in hand.

        Args:
            output: that the clip is of.
            first_frame_index: of the clip.
            reason: why.
            log: where the log tells of it.
            given_up: whether it was the last attempt.
        """
        row = self._get(str(output))
        if row is None:
            return
        with self._changing():
            self._history.fail(
                str(output), row["job"], row["input"], first_frame_index, reason, log, time.time(), given_up=given_up
            )

    def record_done(self, done: OutputDone, fingerprint_inputs: Mapping[str, Any]) -> None:
        """Remember a finished output, in the journal and in the second record; on disk when this returns.

        Raises:
            OutputError: the file is gone again, or the second record cannot be written.
        """
        try:
            state = state_of(Path(done.output))
            row = {
                **_NOTHING,
                "path": done.output,
                "job": done.job,
                "input": done.path,
                "state": "done",
                "fingerprint": done.fingerprint,
                "described": json.dumps(fingerprint_inputs, sort_keys=True),
                "frames": done.frames,
                "sha256": done.sha256,
                "size_bytes": state.size_bytes,
                "modified_ns": state.modified_ns,
                "changed_at": done.at,
            }
            with self._second_record.open("ab") as file:
                # A line that a power cut left half written must not swallow this one.
                file.write(b"\n" + json.dumps(row).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{done.output} is made, but cannot be recorded: {error}.") from error
        with self._changing():
            self._put(row)

    def record_failure(self, failure: ItemFailed, fingerprint: str, fingerprint_inputs: Mapping[str, Any], log: str) -> None:
        """Remember what could not be done.

        Args:
            failure: what, and why.
            fingerprint: of what was tried; empty if it failed before there was one.
            fingerprint_inputs: the same in readable form.
            log: where the log tells of it.
        """
        path = failure.output or failure.path
        before = self._get(path)
        with self._changing():
            self._put(
                {
                    **_NOTHING,
                    "path": path,
                    "frames": before["frames"] if before is not None else 0,
                    "job": failure.job,
                    "input": failure.path,
                    "state": "failed",
                    "fingerprint": fingerprint,
                    "described": json.dumps(fingerprint_inputs, sort_keys=True),
                    "attempts": failure.attempts,
                    "reason": failure.reason,
                    "next_step": failure.next_step,
                    "log": log,
                    "changed_at": failure.at,
                }
            )

    def begin_run(self, run: str, workers: int, planned: Sequence[JobPlanned], about: Mapping[str, Any] | None = None) -> None:
        """Remember that a run goes on, for whoever asks how far it is.

        Args:
            run: its name.
            workers: processes.
            planned: its jobs; empty as long as they are not known.
            about: settings and versions, to repeat it; JSON's own types.
        """
        row = (run, workers, time.time(), _as_planned(planned), json.dumps(about or {}))
        with self._changing():
            self._connection.execute("INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, NULL, NULL, ?, '')", row)

    def plan_run(self, run: str, planned: Sequence[JobPlanned]) -> None:
        """Remember the jobs of a run that has begun."""
        with self._changing():
            self._connection.execute("UPDATE run SET planned = ? WHERE id = ?", (_as_planned(planned), run))

    def end_run(self, run: str, exit_code: int, error: str = "") -> None:
        """Remember how a run ended.

        Args:
            run: its name.
            exit_code: as in `RunFinished`.
            error: what ended it before its time, if anything did.
        """
        query = "UPDATE run SET finished_at = ?, exit_code = ?, error = ? WHERE id = ?"
        with self._changing():
            self._connection.execute(query, (time.time(), exit_code, error, run))

    def latest_run(self) -> LatestRun | None:
        """The run that goes on, or the last one; None if there was none."""
        rows = self._rows(
            "SELECT id, workers, started_at, planned, finished_at, exit_code, about, error FROM run "
            "ORDER BY started_at DESC LIMIT 1"
        )
        if not rows:
            return None
        run, workers, started_at, planned, finished_at, exit_code, about, error = rows[0]
        spent = self._history.spent(run)
        jobs = {}
        for event in json.loads(planned):
            event.pop("event")
            job = JobPlanned(**event)
            jobs[job.job] = JobPace(job, *spent.get(job.job, (0, 0.0, 0)))
        return LatestRun(workers, started_at, finished_at, exit_code, jobs, run, json.loads(about), error)

    def frames_of(self, source: str, job: str) -> int:
        """How many frames of an input are recorded as finished."""
        return self._history.count_done(source, job)

    def clips(self, output: str) -> tuple[Entry, ...]:
        """What is known of an output's clips, in the order of the file."""
        return self._history.clips_of(output)

    def frame_history(self, source: str, job: str) -> tuple[Entry, ...]:
        """What is known of the frames of an input that were begun, in the order of the file."""
        return self._history.frames_of(source, job)

    def frames(self, job: str) -> tuple[FrameRecord, ...]:
        """What is known of a job's finished frames, by input and frame index."""
        columns = "path, first_frame_index, frame_index, seconds, evaluations, loss, content_loss, style_loss, warping_error"
        rows = self._rows(f"SELECT {columns} FROM frame WHERE job = ? AND state = 'done' ORDER BY path, frame_index", job)
        return tuple(FrameRecord(*row) for row in rows)

    def cached(self, kind: str, key: str, compute: Callable[[], str]) -> str:
        """A value that is costly to find and never changes: computed once for each kind and key."""
        rows = self._rows("SELECT value, checksum FROM lookup WHERE kind = ? AND key = ?", kind, key)
        if rows and rows[0][1] == _checksum([kind, key, rows[0][0]]):
            return str(rows[0][0])
        value = compute()
        if not self._read_only:
            row = (kind, key, value, _checksum([kind, key, value]))
            with self._changing():
                self._connection.execute("INSERT OR REPLACE INTO lookup VALUES (?, ?, ?, ?)", row)
        return value

    def digest(self, path: Path) -> str:
        """sha256 of an input; computed again only when its size or time has changed.

        Raises:
            OSError: the file cannot be read.
        """
        state = state_of(path)
        return self.cached("sha256", f"{path}|{state.size_bytes}|{state.modified_ns}", lambda: sha256_of(path))


_NOTHING = {
    "sha256": "", "size_bytes": 0, "modified_ns": 0, "attempts": 0, "reason": "", "next_step": "", "log": "", "frames": 0
}  # fmt: skip


def _put(connection: sqlite3.Connection, row: Mapping[str, Any]) -> None:
    values = [row[name] for name in _FIELDS]
    marks = ", ".join("?" for _ in range(len(_FIELDS) + 1))
    query = f"INSERT OR REPLACE INTO output ({', '.join(_FIELDS)}, checksum) VALUES ({marks})"
    connection.execute(query, (*values, _checksum(values)))


def _checksum(values: Sequence[object]) -> str:
    """SQLite notices damage to its own structure, but not to the values in it."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _checked(row: Sequence[Any]) -> dict[str, Any] | None:
    *values, checksum = row
    return dict(zip(_FIELDS, values, strict=True)) if checksum == _checksum(values) else None


def _as_record(row: Mapping[str, Any], damage: Literal["", "missing", "changed"]) -> Record:
    return Record(
        state=row["state"],
        fingerprint=row["fingerprint"],
        fingerprint_inputs=json.loads(row["described"]),
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
    )


def _damage(row: Mapping[str, Any], output: Path) -> Literal["", "missing", "changed"]:
    try:
        state = state_of(output)
        if (state.size_bytes, state.modified_ns) == (row["size_bytes"], row["modified_ns"]):
            return ""
        # A copied or touched file has another time; only its content tells.
        return "" if state.size_bytes == row["size_bytes"] and sha256_of(output) == row["sha256"] else "changed"
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "changed"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, without what is damaged."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


_NO_DAMAGE = ("full", "locked", "unable to open", "disk I/O")
"""Words of SQLite for what is no fault of the file; Python 3.10 does not give its numbers."""


def _is_damage(error: sqlite3.Error) -> bool:
    return not any(words in str(error) for words in _NO_DAMAGE)


def _unwritable(path: Path, error: sqlite3.Error) -> OutputError:
    problem = f"the journal {path} cannot be written: {error}."
    if "full" in str(error):
        return DiskFullError(problem, "Free some space; what is finished is kept.")
    return OutputError(problem, "Look at the disk of the work folder.")


def _check(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _create(connection: sqlite3.Connection) -> None:
    """Make the tables, and bring over what an older version's tables hold."""
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < SCHEMA_VERSION:  # else another process was quicker
        if version in (2, 3):
            for statement in _FROM_2_TO_3 if version == 2 else ():
                connection.execute(statement)
            brought_over(connection)
        else:
            outputs, lookups = _taken_from_1(connection) if version == 1 else ([], [])
            for statement in (_SCHEMA + HISTORY_SCHEMA).split(";"):
                connection.execute(statement)
            for row in outputs:
                _put(connection, row)
            for kind, key, value in lookups:
                connection.execute("INSERT INTO lookup VALUES (?, ?, ?, ?)", (kind, key, value, _checksum([kind, key, value])))
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


_FROM_2_TO_3 = (
    "ALTER TABLE frame ADD COLUMN content_loss REAL",
    "ALTER TABLE frame ADD COLUMN style_loss REAL",
    "ALTER TABLE frame ADD COLUMN warping_error REAL",
    "ALTER TABLE run ADD COLUMN about TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE run ADD COLUMN error TEXT NOT NULL DEFAULT ''",
)


def _brought_over_in_memory(older: sqlite3.Connection) -> sqlite3.Connection:
    """A copy of an older version's tables in the form of today; who only reads leaves the file as it is."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    with closing(older):
        older.backup(copy)
    _create(copy)
    return copy


def _as_planned(planned: Sequence[JobPlanned]) -> str:
    return json.dumps([job.as_json() for job in planned])


def _taken_from_1(connection: sqlite3.Connection) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    """Version 1 knew finished outputs only, and not by which settings."""
    names = ("path", "job", "fingerprint", "sha256", "size_bytes", "modified_ns", "frames", "changed_at")
    query = "SELECT path, job, fingerprint, sha256, size_bytes, modified_ns, frames, finished_at FROM output"
    rows = connection.execute(query).fetchall()
    outputs = [
        {**_NOTHING, "input": "", "state": "done", "described": "{}", **dict(zip(names, row, strict=True))} for row in rows
    ]
    lookups = connection.execute("SELECT kind, key, value FROM lookup").fetchall()
    connection.execute("DROP TABLE output")
    connection.execute("DROP TABLE lookup")
    return outputs, lookups
