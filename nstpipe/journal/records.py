"""What the journal knows, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nstpipe.events import JobPlanned

State = Literal["planned", "started", "done", "failed"]


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
        state: how far it has come.
        fingerprint: of all that decided, or will decide, the result.
        fingerprint_inputs: the same in readable form, so that two can be compared.
        damage: of a finished file: empty if it is as it was written, else ``missing`` or ``changed``.
        attempts: how often it has been tried, if it failed.
        reason: why it failed.
        next_step: what to do about it.
        log: where the log tells of it.
        job: whose output it is.
        path: of the output.
        input: what it is made of.
        frames: in the file.
        changed_at: seconds since 1970 at which its state was written.
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


@dataclass(frozen=True)
class JobPace:
    """What the latest run has spent on a job so far.

    Attributes:
        planned: the job as it was at the run's beginning.
        frames: done in this run.
        seconds: spent on them, by all workers together.
        work: iterations times pixels that they might have taken.
    """

    planned: JobPlanned
    frames: int
    seconds: float
    work: int


@dataclass(frozen=True)
class LatestRun:
    """The run that goes on, or the last one.

    Attributes:
        workers: processes.
        started_at: seconds since 1970.
        finished_at: likewise; None while it goes on, or if it was killed.
        exit_code: likewise.
        jobs: by name.
        name: of its log.
        about: settings and versions, to repeat it.
        error: what ended it before its time; empty if nothing did.
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
class FrameRecord:
    """What is known of a finished frame; the fields are those of `FrameDone`.

    Attributes:
        content_loss: None where an older version of nstpipe has painted it.
        style_loss: likewise.
        warping_error: likewise, and where it was not measured.
    """

    path: str
    first_frame_index: int
    frame_index: int
    seconds: float
    evaluations: int
    loss: float
    content_loss: float | None
    style_loss: float | None
    warping_error: float | None
