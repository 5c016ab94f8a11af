"""Chooses how many workers a run has, where the pipeline leaves it to nstpipe."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.journal.journal import Journal
from nstpipe.journal.records import Record
from nstpipe.planning.iterations import likely_iterations
from nstpipe.planning.outputs import Output
from nstpipe.planning.pace import FIXED_PIXELS
from nstpipe.planning.planned import PlannedOutputs
from nstpipe.planning.resources import bytes_needed, frames_done, worker_count
from nstpipe.system.devices import is_cpu
from nstpipe.system.files import free_bytes
from nstpipe.system.memory import memory
from nstpipe.system.threads import core_count, is_chosen_by_user

# The measurements behind these figures: docs/decisions/2026-11-29-workers.md.

WAITING_SHARE = 0.2
"""The share of an evaluation that no further thread shortens, because threads wait for each other."""

WORKER_BYTES = 1_000_000_000
"""What a worker takes beside its frame: Python, torch and the network, which was 0.81 GB in bfloat16, and the transformed
filters of float32."""

WHOLE_BYTES_A_PIXEL, USABLE_SHARE = 3600, 0.6
"""What a frame in one piece takes, in float32, and the share of the free memory that it may take at most; see
`nstpipe.style.tile_budget`."""

START_WORK = 400_000
"""What the start of a worker costs, in iterations times pixels that one thread has done meanwhile: four seconds."""

_KIND = "workers"
"""The kind of the values that the journal remembers."""


def with_workers(pipeline: Pipeline, todo: PlannedOutputs, journal: Journal) -> Pipeline:
    """Return a pipeline whose number of workers is settled, given what is to be done.

    It stays open if that is nothing, and where a cluster has its own number.

    Workers of one thread have nobody to wait for, so they do more together than one worker with all threads, as long as there
    are enough clips that need not wait for each other, and memory for all of them. The outputs that an interrupted run has left
    are made with as many workers as it had, because another number of threads rounds differently.

    Args:
        pipeline: The settings.
        todo: The outputs to make.
        journal: Knows which outputs an earlier run has left, and its workers.
    """
    if pipeline.workers != "auto" or pipeline.cluster is not None or not todo:
        return pipeline
    usual = worker_count(pipeline)
    if is_chosen_by_user() or not is_cpu(pipeline.devices[0]):
        return _with(pipeline, usual)
    cores, free, work = core_count(), memory().free_bytes, Work.of(todo, pipeline.work)
    numbers = range(usual, max(usual, cores) + 1)
    fitting = [number for number in numbers if number == usual or memory_needed(number, work.largest_pixels) <= free]
    kept = _kept(todo, journal, cores)
    if kept in fitting:
        return _with(pipeline, kept)
    for number in sorted(fitting, key=lambda number: work.time(number, cores)):
        chosen = _with(pipeline, number)
        if number == usual or bytes_needed(todo.single(), chosen) <= free_bytes(pipeline.work):
            return chosen
    return _with(pipeline, usual)


def remember_workers(pipeline: Pipeline, todo: PlannedOutputs, journal: Journal) -> None:
    """Let the journal remember the number of workers of a run that begins, for the run that goes on after an interruption."""
    for job in todo.counts():
        journal.remember(_KIND, job, json.dumps({"cores": core_count(), "workers": pipeline.workers}))


def _with(pipeline: Pipeline, workers: int) -> Pipeline:
    return pipeline.model_copy(update={"workers": workers})


def _kept(todo: PlannedOutputs, journal: Journal, cores: int) -> int | None:
    """Return the number of workers of the interrupted run that has left some of the outputs; None if there was none."""
    known = {job: json.loads(value) for job in todo.counts() if (value := journal.recall(_KIND, job)) is not None}
    for output in todo.of_jobs(known):
        of_job = known[output.job.name]
        if of_job["cores"] == cores and _is_left_over(output, journal.record_of(output.path)):
            return int(of_job["workers"])
    return None


def _is_left_over(output: Output, record: Record | None) -> bool:
    return record is not None and record.state in ("planned", "started") and record.fingerprint == output.fingerprint


def memory_needed(workers: int, pixels: int) -> float:
    """Return the free memory, in bytes, at which as many workers paint frames in one piece side by side.

    The last one that begins still finds as much free as it asks for.

    Args:
        workers: The number of processes.
        pixels: Of the largest frame.
    """
    frame = pixels * WHOLE_BYTES_A_PIXEL
    return workers * WORKER_BYTES + (workers - 1) * frame + frame / USABLE_SHARE


def speed(threads: int) -> float:
    """Return how many times as fast a frame is painted with so many threads (Amdahl 1967)."""
    return threads / (1 + WAITING_SHARE * (threads - 1))


@dataclass(frozen=True)
class Work:
    """How much there is to do, in iterations times pixels, to which each adds a fixed cost.

    Attributes:
        total: All of it.
        longest: The most that must be done one after the other: a clip, or pictures that start from each other.
        largest_pixels: The pixels of the largest frame.
    """

    total: float
    longest: float
    largest_pixels: int

    @classmethod
    def of(cls, todo: Iterable[Output], folder: Path) -> Work:
        """Count the work that outputs are.

        Args:
            todo: The outputs, a linked picture directly after the one that it starts from.
            folder: The work folder, which has the frames that are finished.
        """
        total = longest = chain = 0.0
        largest, last = 0, None
        for output in todo:
            largest = max(largest, output.size[0] * output.size[1])
            pixels = output.size[0] * output.size[1] + FIXED_PIXELS
            before = chain if output.linked_output is not None and output.linked_output == last else 0.0
            last, chain = output.path, 0.0
            for clip in output.own_clips:
                groups = output.frame_groups(clip, frames_done(folder, clip) if output.is_video else 0)
                own = pixels * sum(group.frames * likely_iterations(group, output.job.optimizer, ()) for group in groups)
                total += own
                chain = max(chain, before + own)
            longest = max(longest, chain)
        return cls(total, longest, largest)

    def time(self, workers: int, cores: int) -> float:
        """Return a bound of the time that so many workers take which share the cores.

        Workers that take what comes next need at most total / n + (1 - 1 / n) · longest (Graham 1969, "Bounds on
        multiprocessing timing anomalies").

        Args:
            workers: The number of processes.
            cores: The number of cores.
        """
        bound = self.total / workers + (1 - 1 / workers) * self.longest
        return bound / speed(cores // workers) + START_WORK * (workers > 1)
