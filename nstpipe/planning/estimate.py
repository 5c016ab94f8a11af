"""Estimates what a run would take: iterations, time and disk space, clip by clip."""

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
"""The pace of an earlier run is used if its frames took at most this many times more or less work than those to come."""


@dataclass(frozen=True)
class Trial:
    """How the pace of a machine is measured. Planning cannot paint, so the caller gives it.

    Attributes:
        key: Returns everything that the result depends on, for a pipeline and a job.
        seconds: Measures the seconds per iteration and pixel, for a pipeline and a job.
    """

    key: Callable[[Pipeline, Job], str]
    seconds: Callable[[Pipeline, Job], float]


@dataclass(frozen=True)
class Pace:
    """The pace of a machine.

    Attributes:
        seconds: Seconds per iteration and pixel.
        source: What it was measured in.
    """

    seconds: float
    source: PaceSource


@dataclass(frozen=True)
class ClipCost:
    """What the rest of a clip would take.

    Attributes:
        clip: The clip.
        frames_left: Frames still to be painted.
        max_iterations: Maximum number of iterations. Those at smaller scales count by their pixels. A frame of
            an engine that does not iterate counts as one.
        seconds: Seconds of one worker; None if no pace is known.
        bytes_needed: Space needed on the disk of the work folder until the file is encoded.
    """

    clip: Clip
    frames_left: int
    max_iterations: int
    seconds: float | None
    bytes_needed: int


@dataclass(frozen=True)
class OutputCost:
    """What the rest of an output would take: nothing if it is done, or would not be tried again.

    Attributes:
        output: The output.
        clips: The costs of its clips, in order.
        source: What the pace was measured in; None if no pace is known, or nothing is left.
    """

    output: Output
    clips: tuple[ClipCost, ...]
    source: PaceSource | None

    @property
    def frames_left(self) -> int:
        """Frames still to be painted."""
        return sum(clip.frames_left for clip in self.clips)

    @property
    def max_iterations(self) -> int:
        """Maximum number of iterations."""
        return sum(clip.max_iterations for clip in self.clips)

    @property
    def seconds(self) -> float | None:
        """Seconds of one worker; None if no pace is known."""
        return seconds_of(self.clips)

    @property
    def bytes_needed(self) -> int:
        """Space needed on the disk of the work folder."""
        return sum(clip.bytes_needed for clip in self.clips)


@dataclass(frozen=True)
class Estimate:
    """A plan, and what it would take.

    Attributes:
        plan: What would be done.
        costs: The cost of each output of the plan.
        pipeline: The settings, with the number of workers.
    """

    plan: Plan
    costs: tuple[OutputCost, ...]
    pipeline: Pipeline

    @property
    def workers(self) -> int:
        """The number of processes that work at the same time."""
        return worker_count(self.pipeline)

    @property
    def sources(self) -> tuple[PaceSource, ...]:
        """What the paces were measured in."""
        return tuple(sorted({cost.source for cost in self.costs if cost.source is not None}))

    @property
    def seconds(self) -> float | None:
        """Seconds from beginning to end; None if no pace is known.

        Clips run at the same time, so the workers share the total. A clip, or a chain of linked pictures, runs in order, so the
        longest one is the least that a run takes.
        """
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
    """Return the seconds of all clips together, for one worker; None if those of a clip are unknown."""
    known = [clip.seconds for clip in clips if clip.seconds is not None]
    return sum(known) if len(known) == len(clips) else None


def estimate(pipeline: Pipeline, plan: Plan, journal: Journal, *, trial: Callable[[], Trial] | None) -> Estimate:
    """Estimate what a plan would take.

    The pace is that of the latest run. If that run has no pace for a job, and a `trial` is given, a few iterations are timed
    with the layers of the first such job of each engine. The journal keeps the result.

    Args:
        pipeline: The pipeline with the jobs that were planned.
        plan: The plan of the pipeline.
        journal: The journal of its work folder.
        trial: Returns the trial to run if the latest run has no pace for a job; None for no trial.
    """
    todo = [output for output in plan.outputs if not output.is_done and output.failed_before is None]
    run = journal.latest_run()
    to_do = {output.path for output in todo}
    works = {job.name: _work_a_frame([output for output in todo if output.job.name == job.name]) for job in pipeline.jobs}
    paces = {name: _earlier(run, name, work) for name, work in works.items() if work}
    measured: dict[str, Pace] = {}
    firsts = {output.job.engine.name: output.job for output in reversed(todo) if paces.get(output.job.name) is None}
    if trial is not None and firsts:
        timing = trial()
        measured = {engine: _measured(pipeline, job, journal, timing) for engine, job in firsts.items()}
    costs = tuple(
        _cost(
            output,
            pipeline,
            paces.get(output.job.name) or measured.get(output.job.engine.name),
            is_to_do=output.path in to_do,
        )
        for output in plan.outputs
    )
    return Estimate(plan, costs, pipeline)


def _measured(pipeline: Pipeline, job: Job, journal: Journal, trial: Trial) -> Pace:
    key = f"pace/{CALIBRATION_VERSION}/{job.engine.name}"
    kept = journal.cached(key, trial.key(pipeline, job), lambda: repr(trial.seconds(pipeline, job)))
    return Pace(float(kept), "a short trial")


def _work_a_frame(outputs: Sequence[Output]) -> float:
    """Return the mean work of a frame: its maximum number of iterations times its pixels."""
    frames = sum(output.input.frame_count for output in outputs)
    work = sum(output.max_iterations(clip, 0) * output.size[0] * output.size[1] for output in outputs for clip in output.clips)
    return work / frames if frames else 0.0


def _earlier(run: LatestRun | None, job: str, work_a_frame: float) -> Pace | None:
    """Return the pace of the latest run: that of the same job, or else that of all its jobs together; None if it has none.

    In this pace, a frame that stopped early counts with its maximum number of iterations. Frames that took far less or far more
    work are not used, because decoding and the like are a different share of their time.
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
        iterations = output.max_iterations(clip, done)
        seconds = None if pace is None else iterations * output.size[0] * output.size[1] * pace.seconds
        costs.append(ClipCost(clip, clip.frame_count - done, iterations, seconds, clip_bytes(clip, output, pipeline.work)))
    return OutputCost(output, tuple(costs), pace.source if pace is not None else None)
