"""What the journal knows, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nstpipe.events import JobPlanned
from nstpipe.journal.clips import State


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
        loss: None from an engine that knows of none.
        content_loss: None also where an older version of nstpipe has painted it.
        style_loss: like `content_loss`.
        warping_error: likewise, and where it was not measured.
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
