"""Records what happens in a run: in the log, in the journal, and for the listener."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nstpipe.errors import OutputError
from nstpipe.events import ClipStarted, Emit, Event, FrameDone, ItemFailed, JobPlanned, OutputDone, TriedAgain
from nstpipe.journal.journal import Journal
from nstpipe.journal.log import RunLog
from nstpipe.journal.runs import PACE_SETUPS
from nstpipe.painting.task import ClipTask
from nstpipe.planning.input_info import is_unchanged
from nstpipe.planning.outputs import Output
from nstpipe.planning.provenance import Provenance
from nstpipe.running.made import Made
from nstpipe.system.stop import Stop, StopReason


class Recorder:
    """Records the events and failures of one run. Only the process that holds the work folder's lock has one.

    Args:
        journal: The journal of the work folder.
        log: The log of the run.
        run: The name of the run.
        stop: Asked to stop if nothing can be written any more.
        on_event: Called with each event after it was recorded.

    Attributes:
        made: Outputs made so far.
        failures: Failures so far.
        error: The first error that kept everything from being written; None if there was none.
        waiting: Outputs of which this shard has made its clips, and others have not.
        unwritable: Why the first of the outputs that could not be written could not; None if all could.
    """

    def __init__(self, journal: Journal, log: RunLog, run: str, stop: Stop, on_event: Emit) -> None:
        self._journal = journal
        self._log = log
        self._run = run
        self._stop = stop
        self._on_event = on_event
        self._under_way: dict[tuple[str, str], Output] = {}
        self._clip_ends: dict[tuple[str, str, int], int] = {}
        self._about: Provenance | None = None
        self._setups: Mapping[str, Any] = {}
        self.made = Made()
        self.failures: list[ItemFailed] = []
        self.waiting: set[Path] = set()
        self.error: OutputError | None = None
        self.unwritable: OutputError | None = None

    def begin(self, workers: int, about: Provenance) -> None:
        """Record that the run goes on.

        Args:
            workers: The number of processes, as far as it is known.
            about: What is known of the run. The first clip adds what it is painted with.
        """
        self._about = about
        self._journal.begin_run(self._run, workers, (), about.as_json())

    def plan(
        self, outputs: Iterable[Output], jobs: Sequence[JobPlanned], workers: int, setups: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Record the outputs that the run will make, and tell of the jobs.

        Args:
            outputs: The outputs.
            jobs: The events that tell of the jobs.
            workers: The number of processes.
            setups: What the pace of each job depends on.
        """
        self._setups = {PACE_SETUPS: setups}
        with self._journal.at_once():
            for output in outputs:
                bounds = [(clip.first_frame_index, clip.end_frame_index) for clip in output.clips]
                self._journal.record_plan(
                    output.path, output.job.name, output.input.file.path, output.fingerprint, output.fingerprint_inputs, bounds
                )
        self._journal.plan_run(self._run, jobs, workers)
        for job in jobs:
            self.emit(job)

    def expect(self, output: Output) -> None:
        """Expect events of the clips of an output, which begin."""
        self._under_way[_key(output)] = output

    def expect_no_more(self, output: Output) -> None:
        """Expect no events of an output any more: all its clips have ended."""
        self._under_way.pop(_key(output), None)
        for clip in output.clips:
            self._clip_ends.pop((*_key(output), clip.first_frame_index), None)

    def emit(self, event: Event) -> None:
        """Record an event, then pass it to the listener."""
        self._log(event)
        try:
            self._record(event)
        except OutputError as error:
            self.give_up(error)
        self._on_event(event)

    def _record(self, event: Event) -> None:
        if isinstance(event, FrameDone) and event.is_final:
            end = self._clip_ends[event.job, event.path, event.first_frame_index]
            self._journal.record_frame(self._run, event, end)
        elif isinstance(event, ClipStarted):
            self._clip_ends[event.job, event.path, event.first_frame_index] = event.end_frame_index
            output = self._under_way[event.job, event.path].path
            self._journal.record_start(self._run, output, event.first_frame_index, event.next_frame_index)
            if self._about is not None:
                self._journal.describe_run(self._run, {**self._about.with_engine(event).as_json(), **self._setups})
                self._about = None
        elif isinstance(event, TriedAgain) and event.first_frame_index is not None:
            output, first = self._under_way[event.job, event.path].path, event.first_frame_index
            self._journal.record_attempt(output, first, event.reason, self._log.place, given_up=False)

    def fail(self, failure: ItemFailed, output: Output | None = None, *, try_again_unasked: bool = False) -> None:
        """Record a failure.

        Args:
            failure: What failed, and why.
            output: The output that was tried; None if it failed before it was.
            try_again_unasked: Whether it is the place of the output that failed. The next run tries again, though nothing about
                the input or the settings has changed.
        """
        if output is not None and output.failed_before is not None:
            failure = replace(failure, attempts=output.failed_before.attempts + failure.attempts)
        if failure.traceback:
            failure = replace(failure, next_step=f"Please report it with its traceback, which is in {self._log.path}.")
        self.failures.append(failure)
        self.emit(failure)
        if failure.tried_now:
            # A failure of an input that has changed since says nothing about what was planned.
            tried = output if output is not None and is_unchanged(output.input) else None
            fingerprint, inputs = (tried.fingerprint, tried.fingerprint_inputs) if tried is not None else ("", {})
            if try_again_unasked:
                fingerprint = ""
                self.unwritable = self.unwritable or OutputError(failure.reason, failure.next_step)
            self._journal.record_failure(failure, fingerprint, inputs, self._log.place)

    def clip_done(self, task: ClipTask) -> None:
        """Record that all frames of a clip are done."""
        self._journal.record_clip(task.output.path, task.clip.first_frame_index)

    def clip_failed(self, task: ClipTask, reason: str) -> None:
        """Record that a clip has failed for good."""
        first = task.clip.first_frame_index
        self._journal.record_attempt(task.output.path, first, reason, self._log.place, given_up=True)

    def output_done(self, done: OutputDone, output: Output) -> None:
        """Record a finished output. The listener is told later, by `emit`.

        Raises:
            OutputError: The output cannot be recorded.
        """
        self._journal.record_done(done, output.fingerprint_inputs)
        self.made.add(done)

    def undelivered(self, done: OutputDone | None, failure: ItemFailed) -> None:
        """Tell that a finished output could not be uploaded. The journal knows it as done, so that it is not painted again.

        Args:
            done: The output; None if an earlier run has made it.
            failure: Why it could not be uploaded.
        """
        if done is not None:
            self.withdraw(done)
        self.unwritable = self.unwritable or OutputError(failure.reason, failure.next_step)
        self.fail(replace(failure, tried_now=False))

    def withdraw(self, done: OutputDone) -> None:
        """Take back that an output was made in this run, because it is not where it goes yet."""
        self.made.withdraw(done)

    def give_up(self, error: OutputError) -> None:
        """Stop the run, because results cannot be written. Frames under way are finished."""
        self.error = self.error or error
        self._stop.ask(StopReason.NO_OUTPUT)


def _key(output: Output) -> tuple[str, str]:
    """Return the job and the path by which events name an output."""
    return output.job.name, str(output.input.file.path)
