"""The record of what was planned, started, finished and failed, in the work folder."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from nstpipe.errors import OutputError
from nstpipe.events import FrameDone, ItemFailed, JobPlanned, OutputDone
from nstpipe.journal import layers, placing, second_record
from nstpipe.journal.database import JOURNAL, Database
from nstpipe.journal.folders import FolderPlan, Folders
from nstpipe.journal.path_keys import take_over_moved
from nstpipe.journal.queries import Queries
from nstpipe.journal.rows import DEFAULTS
from nstpipe.storage.contents import content_sha256
from nstpipe.storage.remotes import is_live
from nstpipe.system.files import Stamp, state_of

MOST_UNSAVED, UNSAVED_SECONDS = 1000, 1.0
"""Values that can be computed again are written so many at a time, or after so many seconds: each write waits for the disk."""


class Journal(Queries):
    """The journal as its only writer sees it: the process that holds the lock of the work folder.

    Args:
        work: The work folder. It is created if it is missing.
        pipeline: The pipeline.yaml whose outputs are recorded; None if it is not known.

    See `Queries` for the other arguments, attributes and errors.
    """

    def __init__(
        self,
        work: Path,
        *,
        pipeline: Path | None = None,
        repair: bool = True,
        read_only: bool = False,
        shard: Path | None = None,
    ) -> None:
        super().__init__(work, pipeline=pipeline, repair=repair, read_only=read_only, shard=shard)
        self._saved_at = time.monotonic()
        self._folders = Folders(self._database.connection)
        self._unsaved_folders: list[tuple[str, FolderPlan, int]] = []
        # What shards record is in other files, where it ends nothing here.
        self._knows_folders = not read_only and shard is None and not self._unjoined
        self._maker = _maker_of(pipeline, work) if pipeline is not None else ""
        if pipeline is not None and not read_only:
            with self._database.changing():
                take_over_moved(self._database.connection, self._keys, work, pipeline, self._maker)

    def join_shards(self) -> int:
        """Take over what shards have recorded, and delete their journals. No shard may be at work.

        A process that is killed meanwhile loses nothing: the next one does it again.

        Returns:
            The number of shards.
        """
        for folder in self._unjoined:
            # If a journal is damaged, what its second record tells of is taken over.
            mended = Database(folder, self._keys, repair=True, read_only=False, is_shard=True)
            self.notices += mended.notices
            mended.connection.close()
        connection = self._database.connection
        if self._unjoined:
            layers.take_off(connection)
            layers.lay_under(connection, [folder / JOURNAL for folder in self._unjoined])
            with self._database.changing():
                layers.fold(connection)
            second_record.take_over(self._work, self._unjoined)
            for folder in self._unjoined:
                layers.remove((folder / second_record.SECOND_RECORD, folder / JOURNAL, folder / f"{JOURNAL}-journal"))
            layers.take_off(connection)
        joined, self._unjoined = len(self._unjoined), ()
        return joined

    def take_over(self, outputs: Collection[Path], others: Sequence[Path] = ()) -> None:
        """Copy what is known of outputs into the journal of this shard, which records them from now on.

        Args:
            outputs: The outputs.
            others: The folders of other shards that may have worked on them.
        """
        connection = self._database.connection
        connection.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (path TEXT PRIMARY KEY)")
        with self._database.changing():
            connection.execute("DELETE FROM temp.wanted")
            rows = ((self._keys.key(output),) for output in outputs)
            connection.executemany("INSERT OR IGNORE INTO temp.wanted VALUES (?)", rows)
            # What this shard has recorded before is newer.
            connection.execute("DELETE FROM temp.wanted WHERE path IN (SELECT path FROM main.output)")
            self._copy_wanted("base")
        for folder in others:
            if (folder / JOURNAL).exists():
                with suppress(sqlite3.Error), layers.attached(connection, folder / JOURNAL), self._database.changing():
                    connection.execute("DELETE FROM temp.wanted")
                    rows = ((self._keys.key(output),) for output in outputs)
                    connection.executemany("INSERT OR IGNORE INTO temp.wanted VALUES (?)", rows)
                    self._copy_wanted("shard")

    def _copy_wanted(self, schema: str) -> None:
        connection = self._database.connection
        of_output = "found.path IN (SELECT path FROM temp.wanted)"
        of_input = (
            f"(found.job, found.path) IN (SELECT job, input FROM {schema}.output WHERE path IN (SELECT path FROM temp.wanted))"
        )
        for table, where in (("clip", of_output), ("frame", of_input), ("output", of_output)):
            layers.merge(connection, table, into=table, source=f"{schema}.{table}", where=where)

    def forget_unplanned(self, jobs: Sequence[str]) -> None:
        """Delete the failures of inputs of these jobs that could not be planned, because they were inspected again."""
        with self._database.changing():
            self._outputs.forget_unplanned(jobs)

    def record_plan(
        self,
        output: Path,
        job: str,
        source: Path,
        fingerprint: str,
        fingerprint_inputs: Mapping[str, Any],
        clips: Sequence[tuple[int, int]],
    ) -> None:
        """Record an output that will be made, and the first and end frame index of each of its clips."""
        before = self._row_of(output)
        same = before is not None and before["fingerprint"] == fingerprint
        with self._database.changing():
            self._outputs.put(
                {
                    **DEFAULTS,
                    **_file_known_of(before),
                    "path": self._keys.key(output),
                    "job": job,
                    "input": self._keys.key(source),
                    "state": "planned",
                    "fingerprint": fingerprint,
                    "described": _as_json(fingerprint_inputs),
                    "frames": clips[-1][1],
                    "attempts": before["attempts"] if before is not None and same else 0,
                    "changed_at": time.time(),
                    "maker": self._maker,
                },
            )
            if before is None or not same or before["state"] == "done":
                self._clips.forget_frames(self._keys.key(source), job)
            self._clips.plan(self._keys.key(output), clips)

    def record_start(self, run: str, output: Path, first_frame_index: int, next_frame_index: int) -> None:
        """Record that work on a clip has started, at its next frame."""
        row = self._row_of(output)
        if row is None:
            return
        now = time.time()
        # The other shots of an output are made even if one has failed, but the output stays failed.
        state = "failed" if row["state"] == "failed" else "started"
        with self._database.changing():
            self._outputs.put({**row, "state": state, "changed_at": now})
            self._clips.start(run, row["path"], row["job"], row["input"], first_frame_index, next_frame_index, now)

    def record_frame(self, run: str, frame: FrameDone, end_frame_index: int) -> None:
        """Record a finished frame. If its clip does not end there, the next frame is started."""
        with self._database.changing():
            self._clips.finish_frame(run, replace(frame, path=self._keys.key(frame.path)), end_frame_index)

    def record_clip(self, output: Path, first_frame_index: int) -> None:
        """Record that all frames of a clip are done."""
        with self._database.changing():
            self._clips.finish(self._keys.key(output), first_frame_index, time.time())

    def record_attempt(self, output: Path, first_frame_index: int, reason: str, log: str, *, given_up: bool) -> None:
        """Record a failed attempt at a clip.

        Args:
            output: The output to which the clip belongs.
            first_frame_index: Index of the clip's first frame.
            reason: Why the attempt failed.
            log: Where the log tells of it.
            given_up: Whether it was the last attempt.
        """
        row = self._row_of(output)
        if row is None:
            return
        with self._database.changing():
            self._clips.fail(
                row["path"], row["job"], row["input"], first_frame_index, reason, log, time.time(), given_up=given_up
            )

    def record_done(self, done: OutputDone, fingerprint_inputs: Mapping[str, Any]) -> None:
        """Record a finished output in the journal and in the second record. It is on the disk when this returns.

        Raises:
            OutputError: The output is gone again, or the record cannot be written.
        """
        try:
            state = state_of(Path(done.output))
            row = {
                **DEFAULTS,
                "path": self._keys.key(done.output),
                "job": done.job,
                "input": self._keys.key(done.path),
                "state": "done",
                "fingerprint": done.fingerprint,
                "described": _as_json(fingerprint_inputs),
                "frames": done.frames,
                "sha256": done.sha256,
                "size_bytes": state.size_bytes,
                "modified_ns": state.modified_ns,
                "changed_at": done.at,
                "maker": self._maker,
            }
            second_record.append(self._home, row)
        except OSError as error:
            raise OutputError(f"{done.output} is made, but cannot be recorded: {error}.") from error
        with self._database.changing():
            self._outputs.put(row)
        placing.forget(self._work, Path(done.output))

    def record_failure(self, failure: ItemFailed, fingerprint: str, fingerprint_inputs: Mapping[str, Any], log: str) -> None:
        """Record a failure.

        Args:
            failure: What failed, and why.
            fingerprint: Fingerprint of the output that was tried; empty if it failed before it had one.
            fingerprint_inputs: The settings and inputs behind the fingerprint.
            log: Where the log tells of it.
        """
        path = failure.output or failure.path
        before = self._row_of(path)
        with self._database.changing():
            self._outputs.put(
                {
                    **DEFAULTS,
                    **_file_known_of(before),
                    "path": self._keys.key(path),
                    "frames": before["frames"] if before is not None else 0,
                    "job": failure.job,
                    "input": self._keys.key(failure.path),
                    "state": "failed",
                    "fingerprint": fingerprint,
                    "described": _as_json(fingerprint_inputs),
                    "attempts": failure.attempts,
                    "reason": failure.reason,
                    "next_step": failure.next_step,
                    "log": log,
                    "changed_at": failure.at,
                    "maker": self._maker,
                },
            )

    def begin_run(self, run: str, workers: int, planned: Sequence[JobPlanned], about: Mapping[str, Any] | None = None) -> None:
        """Record that a run goes on, so that others can ask how far it is.

        Args:
            run: The name of the run.
            workers: The number of processes.
            planned: The jobs; empty as long as they are unknown.
            about: Settings and versions that are needed to repeat the run, as JSON's own types.
        """
        with self._database.changing():
            self._runs.begin(run, workers, planned, about or {})

    def describe_run(self, run: str, about: Mapping[str, Any]) -> None:
        """Record the settings and versions of a run that goes on, in place of what was known of them; see `begin_run`."""
        with self._database.changing():
            self._runs.describe(run, about)

    def plan_run(self, run: str, planned: Sequence[JobPlanned], workers: int) -> None:
        """Record the jobs of a run that goes on, and its number of processes."""
        with self._database.changing():
            self._runs.plan(run, planned, workers)

    def end_run(self, run: str, exit_code: int, error: str = "", load_share: float | None = None) -> None:
        """Record how a run ended.

        Args:
            run: The name of the run.
            exit_code: The exit code, as in `RunFinished`.
            error: The error that ended the run early; empty if there was none.
            load_share: The share of the cores that other programs used meanwhile; None if it is not known.
        """
        with self._database.changing():
            self._runs.end(run, exit_code, error)
            if load_share is not None:
                self._runs.note_load(run, load_share)

    def remember(self, kind: str, key: str, value: str) -> None:
        """Store a value, in place of one with the same kind and key."""
        if self._database.read_only:
            return
        self._unsaved[kind, key] = value
        self._save_if_due()

    def planned_folder(self, outputs: Path) -> FolderPlan | None:
        """Return what `keep_folder` has kept of a folder; None if a record of one of its outputs has changed since."""
        return self._folders.get(self._folder_key(outputs)) if self._knows_folders else None

    def keep_folder(self, outputs: Path, plan: FolderPlan, since: int) -> None:
        """Keep what was planned of a folder, for as long as no record of its outputs changes.

        Args:
            outputs: The folder of the outputs.
            plan: The plan.
            since: What `changes_elsewhere` returned before the records were read that the plan depends on. They are read again
                next time if another process has changed the journal since.
        """
        if self._knows_folders:
            self._unsaved_folders.append((self._folder_key(outputs), plan, since))
            self._save_if_due()

    def changes_elsewhere(self) -> int:
        """Return a number that changes when another process writes the journal."""
        return self._folders.changes_elsewhere()

    def _folder_key(self, outputs: Path) -> str:
        begin = self._begin_of(outputs)
        return begin[: begin.rfind("/") + 1]

    def save(self) -> None:
        """Write the values that `remember` has not written yet. A killed process loses them, and computes them again."""
        folders, self._unsaved_folders = self._unsaved_folders, []
        if self._unsaved or folders:
            with self._database.changing():
                for (kind, key), value in self._unsaved.items():
                    self._lookups.put(kind, key, value)
                now = self.changes_elsewhere()
                for key, plan, since in folders:
                    if since == now:
                        self._folders.put(key, plan)
            self._unsaved.clear()
        self._saved_at = time.monotonic()

    def _save_if_due(self) -> None:
        if len(self._unsaved) >= MOST_UNSAVED or time.monotonic() - self._saved_at >= UNSAVED_SECONDS:
            self.save()

    def close(self) -> None:
        """Write what is not written yet, and close the file."""
        with suppress(OutputError):  # a full disk must not hide what has happened before
            self.save()
        super().close()

    def at_once(self) -> AbstractContextManager[None]:
        """Return a block whose records are written all at once, or not at all if it raises.

        Raises:
            OutputError: The journal cannot be written.
        """
        return self._database.changing()

    def known(self, kind: str, key: str) -> str | None:
        """Return a value that `cached` has kept; None if there is none."""
        return self._looked_up(kind, key)

    def cached(self, kind: str, key: str, compute: Callable[[], str]) -> str:
        """Return a value that is costly to compute and never changes. It is computed once for each kind and key."""
        known = self._looked_up(kind, key)
        if known is not None:
            return known
        value = compute()
        self.remember(kind, key, value)
        return value

    def digest(self, path: Path) -> str:
        """Return the sha256 of an input. It is computed again only if the size or time of the file has changed.

        Raises:
            OSError: The file cannot be read.
        """
        state = state_of(path)
        stamp = f"{state.size_bytes}|{state.modified_ns}"

        def compute() -> str:
            # Versions before 6 took the whole path as the key.
            return self._lookups.get("sha256", f"{path}|{stamp}") or content_sha256(path)

        return self.cached("sha256", f"{self._keys.key(path)}|{stamp}", compute)

    def inspected(self, kind: str, path: Path, stamp: Stamp, inspect: Callable[[str], str]) -> str:
        """Return what an inspection of an input has found. It is inspected again only if its size or time has changed.

        Args:
            kind: The kind of the inspection.
            path: The input.
            stamp: Its size and time.
            inspect: Inspects it, given the sha256 of its content.

        Raises:
            OSError: The file cannot be read.
        """
        key = self._stamped(path, stamp)
        return self.cached(kind, key, lambda: inspect(self._looked_up("sha256", key) or content_sha256(path)))

    def keep_inspected(self, kind: str, path: Path, stamp: Stamp, value: str) -> None:
        """Store what an inspection has found elsewhere; see `inspected`."""
        self.remember(kind, self._stamped(path, stamp), value)

    def _stamped(self, path: Path, stamp: Stamp) -> str:
        return f"{self._keys.key(path)}|{stamp[0]}|{stamp[1]}"

    def count(self, kind: str) -> int:
        """Return the number of values of a kind that are stored."""
        return self._lookups.count(kind)


def _file_known_of(row: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what identifies the file that an output had before, which stands there until it is replaced."""
    return {name: row[name] for name in ("sha256", "size_bytes", "modified_ns")} if row is not None else {}


def _maker_of(pipeline: Path, work: Path) -> str:
    """Return the path of a pipeline.yaml relative to its work folder."""
    if is_live(work):
        return f"../{pipeline.name}"
    try:
        return os.path.relpath(pipeline, work)
    except ValueError:  # on another drive of Windows
        return str(pipeline)


def _as_json(fingerprint_inputs: Mapping[str, Any]) -> str:
    return json.dumps(fingerprint_inputs, sort_keys=True)
