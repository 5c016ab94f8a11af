"""What the commands do, for Python: check, plan, run, and stylise one picture."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import get_args

import joblib
import numpy as np
from PIL import Image, ImageOps

from nstpipe.clip import ClipResult, ClipTask, clear_frames, failed, finish_output, frames_done, is_unchanged, run_clip
from nstpipe.config import Job, Pipeline, load_pipeline
from nstpipe.config.models import Color, Optimizer, Style
from nstpipe.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_SOME_FAILED,
    EXIT_STOPPED,
    EXIT_TERMINATED,
    BusyError,
    DiskFullError,
    InputError,
    ItemError,
    OutputError,
    UsageError,
)
from nstpipe.events import (
    ClipStarted,
    Emit,
    Event,
    FrameDone,
    ItemFailed,
    JobPlanned,
    Noticed,
    OutputDone,
    RunFinished,
    TriedAgain,
)
from nstpipe.execute import execute
from nstpipe.files import Holder, ensure_writable, free_bytes, holder_of, locked, state_of
from nstpipe.journal import Journal, LatestRun
from nstpipe.media.frame import in_eight_bits, resized, working_size
from nstpipe.media.framestore import DamagedFramesError, stored_bytes
from nstpipe.media.inputs import InputFile, find_inputs
from nstpipe.media.pictures import limit_megapixels, picture_size, read_picture
from nstpipe.media.video import (
    SURVEY_VERSION,
    Loss,
    Survey,
    VideoInfo,
    VideoSource,
    bits_of,
    left_behind,
    probe,
    survey,
    surveyed,
    try_output,
)
from nstpipe.motion.shots import DETECTOR_VERSION, shot_starts
from nstpipe.plan import Found, Output, plan_job
from nstpipe.report.forecast import Forecast
from nstpipe.report.log import RunLog
from nstpipe.stop import Stop, Stopped, StopReason
from nstpipe.style.device import choose_device
from nstpipe.style.engine import Engine, EngineSettings, StylePicture, pixels_of, tensor_of
from nstpipe.style.weights import load_weights, weights_sha256

LARGEST_RATE_DENOMINATOR = 1001
"""Of the common rates: 30000/1001 and its kin."""

KILLS_TOLERATED = 2
"""In a row, without a frame between them: who kills its worker a third time would do so all night."""

LOCK_POLL_SECONDS = 0.5

_EXIT_CODES = {
    StopReason.INTERRUPTED: EXIT_INTERRUPTED,
    StopReason.TERMINATED: EXIT_TERMINATED,
    StopReason.TIME: EXIT_STOPPED,
    StopReason.FAILURE: EXIT_SOME_FAILED,
    StopReason.NO_OUTPUT: OutputError.exit_code,
}

CORES_A_WORKER = 8
"""On a CPU one frame's optimisation keeps about so many cores busy; more cores are better spent on more clips."""


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Attributes:
        exit_code: 0 all done, 2 finished but some inputs failed, 75 stopped in time with work left, 130 or 143 stopped by
            a signal.
        outputs: made in this run.
        already_done: outputs that an earlier run had finished.
        failures: pictures and videos that could not be done, with the reasons.
        seconds: that the run took.
        stopped: why it ended before all was done; None if it did not.
    """

    exit_code: int
    outputs: tuple[OutputDone, ...]
    already_done: tuple[Path, ...]
    failures: tuple[ItemFailed, ...]
    seconds: float
    stopped: StopReason | None = None


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        outputs: done and not done, in the order of the pipeline.
        failures: inputs that cannot be used.
        bytes_needed: on the disk of the work folder, for frames that wait to be encoded.
        bytes_free: there.
        notices: of the journal.
    """

    outputs: tuple[Output, ...]
    failures: tuple[ItemFailed, ...]
    bytes_needed: int = 0
    bytes_free: int = 0
    notices: tuple[str, ...] = ()


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
    choose_device(settings.device)
    load_weights(settings.weights)
    stop = stop or Stop()
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    with ExitStack() as stack:
        _take_lock(stack, settings, wait, stop, on_event)
        journal = stack.enter_context(closing(Journal(settings.work)))
        log = stack.enter_context(RunLog(settings.work, name))
        return _Run(settings, journal, log, name, stop, on_event).result(retry_failed=retry_failed, fail_fast=fail_fast)


def _take_lock(stack: ExitStack, pipeline: Pipeline, wait: bool, stop: Stop, on_event: Emit) -> None:
    said = False
    while True:
        try:
            stack.enter_context(locked(pipeline.work))
        except BusyError as error:
            if not wait or stop.before():
                raise
            if not said:
                on_event(Noticed(job=pipeline.jobs[0].name, message=f"waiting: {error.problem}"))
            said = True
            time.sleep(LOCK_POLL_SECONDS)
        else:
            return


class _Run:
    """One run, from its plan to its end."""

    def __init__(self, settings: Pipeline, journal: Journal, log: RunLog, name: str, stop: Stop, on_event: Emit) -> None:
        self._settings = settings
        self._journal = journal
        self._log = log
        self._name = name
        self._stop = stop
        self._on_event = on_event
        self._began = time.monotonic()
        self._made: list[OutputDone] = []
        self._failures: list[ItemFailed] = []
        self._error: OutputError | None = None
        self._kills: dict[tuple[str, int], int] = {}
        self._by_input: dict[tuple[str, str], Output] = {}

    def emit(self, event: Event) -> None:
        """Write an event down, then tell whoever listens."""
        self._log(event)
        try:
            if isinstance(event, FrameDone):
                self._kills.pop((event.path, event.first_frame_index), None)
                self._journal.record_frame(self._name, event)
            elif isinstance(event, ClipStarted):
                self._journal.record_start(self._by_input[event.job, event.path].path, event.first_frame_index)
        except OutputError as error:
            self._give_up(error)
        self._on_event(event)

    def _fail(self, failure: ItemFailed, output: Output | None = None) -> None:
        """Write a failure down.

        Args:
            failure: what, and why.
            output: what was tried; None where it is so cheap to try that the next run shall do so unasked.
        """
        if output is not None:
            before = output.failed_before.attempts if output.failed_before is not None else 0
            failure = replace(failure, attempts=before + failure.attempts)
        self._failures.append(failure)
        self.emit(failure)
        if failure.tried_now:
            # What went wrong with an input that has changed since says nothing about what was planned.
            known = output is not None and is_unchanged(output.found)
            fingerprint, described = (output.fingerprint, output.described) if output is not None and known else ("", {})
            self._journal.record_failure(failure, fingerprint, described, self._log.place)

    def result(self, *, retry_failed: bool, fail_fast: bool) -> RunResult:
        """Do it.

        Raises:
            InputError: no input at all could be used.
            OutputError: an output or the work folder cannot be written.
        """
        settings = self._settings
        for notice in self._journal.notices:
            self.emit(Noticed(job=settings.jobs[0].name, message=notice))
        plan = _plan(settings, self._journal)
        for failure in plan.failures:
            self._fail(failure)
        if not plan.outputs:
            raise InputError("nothing usable in the inputs.", "See the reasons above.")
        todo = self._to_do(plan, retry_failed=retry_failed)
        if fail_fast and self._failures:
            self._stop.ask(StopReason.FAILURE)
        self._begin(plan, todo)
        with self._stop.heeded():
            self._do(todo, fail_fast=fail_fast)
        return self._finished(plan, todo)

    def _to_do(self, plan: Plan, *, retry_failed: bool) -> list[Output]:
        for output in plan.outputs:
            if output.is_done:
                clear_frames(self._settings.work, output)  # it was killed between its name and this
        wanted = [output for output in plan.outputs if not output.is_done]
        for folder in {output.path.parent for output in wanted}:
            ensure_writable(folder)
        if not retry_failed:
            for output in wanted:
                if output.failed_before is not None:
                    self._fail(_failed_before(output))
            wanted = [output for output in wanted if output.failed_before is None]
        todo = []
        for output in wanted:
            failure = _encode_failure(self._settings, output)
            if failure is None:
                todo.append(output)
            else:
                self._fail(failure)
        return todo

    def _begin(self, plan: Plan, todo: Sequence[Output]) -> None:
        settings = self._settings
        needed, free = _bytes_needed(todo, settings), free_bytes(settings.work)
        if needed > free:
            raise _too_full(settings.work, needed, free)
        self._by_input = {(output.job.name, str(output.found.file.path)): output for output in todo}
        for output in todo:
            bounds = [(clip.first_frame_index, clip.end_frame_index) for clip in output.clips]
            self._journal.record_plan(
                output.path, output.job.name, output.found.file.path, output.fingerprint, output.described, bounds
            )
        planned = [_job_planned(job, plan, todo, settings.work) for job in settings.jobs]
        self._journal.begin_run(self._name, _workers(settings), planned)
        for job in planned:
            self.emit(job)
        # What decodes of a damaged video is done; that something is missing is said all the same, in every run.
        for output in plan.outputs:
            if output.is_done or output in todo:
                for loss in _losses(output):
                    self._fail(loss)
        for output in todo:
            for notice in _notices(output):
                self.emit(notice)

    def _do(self, todo: Sequence[Output], *, fail_fast: bool) -> None:
        """Stylise the clips of all outputs; each output is finished as soon as its last clip is."""
        settings = self._settings
        tasks = [task for output in todo for task in _tasks(output, settings)]
        while tasks:
            again: list[ClipTask] = []
            clips_left: dict[Path, int] = {}
            for task in tasks:
                clips_left[task.output.path] = clips_left.get(task.output.path, 0) + 1
            failed_outputs: set[Path] = set()
            for result in execute(
                run_clip, tasks, workers=_workers(settings), emit=self.emit, stop=self._stop, on_killed=self._killed
            ):
                output = result.task.output
                if result.error is not None:
                    self._give_up(result.error)
                elif result.failure is not None and output.path not in failed_outputs:
                    failed_outputs.add(output.path)
                    self._fail(result.failure, output)
                    if fail_fast:
                        self._stop.ask(StopReason.FAILURE)
                elif result.failure is None and not result.stopped:
                    clips_left[output.path] -= 1
                if clips_left[output.path] == 0 and not self._finish(output):
                    again += _tasks(output, settings)
                if fail_fast and self._failures:
                    self._stop.ask(StopReason.FAILURE)
            tasks = again if self._stop.reason is None else []

    def _finish(self, output: Output) -> bool:
        """Make an output of its frames; False if some of them were damaged and must be made again."""
        try:
            done = finish_output(output, self._settings.work, self.emit, self._stop)
            if isinstance(done, ItemFailed):
                self._fail(done, output)
                return True
            self._journal.record_done(done, output.described)
        except Stopped:
            return True
        except DamagedFramesError as error:
            self.emit(Noticed(job=output.job.name, message=error.problem))
            return False
        except OutputError as error:
            self._give_up(error)
            return True
        clear_frames(self._settings.work, output)
        self._made.append(done)
        self.emit(done)
        return True

    def _give_up(self, error: OutputError) -> None:
        """Results cannot be written: end, but let the frames in hand be finished."""
        self._error = self._error or error
        self._stop.ask(StopReason.NO_OUTPUT)

    def _killed(self, task: ClipTask, exit_code: int, /) -> ClipResult | None:
        """What to do about a clip whose worker was killed: try again, unless that has brought nothing several times."""
        path, first = str(task.output.found.file.path), task.clip.first_frame_index
        kills = self._kills.get((path, first), 0) + 1
        self._kills[path, first] = kills
        reason = f"its worker process was killed (exit code {exit_code}), most likely because memory ran out"
        if kills <= KILLS_TOLERATED:
            self.emit(TriedAgain(job=task.output.job.name, path=path, reason=reason, attempt=kills, wait_seconds=0.0))
            return None
        stored = frames_done(task.work, task.clip)
        error = ItemError(
            f"{path}, frame {first + stored + 1}: {reason}; {kills} times in a row.",
            "Give a smaller size or fewer --workers, then --retry-failed.",
        )
        return ClipResult(task, replace(failed(task.output.job, Path(path), error, task.output), attempts=kills))

    def _finished(self, plan: Plan, todo: Sequence[Output]) -> RunResult:
        already_done = tuple(output.path for output in plan.outputs if output.is_done)
        tried = {failure.output for failure in self._failures}
        made = {done.output for done in self._made}
        left = [output for output in todo if str(output.path) not in made | tried]
        stopped = self._stop.reason if left else None
        nothing = not self._made and not already_done
        exit_code = EXIT_SOME_FAILED if self._failures else EXIT_DONE
        if stopped is not None:
            exit_code = _EXIT_CODES[stopped]
        elif self._failures and nothing:
            exit_code = InputError.exit_code
        if self._error is not None:
            with suppress(OutputError):
                self._journal.end_run(self._name, self._error.exit_code)
            raise self._explained(self._error, left)
        self._journal.end_run(self._name, exit_code)
        if stopped is None and self._failures and nothing:
            raise InputError("nothing could be made of the inputs.", "See the reasons above.")
        finished = RunFinished(
            exit_code=exit_code,
            outputs_made=len(self._made),
            outputs_already_done=len(already_done),
            items_failed=len(self._failures),
            seconds=time.monotonic() - self._began,
            outputs_left=len(left),
            stopped=stopped.value if stopped is not None else "",
        )
        self.emit(finished)
        return RunResult(exit_code, tuple(self._made), already_done, tuple(self._failures), finished.seconds, stopped)

    def _explained(self, error: OutputError, left: Sequence[Output]) -> OutputError:
        if not isinstance(error, DiskFullError):
            return error
        needed, free = _bytes_needed(left, self._settings), free_bytes(self._settings.work)
        return DiskFullError(
            f"{error.problem} About {as_megabytes(needed)} are needed for the frames still to be done in "
            f"{self._settings.work}, {as_megabytes(free)} are free.",
            "Free some space and run again: what is finished is kept, and it goes on from there.",
        )


def _tasks(output: Output, pipeline: Pipeline) -> list[ClipTask]:
    return [
        ClipTask(
            output,
            clip,
            pipeline.work,
            pipeline.device,
            pipeline.precision,
            pipeline.weights,
            pipeline.seed,
            pipeline.max_megapixels,
        )
        for clip in output.clips
    ]


def _failed_before(output: Output) -> ItemFailed:
    record = output.failed_before
    assert record is not None
    return ItemFailed(
        job=output.job.name,
        path=str(output.found.file.path),
        reason=record.reason,
        next_step="It failed so before, and nothing has changed since; --retry-failed tries it again.",
        output=str(output.path),
        attempts=record.attempts,
        tried_now=False,
    )


def _bytes_needed(outputs: Sequence[Output], pipeline: Pipeline) -> int:
    """On the disk of the work folder: as many videos at a time as there are workers wait to be encoded."""
    needed = [
        sum(
            stored_bytes(clip.frame_count - frames_done(pipeline.work, clip), output.size, _bits_of(output))
            for clip in output.clips
        )
        for output in outputs
        if output.found.video is not None
    ]
    return sum(sorted(needed, reverse=True)[: _workers(pipeline)])


def _bits_of(output: Output) -> int:
    video = output.found.video
    return 8 if video is None else bits_of(output.job.encode, video, output.path)


def as_megabytes(count: int) -> str:
    """A number of bytes for people, such as ``1.5 MB``."""
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _too_full(work: Path, needed: int, free: int) -> DiskFullError:
    return DiskFullError(
        f"{work} has {as_megabytes(free)} free; frames that wait there to be encoded need about {as_megabytes(needed)}.",
        "Free some space, give a `work` folder on another disk, fewer --workers or a smaller size.",
    )


def check(pipeline: str | Path | Pipeline, *, overrides: Sequence[str] = ()) -> tuple[int, tuple[ItemFailed, ...]]:
    """Open every input to the end of its head, and every picture to its last line; write nothing.

    Args:
        pipeline: a pipeline.yaml's path, or a pipeline already loaded.
        overrides: ``key.path=value``, as for ``--set``.

    Returns:
        How many inputs can be used, and what is wrong with the others.

    Raises:
        ConfigError: the YAML is wrong.
    """
    usable = 0
    failures: list[ItemFailed] = []
    for job in _loaded(pipeline, (), overrides, None, None).jobs:
        try:
            for path, key in _pictures_of(job):
                _check_picture(path, key)
            files = find_inputs(job)
        except ItemError as error:
            failures.append(failed(job, job.input, error))
            continue
        for file in files:
            try:
                video = _opened(file, job)
                failures += [_damaged(job, video, video.loss)] if video is not None and video.loss is not None else []
                usable += 1
            except ItemError as error:
                failures.append(failed(job, file.path, error))
    return usable, tuple(failures)


def _opened(file: InputFile, job: Job) -> VideoInfo | None:
    if file.problem:
        raise ItemError(file.problem)
    if file.is_video:
        return probe(file.path, _rate_of(job))
    read_picture(file.path)
    return None


def plan(pipeline: str | Path | Pipeline, *, jobs: Sequence[str] = (), overrides: Sequence[str] = ()) -> Plan:
    """What `run` would do, with the reasons; see `run` for arguments and errors."""
    settings = _loaded(pipeline, jobs, overrides, None, None)
    with closing(Journal(settings.work, repair=False)) as journal:
        planned = _plan(settings, journal)
        return replace(planned, notices=tuple(journal.notices))


@dataclass(frozen=True)
class JobStatus:
    """How far a job is.

    Attributes:
        job: its name.
        done: outputs that are made.
        running: outputs that have been begun and are neither made nor failed.
        failed: outputs that could not be made.
        left: outputs that have not been begun.
        frames: of all its outputs.
        frames_done: of these, those that are stylised.
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
    """

    holder: Holder | None
    jobs: tuple[JobStatus, ...]
    failures: dict[str, str]
    exit_code: int | None


def status(pipeline: str | Path | Pipeline, *, jobs: Sequence[str] = (), overrides: Sequence[str] = ()) -> Status:
    """How far it is, also while a run goes on; changes nothing and opens no input. See `run` for arguments and errors."""
    settings = _loaded(pipeline, jobs, overrides, None, None)
    holder = holder_of(settings.work)
    if not (settings.work / "journal.sqlite").exists():
        nothing = tuple(JobStatus(job.name, 0, 0, 0, 0, 0, 0, None) for job in settings.jobs)
        return Status(holder, nothing, {}, None)
    with closing(Journal(settings.work, read_only=True)) as journal:
        latest = journal.latest_run()
        running = latest if holder is not None and latest is not None and latest.finished_at is None else None
        found = [_job_status(job.name, journal, running) for job in settings.jobs]
        failures = {
            record.path: f"{record.reason} ({record.log})" if record.log else record.reason
            for record in journal.records()
            if record.state == "failed" and record.job in {job.name for job in settings.jobs}
        }
    return Status(holder, tuple(found), failures, latest.exit_code if latest is not None and holder is None else None)


def _job_status(job: str, journal: Journal, running: LatestRun | None) -> JobStatus:
    records = [record for record in journal.records() if record.job == job]
    states = [record.state for record in records]
    done = [
        record.frames if record.state == "done" else min(record.frames, journal.frames_of(record.input, job))
        for record in records
    ]
    seconds_left = None
    if running is not None and job in running.jobs:
        pace = running.jobs[job]
        frames_left, work_left = pace.planned.frames_left - pace.frames, pace.planned.work_left - pace.work
        forecast = Forecast(pace.planned.frames, frames_left, work_left, pace.seconds, pace.work)
        left = forecast.seconds_left()
        seconds_left = None if left is None else max(0.0, left) / running.workers
    return JobStatus(
        job=job,
        done=states.count("done"),
        running=states.count("started"),
        failed=states.count("failed"),
        left=states.count("planned"),
        frames=sum(record.frames for record in records),
        frames_done=sum(done),
        seconds_left=seconds_left,
    )


def _loaded(
    pipeline: str | Path | Pipeline, jobs: Sequence[str], overrides: Sequence[str], workers: int | None, device: str | None
) -> Pipeline:
    if isinstance(pipeline, Pipeline):
        loaded = pipeline
    else:
        extra = [*([f"workers={workers}"] if workers is not None else []), *([f"device={device}"] if device else [])]
        loaded = load_pipeline(Path(pipeline), [*overrides, *extra])
    known = [job.name for job in loaded.jobs]
    for name in jobs:
        if name not in known:
            raise UsageError(f"--job {name}: there is no such job; the file has {', '.join(known)}.")
    limit_megapixels(loaded.max_megapixels)
    chosen = tuple(job for job in loaded.jobs if not jobs or job.name in jobs)
    return loaded.model_copy(update={"jobs": chosen})


def _plan(pipeline: Pipeline, journal: Journal) -> Plan:
    weights = weights_sha256(pipeline.weights)
    outputs: list[Output] = []
    failures: list[ItemFailed] = []
    taken: dict[Path, InputFile] = {}
    for job in pipeline.jobs:
        try:
            for path, key in _pictures_of(job):
                _check_picture(path, key)
            pictures = {path: journal.digest(path) for path, _ in _pictures_of(job)}
            files = find_inputs(job)
        except ItemError as error:
            failures.append(failed(job, job.input, error))
            continue
        found: list[Found] = []
        for file in files:
            try:
                _see_that_it_is_alone(file, taken)
                found.append(_look(file, job, journal))
            except ItemError as error:
                failures.append(failed(job, file.path, error))
        known = {file.output: record for file in files if (record := journal.record_of(file.output)) is not None}
        outputs += plan_job(
            job,
            found,
            known,
            seed=pipeline.seed,
            weights_sha256=weights,
            picture_sha256=pictures,
            frames_stored=lambda clip: frames_done(pipeline.work, clip),
        )
    todo = [output for output in outputs if not output.is_done]
    return Plan(tuple(outputs), tuple(failures), _bytes_needed(todo, pipeline), free_bytes(pipeline.work))


def _pictures_of(job: Job) -> Iterator[tuple[Path, str]]:
    for index, image in enumerate(job.style.images):
        yield image.path, f"style.images[{index}]"
    if isinstance(job.init, Path):
        yield job.init, "init"


def _check_picture(path: Path, key: str) -> None:
    try:
        read_picture(path)
    except ItemError as error:
        raise ItemError(f"{key}: {error.problem}", error.next_step or "Give the path of a picture.") from error


def _see_that_it_is_alone(file: InputFile, taken: dict[Path, InputFile]) -> None:
    """Two jobs whose folders overlap would write the same file one after the other, in every run."""
    first = taken.setdefault(file.output, file)
    if first is not file:
        raise ItemError(f"output: {first.path} and {file.path} would both be written to {file.output}.", "Give another place.")


def _look(file: InputFile, job: Job, journal: Journal) -> Found:
    if file.problem:
        raise ItemError(file.problem)
    try:
        state = state_of(file.path)  # before its content: what changes from here on is noticed
        stamp = state.size_bytes, state.modified_ns
        sha256 = journal.digest(file.path)
    except OSError as error:
        raise ItemError(f"{file.path} cannot be read: {error.strerror}.") from error
    if not file.is_video:
        return Found(file, sha256, picture_size(file.path), stamp=stamp)
    video = probe(file.path, _rate_of(job))
    kept = journal.cached(f"survey/{SURVEY_VERSION}", sha256, lambda: survey(video).as_json())
    video = surveyed(video, Survey.from_json(kept))
    starts: tuple[int, ...] = (0,)
    if job.shots == "auto":
        found = journal.cached(f"shots/{DETECTOR_VERSION}", sha256, lambda: json.dumps(_shots(video)))
        starts = tuple(json.loads(found))
    return Found(file, sha256, (video.width, video.height), video, starts, stamp)


def _shots(video: VideoInfo) -> tuple[int, ...]:
    frames = VideoSource(video).read(0, len(video.ticks))
    return shot_starts((in_eight_bits(frame.pixels) for frame in frames), video.average_rate)


def _rate_of(job: Job) -> Fraction:
    """Of numbered pictures; a decimal such as 29.97 is not held exactly by a float."""
    return Fraction(job.rate).limit_denominator(LARGEST_RATE_DENOMINATOR)


def _encode_failure(pipeline: Pipeline, output: Output) -> ItemFailed | None:
    """Try the codec, container and sound of a video that will be encoded."""
    if output.found.video is None:
        return None
    job = output.job
    try:
        try_output(
            pipeline.work,
            output.path,
            output.found.video,
            output.size,
            job.encode,
            copy_audio=job.audio == "copy",
            keep_metadata=job.metadata == "keep",
        )
    except ItemError as error:
        return failed(job, output.found.file.path, error, output)
    return None


def _job_planned(job: Job, plan: Plan, todo: Sequence[Output], work: Path) -> JobPlanned:
    outputs = [output for output in plan.outputs if output.job.name == job.name]
    frames_left = work_left = 0
    for output in todo:
        if output.job.name != job.name:
            continue
        for clip in output.clips:
            done = frames_done(work, clip) if output.found.video is not None else 0
            frames_left += clip.frame_count - done
            work_left += output.most_evaluations(clip, done) * output.size[0] * output.size[1]
    return JobPlanned(
        job=job.name,
        outputs=len(outputs),
        outputs_done=sum(output.is_done for output in outputs),
        frames=sum(output.found.frame_count for output in outputs),
        frames_left=frames_left,
        work_left=work_left,
    )


def _losses(output: Output) -> Iterator[ItemFailed]:
    video = output.found.video
    if video is not None and video.loss is not None:
        yield _damaged(output.job, video, video.loss)


def _damaged(job: Job, video: VideoInfo, loss: Loss) -> ItemFailed:
    problem = f"{video.path} is damaged: {loss}. What decodes of it, {len(video.ticks)} frames, is done"
    failure = failed(job, video.path, ItemError(f"{problem}.", "Get the whole file."))
    # Nothing is left to try: the output is made all the same.
    return replace(failure, tried_now=False)


def _notices(output: Output) -> Iterator[Noticed]:
    video = output.found.video
    if video is not None:
        yield from (Noticed(job=output.job.name, message=message) for message in _video_notices(output, video))
    if len(output.clips) > 1:
        at = ", ".join(str(clip.first_frame_index) for clip in output.clips[1:])
        yield Noticed(
            job=output.job.name, message=f"{output.found.file.path.name} has {len(output.clips)} shots; cuts at frame {at}"
        )


def _video_notices(output: Output, video: VideoInfo) -> Iterator[str]:
    name = video.path.name
    if not video.matrix_is_tagged:
        matrix = {"bt709": "BT.709", "smpte170m": "BT.601"}.get(video.matrix, video.matrix)
        yield f"{name} does not say its colour matrix; {matrix} is taken, as players do at its size"
    if video.interlaced:
        yield f"{name} is interlaced; each frame becomes one whole picture (bwdif)"
    if video.hdr is not None:
        yield f"{name} is in {video.hdr}; it is brought to the range of a standard picture in BT.709"
    if video.complaint:
        yield f"{name} has errors, though no frame is missing; some may look damaged. The decoder said: {video.complaint}"
    for sentence in left_behind(video, output.path, copy_audio=output.job.audio == "copy"):
        yield f"{name}: {sentence}"


def _workers(pipeline: Pipeline) -> int:
    if pipeline.workers != "auto":
        return pipeline.workers
    if choose_device(pipeline.device).type != "cpu":
        return 1  # one process fills a GPU; several would share its memory
    return max(1, int(joblib.cpu_count()) // CORES_A_WORKER)


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
        color: whose colours the result has: style, content, or matched (the painting takes the content's first).
        iterations: at most; it stops earlier when nothing changes any more.
        init: matched, content, noise or blank.
        weights: bundled, torchvision or a path.
        device: auto, cpu, cuda or cuda:N.
        seed: of the noise.
        on_progress: called with the iterations done and the loss.

    Returns:
        A picture in RGB.

    Raises:
        UsageError: `init`, `size` or the list of styles is unusable.
        ItemError: the picture is too small for VGG19 at this size.
        MachineError: weights or device are missing.
    """
    styles = [style] if isinstance(style, Image.Image) else list(style)
    if not styles:
        raise UsageError("stylize: style is empty; give one picture or more.")
    if init not in ("matched", "content", "noise", "blank"):
        raise UsageError(f"stylize: found init={init!r}; allowed are matched, content, noise and blank.")
    if color not in get_args(Color):
        raise UsageError(f"stylize: found color={color!r}; allowed are {', '.join(get_args(Color))}.")
    if size != "native" and not isinstance(size, int):
        raise UsageError(f"stylize: found size={size!r}; allowed are a number of pixels and 'native'.")
    style_defaults, optimizer = Style.model_fields["layers"].default, Optimizer(first=iterations)
    engine = Engine(
        EngineSettings(
            weights=weights,
            device=device,
            precision="auto",
            pooling="max",
            padding="replicate",
            content_layers=(("relu4_2", 1.0),),
            style_layers=tuple(style_defaults.items()),
            strength=strength,
            style_scale=scale,
            total_variation=1.0,
            color=color,
        ),
        [StylePicture(np.asarray(picture.convert("RGB")), 1.0) for picture in styles],
    )
    pixels = np.asarray(ImageOps.exif_transpose(content).convert("RGB"))
    pixels = resized(pixels, working_size((pixels.shape[1], pixels.shape[0]), size))
    original = tensor_of(pixels)
    look = engine.look(original)
    seen = look.seen(original)
    start = look.first_start(seen, init, seed)
    result = start
    for iterate in look.stylise(seen, start, optimizer=optimizer.name, most=optimizer.first, tolerance=optimizer.tolerance):
        result = iterate.image
        if on_progress is not None:
            on_progress(iterate.evaluations, iterate.loss)
    return Image.fromarray(pixels_of(look.shown(result.cpu(), original)))


__all__ = ["JobStatus", "Plan", "RunResult", "Status", "check", "plan", "run", "status", "stylize"]
