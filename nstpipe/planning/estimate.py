"""Estimates what a run would take: iterations, time and disk space, clip by clip."""

from __future__ import annotations

import json
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, overload

from nstpipe.config import Job, Pipeline
from nstpipe.config.engines import AutoEngine, LookEngine
from nstpipe.journal.journal import Journal
from nstpipe.journal.records import FrameKind, FrameTime
from nstpipe.planning.iterations import likely_iterations
from nstpipe.planning.looks import Look
from nstpipe.planning.outputs import Clip, FrameGroup, Output
from nstpipe.planning.pace import Pace, Timed, pace_of, tells
from nstpipe.planning.plan import Plan
from nstpipe.planning.planned import PlannedOutputs, item_of
from nstpipe.planning.resources import bytes_needed, clip_bytes, frames_done, worker_count
from nstpipe.planning.workers import with_workers
from nstpipe.style import ALGORITHM_VERSION
from nstpipe.system.devices import choose_device, is_cpu
from nstpipe.system.load import Load, load_now
from nstpipe.system.memory import memory

TRIAL_VERSION = 3
"""Part of the key of every trial: raised when trials are made in another way."""

TRIAL_SECONDS_KEPT = {"quiet": 30 * 24 * 3600.0, "busy": 600.0}
"""How long a trial is used again: one on a quiet machine for a month, and one beside other programs for ten minutes."""

START_SECONDS = 4.0
"""Seconds that a worker process takes to start and to load its engine, where no trial has measured it."""

RUN_STARTS = 0.6
"""What a run takes beside its workers, in starts of a worker: the command itself starts, and writes the report. It is half of
what was measured when the command loaded torch, too, and was not measured since."""

SLOW_START = 1.5
"""How many times as long the start takes at most, as where files are read for the first time."""

CLIP_SECONDS = 0.25
"""What a clip of a video takes beside its frames: ffmpeg is started to read it. This is an assumption."""

ENCODE_SECONDS, ENCODE_SECONDS_A_PIXEL = 0.6, 0.06e-6
"""What an encoded video takes, and each pixel of its frames. These are assumptions, which no benchmark has measured."""

TILED_BYTES_A_PIXEL, USABLE_SHARE = 3600, 0.6
"""A picture for which so large a share of the free memory is not enough is painted in tiles; see `nstpipe.style.tile_budget`.
The bytes are those of float32."""

PaceSource = Literal["an earlier run", "a short trial"]


@dataclass(frozen=True)
class Trial:
    """How the pace of a machine is measured. Planning cannot paint, so the caller gives it.

    Attributes:
        timed: Times small frames for a pipeline and a job. The last argument says whether they are those of a video.
    """

    timed: Callable[[Pipeline, Job, bool], Timed]


@dataclass(frozen=True)
class _MeasuredPace:
    """The pace of a job now, and that on a quiet machine, if it is known and this one is busy."""

    now: Pace
    source: PaceSource
    quiet: Pace | None = None
    start_seconds: float = START_SECONDS


@dataclass(frozen=True)
class ClipCost:
    """What the rest of a clip would take.

    Attributes:
        clip: The clip.
        frames_left: Frames still to be painted.
        max_iterations: Maximum number of iterations. Those at smaller scales count by their pixels. A frame of
            an engine that does not iterate counts as one.
        seconds: Seconds that one worker will likely take; None if no pace is known.
        bytes_needed: Space needed on the disk of the work folder until the file is encoded.
        likely_iterations: How many iterations it will likely take, because frames stop when they hardly change any more.
        seconds_at_most: Seconds if all iterations are used and the machine is slow; None if no pace is known.
        seconds_when_quiet: Seconds if no other program were computing; None if that is not known, or if none is.
    """

    clip: Clip
    frames_left: int
    max_iterations: int
    seconds: float | None
    bytes_needed: int
    likely_iterations: float = 0.0
    seconds_at_most: float | None = None
    seconds_when_quiet: float | None = None


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
    def likely_iterations(self) -> float:
        """Likely number of iterations."""
        return sum(clip.likely_iterations for clip in self.clips)

    @property
    def seconds(self) -> float | None:
        """Seconds that one worker will likely take; None if no pace is known."""
        return _sum(clip.seconds for clip in self.clips)

    @property
    def seconds_at_most(self) -> float | None:
        """Seconds that one worker takes at most; None if no pace is known."""
        return _sum(clip.seconds_at_most for clip in self.clips)

    @property
    def bytes_needed(self) -> int:
        """Space needed on the disk of the work folder."""
        return sum(clip.bytes_needed for clip in self.clips)


class OutputCosts(Sequence[OutputCost]):
    """The costs of all outputs of a plan, in its order. Those of outputs that are done are made when they are asked for.

    Args:
        outputs: The outputs.
        left: The costs of those that are not done.
    """

    def __init__(self, outputs: PlannedOutputs, left: Iterable[OutputCost]) -> None:
        self._outputs = outputs
        self._left = {cost.output.path: cost for cost in left}

    def __len__(self) -> int:
        """Return the number of outputs."""
        return len(self._outputs)

    def __iter__(self) -> Iterator[OutputCost]:
        """Return an iterator over all costs."""
        return (self._left[output.path] if not output.is_done else _nothing(output) for output in self._outputs)

    @overload
    def __getitem__(self, index: int) -> OutputCost: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[OutputCost, ...]: ...
    def __getitem__(self, index: int | slice) -> OutputCost | tuple[OutputCost, ...]:
        """Return one cost, or some of them."""
        return item_of(self, index)

    @property
    def left(self) -> Collection[OutputCost]:
        """The costs of the outputs that are not done. Some of them are not tried again, and cost nothing."""
        return self._left.values()


@dataclass(frozen=True)
class Estimate:
    """A plan, and what it would take.

    Attributes:
        plan: What would be done.
        costs: The cost of each output of the plan.
        pipeline: The settings, with the number of workers.
        load: What other programs take of the processor at this moment; None if it was not measured.
        start_seconds: What each worker takes until it can paint.
    """

    plan: Plan
    costs: OutputCosts
    pipeline: Pipeline
    load: Load | None = None
    start_seconds: float = START_SECONDS

    @cached_property
    def training(self) -> tuple[Look, ...]:
        """The networks that are trained before frames are painted."""
        wanted = {cost.output.job.name for cost in self.costs.left if cost.frames_left}
        return tuple(look for look in self.plan.looks if not look.is_trained and wanted.intersection(look.jobs))

    @property
    def training_seconds(self) -> float:
        """Seconds that trainings take, at most."""
        return sum(look.seconds_left for look in self.training)

    @property
    def workers(self) -> int:
        """The number of processes that work at the same time."""
        return worker_count(self.pipeline)

    @property
    def sources(self) -> tuple[PaceSource, ...]:
        """What the paces were measured in."""
        return tuple(sorted({cost.source for cost in self.costs.left if cost.source is not None}))

    @cached_property
    def seconds(self) -> float | None:
        """Seconds that the run will likely take, from beginning to end; None if no pace is known."""
        return self._seconds(lambda clip: clip.seconds)

    @cached_property
    def seconds_at_most(self) -> float | None:
        """Seconds if all iterations are used and the machine is slow; None if no pace is known."""
        return self._seconds(lambda clip: clip.seconds_at_most, SLOW_START)

    @cached_property
    def seconds_when_quiet(self) -> float | None:
        """Seconds if no other program were computing; None if that is not known, or if none is."""
        return self._seconds(lambda clip: clip.seconds_when_quiet)

    def _seconds(self, of_clip: Callable[[ClipCost], float | None], slow: float = 1.0) -> float | None:
        total = _sum(of_clip(clip) for cost in self.costs.left for clip in cost.clips)
        if not total:
            return total  # unknown, or nothing is left
        painting = (makespan(self.costs.left, self.workers, of_clip) or 0.0) + (1 + RUN_STARTS) * self.start_seconds * slow
        return self.training_seconds + painting

    def job_seconds(self, job: str) -> float | None:
        """Seconds that the outputs of a job will likely take together, with all workers; None if no pace is known."""
        of_job = (cost for cost in self.costs.left if cost.output.job.name == job)
        return makespan(of_job, self.workers, lambda clip: clip.seconds)


def makespan(costs: Iterable[OutputCost], workers: int, of_clip: Callable[[ClipCost], float | None]) -> float | None:
    """Return the seconds in which workers paint clips; None if those of a clip are unknown.

    As in a run, a worker that is free takes the first clip that may begin. A linked picture waits for the one before it.

    Args:
        costs: What the outputs take. One that is not among them is done.
        workers: The number of processes.
        of_clip: Returns the seconds of a clip.
    """
    free = [0.0] * workers
    ends: dict[Path, float] = {}
    for cost in costs:
        linked_output = cost.output.linked_output
        ready = ends.get(linked_output, 0.0) if linked_output is not None else 0.0
        for clip in cost.clips:
            seconds = of_clip(clip)
            if seconds is None:
                return None
            # The worker that has just painted the picture before goes on with this one, so that none waits for it.
            rested = [number for number in range(workers) if free[number] <= ready]
            worker = max(rested, key=free.__getitem__) if rested else min(range(workers), key=free.__getitem__)
            free[worker] = max(free[worker], ready) + seconds
            ends[cost.output.path] = max(ends.get(cost.output.path, 0.0), free[worker])
    return max(free)


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum of seconds; None if some are unknown."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def setup_of(pipeline: Pipeline, job: Job) -> str:
    """Return a text that changes with everything on which the pace of a job depends, except for the load.

    torch is loaded only where there might be a GPU.
    """
    device = "cpu"
    if not is_cpu(pipeline.devices[0]):
        import torch

        device = torch.cuda.get_device_name(choose_device(pipeline.devices[0]))
    import joblib

    layers = [*job.content.layers, *job.style.layers]
    machine: tuple[object, ...] = (platform.node(), platform.machine(), joblib.cpu_count(), device)
    if pipeline.cluster is not None:
        machine = ("cluster", pipeline.cluster, pipeline.device_of_process)
    software = (version("torch"), ALGORITHM_VERSION, TRIAL_VERSION)
    engine = (job.engine.name, job.iterates, job.style.distance, job.pooling, job.padding)
    return "|".join(map(str, (*machine, *software, worker_count(pipeline), pipeline.precision, *engine, *layers)))


def pace_setups(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """Return for each job what a run records, so that later estimates can learn from its frames; see `FrameTime`."""
    return {
        job.name: {
            "setup": setup_of(pipeline, job),
            "tolerance": job.optimizer.tolerance,
            "optimizer": job.optimizer.name,
        }
        for job in pipeline.jobs
    }


def estimate(
    pipeline: Pipeline,
    plan: Plan,
    journal: Journal,
    *,
    trial: Callable[[], Trial] | None,
    load: Callable[[], Load] | None = load_now,
) -> Estimate:
    """Estimate what a plan would take.

    The pace is that of earlier frames with the same settings and a similar size, painted under a similar load. If there are
    none, and a `trial` is given, small frames are painted. The journal keeps what they took.

    Args:
        pipeline: The pipeline with the jobs that were planned. If it leaves the number of workers open, it is chosen here.
        plan: The plan of the pipeline.
        journal: The journal of its work folder.
        trial: Returns the trial to run if no earlier frames tell the pace of a job; None for no trial.
        load: Measures what other programs take of the processor; None to take the machine as quiet.
    """
    left = list(plan.outputs.left())
    todo = [output for output in left if output.failed_before is None]
    pipeline = with_workers(pipeline, todo, journal)
    plan = replace(plan, bytes_needed=bytes_needed(left, pipeline))
    now = load() if load is not None and todo else None
    known = journal.latest_times() if todo else ()
    setups = {job.name: setup_of(pipeline, job) for job in pipeline.jobs if todo}
    with_videos = {setups[output.job.name] for output in todo if output.is_video}
    paces: dict[str, _MeasuredPace | None] = {}
    tried: dict[str, Timed] = {}

    def tried_once(setup: str, example: Job) -> Timed:
        # Jobs alike share a trial, also if the load changes meanwhile, for which each of them would else make its own.
        if setup not in tried:
            assert trial is not None
            tried[setup] = trial().timed(pipeline, example, setup in with_videos)
        return tried[setup]

    for job in pipeline.jobs:
        sizes = [output.size[0] * output.size[1] for output in todo if output.job.name == job.name]
        if sizes:
            setup, pixels = setups[job.name], sum(sizes) / len(sizes)
            example = _tried(job, next(output.job for output in todo if output.job.name == job.name))
            timed = partial(tried_once, setup, example) if trial is not None else None
            paces[job.name] = _pace(job.name, setup, pixels, known, journal, timed, now)
    to_do = {output.path for output in todo}
    counted = _Costs(pipeline, known) if todo else None
    costs = OutputCosts(
        plan.outputs,
        (
            counted.of(output, paces.get(output.job.name)) if counted is not None and output.path in to_do else _nothing(output)
            for output in left
        ),
    )
    starts = [pace.start_seconds for pace in paces.values() if pace is not None]
    return Estimate(plan, costs, pipeline, now, max(starts, default=START_SECONDS))


def _tried(job: Job, planned: Job) -> Job:
    """Return the job that a trial paints: with the engine that `auto` stands for, without weights that are not there yet."""
    if not isinstance(planned.engine, LookEngine):
        return planned if isinstance(job.engine, AutoEngine) else job
    weights = planned.engine.weights if planned.engine.weights is not None and planned.engine.weights.exists() else None
    return job.model_copy(update={"engine": planned.engine.model_copy(update={"weights": weights})})


def _pace(
    job: str,
    setup: str,
    pixels: float,
    known: Sequence[FrameTime],
    journal: Journal,
    trial: Callable[[], Timed] | None,
    now: Load | None,
) -> _MeasuredPace | None:
    """Return the pace of a job: from earlier frames, from a kept trial or from a new one; None if there is none of these.

    Args:
        job: Its name.
        setup: What its pace depends on.
        pixels: The mean number of pixels of its frames.
        known: What earlier frames took.
        journal: Keeps the trials.
        trial: Makes a trial; None for no trial.
        now: What other programs take of the processor.
    """
    cores = now.cores if now is not None else 1.0
    wanted, no_load = now or Load(cores), Load(cores)
    kept = [one for one in (_kept(journal, setup, "quiet"), _kept(journal, setup, "busy")) if one is not None]
    kept.sort(key=lambda one: abs(one.load_share - wanted.share))
    frames = [frame for frame in known if frame.setup == setup]

    def found(load: Load | None, trials: Sequence[Timed]) -> tuple[Pace, PaceSource] | None:
        """Return the pace beside a load, or beside any; frames of the job itself first, then of all jobs, then of trials."""
        alike = [frame for frame in frames if load is None or _load_of(frame.load_share, cores).is_alike(load)]
        sources: list[tuple[Sequence[FrameTime], PaceSource]] = [
            ([frame for frame in alike if frame.job == job], "an earlier run"),
            (alike, "an earlier run"),
        ]
        of_trials = [one for one in trials if load is None or _load_of(one.load_share, cores).is_alike(load)]
        sources.extend((one.frames, "a short trial") for one in of_trials)
        for times, source in sources:
            if tells(times, pixels):
                pace = pace_of(times, is_busy=load is not None and load.is_busy)
                return (pace, source) if pace is not None else None
        return None

    best = found(wanted, kept)
    if best is None and trial is not None:
        timed = trial()
        load = _load_of(timed.load_share, cores)
        pace = pace_of(timed.frames, is_busy=load.is_busy)
        if pace is not None:
            _keep(journal, setup, "busy" if load.is_busy else "quiet", timed)
            # What happened during the trial is believed, whatever the moment before was like.
            best, kept = (pace, "a short trial"), [timed, *kept]
    quiet = found(no_load, kept)
    if best is None and quiet is not None:
        # Nothing was timed beside other programs, and no trial is wanted: each gets its share.
        best = quiet[0].times(wanted.slowdown), quiet[1]
    best = best or found(None, kept)
    if best is None:
        return None
    start = kept[0].start_seconds if kept else START_SECONDS
    return _MeasuredPace(*best, quiet[0] if quiet is not None and wanted.is_busy else None, start)


def _load_of(share: float | None, cores: float) -> Load:
    return Load(cores, (share or 0.0) * cores)


def _kept(journal: Journal, key: str, load: str) -> Timed | None:
    """Return a trial that is kept and has not expired."""
    value = journal.recall(f"trial/{load}", key)
    if value is None:
        return None
    kept = json.loads(value)
    if not 0 <= time.time() - kept["at"] <= TRIAL_SECONDS_KEPT[load]:
        return None
    return Timed(tuple(FrameTime(**frame) for frame in kept["frames"]), kept["start_seconds"], kept["load_share"])


def _keep(journal: Journal, key: str, load: str, timed: Timed) -> None:
    journal.remember(f"trial/{load}", key, json.dumps({"at": time.time(), **asdict(timed)}))


def _nothing(output: Output) -> OutputCost:
    """Return what an output takes that is done, or that is not tried again."""
    return OutputCost(output, tuple(map(_no_cost, output.clips)), None)


def _no_cost(clip: Clip) -> ClipCost:
    return ClipCost(clip, 0, 0, 0.0, 0, 0.0, 0.0, 0.0)


class _Costs:
    """Counts what outputs take, one after another.

    Args:
        pipeline: The settings.
        known: What earlier frames took.
    """

    def __init__(self, pipeline: Pipeline, known: Sequence[FrameTime]) -> None:
        self._pipeline = pipeline
        self._known = known
        self._workers = worker_count(pipeline)
        self._largest_whole = (
            memory().free_bytes * USABLE_SHARE / TILED_BYTES_A_PIXEL if is_cpu(pipeline.devices[0]) else math.inf
        )
        self._likely: dict[tuple[str, FrameKind, int], float] = {}
        self._begun: Counter[tuple[str, tuple[int, int]]] = Counter()

    def of(self, output: Output, pace: _MeasuredPace | None) -> OutputCost:
        """Return what the rest of an output takes; without seconds if no pace is known."""
        pixels = output.size[0] * output.size[1]
        if pace is not None and pixels > self._largest_whole:
            pace = replace(pace, now=pace.now.in_tiles(), quiet=pace.quiet.in_tiles() if pace.quiet is not None else None)
        costs = []
        for clip in output.clips:
            if clip.first_frame_index in output.elsewhere:
                costs.append(_no_cost(clip))
                continue
            done = frames_done(self._pipeline.work, clip) if output.is_video else 0
            groups = output.frame_groups(clip, done)
            likely = [(group, self._likely_iterations(output.job, group)) for group in groups]
            most = [(group, float(group.max_iterations)) for group in groups]
            around, is_new = _seconds_around(output, clip, done), bool(groups) and self._is_new(output)
            seconds = partial(_seconds, pixels, around=around, is_new=is_new)
            costs.append(
                ClipCost(
                    clip,
                    clip.frame_count - done,
                    output.max_iterations(clip, done),
                    seconds(pace.now, likely) if pace is not None else None,
                    clip_bytes(clip, output, self._pipeline.work),
                    sum(group.frames * iterations for group, iterations in likely),
                    pace.now.slow * seconds(pace.now, most) if pace is not None else None,
                    seconds(pace.quiet, likely) if pace is not None and pace.quiet is not None else None,
                )
            )
        return OutputCost(output, tuple(costs), pace.source if pace is not None else None)

    def _likely_iterations(self, job: Job, group: FrameGroup) -> float:
        """Return the likely iterations of a frame, by those of the same job if there are any of its kind."""
        key = (job.name, group.kind, group.max_iterations)
        if key not in self._likely:
            own = [frame for frame in self._known if frame.job == job.name and frame.kind == group.kind and frame.iterations]
            self._likely[key] = likely_iterations(group, job.optimizer, own or self._known)
        return self._likely[key]

    def _is_new(self, output: Output) -> bool:
        """Return whether a size is new to the worker, which then measures the painting at this size."""
        key = (output.job.name, output.size)
        self._begun[key] += 1
        return self._begun[key] <= self._workers


def _seconds(pixels: int, pace: Pace, groups: Sequence[tuple[FrameGroup, float]], *, around: float, is_new: bool) -> float:
    """Return the seconds that a clip takes.

    Args:
        pixels: Width times height of its frames.
        pace: The pace of the machine.
        groups: The frames, and the iterations of each.
        around: Seconds beside its frames.
        is_new: Whether its size is new to the worker.
    """
    frames = sum(group.frames * pace.seconds(group.kind, pixels, passes) for group, passes in groups)
    return around + frames + (pace.warm_up(pixels) if is_new else 0.0)


def _seconds_around(output: Output, clip: Clip, done: int) -> float:
    """Return what a clip takes beside its frames. The file is encoded when its last clip is done."""
    if not output.is_video:
        return 0.0
    seconds = CLIP_SECONDS if done < clip.frame_count else 0.0
    if clip is output.clips[-1]:
        pixels = output.size[0] * output.size[1] * output.input.frame_count
        seconds += ENCODE_SECONDS + ENCODE_SECONDS_A_PIXEL * pixels
    return seconds
