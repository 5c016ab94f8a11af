"""What a run would take: iterations, time and disk, clip by clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nstpipe.config import Job, Pipeline
from nstpipe.journal.journal import Journal
from nstpipe.journal.records import LatestRun
from nstpipe.planning.outputs import Clip, Output
from nstpipe.planning.plan import Plan
from nstpipe.planning.resources import clip_bytes, frames_done, worker_count

CALIBRATION_VERSION = 1


PaceSource = Literal["an earlier run", "a short trial"]


ALIKE_WORK = 3.0
"""An earlier run's frames may have taken this many times less or more work than those to come."""


@dataclass(frozen=True)
class Trial:
    """How a machine's pace is measured; planning does not paint, so it is given.

    Attributes:
        key: of a pipeline and a job: all that the result depends on.
        seconds: for an iteration and a pixel.
    """

    key: Callable[[Pipeline, Job], str]
    seconds: Callable[[Pipeline, Job], float]


@dataclass(frozen=True)
class Pace:
    """How fast it goes.

    Attributes:
        seconds: for an iteration and a pixel.
        source: how that is known.
    """

    seconds: float
    source: PaceSource


@dataclass(frozen=True)
class ClipCost:
    """What the rest of a clip would take.

    Attributes:
        clip: which.
        frames_left: still to be painted.
        most_evaluations: iterations at most; a frame that hardly changes any more ends earlier.
        seconds: of one worker; None where no pace is known.
        bytes_needed: on the work folder's disk, until the file is encoded.
    """

    clip: Clip
    frames_left: int
    most_evaluations: int
    seconds: float | None
    bytes_needed: int


@dataclass(frozen=True)
class OutputCost:
    """What the rest of an output would take: nothing if it is done, or would not be tried again.

    Attributes:
        output: which.
        clips: its clips, in order.
        source: where the pace is from; None where none is known or nothing is left.
    """

    output: Output
    clips: tuple[ClipCost, ...]
    source: PaceSource | None

    @property
    def frames_left(self) -> int:
        """Frames still to be painted."""
        return sum(clip.frames_left for clip in self.clips)

    @property
    def most_evaluations(self) -> int:
        """Iterations at most."""
        return sum(clip.most_evaluations for clip in self.clips)

    @property
    def seconds(self) -> float | None:
        """Of one worker; None where no pace is known."""
        return seconds_of(self.clips)

    @property
    def bytes_needed(self) -> int:
        """On the work folder's disk."""
        return sum(clip.bytes_needed for clip in self.clips)


@dataclass(frozen=True)
class Estimate:
    """A plan with what it would take.

    Attributes:
        plan: what would be done.
        costs: for each of its outputs.
        pipeline: with the number of workers.
    """

    plan: Plan
    costs: tuple[OutputCost, ...]
    pipeline: Pipeline

    @property
    def workers(self) -> int:
        """Processes at the same time."""
        return worker_count(self.pipeline)

    @property
    def sources(self) -> tuple[PaceSource, ...]:
        """Where the paces are from."""
        return tuple(sorted({cost.source for cost in self.costs if cost.source is not None}))

    @property
    def seconds(self) -> float | None:
        """From the beginning to the end: clips run side by side, but what must be done one after the other decides at least."""
        total = seconds_of([clip for cost in self.costs for clip in cost.clips])
        if not total:
            return total  # unknown, or nothing is left
        ends: dict[Path, float] = {}
        for cost in self.costs:
            longest = max((clip.seconds or 0.0 for clip in cost.clips), default=0.0)
            linked_output = cost.output.linked_output
            ends[cost.output.path] = longest + (ends.get(linked_output, 0.0) if linked_output is not None else 0.0)
        return max(total / self.workers, max(ends.values(), default=0.0))


def seconds_of(clips: Sequence[ClipCost]) -> float | None:
    """Of all together, for one worker; None where that is not known of each."""
    known = [clip.seconds for clip in clips if clip.seconds is not None]
    return sum(known) if len(known) == len(clips) else None


def estimate(pipeline: Pipeline, plan: Plan, journal: Journal, *, trial: Callable[[], Trial] | None) -> Estimate:
    """What a plan would take.

    The pace is that of the latest run. Where that says nothing of a job, and a `trial` is given, a few iterations are
    timed, with the first job's layers, and the result is kept in the journal.

    Args:
        pipeline: with the jobs that were planned.
        plan: of it.
        journal: of its work folder.
        trial: gives the trial that is run where no earlier run tells of a job; None for no trial.
    """
    todo = [output for output in plan.outputs if not output.is_done and output.failed_before is None]
    run = journal.latest_run()
    to_do = {output.path for output in todo}
    works = {job.name: _work_a_frame([output for output in todo if output.job.name == job.name]) for job in pipeline.jobs}
    paces = {name: _earlier(run, name, work) for name, work in works.items() if work}
    measured: Pace | None = None
    if trial is not None and None in paces.values():
        job = todo[0].job
        timing = trial()
        key = f"pace/{CALIBRATION_VERSION}"
        kept = journal.cached(key, timing.key(pipeline, job), lambda: repr(timing.seconds(pipeline, job)))
        measured = Pace(float(kept), "a short trial")
    costs = tuple(
        _cost(output, pipeline, paces.get(output.job.name) or measured, is_to_do=output.path in to_do)
        for output in plan.outputs
    )
    return Estimate(plan, costs, pipeline)


def _work_a_frame(outputs: Sequence[Output]) -> float:
    """Iterations at most times pixels, of a frame on the average."""
    frames = sum(output.input.frame_count for output in outputs)
    work = sum(output.max_iterations(clip, 0) * output.size[0] * output.size[1] for output in outputs for clip in output.clips)
    return work / frames if frames else 0.0


def _earlier(run: LatestRun | None, job: str, work_a_frame: float) -> Pace | None:
    """The latest run's pace, in which what stopped early counts in full: the job's own, or that of all jobs together.

    Frames that took far less work, or far more, say nothing: what surrounds the iterations weighs otherwise in them.
    """
    paces = run.jobs if run is not None else {}
    for spent in ([pace for name, pace in paces.items() if name == job], list(paces.values())):
        frames, work = sum(pace.frames for pace in spent), sum(pace.work for pace in spent)
        if frames and 1 / ALIKE_WORK < work / frames / work_a_frame < ALIKE_WORK:
            return Pace(sum(pace.seconds for pace in spent) / work, "an earlier run")
    return None


def _cost(output: Output, pipeline: Pipeline, pace: Pace | None, *, is_to_do: bool) -> OutputCost:
    if not is_to_do:
        return OutputCost(output, tuple(ClipCost(clip, 0, 0, 0.0, 0) for clip in output.clips), None)
    costs = []
    for clip in output.clips:
        done = frames_done(pipeline.work, clip) if output.is_video else 0
        evaluations = output.max_iterations(clip, done)
        seconds = None if pace is None else evaluations * output.size[0] * output.size[1] * pace.seconds
        costs.append(ClipCost(clip, clip.frame_count - done, evaluations, seconds, clip_bytes(clip, output, pipeline.work)))
    return OutputCost(output, tuple(costs), pace.source if pace is not None else None)
