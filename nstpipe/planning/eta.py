"""Forecasts the time left."""

from __future__ import annotations

from dataclasses import dataclass, field

from nstpipe.events import FrameDone, FrameProgressed, JobPlanned


@dataclass
class Forecast:
    """The time left of a job, from the frames done so far, and from those under way.

    Work is counted in iterations times pixels. So a first frame, which takes many iterations, does not make the rest look slow.

    Attributes:
        frames: Frames of the whole job.
        frames_left: Frames still to be stylized.
        work_left: Maximum number of iterations times pixels, of the frames left.
        workers: Processes that work on the job at the same time.
        seconds_spent: Seconds spent on the frames done so far, by all processes.
        work_spent: Work of the frames done so far.
        likely_share: Share of the work that frames likely take, because they stop when they hardly change any more.
        seconds_a_work: Seconds per unit of `work_left` as earlier runs were; None if none tells it.
    """

    frames: int
    frames_left: int
    work_left: float
    workers: int = 1
    seconds_spent: float = 0.0
    work_spent: float = 0.0
    likely_share: float = 1.0
    seconds_a_work: float | None = None
    _under_way: dict[tuple[str, int], FrameProgressed] = field(default_factory=dict)

    @classmethod
    def of(cls, job: JobPlanned) -> Forecast:
        """Return the forecast at the beginning of a job."""
        pace = None
        if job.seconds_likely is not None and job.work_left:
            pace = job.seconds_likely * job.workers / job.work_left
        return cls(job.frames, job.frames_left, job.work_left, job.workers, likely_share=job.likely_share, seconds_a_work=pace)

    def progress(self, frame: FrameProgressed) -> None:
        """Count a frame that is under way."""
        self._under_way[frame.path, frame.frame_index] = frame

    def advance(self, frame: FrameDone) -> None:
        """Count a finished frame.

        A frame that stopped early counts with its maximum number of iterations, because later frames will most likely stop
        early as well.
        """
        self._under_way.pop((frame.path, frame.frame_index), None)
        work = frame.most_evaluations * frame.pixels
        self.frames_left = max(0, self.frames_left - frame.is_final)
        self.work_left = max(0.0, self.work_left - work)
        self.seconds_spent += frame.seconds
        self.work_spent += work

    def forget(self, path: str) -> None:
        """Forget the frames of a file that are under way: they begin again, or never."""
        self._under_way = {key: frame for key, frame in self._under_way.items() if key[0] != path}

    @property
    def frames_under_way(self) -> float:
        """How far the frames are that are under way, together: two that are half done count as one."""
        return sum(frame.evaluations / frame.most_evaluations for frame in self._under_way.values())

    def seconds_left(self, seconds_per_work: float | None = None) -> float | None:
        """Return the seconds until the job is done; None while its pace is unknown.

        The pace is that of its finished frames. Before the first one, it is that of the iterations of the frame under way, then
        that of other jobs, and then that of earlier runs.

        Args:
            seconds_per_work: The pace of other jobs.
        """
        if self.frames_left == 0:
            return 0.0
        known = (self.pace, self._pace_under_way, seconds_per_work, self.seconds_a_work)
        pace = next((one for one in known if one is not None), None)
        if pace is None:
            return None
        # The iterations of a frame under way are done. It may stop at any of those that are left, as others have.
        begun = sum(min(1.0, frame.evaluations * frame.pixels / self._likely(frame)) * frame.most_evaluations * frame.pixels
                    for frame in self._under_way.values() if frame.pixels)  # fmt: skip
        return max(0.0, self.work_left - begun) * pace / self.workers

    def _likely(self, frame: FrameProgressed) -> float:
        """Return the work that a frame will likely take."""
        return max(1.0, frame.most_evaluations * self.likely_share) * frame.pixels

    @property
    def pace(self) -> float | None:
        """Seconds per unit of work; None before the first frame is done."""
        return self.seconds_spent / self.work_spent if self.work_spent else None

    @property
    def _pace_under_way(self) -> float | None:
        """Seconds per unit of `work_left`, by the iterations of the frames under way; None if there are none."""
        seconds = sum(frame.seconds for frame in self._under_way.values() if frame.pixels)
        work = sum(frame.evaluations * frame.pixels for frame in self._under_way.values())
        return seconds / work * self.likely_share if work else None


def as_range(seconds: float | None, seconds_at_most: float | None) -> str:
    """Format a likely duration and the longest one, such as ``2 h 10 min, at most 4 h 00 min``."""
    likely, most = as_duration(seconds), as_duration(seconds_at_most)
    return likely if seconds_at_most is None or likely == most else f"{likely}, at most {most}"


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
