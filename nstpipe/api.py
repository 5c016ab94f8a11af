"""What the commands do, for Python: check, plan, run, and stylize one picture."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from nstpipe.config import Job, Loaded, Pipeline, load_pipeline, load_right_part
from nstpipe.config.document import Located
from nstpipe.config.load import validated
from nstpipe.config.models import MOST_WORKERS, Color
from nstpipe.errors import (
    BusyError,
    ConfigError,
    InputError,
    NstpipeError,
    OutputError,
    Problem,
    UsageError,
)
from nstpipe.events import (
    Emit,
    Event,
    ItemFailed,
    Noticed,
)
from nstpipe.journal.journal import Journal
from nstpipe.journal.log import RunLog
from nstpipe.journal.records import Entry, LatestRun
from nstpipe.listeners.listener import finishing
from nstpipe.listeners.listeners import Listeners, check_packages
from nstpipe.media.frame import resized, working_size
from nstpipe.media.pictures.files import limit_megapixels
from nstpipe.media.tensors import pixels_of, tensor_of
from nstpipe.motion.flow.methods import flow_method
from nstpipe.painting.engines import engine_settings
from nstpipe.painting.task import RunSettings
from nstpipe.painting.trial import seconds_a_pixel, trial_key
from nstpipe.planning.estimate import Estimate, Trial, estimate
from nstpipe.planning.eta import Forecast
from nstpipe.planning.inputs import ignored_settings
from nstpipe.planning.leftovers import Leftover, find_leftovers, remove
from nstpipe.planning.plan import Plan, plan_pipeline
from nstpipe.planning.status import JobProgress, job_progress
from nstpipe.planning.validate import check_inputs
from nstpipe.report.page import REPORT_NAME, write_report
from nstpipe.running.executors import executor_for
from nstpipe.running.outcome import RunResult
from nstpipe.running.run import Run
from nstpipe.style.engine import Engine
from nstpipe.style.scales import scale_count
from nstpipe.style.settings import StylePicture
from nstpipe.style.weights import load_weights
from nstpipe.system.devices import DEVICE_PATTERN, choose_device
from nstpipe.system.files import see_that_it_can_be_made
from nstpipe.system.lock import Holder, holder_of, locked
from nstpipe.system.stop import Stop

LOCK_POLL_SECONDS = 0.5


def _ignore(_: Event) -> None:
    return None


def run(
    pipeline: str | Path | Pipeline,
    *,
    jobs: Sequence[str] = (),
    overrides: Sequence[str] = (),
    workers: int | None = None,
    device: str | None = None,
    retry_failed: bool = False,
    fail_fast: bool = False,
    wait: bool = False,
    isolated: bool = False,
    stop: Stop | None = None,
    on_event: Emit = _ignore,
) -> RunResult:
    """Do all that is not done yet; what `nstpipe run` does.

    Args:
        pipeline: a pipeline.yaml's path, or a pipeline already loaded.
        jobs: names of the jobs to do; all of them if empty.
        overrides: ``key.path=value``, as for ``--set``.
        workers: processes, instead of the pipeline's own number.
        device: instead of the pipeline's own.
        retry_failed: try again what failed before, though nothing has changed about it.
        fail_fast: stop at the first item that fails.
        wait: for another run that works on the same folder.
        isolated: let even a single worker be a process of its own, as the command does: if the system kills it, for want of
            memory, say, it costs a frame and not the run. It takes some seconds to start.
        stop: asks it to end, from another thread or a signal handler, or by its deadline.
        on_event: called with each event as it happens.

    Raises:
        BusyError: another run works on the same folder.
        ConfigError: the YAML is wrong.
        InputError: no input at all could be used.
        MachineError: weights, device or ffmpeg are missing.
        OutputError: an output or the work folder cannot be written; a DiskFullError if there is not enough room.
        UsageError: there is no job of that name.
    """
    settings = _loaded(pipeline, jobs, overrides, workers, device)
    stop = stop or Stop()
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    with ExitStack() as stack:
        listeners = stack.enter_context(finishing(Listeners(settings, name, on_event)))
        for need in _needs(settings):
            need()
        _take_lock(stack, settings, wait, stop, listeners)
        journal = stack.enter_context(closing(Journal(settings.work)))
        log = stack.enter_context(finishing(RunLog(settings.work, name)))
        executor = executor_for(settings, isolated=isolated)
        return Run(settings, journal, log, name, stop, listeners, executor).execute(
            retry_failed=retry_failed, fail_fast=fail_fast
        )


def _take_lock(stack: ExitStack, pipeline: Pipeline, wait: bool, stop: Stop, on_event: Emit) -> None:
    said = False
    while True:
        try:
            stack.enter_context(locked(pipeline.work))
        except BusyError as error:
            if not wait or stop.should_stop():
                raise
            if not said:
                on_event(Noticed(job=pipeline.jobs[0].name, message=f"waiting: {error.problem}"))
            said = True
            time.sleep(LOCK_POLL_SECONDS)
        else:
            return


def check(pipeline: str | Path | Pipeline, *, overrides: Sequence[str] = ()) -> tuple[int, tuple[ItemFailed, ...]]:
    """What `validate` finds of the inputs; what else it finds is an error.

    Args:
        pipeline: a pipeline.yaml's path, or a pipeline already loaded.
        overrides: ``key.path=value``, as for ``--set``.

    Returns:
        How many inputs can be used, and what is wrong with the others.

    Raises:
        ConfigError: the YAML is wrong.
        MachineError: weights, device or a package are missing.
        OutputError: a result or the work folder cannot be written.
    """
    found = validate(pipeline, overrides=overrides)
    if found.problems and not isinstance(pipeline, Pipeline):
        raise ConfigError(Path(pipeline), found.problems)
    for error in found.missing:
        raise error
    return found.usable, found.failures


@dataclass(frozen=True)
class Validation:
    """All that is wrong with a pipeline, and with what it reads.

    Attributes:
        problems: of the file.
        failures: inputs and paintings that cannot be used, of the jobs that are right.
        usable: inputs that can be used.
        missing: what a run would end with at once: weights that are not there, a work folder that is a file, and the like.
        notices: what the jobs say to no effect.
    """

    problems: tuple[Problem, ...]
    failures: tuple[ItemFailed, ...]
    usable: int
    missing: tuple[NstpipeError, ...] = ()
    notices: tuple[str, ...] = ()


def validate(pipeline: str | Path | Pipeline, *, overrides: Sequence[str] = (), on_event: Emit = _ignore) -> Validation:
    """Find all that is wrong at once: in the file, on this machine, and by opening the inputs of those jobs that are right.

    Args:
        pipeline: a pipeline.yaml's path, or a pipeline already loaded.
        overrides: ``key.path=value``, as for ``--set``.
        on_event: told how far the look at the inputs is.
    """
    if isinstance(pipeline, Pipeline):
        loaded = Loaded(_loaded(pipeline, (), overrides, None, None), ())
    else:
        loaded = load_right_part(Path(pipeline), overrides)
    settings = loaded.pipeline
    if settings is None:
        return Validation(loaded.problems, (), 0)
    limit_megapixels(settings.max_megapixels)
    usable, failures = check_inputs(settings, emit=on_event)
    missing = {str(error): error for error in _missing(settings)}  # said once, though several settings want it
    notices = tuple(f"{job.name}: {said}" for job in settings.jobs for said in ignored_settings(job))
    return Validation(loaded.problems, failures, usable, tuple(missing.values()), notices)


def _needs(pipeline: Pipeline) -> Iterator[Callable[[], object]]:
    """What a run needs of this machine, as checks that raise an error where it is missing."""
    yield partial(check_packages, pipeline)
    yield partial(choose_device, pipeline.device)
    yield partial(load_weights, pipeline.weights)
    for flow in dict.fromkeys(job.temporal.flow for job in pipeline.jobs):
        yield partial(flow_method, flow, pipeline.device)


def _missing(pipeline: Pipeline) -> Iterator[NstpipeError]:
    """What a run would end with at once."""
    folders = (pipeline.work, *(job.output if job.input.is_dir() else job.output.parent for job in pipeline.jobs))
    places = [partial(see_that_it_can_be_made, folder) for folder in dict.fromkeys(folders)]
    needs: list[Callable[[], object]] = [*_needs(pipeline), *places]
    for need in needs:
        try:
            need()
        except NstpipeError as error:
            yield error


def plan(
    pipeline: str | Path | Pipeline,
    *,
    jobs: Sequence[str] = (),
    overrides: Sequence[str] = (),
    on_event: Emit = _ignore,
) -> Plan:
    """What `run` would do, with the reasons; see `run` for arguments and errors."""
    settings = _loaded(pipeline, jobs, overrides, None, None)
    with closing(Journal(settings.work, repair=False)) as journal:
        planned = plan_pipeline(settings, journal, stop=Stop(), emit=on_event)
        return replace(planned, notices=(*journal.notices, *planned.notices))


def estimated(
    pipeline: str | Path | Pipeline,
    *,
    jobs: Sequence[str] = (),
    overrides: Sequence[str] = (),
    workers: int | None = None,
    device: str | None = None,
    calibrate: bool = True,
    on_event: Emit = _ignore,
) -> Estimate:
    """What `run` would do, and what that would take; see `run` for arguments and errors.

    Args:
        pipeline: likewise.
        jobs: likewise.
        overrides: likewise.
        workers: likewise.
        device: likewise.
        calibrate: time a few iterations where no earlier run says how fast this machine is; they take some seconds, once.
        on_event: told how far the look at the inputs is.
    """
    settings = _loaded(pipeline, jobs, overrides, workers, device)
    choose_device(settings.device)
    with closing(Journal(settings.work, repair=False)) as journal:
        planned = plan_pipeline(settings, journal, stop=Stop(), emit=on_event)
        found = estimate(settings, planned, journal, trial=Trial(trial_key, seconds_a_pixel) if calibrate else None)
        return replace(found, plan=replace(planned, notices=(*journal.notices, *planned.notices)))


@dataclass(frozen=True)
class JobStatus:
    """How far a job is.

    Attributes:
        job: its name.
        done: outputs that are made.
        running: outputs that have been begun and are neither made nor failed.
        failed: outputs that could not be made.
        left: outputs that have not been begun.
        frames: of all its outputs, but for videos that no run has looked at yet.
        frames_done: of these, those that are stylized.
        seconds_left: until all is done; None where it is not known, or no run goes on.
    """

    job: str
    done: int
    running: int
    failed: int
    left: int
    frames: int
    frames_done: int
    seconds_left: float | None


@dataclass(frozen=True)
class Status:
    """How far a pipeline is, as far as its runs have written it down.

    Attributes:
        holder: the run that goes on; None if there is none.
        jobs: in the order of the pipeline.
        failures: reason and place in the log, by path of the output.
        exit_code: of the last run; None if one goes on, was killed, or there was none.
        clips: those that have been begun and are not done, or have failed, by path of the output.
    """

    holder: Holder | None
    jobs: tuple[JobStatus, ...]
    failures: dict[str, str]
    exit_code: int | None
    clips: dict[str, tuple[Entry, ...]] = field(default_factory=dict)


def status(pipeline: str | Path | Pipeline, *, jobs: Sequence[str] = (), overrides: Sequence[str] = ()) -> Status:
    """How far it is, also while a run goes on; changes nothing, and lists inputs but does not decode them.

    See `run` for arguments and errors.
    """
    settings = _loaded(pipeline, jobs, overrides, None, None)
    holder = holder_of(settings.work)
    if not (settings.work / "journal.sqlite").exists():
        nothing = tuple(JobStatus(job.name, 0, 0, 0, 0, 0, 0, None) for job in settings.jobs)
        return Status(holder, nothing, {}, None)
    with closing(Journal(settings.work, read_only=True)) as journal:
        latest = journal.latest_run()
        running = latest if holder is not None and latest is not None and latest.finished_at is None else None
        known = {record.path: record for record in journal.records()}
        standings = {job.name: job_progress(job, known) for job in settings.jobs}
        found = [_job_status(name, standing, journal, running) for name, standing in standings.items()]
        records = [record for standing in standings.values() for record in standing.records]
        failures = {
            record.path: f"{record.reason} ({record.log})" if record.log else record.reason
            for record in records
            if record.state == "failed"
        }
        clips = {
            record.path: begun
            for record in records
            if record.state in ("started", "failed")
            if (begun := tuple(clip for clip in journal.clips(record.path) if clip.state in ("started", "failed")))
        }
    exit_code = latest.exit_code if latest is not None and holder is None else None
    return Status(holder, tuple(found), failures, exit_code, clips)


@dataclass(frozen=True)
class Cleaning:
    """What was found that no output needs any more.

    Attributes:
        leftovers: frames and journals.
        removed: whether they are gone.
    """

    leftovers: tuple[Leftover, ...]
    removed: bool


def clean(
    pipeline: str | Path | Pipeline,
    agrees: Callable[[tuple[Leftover, ...]], bool] = lambda _: True,
    on_event: Emit = _ignore,
) -> Cleaning:
    """Remove what waits in the work folder and is needed no more; see `run` for errors.

    Args:
        pipeline: a pipeline.yaml's path, or a pipeline already loaded.
        agrees: asked with what was found; whether it is to go.
        on_event: told how far the look at the inputs is.
    """
    settings = _loaded(pipeline, (), (), None, None)
    if not settings.work.is_dir():
        agrees(())
        return Cleaning((), removed=False)
    with locked(settings.work), closing(Journal(settings.work)) as journal:
        found = find_leftovers(settings.work, plan_pipeline(settings, journal, stop=Stop(), emit=on_event), journal)
        removed = agrees(found)
        for leftover in found if removed else ():
            try:
                remove(leftover)
            except OSError as error:
                raise OutputError(f"{leftover.path} cannot be removed: {error.strerror}.", "Remove it yourself.") from error
    return Cleaning(found, removed)


def report(
    pipeline: str | Path | Pipeline, *, jobs: Sequence[str] = (), overrides: Sequence[str] = (), output: Path | None = None
) -> Path:
    """Write the report of the latest run again; see `run` for the other arguments and errors.

    Args:
        pipeline: a pipeline.yaml's path, or a pipeline already loaded.
        jobs: names of the jobs to tell of; all of them if empty.
        overrides: ``key.path=value``, as for ``--set``.
        output: where; None for ``report.html`` in the work folder.

    Returns:
        Where it is.

    Raises:
        InputError: no run has begun yet.
        OutputError: it cannot be written.
    """
    settings = _loaded(pipeline, jobs, overrides, None, None)
    if not (settings.work / "journal.sqlite").exists():
        raise InputError(f"{settings.work} knows of no run yet.", "`nstpipe run` writes a report at its end.")
    path = output if output is not None else settings.work / REPORT_NAME
    with closing(Journal(settings.work, read_only=True)) as journal:
        write_report(settings, journal, path)
    return path


def _job_status(job: str, standing: JobProgress, journal: Journal, running: LatestRun | None) -> JobStatus:
    states = [record.state for record in standing.records]
    done = [
        record.frames if record.state == "done" else min(record.frames, journal.frames_of(record.input, record.job))
        for record in standing.records
    ]
    seconds_left = None
    if running is not None and job in running.jobs:
        pace = running.jobs[job]
        frames_left, work_left = pace.planned.frames_left - pace.frames, pace.planned.work_left - pace.work
        forecast = Forecast(pace.planned.frames, frames_left, work_left, pace.planned.workers, pace.seconds, pace.work)
        left = forecast.seconds_left()
        seconds_left = None if left is None else max(0.0, left)
    return JobStatus(
        job=job,
        done=states.count("done"),
        running=states.count("started"),
        failed=states.count("failed"),
        left=states.count("planned") + len(standing.unknown),
        frames=sum(record.frames for record in standing.records) + sum(not file.is_video for file in standing.unknown),
        frames_done=sum(done),
        seconds_left=seconds_left,
    )


def _loaded(
    pipeline: str | Path | Pipeline, jobs: Sequence[str], overrides: Sequence[str], workers: int | None, device: str | None
) -> Pipeline:
    if device is not None and not re.match(DEVICE_PATTERN, device):
        raise UsageError(f"--device: found {device or 'nothing'}; should be auto, cpu, cuda or cuda:N.")
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"--workers: found {workers}; should be 1 to {MOST_WORKERS}.")
    given = {name: value for name, value in {"workers": workers, "device": device}.items() if value is not None}
    if isinstance(pipeline, Pipeline):
        if overrides:
            raise UsageError(f"overrides: found {overrides[0]}; a loaded pipeline has its values: override while it is loaded.")
        loaded = pipeline.model_copy(update=given)
    else:
        loaded = load_pipeline(Path(pipeline), [*overrides, *(f"{name}={value}" for name, value in given.items())])
    known = [job.name for job in loaded.jobs]
    for name in jobs:
        if name not in known:
            raise UsageError(f"--job {name}: there is no such job; the file has {', '.join(known)}.")
    limit_megapixels(loaded.max_megapixels)
    chosen = tuple(job for job in loaded.jobs if not jobs or job.name in jobs)
    return loaded.model_copy(update={"jobs": chosen})


def stylize(
    content: Image.Image,
    style: Image.Image | Sequence[Image.Image],
    *,
    size: int | str = 512,
    strength: float = 1.0,
    scale: float = 1.0,
    color: Color = "style",
    iterations: int = 200,
    init: str = "matched",
    weights: str | Path = "bundled",
    device: str = "auto",
    seed: int = 0,
    on_progress: Callable[[int, float], None] | None = None,
) -> Image.Image:
    """Repaint one picture.

    Args:
        content: what to repaint; any mode, turned upright by its EXIF.
        style: the painting, or several of equal weight.
        size: longest side of the result in pixels, or ``native``.
        strength: 1.0 is the tuned default; more is more style.
        scale: size of the brush strokes relative to the picture.
        color: whose colors the result has: style, content, or matched (the painting takes the content's first).
        iterations: at most; it stops earlier when nothing changes any more.
        init: matched, content, noise or blank.
        weights: bundled, torchvision or a path.
        device: auto, cpu, cuda or cuda:N.
        seed: of the noise.
        on_progress: called with the iterations done and the loss.

    Returns:
        A picture in RGB.

    Raises:
        UsageError: an argument has a value that a pipeline.yaml may not have, or there is no style.
        ItemError: the picture is too small for VGG19 at this size.
        MachineError: weights or device are missing.
    """
    styles = [style] if isinstance(style, Image.Image) else list(style)
    if not all(isinstance(picture, Image.Image) for picture in (content, *styles)):
        raise UsageError("stylize: content and style should be pictures of PIL, as PIL.Image.open gives them.")
    if not styles:
        raise UsageError("stylize: style is empty; give one picture or more.")
    if init not in ("matched", "content", "noise", "blank"):
        raise UsageError(f"stylize: found init={init!r}; allowed are matched, content, noise and blank.")
    settings, job = _settings_of(
        style={"strength": strength, "scale": scale},
        iterations=iterations,
        color=color,
        size=size,
        weights=str(weights),
        device=device,
        seed=seed,
    )
    engine = Engine(
        engine_settings(job, RunSettings.of(settings)),
        [StylePicture(np.asarray(picture.convert("RGB")), 1.0) for picture in styles],
    )
    pixels = np.asarray(ImageOps.exif_transpose(content).convert("RGB"))
    pixels = resized(pixels, working_size((pixels.shape[1], pixels.shape[0]), job.size))
    original = tensor_of(pixels)
    stylizer = engine.stylizer(original)
    seen = stylizer.seen(original)
    start = stylizer.first_start(seen, init, settings.seed)
    result = start
    steps = stylizer.stylize(
        seen,
        start,
        optimizer=job.optimizer.name,
        most=job.optimizer.first,
        tolerance=job.optimizer.tolerance,
        scales=scale_count(job.scales, (pixels.shape[1], pixels.shape[0])),
    )
    for iterate in steps:
        result = iterate.image
        if on_progress is not None:
            on_progress(iterate.evaluations, iterate.loss)
    return Image.fromarray(pixels_of(stylizer.shown(result.cpu(), original)))


def _settings_of(*, style: dict[str, Any], iterations: int, color: str, size: int | str, **top: Any) -> tuple[Pipeline, Job]:
    """The arguments of `stylize`, held to what a pipeline.yaml may say.

    Raises:
        UsageError: one of them has a value that it may not have.
    """
    job = {"style": {"images": ["style"], **style}, "optimizer": {"first": iterations}, "color": color, "size": size}
    named = {"name": "stylize", "input": "content", "output": "result", **job}
    pipeline, problems = validated(Located.of({"version": 1, "jobs": [named], **top}), {"folder": Path()})
    if problems or pipeline is None:
        said = (f"{problem.key.rpartition('.')[2]}: {problem.message}" for problem in problems)
        raise UsageError(f"stylize: {'; '.join(said).replace('first:', 'iterations:')}.")
    return pipeline, pipeline.jobs[0]


__all__ = [
    "Cleaning",
    "Estimate",
    "JobStatus",
    "Leftover",
    "Plan",
    "RunResult",
    "Status",
    "Validation",
    "check",
    "clean",
    "estimated",
    "plan",
    "report",
    "run",
    "status",
    "stylize",
    "validate",
]
