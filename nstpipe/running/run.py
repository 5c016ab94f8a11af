"""One run, from its plan to its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from nstpipe.config import Pipeline
from nstpipe.errors import InputError, MachineError, NstpipeError, OutputError
from nstpipe.events import Emit, Noticed
from nstpipe.journal.journal import Journal
from nstpipe.journal.log import RunLog
from nstpipe.painting.in_worker import prepare_engine
from nstpipe.painting.task import RunSettings
from nstpipe.planning.inputs import listed_once
from nstpipe.planning.partition import Share
from nstpipe.planning.plan import Plan, plan_pipeline
from nstpipe.planning.planned import NO_OUTPUTS, PlannedOutputs
from nstpipe.planning.provenance import Provenance
from nstpipe.planning.resources import worker_count
from nstpipe.report.page import leave_report
from nstpipe.running.executor import Executor
from nstpipe.running.looks import train_looks
from nstpipe.running.outcome import Outcome, RunResult
from nstpipe.running.output_maker import OutputMaker
from nstpipe.running.preparation import announce, choose_outputs
from nstpipe.running.recorder import Recorder
from nstpipe.running.stored_frames import with_room_needed
from nstpipe.storage.mirror import Mirror
from nstpipe.system.load import LoadMeter
from nstpipe.system.stop import Stop, Stopped, StopReason


class Run:
    """Makes all outputs of a pipeline that are not done yet.

    Args:
        pipeline: The settings.
        journal: The journal of the work folder, whose lock is held.
        log: The log of the run.
        name: The name of the run.
        stop: Asks the run to end.
        on_event: Called with each event.
        executor: Runs the clips.
        unusable: Why the engines of some jobs cannot be used, by the name of the job.
        mirror: The remote files; None if there are none.
        is_prepared: Whether the executor has begun to load what the clips need. Otherwise it does as soon as there is one.
        share: What a shard makes; None for a run that makes everything.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        journal: Journal,
        log: RunLog,
        name: str,
        stop: Stop,
        on_event: Emit,
        executor: Executor,
        unusable: Mapping[str, MachineError],
        mirror: Mirror | None = None,
        *,
        is_prepared: bool,
        share: Share | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._unusable = unusable
        self._journal = journal
        self._name = name
        self._stop = stop
        self._executor = executor
        self._mirror = mirror
        self._is_prepared = is_prepared
        self._share = share
        self._began = time.monotonic()
        self._meter = LoadMeter()
        self._recorder = Recorder(journal, log, name, stop, on_event)

    def execute(self, *, retry_failed: bool, fail_fast: bool) -> RunResult:
        """Make the outputs.

        Args:
            retry_failed: Whether to try inputs again that failed before and have not changed since.
            fail_fast: Whether to stop at the first failure.

        Raises:
            InputError: No input at all could be used.
            OutputError: An output or the work folder cannot be written.
        """
        if (engines := sys.modules.get("nstpipe.painting.engines")) is not None:
            engines.forget_pictures()  # those of an earlier run in this process
        self._recorder.begin(worker_count(self._pipeline), Provenance.of(self._pipeline))
        try:
            return self._execute(retry_failed=retry_failed, fail_fast=fail_fast)
        except NstpipeError as error:
            with suppress(OutputError):
                self._journal.end_run(self._name, error.exit_code, str(error), self._meter.read().share)
            self._leave_report()
            raise

    def _execute(self, *, retry_failed: bool, fail_fast: bool) -> RunResult:
        try:
            with listed_once():
                for message in self._journal.notices:
                    self._recorder.emit(Noticed(job=self._pipeline.jobs[0].name, message=message))
                plan = plan_pipeline(
                    self._pipeline,
                    self._journal,
                    stop=self._stop,
                    emit=self._recorder.emit,
                    unusable=self._unusable,
                    share=self._share,
                )
        except Stopped:
            # The journal keeps what was measured of the inputs, so that the next run gets further.
            return self._end(Plan(NO_OUTPUTS, ()), NO_OUTPUTS)
        self._journal.forget_unplanned([job.name for job in self._pipeline.jobs])
        reasons = {failure.reason for failure in plan.failures}
        if not plan.outputs and plan.unwritable is not None and reasons == {plan.unwritable.problem}:
            raise plan.unwritable  # all go to one folder, say, and one message is enough
        for told in (*plan.ignored, *plan.paintings, *plan.engines, *plan.unshared):
            self._recorder.emit(Noticed(job=told.job, message=told.message))
        for failure in plan.failures:
            self._recorder.fail(failure)
        if not plan.outputs and self._share is not None and not plan.failures:
            return self._end(plan, NO_OUTPUTS)  # there are more shards than clips
        if not plan.outputs:
            raise plan.unwritable or InputError("nothing usable in the inputs.", "See the reasons above.")
        self._prepare(plan)
        with_what = (self._pipeline, plan, self._journal, self._recorder, self._stop, self._executor)
        maker = OutputMaker(*with_what, self._share, self._mirror)
        todo = choose_outputs(plan, self._pipeline, self._recorder, retry_failed=retry_failed)
        if fail_fast and self._recorder.failures:
            self._stop.ask(StopReason.FAILURE)
        self._pipeline = announce(plan, todo, self._pipeline, self._journal, self._recorder)
        self._executor.settle(worker_count(self._pipeline))
        with self._stop.graceful():
            maker.deliver_earlier(plan)
            ready = train_looks(
                self._pipeline,
                plan,
                todo,
                recorder=self._recorder,
                stop=self._stop,
                executor=self._executor,
                mirror=self._mirror,
            )
            if fail_fast and self._recorder.failures:
                self._stop.ask(StopReason.FAILURE)
            maker.make(ready, fail_fast=fail_fast)
        return self._end(plan, todo)

    def _prepare(self, plan: Plan) -> None:
        """Begin to load what the first clip needs, if there is one."""
        first = next((output for output in plan.outputs.left() if output.failed_before is None), None)
        if first is not None and not self._is_prepared:
            self._executor.prepare(prepare_engine, first.job, RunSettings.of(self._pipeline))

    def _end(self, plan: Plan, todo: PlannedOutputs) -> RunResult:
        recorder = self._recorder
        outcome = Outcome.of(
            plan, todo, recorder.made, recorder.failures, self._stop.reason, recorder.unwritable, recorder.waiting
        )
        if self._recorder.error is not None:
            raise with_room_needed(self._recorder.error, outcome.left.single(), self._pipeline)
        exit_code = outcome.exit_code
        seconds = time.monotonic() - self._began
        self._journal.end_run(self._name, exit_code, load_share=self._meter.read().share)
        self._recorder.emit(outcome.as_event(seconds, self._leave_report()))
        return outcome.as_result(seconds)

    def _leave_report(self) -> str:
        """Write the report, and return its path; empty if it cannot be written, which must not cost the run."""
        try:
            with self._stop.graceful():  # a signal must not lose the result that is about to be returned
                folder = self._share.shard.folder(self._pipeline.work) if self._share is not None else None
                path = leave_report(self._pipeline, self._journal, self._name, folder)
        except Exception as error:
            reason = error.problem if isinstance(error, NstpipeError) else f"{type(error).__name__}: {error}"
            message = f"the report could not be written: {reason}"
            self._recorder.emit(Noticed(job=self._pipeline.jobs[0].name, message=message))
            return ""
        return str(path)
