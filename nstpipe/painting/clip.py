"""Paints one clip from its source to its sink, and tries again after transient errors."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import torch
from torch import Tensor

from nstpipe.errors import DiskFullError, ItemError, NstpipeError, OutputError
from nstpipe.events import ClipStarted, Emit, Event, FrameDone, ItemFailed, TriedAgain
from nstpipe.journal.frames import FrameStore, frame_store, pass_store
from nstpipe.media.pictures.files import PictureSink, PictureSource, read_picture
from nstpipe.media.pictures.pillow import limit_megapixels
from nstpipe.media.tensors import tensor_of
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.ffmpeg_program import using
from nstpipe.media.video.info import VideoInfo
from nstpipe.painting.engines import engine_is_loaded, engine_of
from nstpipe.painting.frames import painted_frames
from nstpipe.painting.start import Pass
from nstpipe.painting.task import ClipTask, LinkedPicture
from nstpipe.painting.temporal_target import Result
from nstpipe.planning.input_info import InputInfo, is_unchanged
from nstpipe.planning.outputs import Clip, Output, failed
from nstpipe.system.files import see_that_it_can_be_made, state_of
from nstpipe.system.item_errors import as_item_error
from nstpipe.system.memory import ask_for_large_pages
from nstpipe.system.retry import NO_PRIMITIVE, RETRY_WAITS_SECONDS, is_out_of_memory, is_transient
from nstpipe.system.stop import Stop, Stopped


@dataclass(frozen=True)
class ClipResult:
    """The outcome of a clip.

    Attributes:
        task: the clip.
        failure: why the clip failed; None if it did not.
        error: an error that would stop every clip, such as a full disk; None if there is none.
        stopped: whether the work was stopped early on request.
        try_again_unasked: whether the failure is that of the output's place, so that the next run looks whether it is mended.
    """

    task: ClipTask
    failure: ItemFailed | None = None
    error: OutputError | None = None
    stopped: bool = False
    try_again_unasked: bool = False


def run_clip(task: ClipTask, emit: Emit, stop: Stop) -> ClipResult:
    """Paint the frames of a clip that are not done yet. An error of the clip itself is returned, not raised.

    After a transient error the clip is tried again, with a wait before each attempt.

    Raises:
        NstpipeError: an error that would stop every clip, such as a missing device.
        Exception: whatever `emit` raises.
    """
    of_listener: list[Exception] = []

    def tell(event: Event) -> None:
        try:
            emit(event)
        except Exception as error:
            of_listener.append(error)
            raise

    ask_for_large_pages()
    limit_megapixels(task.run.max_megapixels)
    with ExitStack() as until_done:
        until_done.enter_context(using(task.run.ffmpeg))
        until_done.enter_context(stop.in_force())
        for attempt, wait_seconds in enumerate((*RETRY_WAITS_SECONDS, None), start=1):
            try:
                return _attempt(task, tell, stop)
            except Exception as error:  # one clip's surprise must not end the others
                if error in of_listener:
                    raise
                result = _result_of_failure(task, error, attempt, stop, is_last=wait_seconds is None)
                if result is not None:
                    return result
                assert wait_seconds is not None
                reason = _as_item_error(error, task.output.input.file.path)
                said = reason.problem if reason is not None else str(error)
                if str(error) == NO_PRIMITIVE:
                    # torch's own convolutions are slower, but need no memory for code. oneDNN serves the next clip again.
                    until_done.enter_context(torch.backends.mkldnn.flags(enabled=False))
                if is_out_of_memory(error) and engine_is_loaded():
                    said += _take_less_memory(task)
                wait_to_retry(task.output, task.clip, said, attempt, wait_seconds, emit, stop)
    raise AssertionError("the last attempt has no wait")


def _attempt(task: ClipTask, emit: Emit, stop: Stop) -> ClipResult:
    """Paint what is left of a clip, once."""
    try:
        if task.output.input.video is not None:
            _run_shot(task, task.output.input.video, _until(task, emit, stop))
        else:
            _run_picture(task, _until(task, emit, stop))
    except Stopped:
        return ClipResult(task, stopped=True)
    return ClipResult(task)


def _result_of_failure(task: ClipTask, error: Exception, attempt: int, stop: Stop, *, is_last: bool) -> ClipResult | None:
    """Return what a failed attempt makes of the clip; None if it is to be tried again.

    Raises:
        Exception: the error itself, if it would stop every clip.
    """
    output = task.output
    reason = _as_item_error(error, output.input.file.path)
    if not is_transient(error):
        if reason is None and isinstance(error, OutputError):
            if output.is_video or isinstance(error, DiskFullError):
                return ClipResult(task, error=error)
            # Only the place of this picture is known to be bad. Frames of a video go to the work folder, which all need.
            failure = failed(output.job, output.input.file.path, error, output)
            return ClipResult(task, replace(failure, attempts=attempt), try_again_unasked=True)
        if reason is None:
            raise error
    elif stop.reason is not None:
        return ClipResult(task, stopped=True)  # the same signal may have ended ffmpeg
    elif not is_last:
        return None
    if reason is None:
        raise error
    return ClipResult(task, replace(failed(output.job, output.input.file.path, reason, output), attempts=attempt))


def wait_to_retry(output: Output, clip: Clip | None, reason: str, attempt: int, seconds: float, emit: Emit, stop: Stop) -> None:
    """Wait before the next attempt, unless the run is asked to stop.

    Args:
        output: what is tried again.
        clip: the clip that is tried again; None if it is the making of the file.
        reason: the error.
        attempt: the number of the failed attempt, from 1.
        seconds: how long to wait.
        emit: takes the event.
        stop: ends the wait.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    job, path = output.job.name, str(output.input.file.path)
    first = clip.first_frame_index if clip is not None else None
    emit(TriedAgain(job=job, path=path, reason=reason, attempt=attempt, wait_seconds=seconds, first_frame_index=first))
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop.should_stop():
        time.sleep(0.1)


def _take_less_memory(task: ClipTask) -> str:
    """Let the next attempt work in smaller tiles, however much memory seems free. Return that as a sentence."""
    width, height = task.output.size
    side = engine_of(task).take_less_memory(height, width)
    return f" It is worked on in tiles of {side} pixels now." if side is not None else ""


def _as_item_error(error: Exception, path: Path) -> ItemError | None:
    """Return an error as one of the item, or None if it would stop every clip."""
    if isinstance(error, ItemError):
        return error
    if isinstance(error, cv2.error) and not is_out_of_memory(error):
        return ItemError(
            f"{path}: OpenCV cannot work on its frames: {error.err or error}.",
            "Give another size; `temporal: {init: content, weight: 0}` paints without optical flow.",
        )
    return None if isinstance(error, NstpipeError) else as_item_error(error, path)


def _until(task: ClipTask, emit: Emit, stop: Stop) -> Emit:
    """Return an `emit` that also ends the work when a stop is requested: after a frame, or at once if the stop is late.

    The function raises `Stopped` to end the work.
    """

    def pass_on(event: Event) -> None:
        emit(event)
        if stop.is_late and stop.should_stop():
            raise Stopped
        if isinstance(event, FrameDone) and not (event.is_final and event.frame_index + 1 == task.clip.end_frame_index):
            # An engine that does not iterate takes as long for each frame.
            frames_of_work = task.output.job.optimizer.next / event.evaluations if event.evaluations else 1
            seconds_wanted = event.seconds * frames_of_work
            if stop.should_stop(within=seconds_wanted):
                raise Stopped

    return pass_on


def check_unchanged(found: InputInfo, frame_index: int | None = None) -> None:
    """Check that an input is still what was planned for.

    Args:
        found: the input.
        frame_index: for numbered pictures, the picture in question. The others are checked only if this one is newer than all
            of them were, or is gone.

    Raises:
        ItemError: the input is gone or has changed.
    """
    if frame_index is not None and found.video is not None and found.video.is_sequence and found.stamp is not None:
        with suppress(OSError):
            if state_of(found.video.picture_of(frame_index)).modified_ns <= found.stamp[1]:
                return
    if not is_unchanged(found):
        path = found.file.path
        what, then = ("was changed", "its new content is done then") if path.exists() else ("went away", "put it back first")
        raise ItemError(f"{path} {what} while it was worked on.", f"Run again; {then}.")


def _run_shot(task: ClipTask, info: VideoInfo, emit: Emit) -> None:
    clip, history = task.clip, max(task.output.job.temporal.lags)
    first, end = clip.first_frame_index, clip.end_frame_index
    store = frame_store(task.run.work, clip.fingerprint, history)
    gap = store.gap(first, end)
    emit(_started(task, end if gap is None else gap.first_frame_index))
    if gap is None:
        return
    source, passes = VideoSource(info), task.output.passes_of(clip)
    earlier: Callable[[int], Tensor] | None = None
    for number in range(1, passes + 1):
        # Passes alternate in direction, and the last one goes forwards.
        order = range(first, end) if (passes - number) % 2 == 0 else range(end - 1, first - 1, -1)
        once = Pass(order, number == passes, earlier)
        kept = store if once.is_last else pass_store(task.run.work, clip.fingerprint, history, number)
        _run_pass(task, source, once, kept, emit)
        earlier = functools.partial(_stored, kept, once)


def _run_pass(task: ClipTask, source: VideoSource, once: Pass, store: FrameStore, emit: Emit) -> None:
    """Paint the frames that a pass lacks. Results are stored in the order of painting, counted from the clip's first frame."""
    first, end = task.clip.first_frame_index, task.clip.end_frame_index
    while (gap := store.gap(first, end)) is not None:
        until_there = replace(once, order=once.order[: gap.end_frame_index - first])
        results = [Result.of_state(torch.from_numpy(state)) for state in gap.states]
        painted = painted_frames(task, source, until_there, gap.next_frame_index - first, results, emit)
        for index, (frame, pixels, result) in enumerate(painted, start=gap.next_frame_index):
            if index >= gap.first_frame_index:
                check_unchanged(task.output.input, frame.frame_index)
                store.save(index, pixels, result.state.numpy())


def _stored(store: FrameStore, once: Pass, frame_index: int) -> Tensor:
    """Return the stored result of a pass for a frame."""
    place = min(once.order) + once.order.index(frame_index)
    return tensor_of(next(store.frames(place, place + 1)))


def _run_picture(task: ClipTask, emit: Emit) -> None:
    path = task.output.input.file.path
    see_that_it_can_be_made(task.output.path.parent)  # it costs nothing, and a picture that cannot be written costs minutes
    sink = PictureSink(
        [task.output.path],
        keep_metadata=task.output.job.metadata == "keep",
        place=task.placing,
    )
    emit(_started(task, 0))
    linked = task.linked_picture
    state = None if linked is None else _linked_result(linked, task.output.size)
    if linked is None or state is None:
        painted = painted_frames(task, PictureSource(path.parent, [path]), Pass(range(1)), 0, [], emit)
    else:
        # The linked picture takes the place of the frame before the first.
        source = PictureSource(path.parent, [linked.original, path], first_frame_index=-1)
        painted = painted_frames(task, source, Pass(range(-1, 1)), 1, [Result.of_image(state)], emit)
    for frame, pixels, _ in painted:
        check_unchanged(task.output.input)
        sink.write(pixels, frame)


def _linked_result(linked: LinkedPicture, size: tuple[int, int]) -> Tensor | None:
    """Return the result of a linked picture, or None if it could not be made, so that its neighbor starts on its own.

    It is read from the finished file, not from a float32 state, so the neighbor starts from the same picture whenever and
    wherever it is painted.
    """
    try:
        state = state_of(linked.result)
        if (state.size_bytes, state.modified_ns) == linked.outdated:
            return None
        pixels, _ = read_picture(linked.result)
    except (OSError, ItemError):
        return None
    return tensor_of(pixels) if (pixels.shape[1], pixels.shape[0]) == size else None


def _started(task: ClipTask, next_frame_index: int) -> ClipStarted:
    return ClipStarted(
        job=task.output.job.name,
        path=str(task.output.input.file.path),
        first_frame_index=task.clip.first_frame_index,
        next_frame_index=next_frame_index,
        end_frame_index=task.clip.end_frame_index,
        reason=task.output.reason,
        painting=task.output.painting,
    )
