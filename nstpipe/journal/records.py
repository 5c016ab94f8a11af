"""What the journal knows, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nstpipe.events import JobPlanned

State = Literal["planned", "started", "done", "failed"]

FrameKind = Literal["picture", "linked", "first", "later"]
"""What a frame starts from: a picture of its own, a picture that continues its neighbor, the first frame of a clip of a video,
or a later one."""


@dataclass(frozen=True)
class Entry:
    """What the journal knows of a clip.

    Attributes:
        first_frame_index: Index of the first frame, from 0 in the file.
        end_frame_index: Index of the first frame after the clip.
        state: How far the clip is.
        started_at: When it was last started, in seconds since 1970; None if it never was.
        finished_at: When it was finished or failed, in seconds since 1970; None if it was not.
        attempts: Failed attempts since it was planned.
        reason: Why the last attempt failed.
        log: Where the log tells of it.
    """

    first_frame_index: int
    end_frame_index: int
    state: State
    started_at: float | None
    finished_at: float | None
    attempts: int
    reason: str
    log: str


@dataclass(frozen=True)
class Record:
    """What the journal knows of an output.

    Attributes:
        state: How far the output is.
        fingerprint: Hash of everything that decides the result.
        fingerprint_inputs: What the hash was made of, so that two fingerprints can be compared.
        damage: Whether a finished file is ``missing`` or ``changed``; empty if it is as it was written.
        attempts: How often the output was tried, if it failed.
        reason: Why it failed.
        next_step: What the user can do about the failure.
        log: Where the log tells of the failure.
        job: Name of the output's job.
        path: Path of the output.
        input: Path of the input.
        frames: Number of frames in the output.
        changed_at: When the state was written, in seconds since 1970.
        was_made: Whether the output has been finished before, whatever has become of it.
        maker: The pipeline.yaml that the output was made for, relative to the work folder; empty if it is not known.
    """

    state: State
    fingerprint: str
    fingerprint_inputs: Mapping[str, Any] = field(default_factory=dict)
    damage: Literal["", "missing", "changed"] = ""
    attempts: int = 0
    reason: str = ""
    next_step: str = ""
    log: str = ""
    job: str = ""
    path: str = ""
    input: str = ""
    frames: int = 0
    changed_at: float = 0.0
    was_made: bool = False
    maker: str = ""


@dataclass(frozen=True)
class JobPace:
    """What the latest run has spent on a job so far.

    Attributes:
        planned: The job at the beginning of the run.
        frames: Frames finished in this run.
        seconds: Seconds spent on them, by all workers.
        work: Iterations allowed for them, times pixels.
    """

    planned: JobPlanned
    frames: int
    seconds: float
    work: int


@dataclass(frozen=True)
class LatestRun:
    """The run that goes on, or the last one.

    Attributes:
        workers: Number of processes.
        started_at: When it started, in seconds since 1970.
        finished_at: When it finished, in seconds since 1970; None while it goes on, or if it was killed.
        exit_code: Its exit code; None while it goes on, or if it was killed.
        jobs: Its jobs, by name.
        name: Its name, which is also that of its log.
        about: Settings and versions that are needed to repeat it.
        error: The error that ended it early; empty if there was none.
    """

    workers: int
    started_at: float
    finished_at: float | None
    exit_code: int | None
    jobs: Mapping[str, JobPace]
    name: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class FrameTime:
    """What a finished frame took.

    Attributes:
        kind: What it started from.
        pixels: Its width times its height.
        iterations: Those that it took; 0 if the engine does not iterate.
        max_iterations: The most that it could take; 1 if the engine does not iterate.
        seconds: From decoding it to storing it.
        optimizing_seconds: The part of `seconds` in which the engine painted it; None if an older version of nstpipe did.
        tolerance: The tolerance of its job's optimizer.
        optimizer: The name of its job's optimizer.
        job: The name of its job.
        setup: A text that changes with the machine and the settings on which the pace depends; empty if it is not known.
        load_share: The share of the cores that other programs used during its run; None if it is not known.
    """

    kind: FrameKind
    pixels: int
    iterations: int
    max_iterations: int
    seconds: float
    optimizing_seconds: float | None
    tolerance: float = 0.001
    optimizer: str = "lbfgs"
    job: str = ""
    setup: str = ""
    load_share: float | None = None

    @property
    def passes(self) -> int:
        """How often the engine went over the frame: its iterations, or one."""
        return max(1, self.iterations)


@dataclass(frozen=True)
class FrameSums:
    """What the finished frames of a job took together.

    Attributes:
        frames: How many they are.
        seconds: The seconds spent on them.
        iterations: The iterations used for them.
        loss: The median of their losses; None if none has one.
        warping_error: The mean of their warping errors; None if none was measured.
    """

    frames: int
    seconds: float
    iterations: int
    loss: float | None
    warping_error: float | None


@dataclass(frozen=True)
class FrameRecord:
    """What is known of a finished frame; the fields are those of `FrameDone`.

    Attributes:
        loss: None if the engine has no loss.
        content_loss: None if the engine has no loss, or an older version of nstpipe painted the frame.
        style_loss: None if the engine has no loss, or an older version of nstpipe painted the frame.
        warping_error: None if it was not measured.
    """

    path: str
    first_frame_index: int
    frame_index: int
    seconds: float
    evaluations: int
    loss: float | None
    content_loss: float | None
    style_loss: float | None
    warping_error: float | None
