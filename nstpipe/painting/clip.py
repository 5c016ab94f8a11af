"""Paints one clip from its source to its sink, and tries again after transient errors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import cv2
import torch
from torch import Tensor

from nstpipe.config import Job
from nstpipe.errors import DiskFullError, ItemError, NstpipeError, OutputError
from nstpipe.events import ClipStarted, Emit, Event, FrameDone, Noticed
from nstpipe.journal.frames import FrameStore, frame_store, pass_store
from nstpipe.media.pictures.files import PictureSink, PictureSource, read_picture
from nstpipe.media.pictures.pillow import limit_megapixels
from nstpipe.media.tensors import tensor_of
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.ffmpeg_program import using
from nstpipe.media.video.info import VideoInfo
from nstpipe.painting.attempts import check_unchanged, wait_to_retry
from nstpipe.painting.engines import engine_is_loaded, engine_of, engine_of_job
from nstpipe.painting.frames import painted_frames
from nstpipe.painting.start import Pass
from nstpipe.painting.task import ClipResult, ClipTask, LinkedPicture, RunSettings
from nstpipe.painting.temporal_target import Result
from nstpipe.planning.outputs import failed
from nstpipe.style.precision import choose_precision
from nstpipe.system.devices import choose_device
from nstpipe.system.files import see_that_it_can_be_made, state_of
from nstpipe.system.hardware import processor_with_threads, worker_name
from nstpipe.system.item_errors import as_item_error
from nstpipe.system.memory import ask_for_large_pages
from nstpipe.system.retry import NO_PRIMITIVE, RETRY_WAITS_SECONDS, is_out_of_memory, is_transient
from nstpipe.system.stop import Stop, Stopped


def run_clip(task: ClipTask, emit: Emit, stop: Stop) -> ClipResult:
    """Paint the frames of a clip that are not done yet. An error of the clip itself is returned, not raised.

    After a transient error the clip is tried again, with a wait before each attempt.

    Raises:
        NstpipeError: an error that would stop every clip, such as a missing device.
        Exception: whatever `emit` raises.
    """
    if task.staged.problem:
        problem = ItemError(task.staged.problem, task.staged.next_step)
        return ClipResult(task, failed(task.output.job, task.output.input.file.path, problem, task.output), unreachable=True)
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


def prepare_engine(job: Job, run: RunSettings) -> None:
    """Make the engine of a job, which its clips then find in this process; see `run_clip` for the errors."""
    ask_for_large_pages()
    limit_megapixels(run.max_megapixels)
    engine_of_job(job, run)


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
            frames_of_work = task.output.job.next_iterations / event.evaluations if event.evaluations else 1
            seconds_wanted = event.seconds * frames_of_work
            if stop.should_stop(within=seconds_wanted):
                raise Stopped

    return pass_on


def _run_shot(task: ClipTask, info: VideoInfo, emit: Emit) -> None:
    clip, history = task.clip, max(task.output.job.temporal.lags)
    first, end = clip.first_frame_index, clip.end_frame_index
    store = frame_store(task.run.work, clip.fingerprint, history)
    gap = store.gap(first, end)
    started = _started(task, end if gap is None else gap.first_frame_index)
    emit(started)
    if gap is None:
        return
    before = store.painted_on()
    if gap.first_frame_index > first and before not in ("", started.hardware):
        message = (
            f"{info.path.name}: frames {first + 1} to {gap.first_frame_index} were painted on {before}, and the next ones "
        )
        message += f"on {started.hardware}; the last digits may differ"
        emit(Noticed(job=task.output.job.name, message=message))
    store.note_painted_on(started.hardware)
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
    device = choose_device(task.run.device)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return ClipStarted(
        job=task.output.job.name,
        path=str(task.output.input.file.path),
        first_frame_index=task.clip.first_frame_index,
        next_frame_index=next_frame_index,
        end_frame_index=task.clip.end_frame_index,
        reason=task.output.reason,
        device=gpu or str(device),
        precision=str(choose_precision(task.run.precision, device)).removeprefix("torch."),
        torch=str(torch.__version__),
        painting=task.output.painting,
        worker=worker_name(),
        hardware=gpu or processor_with_threads(torch.get_num_threads()),
    )
