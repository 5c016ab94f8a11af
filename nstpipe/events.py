"""What happens in a run, as frozen values. Clips emit events; the journal, the log and the listeners read them.

Every event has its time (`at`, seconds since 1970), so it means the same when it is read later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

AnyEvent = TypeVar("AnyEvent", bound="Event")


@dataclass(frozen=True, kw_only=True)
class Event:
    """The base class of all events. `as_json` returns the event's name and fields, for one line of ``--json``."""

    at: float = field(default_factory=time.time)

    def as_json(self) -> dict[str, Any]:
        """Return ``{"event": "FrameDone", ...}``, with JSON's own types only."""
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"event": type(self).__name__, **fields}

    def with_texts(self: AnyEvent, change: Callable[[str], str]) -> AnyEvent:
        """Return the event with all of its texts changed."""

        def changed(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(changed, value))
            return change(value) if isinstance(value, str) else value

        return replace(self, **{name: changed(value) for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class InputsProgressed(Event):
    """The inputs of a job are being inspected, before anything is painted. Sent at most a few times a second.

    Attributes:
        path: path of the current input.
        inputs_done: number of the job's inputs that are inspected.
        inputs: number of the job's inputs.
        share: inspected share of the current input, 0 to 1.
    """

    job: str
    path: str
    inputs_done: int
    inputs: int
    share: float


@dataclass(frozen=True, kw_only=True)
class JobPlanned(Event):
    """The work of a job is known.

    Attributes:
        job: name of the job.
        outputs: number of files that the job makes.
        outputs_done: number of these files that are done.
        frames: number of frames in the whole job.
        frames_left: number of frames that are not stylized yet.
        work_left: maximum of iterations times pixels that the frames left can take.
        workers: number of processes that the job's clips can keep busy at the same time.
        likely_share: share of `work_left` that the frames will likely take, because they stop when they hardly change any more.
        seconds_likely: seconds that the frames left will likely take, as earlier runs were; None if none tells it.
        engine: engine that paints the frames: what `engine: auto` was resolved to, or what the job names.
        engine_reason: why `engine: auto` takes it; empty if the job names its engine.
        network: name of the network that the run trains, or has trained, for the job, in the folder `networks` of the work
            folder; empty if there is none.
    """

    job: str
    outputs: int
    outputs_done: int
    frames: int
    frames_left: int
    work_left: int
    workers: int = 1
    likely_share: float = 1.0
    seconds_likely: float | None = None
    engine: str = ""
    engine_reason: str = ""
    network: str = ""


@dataclass(frozen=True, kw_only=True)
class ClipStarted(Event):
    """Work on a clip starts, or continues where an earlier run stopped.

    Attributes:
        first_frame_index: first frame of the clip, counted from 0 in the file.
        next_frame_index: first frame that is not done yet.
        end_frame_index: first frame after the clip.
        reason: why the clip is painted.
        device: what paints it: cpu, or the name of a GPU.
        precision: the type in which its network computes, such as bfloat16.
        torch: the version of torch that it computes with.
        painting: the painting that was picked for it, by its path in the style's collection; empty if there is none.
        worker: the worker of a cluster that paints it; empty on a single machine.
        hardware: what it is painted on: a GPU, or the processor and the number of threads.
    """

    job: str
    path: str
    first_frame_index: int
    next_frame_index: int
    end_frame_index: int
    reason: str
    device: str = ""
    precision: str = ""
    torch: str = ""
    painting: str = ""
    worker: str = ""
    hardware: str = ""


@dataclass(frozen=True, kw_only=True)
class FrameProgressed(Event):
    """A frame is being optimized. Sent at most a few times a second, and never by an engine that does not iterate.

    Attributes:
        loss: total loss so far; None if the engine has no loss.
        pixels: width times height of the frame; 0 from an older version of nstpipe.
        seconds: time since the optimization of the frame began.
    """

    job: str
    path: str
    frame_index: int
    evaluations: int
    most_evaluations: int
    loss: float | None
    pixels: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FrameDone(Event):
    """A frame is stylized and stored.

    Attributes:
        first_frame_index: first frame of the clip, counted from 0 in the file.
        seconds: time from decoding the frame to storing it.
        optimising_seconds: the part of `seconds` in which the frame was optimized. The rest is the wait for the frame and its
            flow, the computation of its start, and writing.
        evaluations: number of iterations used; 0 if the engine does not iterate.
        most_evaluations: maximum number of iterations; 1 if the engine does not iterate.
        pixels: width times height of the frame.
        loss: total loss after the last iteration; None if the engine has no loss.
        content_loss: weighted content part of the loss, or None.
        style_loss: weighted style part of the loss, or None. New areas count more.
        warping_error: flicker. Mean squared difference between the frame and the warped frame before it, where the flow is
            reliable (Lai et al. 2018, section 3.2), with values from 0 to 1, before encoding. None for the first frame of a
            clip, and where no flow is used.
        is_final: whether this is the result of the frame; false in a pass that is followed by another.
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
    """A result is complete and checked, and has its final name.

    Attributes:
        encode_seconds: time for encoding its frames.
        painting: the painting that was picked for it, by its path in the style's collection; empty if there is none.
    """

    job: str
    path: str
    output: str
    frames: int
    encode_seconds: float
    fingerprint: str
    sha256: str
    painting: str = ""


@dataclass(frozen=True, kw_only=True)
class ItemFailed(Event):
    """A picture or video could not be done. The others continue.

    Attributes:
        path: path of the input.
        output: path of the result that was to be made; empty if it is not known.
        attempts: number of tries, in this run and earlier ones.
        tried_now: whether this run tried the item. An earlier failure is tried again only with `--retry-failed`.
        traceback: traceback of an exception that no part of nstpipe expects, which is a bug; empty for any other failure.
    """

    job: str
    path: str
    reason: str
    next_step: str = ""
    output: str = ""
    attempts: int = 1
    tried_now: bool = True
    traceback: str = ""


@dataclass(frozen=True, kw_only=True)
class TriedAgain(Event):
    """A transient error happened, and the work will be tried again.

    Attributes:
        reason: the error.
        attempt: number of the failed try, counted from 1.
        wait_seconds: time until the next try.
        first_frame_index: first frame of the clip, counted from 0 in the file. None if a file was being encoded.
    """

    job: str
    path: str
    reason: str
    attempt: int
    wait_seconds: float
    first_frame_index: int | None = None


@dataclass(frozen=True, kw_only=True)
class Noticed(Event):
    """Something that the user should know. It stops nothing."""

    job: str
    message: str


@dataclass(frozen=True, kw_only=True)
class TrainingProgressed(Event):
    """A network is in training. Sent at most a few times a second.

    Attributes:
        network: engine that the network is for.
        step: number of steps that are done.
        steps: number of all steps.
        losses: mean of each weighted loss over the last steps, by name.
        seconds_a_step: mean duration of a step since the training began or was continued.
        seconds_left: estimated time until the last step.
        job: job of a run that the network is trained for; empty for a training by `nstpipe train`.
    """

    network: str
    step: int
    steps: int
    losses: dict[str, float]
    seconds_a_step: float
    seconds_left: float
    job: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainingSaved(Event):
    """A network in training is saved. Its training continues from there.

    Attributes:
        network: engine that the network is for.
        step: number of steps that are done.
        output: path of the network.
        sheet: path of a picture of held-out results; empty if there are no pictures to make one of.
    """

    network: str
    step: int
    output: str
    sheet: str


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """The run has ended.

    Attributes:
        exit_code: exit code, as in the README's table.
        outputs_left: number of outputs that are not finished because the run was stopped.
        stopped: why the run was stopped; empty if it was not.
        report: path of the HTML report of the latest run that did something; empty if it could not be written.
        results: path of the output of each job that has made something, now or before.
    """

    exit_code: int
    outputs_made: int
    outputs_already_done: int
    items_failed: int
    seconds: float
    outputs_left: int = 0
    stopped: str = ""
    report: str = ""
    results: tuple[str, ...] = ()


Emit = Callable[[Event], None]
