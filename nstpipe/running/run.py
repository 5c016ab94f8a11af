"""One run from its plan to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from nstpipe.config import Job, Pipeline
from nstpipe.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_SOME_FAILED,
    EXIT_STOPPED,
    EXIT_TERMINATED,
    DiskFullError,
    InputError,
    ItemError,
    NstpipeError,
    OutputError,
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
from nstpipe.journal.frames import DamagedFramesError, frame_store
from nstpipe.journal.journal import Journal
from nstpipe.journal.log import RunLog
from nstpipe.media.video.encode import dropped_streams
from nstpipe.media.video.probe import VideoInfo
from nstpipe.painting.clip import ClipResult, run_clip
from nstpipe.painting.encode import finish_output
from nstpipe.painting.engines import forget_pictures
from nstpipe.painting.task import ClipTask, LinkedPicture, RunSettings
from nstpipe.planning.inputs import ignored_settings
from nstpipe.planning.inspect import missing_frames_of
from nstpipe.planning.outputs import Output, clip_fingerprints, failed, is_unchanged
from nstpipe.planning.plan import Plan, plan_pipeline
from nstpipe.planning.provenance import Provenance
from nstpipe.planning.resources import bytes_needed, frames_done, worker_count
from nstpipe.planning.validate import try_encoding
from nstpipe.report.page import REPORT_NAME, write_report
from nstpipe.running.worker_processes import execute
from nstpipe.system.files import as_megabytes, ensure_writable, free_bytes, state_of
from nstpipe.system.stop import Stop, Stopped, StopReason

KILLS_TOLERATED = 2
"""In a row, without a frame between them: who kills its worker a third time would do so all night."""


_EXIT_CODES = {
    StopReason.INTERRUPTED: EXIT_INTERRUPTED,
    StopReason.TERMINATED: EXIT_TERMINATED,
    StopReason.TIME: EXIT_STOPPED,
    StopReason.FAILURE: EXIT_SOME_FAILED,
    StopReason.NO_OUTPUT: OutputError.exit_code,
}


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


class Run:
    """One run, from its plan to its end."""

    def __init__(
        self, settings: Pipeline, journal: Journal, log: RunLog, name: str, stop: Stop, on_event: Emit, *, isolated: bool
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._log = log
        self._name = name
        self._stop = stop
        self._on_event = on_event
        self._isolated = isolated
        self._began = time.monotonic()
        self._made: list[OutputDone] = []
        self._failures: list[ItemFailed] = []
        self._error: OutputError | None = None
        self._kills: dict[tuple[str, str, int], int] = {}
        self._wanted: dict[Path, Output] = {}
        self._wanted_elsewhere: frozenset[str] = frozenset()
        self._by_input: dict[tuple[str, str], Output] = {}
        self._ends: dict[tuple[str, str, int], int] = {}
        self._outdated: dict[Path, tuple[int, int] | None] = {}

    def emit(self, event: Event) -> None:
        """Write an event down, then tell whoever listens."""
        self._log(event)
        try:
            if isinstance(event, FrameDone):
                self._kills.pop((event.job, event.path, event.first_frame_index), None)
                if event.is_final:
                    end = self._ends[event.job, event.path, event.first_frame_index]
                    self._journal.record_frame(self._name, event, end)
            elif isinstance(event, ClipStarted):
                self._ends[event.job, event.path, event.first_frame_index] = event.end_frame_index
                output = self._by_input[event.job, event.path].path
                self._journal.record_start(self._name, output, event.first_frame_index, event.next_frame_index)
            elif isinstance(event, TriedAgain) and event.first_frame_index is not None:
                output = self._by_input[event.job, event.path].path
                first, place = event.first_frame_index, self._log.place
                self._journal.record_attempt(output, first, event.reason, place, given_up=False)
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
            fingerprint, fingerprint_inputs = (
                (output.fingerprint, output.fingerprint_inputs) if output is not None and known else ("", {})
            )
            self._journal.record_failure(failure, fingerprint, fingerprint_inputs, self._log.place)

    def result(self, *, retry_failed: bool, fail_fast: bool) -> RunResult:
        """Do it.

        Raises:
            InputError: no input at all could be used.
            OutputError: an output or the work folder cannot be written.
        """
        settings = self._settings
        forget_pictures()
        self._journal.begin_run(self._name, worker_count(settings), (), Provenance.of(settings).as_json())
        try:
            return self._result(retry_failed=retry_failed, fail_fast=fail_fast)
        except NstpipeError as error:
            with suppress(OutputError):
                self._journal.end_run(self._name, error.exit_code, str(error))
            self._leave_report()
            raise

    def _result(self, *, retry_failed: bool, fail_fast: bool) -> RunResult:
        settings = self._settings
        for notice in self._journal.notices:
            self.emit(Noticed(job=settings.jobs[0].name, message=notice))
        for job in settings.jobs:
            for said in ignored_settings(job):
                self.emit(Noticed(job=job.name, message=said))
        try:
            plan = plan_pipeline(settings, self._journal, stop=self._stop, emit=self.emit)
        except Stopped:
            # What was measured of the inputs is in the journal, and so the next run comes farther.
            return self._finished(Plan((), ()), ())
        self._journal.forget_unplanned([job.name for job in settings.jobs])
        for failure in plan.failures:
            self._fail(failure)
        if not plan.outputs:
            raise InputError("nothing usable in the inputs.", "See the reasons above.")
        self._outdated = {output.path: _stamp(output.path) for output in plan.outputs if not output.is_done}
        todo = self._to_do(plan, retry_failed=retry_failed)
        if fail_fast and self._failures:
            self._stop.ask(StopReason.FAILURE)
        self._begin(plan, todo)
        with self._stop.graceful():
            self._do(todo, fail_fast=fail_fast)
        return self._finished(plan, todo)

    def _to_do(self, plan: Plan, *, retry_failed: bool) -> list[Output]:
        wanted = [output for output in plan.outputs if not output.is_done]
        self._wanted = {output.path: output for output in wanted}
        planned = {str(output.path) for output in plan.outputs}
        self._wanted_elsewhere = frozenset(
            fingerprint
            for record in self._journal.records()
            if record.state != "done" and record.path not in planned
            for fingerprint in clip_fingerprints(record.fingerprint_inputs)
        )
        for output in plan.outputs:
            if output.is_done:
                self._clear_frames(output)  # it was killed between its name and this
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

    def _clear_frames(self, output: Output) -> None:
        """Remove the frames of a finished video, but for those that other outputs wait for, also of jobs left out now."""
        if output.found.video is not None:
            wanted = {clip.fingerprint for other in self._wanted.values() for clip in other.clips}
            for clip in output.clips:
                if clip.fingerprint not in wanted | self._wanted_elsewhere:
                    frame_store(self._settings.work, clip.fingerprint).remove()

    def _begin(self, plan: Plan, todo: Sequence[Output]) -> None:
        settings = self._settings
        needed, free = bytes_needed(todo, settings), free_bytes(settings.work)
        if needed > free:
            raise _too_full(settings.work, needed, free)
        self._by_input = {(output.job.name, str(output.found.file.path)): output for output in todo}
        for output in todo:
            bounds = [(clip.first_frame_index, clip.end_frame_index) for clip in output.clips]
            self._journal.record_plan(
                output.path, output.job.name, output.found.file.path, output.fingerprint, output.fingerprint_inputs, bounds
            )
        planned = [_job_planned(job, plan, todo, settings) for job in settings.jobs]
        self._journal.plan_run(self._name, planned)
        for job in planned:
            self.emit(job)
        # What decodes of a damaged video is done; that something is missing is said all the same, in every run.
        to_do = {output.path for output in todo}
        for output in plan.outputs:
            if output.is_done or output.path in to_do:
                for loss in missing_frames_of(output):
                    self._fail(loss)
        for output in todo:
            for notice in _notices(output):
                self.emit(notice)

    def _do(self, todo: Sequence[Output], *, fail_fast: bool) -> None:
        """Stylize the clips of all outputs; each output is finished as soon as its last clip is."""
        settings = self._settings
        tasks = [task for output in todo for task in _tasks(output, settings, self._outdated)]
        unfinished = {task.output.path for task in tasks}
        while tasks:
            waiting = _by_stored_frames(tasks)

            def is_ready(task: ClipTask, waiting: Mapping[str, Sequence[ClipTask]] = waiting) -> bool:
                # Frames that several outputs share are painted for the first of them; the others find them there.
                if task.output.found.video is not None:
                    return _is_same(waiting[task.clip.fingerprint][0], task)
                return task.linked_picture is None or task.output.linked_output not in unfinished

            again: list[ClipTask] = []
            clips_left: dict[Path, int] = {}
            for task in tasks:
                clips_left[task.output.path] = clips_left.get(task.output.path, 0) + 1
            failed_outputs: set[Path] = set()
            for result in execute(
                run_clip,
                tasks,
                workers=worker_count(settings),
                emit=self.emit,
                stop=self._stop,
                on_killed=self._killed,
                isolated=self._isolated,
                is_ready=is_ready,
            ):
                output = result.task.output
                unfinished.discard(output.path)
                if output.found.video is not None:
                    sharing = waiting[result.task.clip.fingerprint]
                    sharing.remove(next(task for task in sharing if _is_same(task, result.task)))
                if result.error is not None:
                    self._give_up(result.error)
                elif result.failure is not None:
                    if output.path not in failed_outputs:
                        failed_outputs.add(output.path)
                        self._fail(result.failure, output)
                    first, place = result.task.clip.first_frame_index, self._log.place
                    self._journal.record_attempt(output.path, first, result.failure.reason, place, given_up=True)
                elif not result.stopped:
                    clips_left[output.path] -= 1
                    self._journal.record_clip(output.path, result.task.clip.first_frame_index)
                if clips_left[output.path] == 0 and not self._finish(output):
                    again += _tasks(output, settings, self._outdated)
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
            self._journal.record_done(done, output.fingerprint_inputs)
        except Stopped:
            return True
        except DamagedFramesError as error:
            self.emit(Noticed(job=output.job.name, message=error.problem))
            return False
        except OutputError as error:
            self._give_up(error)
            return True
        del self._wanted[output.path]
        self._clear_frames(output)
        self._made.append(done)
        self.emit(done)
        return True

    def _give_up(self, error: OutputError) -> None:
        """Results cannot be written: end, but let the frames in hand be finished."""
        self._error = self._error or error
        self._stop.ask(StopReason.NO_OUTPUT)

    def _killed(self, task: ClipTask, exit_code: int, /) -> ClipResult | None:
        """What to do about a clip whose worker was killed: try again, unless that has brought nothing several times."""
        job, path, first = task.output.job.name, str(task.output.found.file.path), task.clip.first_frame_index
        kills = self._kills.get((job, path, first), 0) + 1
        self._kills[job, path, first] = kills
        reason = f"its worker process was killed (exit code {exit_code}), most likely because memory ran out"
        if kills <= KILLS_TOLERATED:
            again = TriedAgain(job=job, path=path, reason=reason, attempt=kills, wait_seconds=0.0, first_frame_index=first)
            self.emit(again)
            return None
        stored = frames_done(task.run.work, task.clip)
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
        stopped = self._stop.reason if left or not plan.outputs else None
        nothing = not self._made and not already_done
        exit_code = EXIT_SOME_FAILED if self._failures else EXIT_DONE
        if stopped is not None:
            exit_code = _EXIT_CODES[stopped]
        elif self._failures and nothing:
            exit_code = InputError.exit_code
        if self._error is not None:
            raise self._explained(self._error, left)
        if stopped is None and self._failures and nothing:
            raise InputError("nothing could be made of the inputs.", "See the reasons above.")
        seconds = time.monotonic() - self._began
        self._journal.end_run(self._name, exit_code)
        finished = RunFinished(
            exit_code=exit_code,
            outputs_made=len(self._made),
            outputs_already_done=len(already_done),
            items_failed=len(self._failures),
            seconds=seconds,
            outputs_left=len(left),
            stopped=stopped.value if stopped is not None else "",
            report=self._leave_report(),
        )
        self.emit(finished)
        return RunResult(exit_code, tuple(self._made), already_done, tuple(self._failures), finished.seconds, stopped)

    def _leave_report(self) -> str:
        """Write the report; its path, or nothing: it must not cost what it tells of."""
        path = self._settings.work / REPORT_NAME
        try:
            with self._stop.graceful():  # a signal is not to lose the result that is about to be returned
                write_report(self._settings, self._journal, path)
        except Exception as error:
            said = error.problem if isinstance(error, NstpipeError) else f"{type(error).__name__}: {error}"
            self.emit(Noticed(job=self._settings.jobs[0].name, message=f"the report could not be written: {said}"))
            return ""
        return str(path)

    def _explained(self, error: OutputError, left: Sequence[Output]) -> OutputError:
        if not isinstance(error, DiskFullError):
            return error
        needed, free = bytes_needed(left, self._settings), free_bytes(self._settings.work)
        return DiskFullError(
            f"{error.problem} About {as_megabytes(needed)} are needed for the frames still to be done in "
            f"{self._settings.work}, {as_megabytes(free)} are free.",
            "Free some space and run again: what is finished is kept, and it goes on from there.",
        )


def _by_stored_frames(tasks: Sequence[ClipTask]) -> dict[str, list[ClipTask]]:
    """The clips of videos by what names the folder of their frames, in order."""
    found: dict[str, list[ClipTask]] = {}
    for task in tasks:
        if task.output.found.video is not None:
            found.setdefault(task.clip.fingerprint, []).append(task)
    return found


def _is_same(one: ClipTask, other: ClipTask) -> bool:
    """Whether two are one; a result may come back from another process with a copy of its task."""
    return (one.output.path, one.clip.first_frame_index) == (other.output.path, other.clip.first_frame_index)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = state_of(path)
    except OSError:
        return None
    return state.size_bytes, state.modified_ns


def _tasks(output: Output, pipeline: Pipeline, outdated: Mapping[Path, tuple[int, int] | None]) -> list[ClipTask]:
    """What is to be done for an output.

    Args:
        output: to be made.
        pipeline: with the settings of the run.
        outdated: outputs that are not done, with size and time of the files that are there from before.
    """
    before = None
    if output.linked_output is not None and output.found.neighbor is not None:
        before = LinkedPicture(output.found.neighbor.path, output.linked_output, outdated.get(output.linked_output))
    return [
        ClipTask(
            output,
            clip,
            RunSettings.of(pipeline),
            before,
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


def _too_full(work: Path, needed: int, free: int) -> DiskFullError:
    return DiskFullError(
        f"{work} has {as_megabytes(free)} free; frames that wait there to be encoded need about {as_megabytes(needed)}.",
        "Free some space (`nstpipe clean` says what can go there), give a `work` folder on another disk, fewer --workers or a "
        "smaller size.",
    )


def _encode_failure(pipeline: Pipeline, output: Output) -> ItemFailed | None:
    """Try the codec, container and sound of a video that will be encoded."""
    if output.found.video is None:
        return None
    try:
        try_encoding(output.job, output.path, output.found.video, output.size, pipeline.work)
    except ItemError as error:
        return failed(output.job, output.found.file.path, error, output)
    return None


def _job_planned(job: Job, plan: Plan, todo: Sequence[Output], settings: Pipeline) -> JobPlanned:
    outputs = [output for output in plan.outputs if output.job.name == job.name]
    to_do = {output.path for output in todo}
    frames_left = work_left = clips_left = 0
    for output in todo:
        if output.job.name != job.name:
            continue
        for clip in output.clips:
            done = frames_done(settings.work, clip) if output.found.video is not None else 0
            frames_left += clip.frame_count - done
            clips_left += done < clip.frame_count and output.linked_output not in to_do  # a picture waits for the one before it
            work_left += output.most_evaluations(clip, done) * output.size[0] * output.size[1]
    return JobPlanned(
        job=job.name,
        outputs=len(outputs),
        outputs_done=sum(output.is_done for output in outputs),
        frames=sum(output.found.frame_count for output in outputs),
        frames_left=frames_left,
        work_left=work_left,
        workers=max(1, min(worker_count(settings), clips_left)),
    )


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
        yield f"{name} does not say its color matrix; {matrix} is taken, as players do at its size"
    if video.interlaced:
        yield f"{name} is interlaced; each frame becomes one whole picture (bwdif)"
    if video.hdr is not None:
        mastering = f" ({video.mastering})" if video.mastering else ""
        yield f"{name} is in {video.hdr}{mastering}; it is brought to the range of a standard picture in BT.709"
    if video.complaint:
        yield f"{name} has errors, though no frame is missing; some may look damaged. The decoder said: {video.complaint}"
    for sentence in dropped_streams(video, output.path, copy_audio=output.job.audio == "copy"):
        yield f"{name}: {sentence}"
