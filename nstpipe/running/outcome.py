"""How a run ends: its result and its exit code."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from nstpipe.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_SOME_FAILED,
    EXIT_STOPPED,
    EXIT_TERMINATED,
    InputError,
    NstpipeError,
    OutputError,
)
from nstpipe.events import ItemFailed, OutputDone, RunFinished
from nstpipe.planning.plan import Plan
from nstpipe.planning.planned import PlannedOutputs
from nstpipe.system.stop import StopReason

_EXIT_CODES = {
    StopReason.INTERRUPTED: EXIT_INTERRUPTED,
    StopReason.TERMINATED: EXIT_TERMINATED,
    StopReason.TIME: EXIT_STOPPED,
    StopReason.FAILURE: EXIT_SOME_FAILED,
    StopReason.NO_OUTPUT: OutputError.exit_code,
    StopReason.NO_CLUSTER: EXIT_STOPPED,
    StopReason.LOST_WORK: EXIT_STOPPED,
}


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        exit_code: 0 if all is done, 2 if the run finished but some inputs failed, 75 if it stopped in time with work left, 130
            or 143 if a signal stopped it.
        outputs: Outputs made in this run.
        already_done: Outputs that an earlier run had finished.
        failures: Pictures and videos that failed, with the reasons.
        seconds: Duration of the run.
        stopped: Why the run ended before all was done; None if it did not.
    """

    exit_code: int
    outputs: Sequence[OutputDone]
    already_done: Sequence[Path]
    failures: tuple[ItemFailed, ...]
    seconds: float
    stopped: StopReason | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run has achieved when its work ends.

    Attributes:
        made: Outputs made in this run.
        already_done: Outputs that an earlier run had finished.
        failures: Pictures and videos that failed.
        left: Outputs that this run has neither made nor tried in vain.
        stopped: Why the run ended before all was done; None if it did not.
        unwritable: Why an output could not be written; None if all could.
        results: The output of each job that has made something, now or before.
        waiting: Outputs of which this shard has made its clips, and others have not.
    """

    made: Sequence[OutputDone]
    already_done: Sequence[Path]
    failures: tuple[ItemFailed, ...]
    left: PlannedOutputs
    stopped: StopReason | None
    unwritable: OutputError | None = None
    results: tuple[str, ...] = ()
    waiting: tuple[Path, ...] = ()

    @classmethod
    def of(
        cls,
        plan: Plan,
        todo: PlannedOutputs,
        made: Sequence[OutputDone],
        failures: Sequence[ItemFailed],
        reason: StopReason | None,
        unwritable: OutputError | None = None,
        waiting: Collection[Path] = (),
    ) -> Outcome:
        """Compare what was planned with what was made.

        Args:
            plan: All outputs; empty if the run was stopped before they were known.
            todo: The outputs that this run was to make.
            made: The outputs that it has made.
            failures: What has failed.
            reason: Why the run was asked to stop, if it was.
            unwritable: Why an output could not be written; None if all could.
            waiting: Outputs of which this shard has made its clips, and others have not.
        """
        jobs: set[str] = set()
        ended = {failure.output for failure in failures} | set(map(str, waiting))
        for done in made:
            jobs.add(done.job)
            ended.add(done.output)
        in_order = (plan.outputs.job_of(name) for name in plan.outputs.counts() if name in jobs)
        made_now = (job for job in in_order if job is not None)
        left = todo.left(ended)
        return cls(
            made=made,
            already_done=plan.outputs.done_paths(),
            failures=tuple(failures),
            left=left,
            # A run that was asked to stop when all was done has not been stopped.
            stopped=reason if left or not plan.outputs else None,
            unwritable=unwritable,
            waiting=tuple(waiting),
            results=tuple(dict.fromkeys(str(job.output) for job in (*plan.outputs.jobs_done(), *made_now))),
        )

    @property
    def exit_code(self) -> int:
        """The exit code of a run that ends in this way.

        Raises:
            InputError: The run came to its end, and all of its inputs failed.
            OutputError: The same, and at least one of them because of the place of its output.
            NstpipeError: The same, and all of them because of a bug.
        """
        if self.stopped is not None:
            return _EXIT_CODES[self.stopped]
        if self.failures and not self.made and not self.already_done and not self.waiting:
            if all(failure.traceback for failure in self.failures):
                raise NstpipeError("nothing could be made, because of a bug in nstpipe.", "See the reasons above.")
            raise self.unwritable or InputError("nothing could be made of the inputs.", "See the reasons above.")
        return EXIT_SOME_FAILED if self.failures else EXIT_DONE

    def as_event(self, seconds: float, report: str) -> RunFinished:
        """Return the event that ends the run.

        Args:
            seconds: Duration of the run.
            report: Path of the report; empty if there is none.
        """
        return RunFinished(
            exit_code=self.exit_code,
            outputs_made=len(self.made),
            outputs_already_done=len(self.already_done),
            items_failed=len(self.failures),
            seconds=seconds,
            outputs_left=len(self.left),
            stopped=self.stopped.value if self.stopped is not None else "",
            report=report,
            results=self.results,
        )

    def as_result(self, seconds: float) -> RunResult:
        """Return the result for the caller of the run.

        Args:
            seconds: Duration of the run.
        """
        return RunResult(self.exit_code, self.made, self.already_done, self.failures, seconds, self.stopped)
