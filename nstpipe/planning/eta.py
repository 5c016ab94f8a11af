"""How long the rest will take."""

from __future__ import annotations

from dataclasses import dataclass

from nstpipe.events import FrameDone, JobPlanned


@dataclass
class Forecast:
    """The time left of a job, from the frames done so far.

    A job's work is counted in iterations times pixels, so that a first frame, which takes many iterations, does not
    make the rest look slow.

    Attributes:
        frames: in the whole job.
        frames_left: still to be stylized.
        work_left: most iterations times pixels of the frames left.
        workers: processes that work on it at the same time.
    """

    frames: int
    frames_left: int
    work_left: float
    workers: int = 1
    seconds_spent: float = 0.0
    work_spent: float = 0.0

    @classmethod
    def of(cls, job: JobPlanned) -> Forecast:
        """The forecast at a job's beginning."""
        return cls(job.frames, job.frames_left, job.work_left, job.workers)

    def advance(self, frame: FrameDone) -> None:
        """Take a finished frame into account.

        Its share counts in full even where it stopped early: the frames to come will most likely do so as well.
        """
        work = frame.most_evaluations * frame.pixels
        self.frames_left = max(0, self.frames_left - frame.is_final)
        self.work_left = max(0.0, self.work_left - work)
        self.seconds_spent += frame.seconds
        self.work_spent += work

    def seconds_left(self, seconds_per_work: float | None = None) -> float | None:
        """Seconds until it is done; None while nothing is known.

        Args:
            seconds_per_work: another job's pace, for as long as this one has none of its own.
        """
        if self.frames_left == 0:
            return 0.0
        pace = self.pace if self.pace is not None else seconds_per_work
        return None if pace is None else self.work_left * pace / self.workers

    @property
    def pace(self) -> float | None:
        """Seconds a unit of work; None before the first frame is done."""
        return self.seconds_spent / self.work_spent if self.work_spent else None


def as_duration(seconds: float | None) -> str:
    """Such as ``8 s``, ``3 min 20 s`` or ``6 h 05 min``; a dash where nothing is known."""
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
