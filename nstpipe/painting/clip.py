"""One clip from its source to its sink: the only place where media and style meet."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import torch
from torch import Tensor

from nstpipe.errors import ItemError, NstpipeError, OutputError, TransientError
from nstpipe.events import ClipStarted, Emit, Event, FrameDone, ItemFailed, Noticed, TriedAgain
from nstpipe.journal.frames import FrameStore, frame_store, pass_store
from nstpipe.media.pictures.files import PictureSink, PictureSource, limit_megapixels, read_picture
from nstpipe.media.tensors import tensor_of
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.probe import VideoInfo
from nstpipe.painting.engines import engine_is_loaded, engine_of
from nstpipe.painting.frames import painted_frames
from nstpipe.painting.start import Pass
from nstpipe.painting.task import ClipTask, LinkedPicture
from nstpipe.painting.temporal_target import Result
from nstpipe.planning.input_info import InputInfo, is_unchanged
from nstpipe.planning.outputs import Clip, Output, failed
from nstpipe.system.files import state_of
from nstpipe.system.retry import NO_PRIMITIVE, RETRY_WAITS_SECONDS, is_out_of_memory, is_transient
from nstpipe.system.stop import Stop, Stopped

HALVINGS_OF_MEMORY = 40
"""Enough to come from a terabyte to one byte: a container may allow far less memory than its machine says is free."""


@dataclass(frozen=True)
class ClipResult:
    """What came of a clip.

    Attributes:
        task: what was to be done.
        failure: why it was not; None if it was.
        error: what stands in the way of every clip, such as a full disk; None if nothing does.
        stopped: whether it ended early because it was asked to.
    """

    task: ClipTask
    failure: ItemFailed | None = None
    error: OutputError | None = None
    stopped: bool = False


def run_clip(task: ClipTask, emit: Emit, stop: Stop) -> ClipResult:
    """Stylize the frames of a clip that are not done yet. What is wrong with the clip itself comes back as a value.

    What may go right the next time is tried again, after a while.

    Raises:
        NstpipeError: something that would stop every clip, such as a missing device.
    """
    limit_megapixels(task.run.max_megapixels)
    output = task.output
    for attempt, wait_seconds in enumerate((*RETRY_WAITS_SECONDS, None), start=1):
        try:
            if output.input.video is not None:
                _run_shot(task, output.input.video, _until(task, emit, stop))
            else:
                _run_picture(task, _until(task, emit, stop))
            return ClipResult(task)
        except Stopped:
            return ClipResult(task, stopped=True)
        except (NstpipeError, OSError, MemoryError, RuntimeError, cv2.error) as error:
            reason = _as_item_error(error, output.input.file.path)
            if reason is None:
                if isinstance(error, OutputError) and not is_transient(error):
                    return ClipResult(task, error=error)
                if not is_transient(error):
                    raise
            if is_transient(error) and stop.reason is not None:
                return ClipResult(task, stopped=True)  # the same signal may have ended ffmpeg
            if wait_seconds is None or not is_transient(error):
                if reason is None:
                    raise
                return ClipResult(task, replace(failed(output.job, output.input.file.path, reason, output), attempts=attempt))
            said = reason.problem if reason is not None else str(error)
            if str(error) == NO_PRIMITIVE:
                torch.backends.mkldnn.set_flags(False)  # torch's own convolutions are slower, but there
            if is_out_of_memory(error) and engine_is_loaded():
                said += _take_less_memory(task)
            wait_to_retry(output, task.clip, said, attempt, wait_seconds, emit, stop)
    raise AssertionError("the last try has no wait")


def wait_to_retry(output: Output, clip: Clip | None, reason: str, attempt: int, seconds: float, emit: Emit, stop: Stop) -> None:
    """Wait before the next try, unless the run is asked to stop; `clip` is None where a file is made, not a clip."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    job, path = output.job.name, str(output.input.file.path)
    first = clip.first_frame_index if clip is not None else None
    emit(TriedAgain(job=job, path=path, reason=reason, attempt=attempt, wait_seconds=seconds, first_frame_index=first))
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop.should_stop():
        time.sleep(0.1)


def _take_less_memory(task: ClipTask) -> str:
    """Let the next try have smaller tiles, however much memory there seems to be; which, in a sentence."""
    engine, (width, height) = engine_of(task), task.output.size
    before = engine.tile_side(height, width)
    for _ in range(HALVINGS_OF_MEMORY):
        engine.take_less_memory()
        side = engine.tile_side(height, width)
        if side != before:
            return f" It is worked on in tiles of {side} pixels now."
    return ""


def _as_item_error(error: BaseException, path: Path) -> ItemError | None:
    """An error as one of the item, or None if it is not the item's."""
    if isinstance(error, ItemError):
        return error
    if is_out_of_memory(error):
        return TransientError(
            f"{path}: the memory did not suffice.", "Give a smaller size, fewer --workers, or another --device."
        )
    if isinstance(error, cv2.error):
        return ItemError(
            f"{path}: OpenCV cannot work on its frames: {error.err or error}.",
            "Give another size; `temporal: {init: content, weight: 0}` paints without optical flow.",
        )
    if isinstance(error, OSError):
        return ItemError(
            f"{path} could not be worked on: {error.filename or path}: {error.strerror or error}.",
            "See that it can be read and written, then run again with --retry-failed.",
        )
    return None


def _until(task: ClipTask, emit: Emit, stop: Stop) -> Emit:
    """Pass events on, and end the work where a stop is asked for: after a frame, or at once when it is late.

    Raises:
        Stopped: there.
    """

    def pass_on(event: Event) -> None:
        emit(event)
        if stop.is_late and stop.should_stop():
            raise Stopped
        if isinstance(event, FrameDone) and not (event.is_final and event.frame_index + 1 == task.clip.end_frame_index):
            seconds_wanted = event.seconds / max(1, event.evaluations) * task.output.job.optimizer.next
            if stop.should_stop(within=seconds_wanted):
                raise Stopped

    return pass_on


def check_unchanged(found: InputInfo, frame_index: int | None = None) -> None:
    """See that an input is still what was planned for.

    Args:
        found: the input.
        frame_index: of numbered pictures the one that is in question; all of them are looked at only if that one is newer
            than all were, or gone.

    Raises:
        ItemError: it has gone or has another content.
    """
    if frame_index is not None and found.video is not None and found.video.reader == "files" and found.stamp is not None:
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
        # The last pass goes forwards, and so the one before it backwards, and so on.
        order = range(first, end) if (passes - number) % 2 == 0 else range(end - 1, first - 1, -1)
        once = Pass(order, number == passes, earlier)
        kept = store if once.is_last else pass_store(task.run.work, clip.fingerprint, history, number)
        _run_pass(task, source, once, kept, emit)
        earlier = functools.partial(_stored, kept, once)


def _run_pass(task: ClipTask, source: VideoSource, once: Pass, store: FrameStore, emit: Emit) -> None:
    """Paint what a pass lacks. Its results are stored in the order of painting, counted from the clip's first frame."""
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
    """What a pass made of a frame."""
    place = min(once.order) + once.order.index(frame_index)
    return tensor_of(next(store.frames(place, place + 1)))


def _run_picture(task: ClipTask, emit: Emit) -> None:
    path = task.output.input.file.path
    sink = PictureSink(
        [task.output.path],
        keep_metadata=task.output.job.metadata == "keep",
        notice=lambda message: emit(Noticed(job=task.output.job.name, message=message)),
    )
    emit(_started(task, 0))
    state = None if task.before is None else _result_before(task.before, task.output.size)
    if task.before is None or state is None:
        painted = painted_frames(task, PictureSource(path.parent, [path]), Pass(range(1)), 0, [], emit)
    else:
        # The picture before is the frame before the first.
        source = PictureSource(path.parent, [task.before.original, path], first_frame_index=-1)
        painted = painted_frames(task, source, Pass(range(-1, 1)), 1, [Result.of_image(state)], emit)
    for frame, pixels, _ in painted:
        check_unchanged(task.output.input)
        sink.write(pixels, frame)


def _result_before(before: LinkedPicture, size: tuple[int, int]) -> Tensor | None:
    """What the picture before became; None if it could not be made, so that its neighbor starts afresh.

    It is the file itself, not a state of more bits: whenever and wherever the neighbor is painted, it starts from the same.
    """
    try:
        state = state_of(before.result)
        if (state.size_bytes, state.modified_ns) == before.outdated:
            return None
        pixels, _ = read_picture(before.result)
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
    )
