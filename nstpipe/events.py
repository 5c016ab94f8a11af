"""What happens in a run, as values: written by clips, read by whoever shows or records it.

Every event says when it happened (seconds since 1970, `at`), so that it means the same when it is read later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Event:
    """The root. `as_json` gives the event's name and fields, for one line of ``--json``."""

    at: float = field(default_factory=time.time)

    def as_json(self) -> dict[str, Any]:
        """``{"event": "FrameDone", ...}``, with nothing but JSON's own types."""
        return {"event": type(self).__name__, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class InputsProgressed(Event):
    """A job's inputs are being opened and looked at, before anything is painted; sent a few times a second at most.

    Attributes:
        path: of the input in hand.
        inputs_done: of the job, those that were looked at.
        inputs: of the job.
        share: of the input in hand that was looked at, 0 to 1.
    """

    job: str
    path: str
    inputs_done: int
    inputs: int
    share: float


@dataclass(frozen=True, kw_only=True)
class JobPlanned(Event):
    """A job's work is known.

    Attributes:
        job: its name.
        outputs: files that it makes.
        outputs_done: of these, those that are done already.
        frames: in the whole job.
        frames_left: of these, those still to be stylized.
        work_left: most iterations times pixels that they may take.
        workers: processes that its clips can keep busy at the same time.
    """

    job: str
    outputs: int
    outputs_done: int
    frames: int
    frames_left: int
    work_left: int
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class ClipStarted(Event):
    """Work on a clip begins, or goes on where an earlier run stopped.

    Attributes:
        first_frame_index: of the clip, from 0 in the file.
        next_frame_index: the first one that is not done yet.
        end_frame_index: the first one that is no longer part of the clip.
    """

    job: str
    path: str
    first_frame_index: int
    next_frame_index: int
    end_frame_index: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class FrameProgressed(Event):
    """An optimization is under way; sent a few times a second at most."""

    job: str
    path: str
    frame_index: int
    evaluations: int
    most_evaluations: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class FrameDone(Event):
    """A frame is stylized and on the disk.

    Attributes:
        first_frame_index: of its clip, from 0 in the file.
        seconds: from the frame's decoding to its file.
        optimising_seconds: of these, those in which it was optimized; the rest went into waiting for the frame and its flow,
            into its start, and into writing it.
        evaluations: iterations spent; 0 from an engine that does not iterate.
        most_evaluations: iterations that it might have taken.
        pixels: of the frame, width times height.
        loss: the last one's total loss; None from an engine that knows of none.
        content_loss: its content part, weighted, or None.
        style_loss: its style part, weighted, or None; what has come into view counts more.
        warping_error: flicker: how far the frame is from the one before, moved along the flow, where the flow can be
            trusted (Lai et al. 2018, section 3.2): mean squared difference of values from 0 to 1, before encoding. None
            where no flow is used: for a clip's first frame, and where no motion is asked for.
        is_final: whether this is its result; not in a pass that others follow.
    """

    job: str
    path: str
    first_frame_index: int
    frame_index: int
    seconds: float
    optimising_seconds: float
    evaluations: int
    most_evaluations: int
    pixels: int
    loss: float | None
    content_loss: float | None
    style_loss: float | None
    warping_error: float | None = None
    is_final: bool = True


@dataclass(frozen=True, kw_only=True)
class OutputDone(Event):
    """A result is complete, checked and has its final name.

    Attributes:
        encode_seconds: for putting its frames together.
    """

    job: str
    path: str
    output: str
    frames: int
    encode_seconds: float
    fingerprint: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ItemFailed(Event):
    """A picture or video could not be done; the others go on.

    Attributes:
        path: of the input.
        output: what would have been made; empty where that is not known.
        attempts: how often it has been tried, in this run and before.
        tried_now: whether this run has tried it; an earlier failure is not tried again without being asked to.
    """

    job: str
    path: str
    reason: str
    next_step: str = ""
    output: str = ""
    attempts: int = 1
    tried_now: bool = True


@dataclass(frozen=True, kw_only=True)
class TriedAgain(Event):
    """Something went wrong that may go right the next time.

    Attributes:
        attempt: the one that went wrong, from 1.
        wait_seconds: until the next one.
        first_frame_index: of the clip, from 0 in the file; None where it was not a clip, but the making of a file.
    """

    job: str
    path: str
    reason: str
    attempt: int
    wait_seconds: float
    first_frame_index: int | None = None


@dataclass(frozen=True, kw_only=True)
class Noticed(Event):
    """Something that the user should know, and that stops nothing."""

    job: str
    message: str


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """The end.

    Attributes:
        exit_code: as in the README's table.
        outputs_left: that were not finished, for the run was stopped before.
        stopped: why it was stopped; empty if it was not.
        report: the HTML file that tells of it; empty if it could not be written.
    """

    exit_code: int
    outputs_made: int
    outputs_already_done: int
    items_failed: int
    seconds: float
    outputs_left: int = 0
    stopped: str = ""
    report: str = ""


Emit = Callable[[Event], None]
