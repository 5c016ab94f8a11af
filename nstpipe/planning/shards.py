"""Divides the work of a pipeline among shards, and holds the locks of shards and of the whole work folder.

The first shard divides the clips and writes the partition into the work folder. The others read it. Each has its own folder
with its journal and its lock, so that no two processes write to one file.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from nstpipe.config import Pipeline
from nstpipe.errors import BusyError
from nstpipe.events import Emit
from nstpipe.journal.journal import Journal
from nstpipe.journal.layers import SHARDS, shard_folders
from nstpipe.planning.estimate import estimate
from nstpipe.planning.partition import Partition, Shard, Share, partition_path
from nstpipe.planning.plan import Plan, plan_pipeline
from nstpipe.system.lock import holder_of, locked
from nstpipe.system.stop import Stop

LOCK_POLL_SECONDS = 0.5


class SettledFiles(Protocol):
    """Files that shards have agreed on: the first one to come has made them."""

    def take(self, path: Path) -> bool:
        """Fetch a file, and return whether there is one."""

    def offer(self, path: Path) -> None:
        """Settle a file, which is replaced if another shard came first."""


def divide(pipeline: Pipeline, plan: Plan, journal: Journal, total: int) -> Partition:
    """Divide the clips of a plan among shards.

    Args:
        pipeline: The pipeline.
        plan: Its plan.
        journal: The journal of its work folder, which tells what the clips will take.
        total: The number of shards.
    """
    return Partition.make(pipeline, _divided(pipeline, plan, journal, total), total)


def _divided(pipeline: Pipeline, plan: Plan, journal: Journal, total: int) -> dict[tuple[Path, int], int]:
    """Return the shard of each clip, by output and first frame index.

    The clips are handed out longest first, each to the shard that has the least to do so far (Graham 1969). Clips that need
    each other stay together: linked pictures, and clips of several videos that share their frames.
    """
    costs = estimate(pipeline, replace(plan, outputs=plan.outputs.tried_again()), journal, trial=None, load=None).costs
    have_seconds = all(part.seconds is not None for cost in costs for part in cost.clips)
    groups: dict[object, list[tuple[Path, int]]] = {}
    work: dict[object, float] = {}
    begins: dict[Path, object] = {}
    for cost in costs:
        output = cost.output
        for part in cost.clips:
            group: object = (
                part.clip.fingerprint if output.is_video else begins.get(output.linked_output or output.path, output.path)
            )
            begins[output.path] = group
            groups.setdefault(group, []).append((output.path, part.clip.first_frame_index))
            pixels = output.size[0] * output.size[1]
            seconds = part.seconds if have_seconds and part.seconds is not None else part.likely_iterations * pixels
            # Clips that share frames are painted once.
            before = work.get(group, 0.0)
            work[group] = max(before, seconds) if output.is_video else before + seconds
    heap = [(0.0, 0, number) for number in range(1, total + 1)]
    shards: dict[tuple[Path, int], int] = {}
    for group in sorted(groups, key=lambda group: -work[group]):  # equal ones stay in the order of the plan
        busy, count, number = heapq.heappop(heap)
        heapq.heappush(heap, (busy + work[group], count + len(groups[group]), number))
        shards.update(dict.fromkeys(groups[group], number))
    return shards


def partition_for(pipeline: Pipeline, shard: Shard, journal: Journal, *, stop: Stop, emit: Emit) -> Partition:
    """Return the partition that a run of a shard would read or write. This writes none.

    Args:
        pipeline: The pipeline.
        shard: The shard.
        journal: The journal of its work folder.
        stop: Ends the inspection of the inputs.
        emit: Receives the progress of the inspection.
    """
    known = _usable(pipeline, shard)
    if known is not None:
        return known
    return divide(pipeline, plan_pipeline(pipeline, journal, stop=stop, emit=emit), journal, shard.total)


def _usable(pipeline: Pipeline, shard: Shard) -> Partition | None:
    known = Partition.read(pipeline)
    if known is not None and (known.total != shard.total or not known.covers(pipeline)):
        known.close()
        return None
    return known


@contextmanager
def whole_folder(work: Path) -> Iterator[None]:
    """Hold the lock of a work folder, in which no shard is at work.

    Raises:
        BusyError: Another run or a shard is at work there.
        OutputError: The folder cannot be written to.
    """
    # A shard takes its own lock before it looks at this one, so that one of the two sees the other.
    with locked(work):
        for folder in shard_folders(work):
            _check_free(work, folder)
        yield


def _check_free(work: Path, folder: Path) -> None:
    try:
        with locked(folder):
            pass
    except BusyError as error:
        raise BusyError(
            f"shard {Shard.of_folder(folder)} works on {work}: {holder_of(folder) or 'it has just started'}.",
            "Wait for all shards, or give --wait to do so. `nstpipe status` shows how far they are.",
        ) from error


@contextmanager
def shard_at_work(
    pipeline: Pipeline,
    shard: Shard,
    *,
    stop: Stop,
    emit: Emit,
    waiting: Callable[[BusyError], None],
    settled: SettledFiles | None = None,
) -> Iterator[Share]:
    """Hold the lock of a shard, and read the partition. The first shard makes it, and the others wait for that.

    Args:
        pipeline: The pipeline.
        shard: The shard.
        stop: Ends the inspection of the inputs, and the wait.
        emit: Receives the progress of the inspection.
        waiting: Called while another shard divides the work.
        settled: What shards on other machines have agreed on, if they share no disk; None if they do.

    Yields:
        What the shard makes.

    Raises:
        BusyError: The same shard is at work already, or a run without shards, or shards of another total.
        OutputError: The work folder cannot be written to.
        Stopped: The time is up.
    """
    work = pipeline.work
    with ExitStack() as stack:
        stack.enter_context(locked(shard.folder(work)))
        with ExitStack() as dividing:
            while True:
                try:
                    dividing.enter_context(locked(work / SHARDS))
                    break
                except BusyError as error:
                    if stop.should_stop():
                        raise
                    waiting(error)
                    time.sleep(LOCK_POLL_SECONDS)
            if settled is not None and settled.take(partition_path(work)):
                partition = Partition.read(pipeline)  # others work by it, whatever has come since
                Journal(work, pipeline=pipeline.file).close()  # below which the shard's own lies
            else:
                partition = _usable(pipeline, shard) or _partition_of_newer_inputs(pipeline, shard)
            if partition is None:
                partition = _divided_anew(pipeline, shard, stop, emit, settled)
            elif (holder := holder_of(work)) is not None:
                raise BusyError(f"a run without shards works on {work}: {holder}.", "Wait for it, or give --wait to do so.")
        stack.callback(partition.close)
        yield Share(shard, partition)


def _partition_of_newer_inputs(pipeline: Pipeline, shard: Shard) -> Partition | None:
    """Return a partition that lacks inputs which came later, if other shards work by it; None if they do not."""
    known = Partition.read(pipeline)
    others = [folder for folder in shard_folders(pipeline.work) if folder != shard.folder(pipeline.work)]
    if known is None or known.total != shard.total or not any(map(holder_of, others)):
        return None
    return known


def _divided_anew(pipeline: Pipeline, shard: Shard, stop: Stop, emit: Emit, settled: SettledFiles | None = None) -> Partition:
    """Join what all shards have done, and divide the rest among as many as there are now."""
    work, own = pipeline.work, shard.folder(pipeline.work)
    with locked(work):
        for folder in shard_folders(work):
            if folder != own:
                _check_free(work, folder)
        with closing(Journal(work, pipeline=pipeline.file)) as journal:
            journal.join_shards()
            plan = plan_pipeline(pipeline, journal, stop=stop, emit=emit)
            divide(pipeline, plan, journal, shard.total).write(work)
    if settled is not None:
        settled.offer(partition_path(work))
    partition = Partition.read(pipeline)
    assert partition is not None
    return partition
