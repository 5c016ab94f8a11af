"""Makes outputs: runs their clips, and writes each output when its clips are done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.errors import BusyError, DiskFullError, OutputError
from nstpipe.events import Event, ItemFailed, Noticed, OutputDone, TriedAgain
from nstpipe.journal.frames import DamagedFramesError
from nstpipe.journal.journal import Journal
from nstpipe.journal.layers import SHARDS
from nstpipe.journal.placing import Placing
from nstpipe.painting.encode import finish_output
from nstpipe.painting.in_worker import run_clip
from nstpipe.painting.task import ClipResult, ClipTask, RunSettings
from nstpipe.planning.outputs import Output, failed
from nstpipe.planning.partition import Share
from nstpipe.planning.plan import Plan
from nstpipe.planning.planned import PlannedOutputs
from nstpipe.planning.resources import frames_done, worker_count
from nstpipe.running.delivery import Delivery
from nstpipe.running.executor import Executor
from nstpipe.running.finishing import Finishing
from nstpipe.running.kills import Kills
from nstpipe.running.recorder import Recorder
from nstpipe.running.schedule import Schedule, tasks_of
from nstpipe.running.staging import Staging
from nstpipe.running.stored_frames import StoredFrames
from nstpipe.storage.mirror import Mirror
from nstpipe.system.files import stamp_of
from nstpipe.system.lock import locked
from nstpipe.system.stop import Stop, Stopped, StopReason


class OutputMaker:
    """Makes outputs of a plan. It also deletes stored frames that no output needs any more.

    Args:
        pipeline: The settings of the run.
        plan: All outputs of the run.
        journal: Names the outputs of jobs that are not part of the run.
        share: What a shard makes; None for a run that makes everything.
        recorder: Records what happens.
        stop: Asks the run to end.
        executor: Runs the clips.
        mirror: The remote files; None if there are none.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        plan: Plan,
        journal: Journal,
        recorder: Recorder,
        stop: Stop,
        executor: Executor,
        share: Share | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self._journal = journal
        self._partners = _Partners(pipeline, journal, share) if share is not None else None
        self._pipeline = pipeline
        self._recorder = recorder
        self._stop = stop
        self._executor = executor
        self._mirror = mirror
        self._delivery = Delivery(mirror, recorder, stop)
        self._kills = Kills()
        stamps = ((output.path, stamp_of(output.path)) for output in plan.outputs.left())
        self._outdated = {path: stamp for path, stamp in stamps if stamp is not None}
        self._frames = StoredFrames(pipeline.work, plan, journal)
        for output in plan.outputs.single():
            if output.is_done:
                self._frames.release(output)  # an earlier run was killed before it could

    def deliver_earlier(self, plan: Plan) -> None:
        """Upload what an earlier run has made and not uploaded."""
        self._delivery.resume(plan)

    def make(self, outputs: PlannedOutputs, *, fail_fast: bool) -> None:
        """Make outputs, until all are made or failed, or the run is asked to stop.

        Args:
            outputs: The outputs to make.
            fail_fast: Whether to stop at the first failure.
        """
        while outputs:
            outputs = self._make_once(outputs, fail_fast=fail_fast)
        self._delivery.finish()

    def _make_once(self, outputs: PlannedOutputs, *, fail_fast: bool) -> PlannedOutputs:
        """Stylize all clips, and finish each output after its last clip.

        Returns:
            Outputs whose stored frames were damaged. They must be made again.
        """
        settings = RunSettings.of(self._pipeline)
        schedule = Schedule((tasks_of(output, settings, self._outdated) for output in outputs), self._recorder.expect)
        tasks: Iterable[ClipTask] = schedule.tasks()
        if self._mirror is not None:
            tasks = tuple(tasks)  # jobs with remote folders are planned from one list, so these are no more
        staging = Staging(self._mirror, tasks if isinstance(tasks, tuple) else (), ahead=2 * worker_count(self._pipeline))
        again: list[Output] = []
        with closing(staging), Finishing(self._recorder.emit, self._stop) as finishing:

            def record(*, wait_for_all: bool = False) -> None:
                for output, finished in finishing.ended(wait_for_all=wait_for_all):
                    if not self._record(output, finished.result):
                        again.append(output)
                    staging.end(output.path)
                self._delivery.look()
                if fail_fast and self._recorder.failures:
                    self._stop.ask(StopReason.FAILURE)

            for output, placing in self._painted(schedule, tasks, staging, record):
                if output.elsewhere and self._partners is not None:
                    if not self._finish_shared(output, placing, self._partners):
                        again.append(output)
                    staging.end(output.path)
                elif output.is_video:
                    finishing.begin(output, placing)
                else:  # a picture is written already
                    self._record(output, partial(finish_output, output, placing, self._recorder.emit, self._stop))
                    staging.end(output.path)
            record(wait_for_all=True)
        return PlannedOutputs(again if self._stop.reason is None else ())

    def _painted(
        self, schedule: Schedule, tasks: Iterable[ClipTask], staging: Staging, record: Callable[[], None]
    ) -> Iterator[tuple[Output, Placing]]:
        """Paint the clips, and yield each output after its last clip.

        Args:
            schedule: Says which clips may begin.
            tasks: The clips.
            staging: Their remote files.
            record: Called again and again, to record what has been written meanwhile.
        """
        failed_outputs: set[Path] = set()
        out_of_time = False

        def emit(event: Event) -> None:
            self._kills.observe(event)
            self._recorder.emit(event)
            record()

        for result in self._executor.execute(
            run_clip,
            tasks,
            emit=emit,
            stop=self._stop,
            on_killed=self._after_kill,
            is_ready=lambda task: schedule.is_ready(task) and staging.is_ready(task),
        ):
            task, output = result.task, result.task.output
            schedule.end(task)
            if result.error is not None:
                self._recorder.give_up(result.error)
            elif result.failure is not None:
                if output.path not in failed_outputs:
                    failed_outputs.add(output.path)
                    # An input that was out of reach is tried again, though it has not changed.
                    tried = None if result.unreachable else output
                    self._recorder.fail(result.failure, tried, try_again_unasked=result.try_again_unasked)
                self._recorder.clip_failed(task, result.failure.reason)
            elif result.stopped:
                out_of_time = True
            else:
                self._recorder.clip_done(task)
                if schedule.completes_output(task):
                    yield output, task.placing
            if schedule.is_ended(output.path):
                self._recorder.expect_no_more(output)
                if not schedule.is_complete(output.path):
                    staging.end(output.path)  # else it is still to be written
            record()
        if out_of_time:
            # A worker ends a clip before the deadline if its next frame would not be done by then.
            self._stop.ask(StopReason.TIME)

    def _after_kill(self, task: ClipTask, exit_code: int | None, /) -> ClipResult | None:
        decision = self._kills.after(task, exit_code)
        if isinstance(decision, TriedAgain):
            self._recorder.emit(decision)
            return None
        return decision

    def _finish_shared(self, output: Output, placing: Placing, partners: _Partners) -> bool:
        """Write a video whose clips several shards have made, unless another shard does; see `_record`."""
        with partners.alone_with(output) as waits_for:
            if not waits_for:
                return self._record(output, partial(finish_output, output, placing, self._recorder.emit, self._stop))
            self._recorder.waiting.add(output.path)
            self._recorder.emit(Noticed(job=output.job.name, message=waits_for))
            return True

    def _record(self, output: Output, finish: Callable[[], OutputDone | ItemFailed]) -> bool:
        """Record what has come of writing an output; return False if some frames were damaged and must be made again.

        Args:
            output: The output.
            finish: Returns or raises what `finish_output` does.
        """
        try:
            done = self._file_of(output, finish)
            if isinstance(done, ItemFailed):
                return True
            self._delivery.note_made(output)
            self._recorder.output_done(done, output)
        except Stopped:
            return True
        except DamagedFramesError as error:
            self._recorder.emit(Noticed(job=output.job.name, message=error.problem))
            return False
        except OutputError as error:
            self._recorder.give_up(error)
            return True
        self._frames.release(output)
        self._delivery.deliver(done, output)
        return True

    def _file_of(self, output: Output, finish: Callable[[], OutputDone | ItemFailed]) -> OutputDone | ItemFailed:
        """Make the file of an output; record and return the failure if that cannot be.

        Raises:
            Stopped: a stop was requested.
            DamagedFramesError: stored frames were damaged.
            DiskFullError: there is no room.
        """
        try:
            done = finish()
        except DiskFullError:
            raise
        except OutputError as error:
            # The place of one output is no reason to end the night. Its frames stay, and the next run looks at it again.
            failure = failed(output.job, output.input.file.path, error, output)
            self._recorder.fail(failure, output, try_again_unasked=True)
            return failure
        if isinstance(done, ItemFailed):
            self._recorder.fail(done, output)
        return done


class _Partners:
    """Sees that of the shards that share a video, the one that finishes its last clip makes the file, and no other.

    Args:
        pipeline: The settings of the run.
        journal: The journal of the shard.
        share: What the shard makes.
    """

    def __init__(self, pipeline: Pipeline, journal: Journal, share: Share) -> None:
        self._work = pipeline.work
        self._journal = journal
        partners = share.partition.partners_of(share.shard)
        self._folders = [partner.folder(pipeline.work) for partner in partners]

    @contextmanager
    def alone_with(self, output: Output) -> Iterator[str]:
        """Keep other shards from making the file of an output, if this one is to make it.

        Yields:
            Why this shard does not make it, in words; empty if it does.
        """
        name = hashlib.sha256(str(output.fingerprint).encode()).hexdigest()[:32]
        left = [clip for clip in output.clips if frames_done(self._work, clip) < clip.frame_count]
        if left:
            yield (
                f"{output.input.file.path.name}: the {len(output.own_clips)} shots of this shard are done; "
                f"{len(left)} of {len(output.clips)} are not done yet, and the shard that finishes the last one makes the file"
            )
            return
        try:
            with locked(self._work / SHARDS / "files" / name):
                self._journal.take_over([output.path], self._folders)
                record = self._journal.record_of(output.path)
                if record is not None and record.state == "done" and record.fingerprint == output.fingerprint:
                    yield f"{output.input.file.path.name}: another shard has made {output.path}" if not record.damage else ""
                else:
                    yield ""
        except BusyError:
            yield f"{output.input.file.path.name}: another shard is making {output.path}"
