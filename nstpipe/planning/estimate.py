"""Estimates what a run would take: iterations, time and disk space, clip by clip."""

from __future__ import annotations

import json
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from nstpipe.config import Job, Pipeline
from nstpipe.config.engines import AutoEngine, LookEngine
from nstpipe.journal.journal import Journal
from nstpipe.journal.records import FrameKind, FrameTime
from nstpipe.planning.iterations import likely_iterations
from nstpipe.planning.lazy_sequence import LazySequence
from nstpipe.planning.looks import Look
from nstpipe.planning.outputs import Clip, FrameGroup, Output
from nstpipe.planning.pace import Pace, Timed, pace_of, tells
from nstpipe.planning.plan import Plan
from nstpipe.planning.planned import PlannedOutputs
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


class OutputCosts(LazySequence[OutputCost]):
    """The costs of outputs, in their order. Each iteration counts them again, since there may be a million.

    Args:
        outputs: The outputs.
        counter: Returns what counts the costs of all outputs, from the first one.
    """

    def __init__(self, outputs: PlannedOutputs, counter: Callable[[], Callable[[Output], OutputCost]]) -> None:
        self._outputs = outputs
        self._counter = counter

    def __len__(self) -> int:
        """Return the number of outputs."""
        return len(self._outputs)

    def __iter__(self) -> Iterator[OutputCost]:
        """Return an iterator over all costs."""
        return map(self._counter(), self._outputs)

    @property
    def left(self) -> OutputCosts:
        """The costs of the outputs that are not done. Some of them are not tried again, and cost nothing."""
        return OutputCosts(self._outputs.left(), self._counter)


@dataclass
class JobTotals:
    """What the outputs of a job would take together that are not done.

    Attributes:
        frames: Frames to paint.
        max_iterations: The maximum number of iterations; see `ClipCost`.
        likely_iterations: The likely number of iterations.
        max_work: The maximum number of iterations, each times the pixels of its frame.
        likely_work: The likely number of iterations, each times the pixels of its frame.
        clips: Clips that wait for no other one.
        iterates: Whether its engine iterates.
        sources: What its pace was measured in.
        seconds: Seconds that all workers take who do nothing else; None if no pace is known.
        has_failed_before: Whether some of its outputs have failed before, and are not tried again.
    """

    iterates: bool
    frames: int = 0
    max_iterations: int = 0
    likely_iterations: float = 0.0
    max_work: int = 0
    likely_work: float = 0.0
    clips: int = 0
    sources: frozenset[PaceSource] = frozenset()
    seconds: float | None = 0.0
    has_failed_before: bool = False

    def add(self, cost: OutputCost, *, waits: bool) -> None:
        """Add what an output takes.

        Args:
            cost: What it takes.
            waits: Whether it starts from another output that is not done.
        """
        pixels = cost.output.size[0] * cost.output.size[1]
        self.frames += cost.frames_left
        self.max_iterations += cost.max_iterations
        self.likely_iterations += cost.likely_iterations
        self.max_work += cost.max_iterations * pixels
        self.likely_work += cost.likely_iterations * pixels
        self.clips += 0 if waits else sum(clip.frames_left > 0 for clip in cost.clips)
        self.sources |= {cost.source} if cost.source is not None else frozenset()
        self.has_failed_before |= cost.output.failed_before is not None


@dataclass(frozen=True)
class Totals:
    """What a run would take.

    Attributes:
        jobs: What each job takes that has some, by its name.
        seconds: Seconds that all workers likely take to paint; None if no pace is known.
        seconds_at_most: The same if all iterations are used and the machine is slow.
        seconds_when_quiet: The same if no other program were computing.
    """

    jobs: Mapping[str, JobTotals]
    seconds: float | None
    seconds_at_most: float | None
    seconds_when_quiet: float | None

    @classmethod
    def of(cls, costs: Iterable[OutputCost], workers: int) -> Totals:
        """Add up what outputs take.

        Args:
            costs: Their costs, in the order in which they are made.
            workers: The number of processes.
        """
        likely, most, quiet = (Makespan(workers) for _ in range(3))
        jobs: dict[str, JobTotals] = {}
        alone: dict[str, Makespan] = {}
        before: Path | None = None
        for cost in costs:
            output = cost.output
            name = output.job.name
            if name not in jobs:
                jobs[name], alone[name] = JobTotals(output.job.iterates), Makespan(workers)
            jobs[name].add(cost, waits=output.linked_output is not None and output.linked_output == before)
            before = output.path
            for total in (likely, alone[name]):
                total.add(output, [clip.seconds for clip in cost.clips])
            most.add(output, [clip.seconds_at_most for clip in cost.clips])
            quiet.add(output, [clip.seconds_when_quiet for clip in cost.clips])
        for name, job in jobs.items():
            job.seconds = alone[name].seconds
        return cls(jobs, likely.seconds, most.seconds, quiet.seconds)


class Makespan:
    """The seconds in which workers paint clips that come one after the other.

    As in a run, a worker that is free takes the first clip that may begin. A linked picture waits for the one before it.

    Args:
        workers: The number of processes.

    Attributes:
        seconds: The seconds so far; None if those of a clip are unknown.
    """

    def __init__(self, workers: int) -> None:
        self._free = [0.0] * workers
        self._before: tuple[Path, float] | None = None
        self.seconds: float | None = 0.0

    def add(self, output: Output, clips: Sequence[float | None]) -> None:
        """Paint an output.

        Args:
            output: The output. A linked one comes directly after the one that it starts from, unless that is done.
            clips: The seconds of its clips.
        """
        if self.seconds is None:
            return
        free, before = self._free, self._before
        linked = output.linked_output
        ready = before[1] if linked is not None and before is not None and before[0] == linked else 0.0
        end = 0.0
        for seconds in clips:
            if seconds is None:
                self.seconds = None
                return
            # The worker that has just painted the picture before goes on with this one, so that none waits for it.
            rested = [number for number in range(len(free)) if free[number] <= ready]
            worker = max(rested, key=free.__getitem__) if rested else min(range(len(free)), key=free.__getitem__)
            free[worker] = max(free[worker], ready) + seconds
            end = max(end, free[worker])
        self._before = output.path, end
        self.seconds = max(self.seconds, end)


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
    def totals(self) -> Totals:
        """All that would be done, added up."""
        left = self.costs.left
        return Totals.of(left, self.workers if left else 1)  # to count the cores takes a while

    @property
    def training(self) -> tuple[Look, ...]:
        """The networks that are trained before frames are painted."""
        wanted = {name for name, job in self.totals.jobs.items() if job.frames}
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
        return tuple(sorted(frozenset().union(*(job.sources for job in self.totals.jobs.values()))))

    @property
    def seconds(self) -> float | None:
        """Seconds that the run will likely take, from beginning to end; None if no pace is known."""
        return self._in_all(self.totals.seconds)

    @property
    def seconds_at_most(self) -> float | None:
        """Seconds if all iterations are used and the machine is slow; None if no pace is known."""
        return self._in_all(self.totals.seconds_at_most, SLOW_START)

    @property
    def seconds_when_quiet(self) -> float | None:
        """Seconds if no other program were computing; None if that is not known, or if none is."""
        return self._in_all(self.totals.seconds_when_quiet)

    def _in_all(self, painting: float | None, slow: float = 1.0) -> float | None:
        if not painting:
            return painting  # unknown, or nothing is left
        return self.training_seconds + painting + (1 + RUN_STARTS) * self.start_seconds * slow


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
    left = plan.outputs.left()
    todo = left.left({str(output.path) for output in left.single() if output.failed_before is not None})
    pipeline = with_workers(pipeline, todo, journal)
    plan = replace(plan, bytes_needed=bytes_needed(left.single(), pipeline))
    now = load() if load is not None and todo else None
    known = journal.latest_times() if todo else ()
    setups = {job.name: setup_of(pipeline, job) for job in pipeline.jobs if todo}
    with_videos = {setups[output.job.name] for output in todo.single() if output.is_video}
    paces: dict[str, _MeasuredPace | None] = {}
    tried: dict[str, Timed] = {}

    def tried_once(setup: str, example: Job) -> Timed:
        # Jobs alike share a trial, also if the load changes meanwhile, for which each of them would else make its own.
        if setup not in tried:
            assert trial is not None
            tried[setup] = trial().timed(pipeline, example, setup in with_videos)
        return tried[setup]

    pixels = _mean_pixels(todo)
    for job in pipeline.jobs:
        planned = todo.job_of(job.name)
        if planned is not None:
            setup, example = setups[job.name], _tried(job, planned)
            timed = partial(tried_once, setup, example) if trial is not None else None
            paces[job.name] = _pace(job.name, setup, pixels[job.name], known, journal, timed, now)
    basis = _Basis(pipeline, known)
    starts = [pace.start_seconds for pace in paces.values() if pace is not None]
    costs = OutputCosts(plan.outputs, lambda: _Costs(basis, paces).of)
    return Estimate(plan, costs, pipeline, now, max(starts, default=START_SECONDS))


def _mean_pixels(outputs: PlannedOutputs) -> dict[str, float]:
    """Return the mean number of pixels of the frames of each job, by its name."""
    sums: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for output in outputs:
        sums[output.job.name] += output.size[0] * output.size[1]
        counts[output.job.name] += 1
    return {job: sums[job] / counts[job] for job in counts}


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


def _no_cost(clip: Clip) -> ClipCost:
    return ClipCost(clip, 0, 0, 0.0, 0, 0.0, 0.0, 0.0)


class _Basis:
    """What the costs of all outputs are counted by.

    Args:
        pipeline: The settings.
        known: What earlier frames took.
    """

    def __init__(self, pipeline: Pipeline, known: Sequence[FrameTime]) -> None:
        self._pipeline = pipeline
        self._known = known
        self._likely: dict[tuple[str, FrameKind, int], float] = {}
        self._stored: dict[tuple[str, int], int] = {}

    @cached_property
    def workers(self) -> int:
        """The number of processes."""
        return worker_count(self._pipeline)

    @cached_property
    def largest_whole(self) -> float:
        """The pixels of the largest frame that is painted in one piece."""
        if not is_cpu(self._pipeline.devices[0]):
            return math.inf
        return memory().free_bytes * USABLE_SHARE / TILED_BYTES_A_PIXEL

    def likely_iterations(self, job: Job, group: FrameGroup) -> float:
        """Return the likely iterations of a frame, by those of the same job if there are any of its kind."""
        key = (job.name, group.kind, group.max_iterations)
        if key not in self._likely:
            own = [frame for frame in self._known if frame.job == job.name and frame.kind == group.kind and frame.iterations]
            self._likely[key] = likely_iterations(group, job.optimizer, own or self._known)
        return self._likely[key]

    def frames_done(self, output: Output, clip: Clip) -> int:
        """Return how many frames of a clip wait to be encoded. The disk is asked once."""
        if not output.is_video:
            return 0
        key = (clip.fingerprint, clip.first_frame_index)
        if key not in self._stored:
            self._stored[key] = frames_done(self._pipeline.work, clip)
        return self._stored[key]

    def bytes_needed(self, output: Output, clip: Clip) -> int:
        """Return the space that a clip needs on the disk of the work folder."""
        return clip_bytes(clip, output, self._pipeline.work)


class _Costs:
    """Counts what outputs take, one after another.

    Args:
        basis: What is known of the run.
        paces: The pace of each job, by its name.
    """

    def __init__(self, basis: _Basis, paces: Mapping[str, _MeasuredPace | None]) -> None:
        self._basis = basis
        self._paces = paces
        self._begun: Counter[tuple[str, tuple[int, int]]] = Counter()

    def of(self, output: Output) -> OutputCost:
        """Return what the rest of an output takes; without seconds if no pace is known."""
        if output.is_done or output.failed_before is not None:
            return OutputCost(output, tuple(map(_no_cost, output.clips)), None)
        basis, pace = self._basis, self._paces.get(output.job.name)
        pixels = output.size[0] * output.size[1]
        if pace is not None and pixels > basis.largest_whole:
            pace = replace(pace, now=pace.now.in_tiles(), quiet=pace.quiet.in_tiles() if pace.quiet is not None else None)
        costs = []
        for clip in output.clips:
            if clip.first_frame_index in output.elsewhere:
                costs.append(_no_cost(clip))
                continue
            done = basis.frames_done(output, clip)
            groups = output.frame_groups(clip, done)
            likely = [(group, basis.likely_iterations(output.job, group)) for group in groups]
            most = [(group, float(group.max_iterations)) for group in groups]
            around, is_new = _seconds_around(output, clip, done), bool(groups) and self._is_new(output)
            seconds = partial(_seconds, pixels, around=around, is_new=is_new)
            costs.append(
                ClipCost(
                    clip,
                    clip.frame_count - done,
                    output.max_iterations(clip, done),
                    seconds(pace.now, likely) if pace is not None else None,
                    basis.bytes_needed(output, clip),
                    sum(group.frames * iterations for group, iterations in likely),
                    pace.now.slow * seconds(pace.now, most) if pace is not None else None,
                    seconds(pace.quiet, likely) if pace is not None and pace.quiet is not None else None,
                )
            )
        return OutputCost(output, tuple(costs), pace.source if pace is not None else None)

    def _is_new(self, output: Output) -> bool:
        """Return whether a size is new to the worker, which then measures the painting at this size."""
        key = (output.job.name, output.size)
        self._begun[key] += 1
        return self._begun[key] <= self._basis.workers


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
