"""What the journal can be asked."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nstpipe.errors import OutputError
from nstpipe.journal import layers, placing, second_record
from nstpipe.journal.clips import History
from nstpipe.journal.database import JOURNAL, Database
from nstpipe.journal.lookups import Lookups
from nstpipe.journal.outputs import Damage, Outputs, as_record, damage_of
from nstpipe.journal.path_keys import PathKeys
from nstpipe.journal.records import Entry, FrameRecord, FrameSums, FrameTime, LatestRun, Record
from nstpipe.journal.runs import LOAD_SHARE, PACE_SETUPS, Runs
from nstpipe.storage.contents import content_sha256
from nstpipe.system.files import is_numbered, parts_of, stamp_of


class Queries:
    """What is known of the outputs, clips, frames and runs of a work folder.

    A row that is damaged counts as missing. What shards have recorded, and no run has joined yet, is part of it.

    Args:
        work: The work folder. It is created if it is missing.
        pipeline: The pipeline.yaml, whose files are known wherever its folder is; None if it is not known.
        repair: Whether to replace a damaged journal, which only the holder of the folder's lock may do.
        read_only: Whether to change nothing at all.
        shard: The folder of the shard whose journal it is; None for that of the whole work folder. A shard also reads what is
            known of the outputs of others.

    Attributes:
        path: The SQLite file.
        notices: What the user should know, such as that the journal was damaged.

    Raises:
        OutputError: The work folder cannot be written to, or its journal is of a newer version. If read-only, also: the journal
            is missing or damaged.
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
        self._work = work
        self._home = shard if shard is not None else work
        self._keys = PathKeys(work, pipeline)
        self._database = Database(self._home, self._keys, repair=repair, read_only=read_only, is_shard=shard is not None)
        self._outputs = Outputs(self._database.connection)
        self._lookups = Lookups(self._database.connection)
        self._unsaved: dict[tuple[str, str], str] = {}
        self._at_hand: _AtHand | None = None
        self._clips = History(self._database.connection)
        self._runs = Runs(self._database.connection)
        self.path = self._database.path
        self.notices = self._database.notices
        self._unjoined = () if shard is not None else self._lay_shards_over()
        if shard is not None:
            self._lay_over_base()

    def _lay_shards_over(self) -> tuple[Path, ...]:
        """Let what shards have recorded be read as well; return the folders of these shards."""
        folders = tuple(folder for folder in layers.shard_folders(self._work) if (folder / JOURNAL).exists())
        if folders:
            journals = [folder / JOURNAL for folder in folders]
            self.notices += layers.lay_under(self._database.connection, journals)
        return folders

    def _lay_over_base(self) -> None:
        try:
            layers.lay_over(self._database.connection, self._work / JOURNAL)
        except sqlite3.Error as error:
            self.close()
            raise OutputError(
                f"the journal {self._work / JOURNAL} cannot be read: {error}.", "`nstpipe run` without --shard makes it anew."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._database.connection.close()

    def record_of(self, output: Path) -> Record | None:
        """Return what is known of an output; None if it was never planned, or if its row is damaged."""
        row = self._row_of(output)
        if row is None:
            return None
        return self._as_record(row, damage_of(row, output) if row["state"] == "done" else "")

    @contextmanager
    def at_hand(self, kind: str, inputs: str | Path, outputs: str | Path) -> Iterator[None]:
        """Mark a block in which what is known of a folder is read at once, and not again. It must not change meanwhile.

        Args:
            kind: The kind of values that are read of the inputs; see `Journal.inspected`.
            inputs: The folder of the inputs.
            outputs: The folder of the outputs.
        """
        of_inputs, of_outputs = self._begin_of(inputs), self._begin_of(outputs)
        rows, values = self._outputs.below(of_outputs), self._lookups.below(kind, of_inputs)
        self._at_hand = _AtHand(of_outputs, rows, kind, of_inputs, values)
        try:
            yield
        finally:
            self._at_hand = None

    def _begin_of(self, folder: str | Path) -> str:
        """Return what the keys of the files in a folder begin with."""
        return self._keys.key(f"{folder}{os.sep}-")[:-1]

    def _row_of(self, output: str | Path) -> dict[str, Any] | None:
        key, near = self._keys.key(output), self._at_hand
        return near.rows.get(key) if near is not None and key.startswith(near.outputs) else self._outputs.get(key)

    def _as_record(self, row: Mapping[str, Any], damage: Damage = "") -> Record:
        """Return a row with the paths of its files as a record."""
        return as_record({**row, "path": self._keys.path(row["path"]), "input": self._keys.path(row["input"])}, damage)

    def spelled(self, path: str | Path) -> str:
        """Return the path of a file as the records spell it."""
        return self._keys.spelled(path)

    def has_made(self, output: Path) -> bool:
        """Return whether a run has written what stands at an output's place. Its content decides, or its size and time."""
        row = self._row_of(output)
        if row is not None and _describes(row, output):
            return True
        parts, known = parts_of(output), placing.noted(self._work, output)
        # Old work folders have no note of numbered pictures; a run that was killed may have replaced some.
        has_no_note = row is not None and row["sha256"] and not known and is_numbered(output)
        latest = row["modified_ns"] if row is not None and has_no_note else 0
        if all(part.stat().st_mtime_ns <= latest or content_sha256(part) in known for part in parts):
            return True
        return content_sha256(output) in self._contents_made.get(self._keys.key(output), ())

    @functools.cached_property
    def _contents_made(self) -> dict[str, set[str]]:
        """The sha256 of each file that was ever finished, by key."""
        made: dict[str, set[str]] = {}
        homes = (self._work, *layers.shard_folders(self._work))
        for row in (row for home in homes for row in second_record.read(home)):
            made.setdefault(self._keys.key(row["path"]), set()).add(row["sha256"])
        return made

    def records(self, *, finished: bool = True) -> Iterator[Record]:
        """Yield what is known of each output, without checking the files.

        Args:
            finished: Whether to yield those that are finished, too.
        """
        return (self._as_record(row) for row in self._outputs.all(finished=finished))

    def tally(self, job: str) -> dict[str, tuple[int, int]]:
        """Return the number of a job's outputs and that of their frames, by state."""
        return self._outputs.tally(job)

    def some_done(self, job: str, most: int) -> tuple[Record, ...]:
        """Return some of a job's finished outputs, evenly spaced, without checking the files."""
        return tuple(self._as_record(row) for row in self._outputs.some_done(job, most))

    def begun(self, job: str) -> Iterator[Record]:
        """Yield the outputs of a job that have been begun and are not finished, or have failed."""
        return (self._as_record(row) for row in self._outputs.begun(job))

    def latest_run(self, suffix: str = "") -> LatestRun | None:
        """Return the run that goes on, or else the last one; None if there was none.

        Args:
            suffix: The end of its name.
        """
        return self._runs.latest(suffix)

    def latest_run_with_work(self) -> LatestRun | None:
        """Return the latest run that painted, finished or broke something; if none did, the latest one."""
        return self._runs.latest_with_work()

    def has_done_all(self, jobs: Iterable[str]) -> bool:
        """Return whether the latest run came to its end and had all of these jobs. What has changed since is not known."""
        return self._runs.latest_finished() >= set(jobs)

    def frames_of(self, source: str, job: str) -> int:
        """Return how many frames of an input are finished."""
        return self._clips.count_done(self._keys.key(source), job)

    def latest_times(self, most: int = 1000) -> tuple[FrameTime, ...]:
        """Return what the frames took that were finished last, in any run and job; the latest first."""
        abouts = self._runs.abouts()
        times = []
        for run, job, *values in self._clips.latest_times(most):
            about = abouts.get(run, {})
            of_job = about.get(PACE_SETUPS, {}).get(job, {})
            known = {name: of_job[name] for name in ("setup", "tolerance", "optimizer") if name in of_job}
            times.append(replace(FrameTime(*values), job=job, load_share=about.get(LOAD_SHARE), **known))
        return tuple(times)

    def recall(self, kind: str, key: str) -> str | None:
        """Return what `Journal.remember` has stored; None if there is nothing."""
        return self._looked_up(kind, key)

    def _looked_up(self, kind: str, key: str) -> str | None:
        """Return a stored value, also one that is not in the file yet."""
        unsaved, near = self._unsaved.get((kind, key)), self._at_hand
        if unsaved:
            return unsaved
        if near is not None and kind == near.kind and key.startswith(near.inputs):
            return near.values.get(key)
        return self._lookups.get(kind, key)

    def clips(self, output: str) -> tuple[Entry, ...]:
        """Return what is known of an output's clips, in the order of the file."""
        return self._clips.clips_of(self._keys.key(output))

    def frame_sums(self, job: str) -> FrameSums:
        """Return what a job's finished frames took together."""
        return self._clips.sums(job)

    def losses(self, job: str, most: int) -> tuple[int, tuple[float | None, ...]]:
        """Return the losses of a job's finished frames, or of each so many; with how many that are."""
        return self._clips.losses(job, most)

    def frames(self, job: str) -> tuple[FrameRecord, ...]:
        """Return a job's finished frames, sorted by input and frame index."""
        return tuple(replace(frame, path=self._keys.path(frame.path)) for frame in self._clips.finished_frames(job))


@dataclass(frozen=True, slots=True)
class _AtHand:
    """What is known of a folder, read at once.

    Attributes:
        outputs: What the keys of its outputs begin with.
        rows: The rows of the outputs, by key.
        kind: The kind of the values.
        inputs: What the keys of its inputs begin with.
        values: What is known of the inputs, by key.
    """

    outputs: str
    rows: Mapping[str, dict[str, Any]]
    kind: str
    inputs: str
    values: Mapping[str, str]


def _describes(row: Mapping[str, Any], output: Path) -> bool:
    """Return whether a row tells of the file that stands at an output's place."""
    if not row["sha256"]:
        return False
    return stamp_of(output) == (row["size_bytes"], row["modified_ns"]) or content_sha256(output) == row["sha256"]
