"""Counts what a run has done so far, for every listener that shows or exports it."""

from __future__ import annotations

from dataclasses import dataclass, field

from nstpipe.events import Event, FrameDone, FrameProgressed, InputsProgressed, ItemFailed, JobPlanned, OutputDone, TriedAgain
from nstpipe.planning.eta import Forecast


@dataclass
class JobTally:
    """The counts of one job.

    Attributes:
        planned: The job's plan; None until it is known.
        forecast: The time left.
        outputs_made: Outputs made in this run.
        failures: Pictures and videos that failed.
        frames_made: Frames stylized in this run.
        seconds: Seconds spent on frames in this run, by all workers.
        iterations: Iterations used in this run.
        loss: Total loss of the latest frame; None if it is unknown.
    """

    planned: JobPlanned | None = None
    forecast: Forecast = field(default_factory=lambda: Forecast(0, 0, 0.0))
    outputs_made: int = 0
    failures: int = 0
    frames_made: int = 0
    seconds: float = 0.0
    iterations: int = 0
    loss: float | None = None

    def plan(self, planned: JobPlanned) -> None:
        """Take the job's plan."""
        self.planned = planned
        self.forecast = Forecast.of(planned)

    def add(self, frame: FrameDone) -> None:
        """Count a finished frame."""
        self.forecast.advance(frame)
        self.frames_made += frame.is_final
        self.seconds += frame.seconds
        self.iterations += frame.evaluations
        self.loss = frame.loss

    @property
    def frames(self) -> int:
        """Frames of the job."""
        return self.forecast.frames

    @property
    def frames_done(self) -> int:
        """Frames that are stylized, by this run or an earlier one."""
        return self.forecast.frames - self.forecast.frames_left

    @property
    def outputs(self) -> int:
        """Outputs that the job makes."""
        return self.planned.outputs if self.planned is not None else 0

    @property
    def outputs_done_before(self) -> int:
        """Outputs that an earlier run had made."""
        return self.planned.outputs_done if self.planned is not None else 0

    @property
    def seconds_per_frame(self) -> float | None:
        """Seconds spent per frame stylized in this run; None before the first one."""
        return self.seconds / self.frames_made if self.frames_made else None


class Tally:
    """The counts of a run, by job.

    Attributes:
        jobs: Every job that an event has named, in the order of these events.
        failures: Every failure so far.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, JobTally] = {}
        self.failures: list[ItemFailed] = []
        self._first_looks: dict[str, tuple[float, float]] = {}

    def add(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, JobPlanned):
            self._job(event.job).plan(event)
        elif isinstance(event, FrameProgressed):
            self._job(event.job).forecast.progress(event)
        elif isinstance(event, FrameDone):
            self._job(event.job).add(event)
        elif isinstance(event, TriedAgain):
            self._job(event.job).forecast.forget(event.path)
        elif isinstance(event, OutputDone):
            self._job(event.job).outputs_made += 1
        elif isinstance(event, ItemFailed):
            self.failures.append(event)
            self._job(event.job).failures += 1
            self._job(event.job).forecast.forget(event.path)

    def _job(self, name: str) -> JobTally:
        return self.jobs.setdefault(name, JobTally())

    @property
    def planned(self) -> dict[str, JobTally]:
        """The jobs whose plan is known, in the order of their plans."""
        known = [(name, job) for name, job in self.jobs.items() if job.planned is not None]
        return dict(sorted(known, key=lambda item: item[1].planned.at if item[1].planned is not None else 0.0))

    @property
    def frames(self) -> int:
        """Frames of all jobs."""
        return sum(job.frames for job in self.jobs.values())

    @property
    def frames_done(self) -> int:
        """Frames of all jobs that are stylized, by this run or an earlier one."""
        return sum(job.frames_done for job in self.jobs.values())

    @property
    def frames_begun(self) -> float:
        """Frames of all jobs that are stylized, and the share of those that are under way."""
        return self.frames_done + sum(job.forecast.frames_under_way for job in self.jobs.values())

    @property
    def seconds_per_work(self) -> float | None:
        """Pace over all jobs, for those that have none of their own yet; None before the first frame.

        The unit of work is that of `Forecast`.
        """
        work = sum(job.forecast.work_spent for job in self.jobs.values())
        return sum(job.forecast.seconds_spent for job in self.jobs.values()) / work if work else None

    def seconds_left(self, job: str | None = None) -> float | None:
        """Seconds until a job, or by default every job, is done; None if unknown."""
        jobs = self.planned.values() if job is None else [self.jobs[job]]
        left = [one.forecast.seconds_left(self.seconds_per_work) for one in jobs]
        return None if None in left else sum(seconds for seconds in left if seconds is not None)

    def look_seconds_left(self, event: InputsProgressed) -> float | None:
        """Seconds until a job's inputs are inspected, at the pace since its first event; None at that event."""
        done = event.inputs_done + event.share
        began_at, done_before = self._first_looks.setdefault(event.job, (event.at, done))
        if done == done_before:
            return None
        return (event.inputs - done) * (event.at - began_at) / (done - done_before)
