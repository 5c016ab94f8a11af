"""One clip from its source to its sink: the only place where media and style meet."""

from __future__ import annotations

import errno
import functools
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import torch
from torch import Tensor

from nstpipe.config.models import Job
from nstpipe.errors import DiskFullError, ItemError, NstpipeError, OutputError, TransientError
from nstpipe.events import ClipStarted, Emit, Event, FrameDone, ItemFailed, Noticed, OutputDone, TriedAgain
from nstpipe.files import ensure_writable, sha256_of, state_of
from nstpipe.media.frame import Frame
from nstpipe.media.framestore import DamagedFramesError, FrameStore
from nstpipe.media.pictures import PictureSink, PictureSource, limit_megapixels, read_picture
from nstpipe.media.video import VideoInfo, VideoSource, video_sink
from nstpipe.motion.anchor import Result
from nstpipe.paint import Before, ClipTask, Pass, engine_is_loaded, engine_of, painted_frames
from nstpipe.plan import Clip, Found, Output
from nstpipe.stop import Stop, Stopped
from nstpipe.style.engine import tensor_of

RETRY_WAITS_SECONDS = (1.0, 4.0, 16.0)
"""Before the second, third and fourth try of what may go right the next time."""

HALVINGS_OF_MEMORY = 40
"""Enough to come from a terabyte to one byte: a container may allow far less memory than its machine says is free."""

NO_PRIMITIVE = "could not create a primitive"
"""What oneDNN, which convolves for torch on CPUs, says where it got no memory for its code. It remembers that, and says so
again whenever the same convolution is wanted in this process."""

_TRANSIENT = frozenset(
    {errno.EIO, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
)
"""Errors of the system that have to do with its state, not with the file."""


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


def frames_folder(work: Path, fingerprint: str) -> Path:
    """Where the frames of clips with this fingerprint wait; without one, the folder of all these folders."""
    return work / "clips" / fingerprint[:20]


def frame_store(work: Path, clip: Clip, history: int = 1) -> FrameStore:
    """Where a clip's finished frames wait for the others."""
    return FrameStore(frames_folder(work, clip.fingerprint), history)


def _pass_store(work: Path, clip: Clip, history: int, number: int) -> FrameStore:
    """Where the results of a pass that is not the last wait for the next one; they go when the clip's own do."""
    return FrameStore(frame_store(work, clip).folder / f"pass_{number}", history)


def frames_done(work: Path, clip: Clip) -> int:
    """How many of a clip's frames are finished and waiting."""
    return frame_store(work, clip).count(clip.first_frame_index, clip.end_frame_index)


def clear_frames(work: Path, output: Output, wanted: Collection[str]) -> None:
    """Remove the waiting frames of an output that is made and recorded.

    Args:
        work: folder of unfinished work.
        output: that is made.
        wanted: fingerprints of clips that others still need: what they share with it, as the same film for another container
            does, stays.
    """
    for clip in output.clips:
        if clip.fingerprint not in wanted:
            frame_store(work, clip).remove()


def run_clip(task: ClipTask, emit: Emit, stop: Stop) -> ClipResult:
    """Stylise the frames of a clip that are not done yet. What is wrong with the clip itself comes back as a value.

    What may go right the next time is tried again, after a while.

    Raises:
        NstpipeError: something that would stop every clip, such as a missing device.
    """
    limit_megapixels(task.max_megapixels)
    output = task.output
    for attempt, wait_seconds in enumerate((*RETRY_WAITS_SECONDS, None), start=1):
        try:
            if output.found.video is not None:
                _run_shot(task, output.found.video, _until(task, emit, stop))
            else:
                _run_picture(task, _until(task, emit, stop))
            return ClipResult(task)
        except Stopped:
            return ClipResult(task, stopped=True)
        except (NstpipeError, OSError, MemoryError, RuntimeError, cv2.error) as error:
            reason = _as_item_error(error, output.found.file.path)
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
                return ClipResult(task, replace(failed(output.job, output.found.file.path, reason, output), attempts=attempt))
            said = reason.problem if reason is not None else str(error)
            if str(error) == NO_PRIMITIVE:
                torch.backends.mkldnn.set_flags(False)  # torch's own convolutions are slower, but there
            if _is_out_of_memory(error) and engine_is_loaded():
                said += _take_less_memory(task)
            _wait(output, task.clip, said, attempt, wait_seconds, emit, stop)
    raise AssertionError("the last try has no wait")


def _wait(output: Output, clip: Clip | None, reason: str, attempt: int, seconds: float, emit: Emit, stop: Stop) -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    job, path = output.job.name, str(output.found.file.path)
    first = clip.first_frame_index if clip is not None else None
    emit(TriedAgain(job=job, path=path, reason=reason, attempt=attempt, wait_seconds=seconds, first_frame_index=first))
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop.before():
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
    if _is_out_of_memory(error):
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


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was wanting: torch's allocator, oneDNN, OpenCV and C++ each say so in their own words."""
    if isinstance(error, cv2.error):
        return error.code == cv2.Error.StsNoMem
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError)
        and ("can't allocate memory" in str(error) or str(error) in (NO_PRIMITIVE, "std::bad_alloc"))
    )


def is_transient(error: BaseException | None, also: Collection[int] = ()) -> bool:
    """Whether the same may go right the next time: it, or what it came from, is an error of the system's state.

    Args:
        error: with its causes.
        also: numbers of the system's errors that count too.
    """
    if error is None:
        return False
    if isinstance(error, TransientError) or _is_out_of_memory(error):
        return True
    if isinstance(error, OSError) and (error.errno in _TRANSIENT or error.errno in also):
        return True
    return is_transient(error.__cause__, also)


def _until(task: ClipTask, emit: Emit, stop: Stop) -> Emit:
    """Pass events on, and end the work where a stop is asked for: after a frame, or at once when it is late.

    Raises:
        Stopped: there.
    """

    def pass_on(event: Event) -> None:
        emit(event)
        if stop.is_late and stop.before():
            raise Stopped
        if isinstance(event, FrameDone) and not (event.is_final and event.frame_index + 1 == task.clip.end_frame_index):
            seconds_wanted = event.seconds / max(1, event.evaluations) * task.output.job.optimizer.next
            if stop.before(seconds_wanted):
                raise Stopped

    return pass_on


def failed(job: Job, path: Path, error: ItemError, output: Output | None = None) -> ItemFailed:
    """The value that an item's error becomes."""
    made = str(output.path) if output is not None else ""
    # A name that is no UTF-8 can neither be recorded nor printed as it is.
    shown = str(path).encode(errors="backslashreplace").decode()
    return ItemFailed(job=job.name, path=shown, reason=error.problem, next_step=error.next_step, output=made)


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, stamp: tuple[int, int]) -> str:
    return sha256_of(path)


def is_unchanged(found: Found) -> bool:
    """Whether an input is still what was planned for."""
    path = found.file.path
    try:
        state = state_of(path)
        stamp = state.size_bytes, state.modified_ns
        return found.stamp in (None, stamp) or _sha256_of(path, stamp) == found.sha256
    except OSError:
        return False


def _check_unchanged(found: Found, frame_index: int | None = None) -> None:
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
    store = frame_store(task.work, clip, history)
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
        kept = store if once.is_last else _pass_store(task.work, clip, history, number)
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
                _check_unchanged(task.output.found, frame.frame_index)
                store.save(index, pixels, result.state.numpy())


def _stored(store: FrameStore, once: Pass, frame_index: int) -> Tensor:
    """What a pass made of a frame."""
    place = min(once.order) + once.order.index(frame_index)
    return tensor_of(next(store.frames(place, place + 1)))


def _run_picture(task: ClipTask, emit: Emit) -> None:
    path = task.output.found.file.path
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
        _check_unchanged(task.output.found)
        sink.write(pixels, frame)


def _result_before(before: Before, size: tuple[int, int]) -> Tensor | None:
    """What the picture before became; None if it could not be made, so that its neighbour starts afresh.

    It is the file itself, not a state of more bits: whenever and wherever the neighbour is painted, it starts from the same.
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
        path=str(task.output.found.file.path),
        first_frame_index=task.clip.first_frame_index,
        next_frame_index=next_frame_index,
        end_frame_index=task.clip.end_frame_index,
        reason=task.output.reason,
    )


def finish_output(output: Output, work: Path, emit: Emit, stop: Stop) -> OutputDone | ItemFailed:
    """Make the file of an output whose clips are all done. Its frames stay: they go when it is recorded.

    Raises:
        Stopped: it was asked to stop.
        DamagedFramesError: stored frames were damaged, and have been removed: run their clips again.
        OutputError: it cannot be given its name; a DiskFullError if there is no room.
    """
    began = time.monotonic()
    for attempt, wait_seconds in enumerate((*RETRY_WAITS_SECONDS, None), start=1):
        try:
            if output.found.video is not None:
                _encode(output, output.found.video, work, stop)
            break
        except DamagedFramesError:
            raise
        except (ItemError, OutputError) as error:
            if "No space left on device" in str(error):
                raise DiskFullError(error.problem, "Free some space; what is finished is kept.") from error
            if "Read-only file system" in str(error):
                ensure_writable(output.path.parent)  # the error is its own, not the item's
            # The folder itself may have been removed, and is then made again.
            again = is_transient(error, also=(errno.ENOENT,))
            if again and stop.before():
                raise Stopped from error
            if again and wait_seconds is not None:
                _wait(output, None, error.problem, attempt, wait_seconds, emit, stop)
            elif isinstance(error, ItemError):
                return replace(failed(output.job, output.found.file.path, error, output), attempts=attempt)
            else:
                raise
    return OutputDone(
        job=output.job.name,
        path=str(output.found.file.path),
        output=str(output.path),
        frames=output.found.frame_count,
        encode_seconds=time.monotonic() - began,
        fingerprint=output.fingerprint,
        sha256=_sha256_of_made(output.path),
    )


def _sha256_of_made(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        next_step = "See that nothing moves it away, and run again."
        raise OutputError(f"{path} is made, but cannot be read again: {error.strerror}.", next_step) from error


def _encode(output: Output, info: VideoInfo, work: Path, stop: Stop) -> None:
    job = output.job
    _check_unchanged(output.found)
    with video_sink(
        output.path,
        info,
        output.size,
        job.encode,
        copy_audio=job.audio == "copy",
        keep_metadata=job.metadata == "keep",
        frame_count=output.found.frame_count,
    ) as sink:
        for clip in output.clips:
            stored = frame_store(work, clip).frames(clip.first_frame_index, clip.end_frame_index)
            for frame_index, pixels in enumerate(stored, start=clip.first_frame_index):
                if stop.before():
                    raise Stopped
                sink.write(pixels, Frame(pixels, frame_index))
        sink.finish()
