"""Gathers the data of a report from the journal, the log and the files."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from nstpipe.config import Job, Pipeline
from nstpipe.events import ClipStarted, Event, FrameDone, ItemFailed, JobPlanned, Noticed
from nstpipe.journal.journal import Journal
from nstpipe.journal.log import log_path, logged_events
from nstpipe.journal.records import FrameRecord, LatestRun, Record
from nstpipe.media.detect import is_moving, natural_key
from nstpipe.planning.looks import Look, known_looks
from nstpipe.planning.picks import without_broken_paintings
from nstpipe.planning.provenance import Provenance
from nstpipe.planning.status import JobProgress, counted, job_progress, job_status, large_jobs
from nstpipe.report.plot import Plot, Series, plot
from nstpipe.report.thumbnails import Comparison, compare_pictures, compare_videos

MOST_COMPARISONS, MOST_LOOPS, MOST_UNFINISHED = 24, 6, 6
"""The most comparisons, loops and unfinished videos of a report. It must open at once, and fit into an e-mail."""

MOST_FAILURES = 200
"""The most lines of a report's table of failures. The log has all of them."""

LEAST_DOTS, MOST_DOTS = 3, 2000
"""The fewest pictures whose losses are drawn, and the most of a very large job."""

PICTURE_SECONDS = 10.0
"""The seconds after which no more thumbnails are begun, because the run waits for them."""

LEVELS = 255
"""The highest level of 8 bits. Flicker is shown in such levels."""


@dataclass(frozen=True)
class Shown:
    """An output with its pictures.

    Attributes:
        name: The path of the input within the job's input.
        output: The path of the result within the job's output, or how far it is.
        comparison: The thumbnails; None while the output is not finished.
        plots: The curves of a video.
        result: The path of the result; empty while it is not finished.
        painting: The painting that was picked for it, by its path in the collection; empty if there is no collection.
    """

    name: str
    output: str
    comparison: Comparison | None
    plots: tuple[Plot, ...] = ()
    result: str = ""
    painting: str = ""


@dataclass(frozen=True)
class Training:
    """How a run trained the network of a job.

    Attributes:
        is_done: Whether the network is finished.
        steps: The number of steps that are done.
        seconds: What they took.
        loss: The loss of held-out frames; None if none was measured.
        curve: That loss over the training; None if there is nothing to draw.
        shared_with: The other jobs that the network paints.
    """

    is_done: bool
    steps: int
    seconds: float
    loss: float | None
    curve: Plot | None
    shared_with: tuple[str, ...]


@dataclass(frozen=True)
class JobData:
    """What a report says of a job.

    Attributes:
        name: The name of the job.
        input: The path of its input.
        output: The path of its output.
        made: Outputs made in the latest run.
        before: Outputs made earlier.
        failed: Outputs that could not be made.
        left: Outputs that are not made yet.
        frames: Frames of all outputs.
        frames_done: Frames that are stylized.
        seconds: Seconds spent on the recorded frames.
        iterations: Iterations used for them.
        seconds_a_frame: Mean seconds per recorded frame; None if there is none.
        loss: Median loss of the frames; None if there is none.
        flicker: Root of the mean warping error, in levels of 255; None if it was not measured.
        shown: Some of its finished outputs.
        not_shown: The number of its other finished outputs.
        unfinished: Outputs that have been begun.
        plots: Curves of the whole job.
        engine: What painted the frames: the name of the engine, and the name of its file of weights if it has one.
        engine_reason: Why `engine: auto` took it; empty if the job names its engine.
        training: The training of its network; None if it has none, or none has begun.
    """

    name: str
    input: str
    output: str
    made: int
    before: int
    failed: int
    left: int
    frames: int
    frames_done: int
    seconds: float
    iterations: int
    seconds_a_frame: float | None
    loss: float | None
    flicker: float | None
    shown: tuple[Shown, ...]
    not_shown: int
    unfinished: tuple[Shown, ...]
    plots: tuple[Plot, ...]
    engine: str
    engine_reason: str = ""
    training: Training | None = None


@dataclass(frozen=True)
class Painter:
    """A worker of a cluster, and what it painted in the latest run.

    Attributes:
        name: The name of the worker.
        hardware: What it painted on.
        clips: Clips that it began or continued.
        frames: Frames that it finished.
        seconds: Seconds that these took.
        inputs: The names of the inputs, each once.
    """

    name: str
    hardware: str
    clips: int
    frames: int
    seconds: float
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class ReportData:
    """Everything that a report says.

    Attributes:
        work: The path of the work folder.
        started_at: Start of the latest run in seconds since 1970; None if there was none.
        finished_at: End of the latest run in seconds since 1970; None if it was killed or is still running.
        exit_code: Exit code of the latest run; None if it was killed or is still running.
        error: The error that ended the run; empty if there was none.
        log: The path of the run's log.
        workers: The number of worker processes.
        jobs: The jobs, in the order of the pipeline.
        failures: The items that failed.
        notices: The notices of the run.
        setup: The settings and versions of the run.
        written_at: When the data was gathered, in seconds since 1970.
        run: The name of the run; empty if there was none.
        painters: The workers of the cluster that painted; empty if it was a single machine.
    """

    work: str
    started_at: float | None
    finished_at: float | None
    exit_code: int | None
    error: str
    log: str
    workers: int
    jobs: tuple[JobData, ...]
    failures: tuple[ItemFailed, ...]
    notices: tuple[Noticed, ...]
    setup: Provenance
    written_at: float
    run: str = ""
    painters: tuple[Painter, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Duration of the latest run; None if it was killed or is still running."""
        return None if self.started_at is None or self.finished_at is None else self.finished_at - self.started_at


def gather(pipeline: Pipeline, journal: Journal, *, picture_seconds: float = PICTURE_SECONDS) -> ReportData:
    """Gather the data of a pipeline and of its latest run.

    Args:
        pipeline: The pipeline with the jobs to report.
        journal: The journal of its work folder.
        picture_seconds: The seconds after which no more thumbnails are begun.
    """
    pipeline = without_broken_paintings(pipeline, journal)
    run = journal.latest_run_with_work()
    log = log_path(pipeline.work, run.name) if run is not None else None
    events = list(logged_events(log)) if log is not None else []
    large = large_jobs(run)
    known = {record.path: record for record in journal.records()} if set(large) < {job.name for job in pipeline.jobs} else {}
    progress_by_job = {
        job.name: JobProgress(tuple(journal.begun(job.name)))
        if job.name in large
        else job_progress(job, known, journal.spelled)
        for job in pipeline.jobs
    }
    failures = _failures(progress_by_job, run, [event for event in events if isinstance(event, ItemFailed)])
    pictures = _Pictures(len(pipeline.jobs), time.monotonic() + picture_seconds)
    looks = {look.path.name: look for look in known_looks(pipeline.work)}
    jobs = tuple(
        _large_job_data(job, large[job.name], progress_by_job[job.name], journal, pictures, looks)
        if job.name in large
        else _job_data(job, progress_by_job[job.name], failures, journal, run, pictures, looks)
        for job in pipeline.jobs
    )
    told = {job.engine_reason for job in jobs}  # where the job is shown
    return ReportData(
        work=str(pipeline.work),
        started_at=run.started_at if run is not None else None,
        finished_at=run.finished_at if run is not None else None,
        exit_code=run.exit_code if run is not None else None,
        error=run.error if run is not None else "",
        log=str(log) if log is not None else "",
        workers=run.workers if run is not None else 0,
        jobs=jobs,
        failures=failures,
        notices=tuple(event for event in events if isinstance(event, Noticed) and event.message not in told),
        setup=Provenance.from_json(run.about) if run is not None else Provenance(),
        written_at=time.time(),
        run=run.name if run is not None else "",
        painters=painters_of(events),
    )


def painters_of(events: Iterable[Event]) -> tuple[Painter, ...]:
    """Return which worker of a cluster painted what, from the events of a run; empty if it was a single machine."""
    begun: dict[tuple[str, str, int], tuple[str, str]] = {}
    clips: dict[tuple[str, str], list[str]] = {}
    frames: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if isinstance(event, ClipStarted) and event.worker:
            painter = event.worker, event.hardware
            begun[event.job, event.path, event.first_frame_index] = painter
            clips.setdefault(painter, []).append(Path(event.path).name)
        elif isinstance(event, FrameDone):
            by = begun.get((event.job, event.path, event.first_frame_index))
            if by is not None:
                frames.setdefault(by, []).append(event.seconds)
    return tuple(
        Painter(*by, len(names), len(frames.get(by, ())), sum(frames.get(by, ())), tuple(dict.fromkeys(names)))
        for by, names in sorted(clips.items())
    )


def _failures(
    progress_by_job: Mapping[str, JobProgress], run: LatestRun | None, logged: Sequence[ItemFailed]
) -> tuple[ItemFailed, ...]:
    """Return the failures: those of the latest run from its log, which knows more, and those of other jobs from the journal."""
    failures = [failure for failure in logged if failure.job in progress_by_job]
    told = {failure.job for failure in failures} | (set(run.jobs) if run is not None else set())
    for job, progress in progress_by_job.items():
        failures += [_as_failure(job, record) for record in progress.records if record.state == "failed" and job not in told]
    return tuple(failures)


def _as_failure(job: str, record: Record) -> ItemFailed:
    return ItemFailed(
        job=job,
        path=record.input,
        output=record.path,
        reason=record.reason,
        next_step=record.next_step,
        attempts=record.attempts,
        tried_now=False,
    )


class _Pictures:
    """Divides the pictures that a report may hold, and the time that they may take, among its jobs."""

    def __init__(self, jobs: int, end: float) -> None:
        self._jobs_left = jobs
        self._left = MOST_COMPARISONS
        self._loops_left = MOST_LOOPS
        self._end = end

    def some(self, records: Sequence[Record], show: Callable[[Record, bool], Shown]) -> tuple[Shown, ...]:
        """Return a job's share of its outputs, evenly spaced."""
        share = -(-self._left // max(1, self._jobs_left))
        self._jobs_left -= 1
        shown = []
        for record in _spread(records, share):
            if time.monotonic() > self._end:
                break
            is_video = _is_video(record)
            shown.append(show(record, is_video and self._loops_left > 0))
            self._left -= 1
            self._loops_left -= is_video
        return tuple(shown)


def _spread(records: Sequence[Record], most: int) -> Iterator[Record]:
    if len(records) <= most:
        yield from records
    elif most == 1:
        yield records[0]
    else:
        yield from (records[round(index * (len(records) - 1) / (most - 1))] for index in range(most))


def _is_video(record: Record) -> bool:
    return record.frames > 1 or bool(is_moving(Path(record.path)))


def _job_data(
    job: Job,
    progress: JobProgress,
    failures: Sequence[ItemFailed],
    journal: Journal,
    run: LatestRun | None,
    pictures: _Pictures,
    looks: Mapping[str, Look],
) -> JobData:
    planned = run.jobs[job.name].planned if run is not None and job.name in run.jobs else None
    records, frames = progress.records, progress.frames(journal)
    counts = job_status(job.name, progress, journal)
    by_input = {path: list(group) for path, group in itertools.groupby(frames, key=lambda frame: frame.path)}
    done = sorted((record for record in records if record.state == "done"), key=lambda record: natural_key(record.path))
    made = [record for record in done if run is not None and record.changed_at >= run.started_at]
    failed = {failure.output or failure.path for failure in failures if failure.job == job.name}
    shown = pictures.some(done, lambda record, with_loop: _finished(record, job, by_input, with_loop=with_loop))
    begun = [record for record in records if record.state == "started" and by_input.get(record.input)]
    seconds = sum(frame.seconds for frame in frames)
    return JobData(
        name=job.name,
        input=str(job.input),
        output=str(job.output),
        made=len(made),
        before=counts.done - len(made),
        failed=len(failed - {record.path for record in done}),
        left=counts.running + counts.left,
        frames=counts.frames,
        frames_done=counts.frames_done,
        seconds=seconds,
        iterations=sum(frame.evaluations for frame in frames),
        seconds_a_frame=seconds / len(frames) if frames else None,
        loss=_median_loss(frames),
        flicker=_flicker(frames),
        shown=shown,
        not_shown=counts.done - len(shown),
        unfinished=tuple(_unfinished(record, job, by_input[record.input]) for record in begun[:MOST_UNFINISHED]),
        plots=_picture_plots([frame for group in by_input.values() if len(group) == 1 for frame in group]),
        engine=_engine(job, planned),
        engine_reason=planned.engine_reason if planned is not None else "",
        training=_training(looks.get(planned.network) if planned is not None else None, job.name),
    )


def _large_job_data(
    job: Job, planned: JobPlanned, progress: JobProgress, journal: Journal, pictures: _Pictures, looks: Mapping[str, Look]
) -> JobData:
    """Return what a report says of a very large job, of which not all records fit into the memory.

    Args:
        job: The job.
        planned: The job as the run has planned it.
        progress: Its outputs that have been begun and are not finished, or have failed.
        journal: Knows the others.
        pictures: Divides the pictures among the jobs.
        looks: The networks of the work folder, by the names of their files.
    """
    counts, sums = counted(planned, progress.records, journal, ()), journal.frame_sums(job.name)
    some = journal.some_done(job.name, MOST_COMPARISONS)
    shown = pictures.some(some, lambda record, with_loop: _finished(record, job, {}, with_loop=with_loop))
    step, losses = journal.losses(job.name, MOST_DOTS)
    every = f"picture, 1 of {step:,} shown" if step > 1 else "picture"
    is_of_pictures = planned.frames == planned.outputs and len(losses) >= LEAST_DOTS
    drawn = plot("Loss", every, [Series("total", losses)], as_dots=True) if is_of_pictures else None
    made = max(0, counts.done - planned.outputs_done)
    return JobData(
        name=job.name,
        input=str(job.input),
        output=str(job.output),
        made=made,
        before=counts.done - made,
        failed=counts.failed,
        left=counts.running + counts.left,
        frames=counts.frames,
        frames_done=counts.frames_done,
        seconds=sums.seconds,
        iterations=sums.iterations,
        seconds_a_frame=sums.seconds / sums.frames if sums.frames else None,
        loss=sums.loss,
        flicker=_in_levels(sums.warping_error),
        shown=shown,
        not_shown=counts.done - len(shown),
        unfinished=(),
        plots=() if drawn is None else (drawn,),
        engine=_engine(job, planned),
        engine_reason=planned.engine_reason,
        training=_training(looks.get(planned.network), job.name),
    )


def _engine(job: Job, planned: JobPlanned | None) -> str:
    weights = job.engine.files.get("weights")
    if weights is not None:
        return f"{job.engine.name}, {weights.name}"
    return planned.engine if planned is not None and planned.engine else job.engine.name


def _training(look: Look | None, job: str) -> Training | None:
    if look is None or look.progress is None:
        return None
    progress = look.progress
    curve = Series("held-out frames", tuple(loss for _, loss in progress.curve))
    return Training(
        is_done=look.is_trained,
        steps=progress.step,
        seconds=progress.seconds,
        loss=progress.loss,
        curve=plot("Training: loss of held-out frames", "measurement", [curve]) if progress.curve else None,
        shared_with=tuple(other for other in look.jobs if other != job),
    )


def _finished(record: Record, job: Job, frames: Mapping[str, Sequence[FrameRecord]], *, with_loop: bool) -> Shown:
    """Show a finished output before and after. A video has its curves, and a loop of moving pictures if there is room."""
    original, result = Path(record.input), Path(record.path)
    name, place = _within(original, job.input), _within(result, job.output)
    if not _is_video(record):
        return Shown(name, place, compare_pictures(original, result), result=record.path, painting=_painting_of(record))
    known = frames.get(record.input, [])
    rate, cuts = Fraction(job.rate).limit_denominator(1001), sorted({frame.first_frame_index for frame in known})
    comparison = compare_videos(original, result, rate, cuts, with_loop=with_loop)
    return Shown(name, place, comparison, _video_plots(known, record.frames), record.path, _painting_of(record))


def _unfinished(record: Record, job: Job, frames: Sequence[FrameRecord]) -> Shown:
    """Show an output that is not finished, with the curves of its frames so far."""
    so_far = f"{len(frames):,} of {record.frames:,} frames"
    name = _within(Path(record.input), job.input)
    return Shown(name, so_far, None, _video_plots(frames, record.frames), painting=_painting_of(record))


def _painting_of(record: Record) -> str:
    return str(record.fingerprint_inputs.get("painting", ""))


def _median_loss(frames: Sequence[FrameRecord]) -> float | None:
    losses = sorted(frame.loss for frame in frames if frame.loss is not None)
    return losses[len(losses) // 2] if losses else None


def _flicker(frames: Sequence[FrameRecord]) -> float | None:
    """Return the root of the mean warping error, in levels of 255; None if it was not measured."""
    warping_errors = [frame.warping_error for frame in frames if frame.warping_error is not None]
    return _in_levels(sum(warping_errors) / len(warping_errors)) if warping_errors else None


def _within(path: Path, folder: Path) -> str:
    """Return a path relative to the job's folder, or its name if it is not below it."""
    try:
        inside = os.fspath(path.relative_to(folder))
    except ValueError:
        return path.name
    return inside if inside != "." else path.name


def _video_plots(frames: Sequence[FrameRecord], count: int) -> tuple[Plot, ...]:
    """Draw the loss and the flicker of a video, frame by frame."""
    by_index = {frame.frame_index: frame for frame in frames}
    count = max([count, *(index + 1 for index in by_index)])
    found = [by_index.get(index) for index in range(count)]
    cuts = sorted({frame.first_frame_index for frame in frames})
    parts = [
        Series("total", tuple(None if frame is None else frame.loss for frame in found)),
        Series("content", tuple(None if frame is None else frame.content_loss for frame in found)),
        Series("style", tuple(None if frame is None else frame.style_loss for frame in found)),
    ]
    flicker = Series("flicker", tuple(None if frame is None else _in_levels(frame.warping_error) for frame in found))
    plots = (
        plot("Loss", "frame", [part for part in parts if any(value is not None for value in part.values)], marks=cuts),
        plot("Flicker, in levels of 255", "frame", [flicker], marks=cuts, digits=2),
    )
    return tuple(drawn for drawn in plots if drawn is not None)


def _in_levels(warping_error: float | None) -> float | None:
    return None if warping_error is None else LEVELS * warping_error**0.5


def _picture_plots(frames: Sequence[FrameRecord]) -> tuple[Plot, ...]:
    """Draw the losses of a folder's pictures if there are more than two."""
    if len(frames) < LEAST_DOTS:
        return ()
    ordered = sorted(frames, key=lambda frame: natural_key(frame.path))
    drawn = plot("Loss", "picture", [Series("total", tuple(frame.loss for frame in ordered))], as_dots=True)
    return () if drawn is None else (drawn,)
