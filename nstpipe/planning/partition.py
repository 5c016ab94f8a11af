"""Says which clips a shard makes: one of several runs that share the work of a pipeline without a scheduler."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.errors import ItemError, OutputError, UsageError
from nstpipe.journal.layers import SHARDS
from nstpipe.journal.path_keys import PathKeys
from nstpipe.planning.inputs import InputFile, find_inputs
from nstpipe.planning.outputs import Clip, Output
from nstpipe.system.files import atomic_write

MOST_SHARDS = 10_000
"""The most shards that a pipeline can be divided among."""

SHARD_RUN = re.compile(r"-shard-[0-9]+-of-[0-9]+$")
"""The end of the name of a shard's run."""

PARTITION = "partition.sqlite"
"""Name of the file with the partition, in the folder of the shards."""


@dataclass(frozen=True, order=True)
class Shard:
    """One of several runs that share the work of a pipeline.

    Attributes:
        total: The number of shards.
        number: Which of them it is, from 1.
    """

    total: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read a shard such as ``3/40``.

        Raises:
            UsageError: The text has another form, or there is no such shard.
        """
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
        number, total = map(int, match.groups()) if match is not None else (0, 0)
        if match is not None and number == 0 < total:
            raise UsageError(
                f"--shard: found {text}; shards are counted from 1 to {total}.",
                "Where indices begin at 0, as in a Kubernetes Job, add 1: --shard $((JOB_COMPLETION_INDEX + 1))/N.",
            )
        if not 1 <= number <= total <= MOST_SHARDS:
            raise UsageError(
                f"--shard: found {text or 'nothing'}; should be NUMBER/TOTAL, such as 3/40, with a number from 1 to the total, "
                f"and a total of at most {MOST_SHARDS:,}."
            )
        return cls(total, number)

    @classmethod
    def of_folder(cls, folder: Path) -> Shard:
        """Return the shard that a folder belongs to; see `journal.layers.shard_folders`."""
        number, total = map(int, folder.name.split("-of-"))
        return cls(total, number)

    def folder(self, work: Path) -> Path:
        """Return the folder of the shard in a work folder. It holds its journal, its lock and its report."""
        return work / SHARDS / self.name

    @property
    def name(self) -> str:
        """The name of its folder, such as ``3-of-40``."""
        return f"{self.number}-of-{self.total}"

    @property
    def run_suffix(self) -> str:
        """The end of the names of its runs."""
        return f"-shard-{self.name}"

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


class Partition:
    """Which shard makes which clips. It is a file that is written once and never changed.

    Args:
        connection: An open connection to it.
        keys: The keys of the work folder.

    Attributes:
        total: The number of shards.
    """

    def __init__(self, connection: sqlite3.Connection, keys: PathKeys) -> None:
        self._connection = connection
        self._keys = keys
        [(self.total,)] = connection.execute("SELECT total FROM about").fetchall()

    @classmethod
    def read(cls, pipeline: Pipeline) -> Partition | None:
        """Open the partition of a work folder; None if there is none, or if it is damaged."""
        path = partition_path(pipeline.work)
        if not path.exists():
            return None
        try:
            # A newer one takes its name and never its place, so this one does not change.
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
            return cls(connection, PathKeys(pipeline.work, pipeline.file))
        except (sqlite3.Error, ValueError):
            return None

    @classmethod
    def make(cls, pipeline: Pipeline, shards: Mapping[tuple[Path, int], int], total: int) -> Partition:
        """Make a partition in memory.

        Args:
            pipeline: The pipeline.
            shards: The shard of each clip, by output and first frame index.
            total: The number of shards.
        """
        keys = PathKeys(pipeline.work, pipeline.file)
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.execute("CREATE TABLE about (total INTEGER NOT NULL)")
        connection.execute("INSERT INTO about VALUES (?)", (total,))
        connection.execute(
            "CREATE TABLE item (output TEXT NOT NULL, first_frame_index INTEGER NOT NULL, shard INTEGER NOT NULL,"
            " planned INTEGER NOT NULL, PRIMARY KEY (output, first_frame_index)) WITHOUT ROWID"
        )
        connection.execute("BEGIN")
        rows = ((keys.key(path), first, shard) for (path, first), shard in shards.items())
        connection.executemany("INSERT INTO item VALUES (?, ?, ?, 1)", rows)
        planned = {keys.key(path) for path, _ in shards}
        # Inputs that cannot be used have one shard too, so that one shard alone reports each.
        failed = [key for key in dict.fromkeys(_listed(pipeline, keys)) if key not in planned]
        rows = ((key, 0, 1 + index % total) for index, key in enumerate(failed))
        connection.executemany("INSERT INTO item VALUES (?, ?, ?, 0)", rows)
        connection.execute("COMMIT")
        return cls(connection, keys)

    def write(self, work: Path) -> None:
        """Write a partition that is in memory into the work folder. It is there completely, or not at all.

        Raises:
            OutputError: It cannot be written.
        """
        with atomic_write(partition_path(work)) as partial:
            partial.unlink(missing_ok=True)
            try:
                with closing(sqlite3.connect(partial, isolation_level=None)) as file:
                    self._connection.backup(file)
                    file.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.Error as error:
                raise OutputError(
                    f"{partition_path(work)} cannot be written: {error}.", "Give another `work` folder, or free some space."
                ) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def clips_of(self, output: Path) -> tuple[tuple[int, int], ...]:
        """Return the first frame index of each clip of an output and its shard; empty if the output is not in the partition."""
        return self._rows(output, is_planned=True)

    def owner_of_failed(self, output: Path) -> int | None:
        """Return the shard that has an input which could not be used; None if it could, or is not in the partition."""
        rows = self._rows(output, is_planned=False)
        return rows[0][1] if rows else None

    def _rows(self, output: Path, *, is_planned: bool) -> tuple[tuple[int, int], ...]:
        query = "SELECT first_frame_index, shard FROM item WHERE output = ? AND planned = ? ORDER BY first_frame_index"
        with closing(self._connection.execute(query, (self._keys.key(output), is_planned))) as cursor:
            return tuple(cursor.fetchall())

    def outputs_of(self, shard: Shard) -> list[Path]:
        """Return the outputs of which a shard makes at least one clip, and those of its inputs that could not be used."""
        query = "SELECT DISTINCT output FROM item WHERE shard = ?"
        return [Path(self._keys.path(key)) for (key,) in self._connection.execute(query, (shard.number,))]

    def partners_of(self, shard: Shard) -> list[Shard]:
        """Return the other shards that make clips of the same videos."""
        query = (
            "SELECT DISTINCT other.shard FROM item JOIN item AS other ON other.output = item.output"
            " WHERE item.shard = ? AND other.shard != item.shard ORDER BY other.shard"
        )
        return [replace(shard, number=number) for (number,) in self._connection.execute(query, (shard.number,))]

    def covers(self, pipeline: Pipeline) -> bool:
        """Return whether every input of a pipeline is in the partition."""
        query = "SELECT 1 FROM item WHERE output = ? LIMIT 1"
        return all(self._connection.execute(query, (key,)).fetchone() for key in _listed(pipeline, self._keys))


def partition_path(work: Path) -> Path:
    """Return the place of the partition."""
    return work / SHARDS / PARTITION


def _listed(pipeline: Pipeline, keys: PathKeys) -> Iterator[str]:
    """Yield the key of the output of each input that a pipeline lists."""
    for job in pipeline.jobs:
        with suppress(ItemError):  # the plan says so
            yield from (keys.key(file.output) for file in find_inputs(job))


@dataclass(frozen=True)
class Share:
    """What one shard makes of a plan.

    Attributes:
        shard: The shard.
        partition: Which shard makes what.
    """

    shard: Shard
    partition: Partition

    def is_own(self, file: InputFile) -> bool:
        """Return whether the shard makes at least one clip of an input, or reports that it cannot be used."""
        number = self.shard.number
        rows = self.partition.clips_of(file.output)
        return any(shard == number for _, shard in rows) or self.partition.owner_of_failed(file.output) == number

    def known(self, files: Sequence[InputFile]) -> tuple[tuple[InputFile, ...], int]:
        """Return those of a job's inputs that count for this shard's plan, and the number of those that came later.

        Inputs of other shards count, because a picture is linked to the one before it. Those that could not be used when the
        work was divided count for their own shard alone.
        """
        counted, later = [], 0
        for file in files:
            if self.partition.clips_of(file.output) or self.partition.owner_of_failed(file.output) == self.shard.number:
                counted.append(file)
            else:
                later += self.partition.owner_of_failed(file.output) is None
        return tuple(counted), later

    def of_output(self, output: Output) -> Output | None:
        """Return an output that knows which of its clips other shards make; None if they make all of them."""
        owners = self.partition.clips_of(output.path)
        if not owners:  # an input that could not be used before can be used now
            return output if self.partition.owner_of_failed(output.path) == self.shard.number else None
        elsewhere = frozenset(clip.first_frame_index for clip in output.clips if _owner_of(clip, owners) != self.shard.number)
        return replace(output, elsewhere=elsewhere) if len(elsewhere) < len(output.clips) else None


def _owner_of(clip: Clip, owners: Sequence[tuple[int, int]]) -> int:
    """Return the shard of a clip. If the cuts have changed since the work was divided, the earlier cuts decide."""
    before = [shard for first, shard in owners if first <= clip.first_frame_index]
    return before[-1] if before else owners[0][1]
