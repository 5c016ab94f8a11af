"""Forecasts the time left."""

from __future__ import annotations

from dataclasses import dataclass

from nstpipe.events import FrameDone, JobPlanned


@dataclass
class Forecast:
    """The time left of a job, from the frames done so far.

    Work is counted in iterations times pixels. So a first frame, which takes many iterations, does not make the rest look slow.

    Attributes:
        frames: Frames of the whole job.
        frames_left: Frames still to be stylized.
        work_left: Maximum number of iterations times pixels, of the frames left.
        workers: Processes that work on the job at the same time.
        seconds_spent: Seconds spent on the frames done so far, by all processes.
        work_spent: Work of the frames done so far.
    """

    frames: int
    frames_left: int
    work_left: float
    workers: int = 1
    seconds_spent: float = 0.0
    work_spent: float = 0.0

    @classmethod
    def of(cls, job: JobPlanned) -> Forecast:
        """Return the forecast at the beginning of a job."""
        return cls(job.frames, job.frames_left, job.work_left, job.workers)

    def advance(self, frame: FrameDone) -> None:
        """Count a finished frame.

        A frame that stopped early counts with its maximum number of iterations, because later frames will most likely stop
        early as well.
        """
        work = frame.most_evaluations * frame.pixels
        self.frames_left = max(0, self.frames_left - frame.is_final)
        self.work_left = max(0.0, self.work_left - work)
        self.seconds_spent += frame.seconds
        self.work_spent += work

    def seconds_left(self, seconds_per_work: float | None = None) -> float | None:
        """Return the seconds until the job is done; None while its pace is unknown.

        Args:
            seconds_per_work: The pace of other jobs, which is used until this job has its own.
        """
        if self.frames_left == 0:
            return 0.0
        pace = self.pace if self.pace is not None else seconds_per_work
        return None if pace is None else self.work_left * pace / self.workers

    @property
    def pace(self) -> float | None:
        """Seconds per unit of work; None before the first frame is done."""
        return self.seconds_spent / self.work_spent if self.work_spent else None


def as_duration(seconds: float | None) -> str:
    """Format a duration, such as ``8 s``, ``3 min 20 s`` or ``6 h 05 min``; a dash for None."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
