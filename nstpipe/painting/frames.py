"""The frames of one clip, painted one after another: where pictures, motion and style meet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing

import torch
from torch import Tensor

from nstpipe.config.models import Job
from nstpipe.errors import ItemError
from nstpipe.events import Emit, FrameDone, FrameProgressed
from nstpipe.media.frame import Frame, Pixels, Source, resized
from nstpipe.media.pictures.masks import read_masks
from nstpipe.media.pictures.metadata import is_full_panorama
from nstpipe.media.tensors import pixels_of, tensor_of
from nstpipe.media.video.encode import bits_of
from nstpipe.motion.flow.methods import flow_method
from nstpipe.motion.frames_with_flow import frames_with_flow, prefetch
from nstpipe.painting.engines import engine_of
from nstpipe.painting.start import Pass, Start, start_of
from nstpipe.painting.task import ClipTask
from nstpipe.painting.temporal_target import Result
from nstpipe.planning.outputs import EARLIER_BITS, Clip
from nstpipe.style.engine import Engine
from nstpipe.style.minimize import Iterate
from nstpipe.style.scales import cost
from nstpipe.style.stylizer import Stylizer

PROGRESS_INTERVAL_SECONDS = 0.25
"""Between two events of one optimization; people read no faster."""


def painted_frames(
    task: ClipTask, source: Source, once: Pass, begin: int, results: Sequence[Result], emit: Emit
) -> Iterator[tuple[Frame, Pixels, Result]]:
    """Frames with their results, as they are shown and as the next ones need them.

    Args:
        task: the clip.
        source: of the frames.
        once: the pass over the clip.
        begin: position in the pass's order, from 0, to begin with.
        results: of the frames painted before that one; the newest is last. As many as the longest of `temporal.lags`, or
            all there are.
        emit: takes the events.
    """
    job, size = task.output.job, task.output.size
    engine = engine_of(task)
    stylizer = _look(engine, source, task.clip, size)
    painted = deque(results, maxlen=max(job.temporal.lags))
    # A picture of its own needs no flow, and none of its tools.
    lags = job.temporal.lags if job.temporal.follows_motion and len(once.order) > 1 else ()
    flow = flow_method(job.temporal.flow, task.run.device) if lags else flow_method("dis")
    began = time.monotonic()
    found = frames_with_flow(source, once.order, begin, size, lags, flow)
    # Decoding and flow go on in a thread while a frame is optimized; a single picture has nothing ahead of it.
    with closing(prefetch(found) if len(once.order) - begin > 1 else found) as coming:
        for step in coming:
            frame, content = step.frame, tensor_of(step.resized)
            masks = read_masks(task.output.input.masks, frame.frame_index, size)
            stylizer = stylizer.masked(torch.from_numpy(masks)) if masks is not None else stylizer
            seen = stylizer.seen(content)
            start = start_of(stylizer, seen, step, painted, once, job, task.run.seed)
            started = time.monotonic()
            try:
                last = _optimized(stylizer, seen, start, frame, task, emit)
            except ItemError as error:
                place = source.path if frame.time is None else f"{source.path}, frame {frame.frame_index + 1}"
                raise ItemError(f"{place}: {error.problem}", error.next_step) from error
            optimising_seconds = time.monotonic() - started
            # What the next ones need stays in float32.
            image = start.image if start.is_kept else last.image.cpu().contiguous()
            result = Result(image, start.newness) if start.newness is not None else Result.of_image(image)
            painted.append(result)
            if once.is_last:
                pixels = pixels_of(stylizer.shown(image, content), _bits_shown(task, frame))
            else:
                pixels = pixels_of(image, EARLIER_BITS)
            yield frame, pixels, result
            emit(
                FrameDone(
                    job=job.name,
                    path=str(task.output.input.file.path),
                    first_frame_index=task.clip.first_frame_index,
                    frame_index=frame.frame_index,
                    seconds=time.monotonic() - began,
                    optimising_seconds=optimising_seconds,
                    evaluations=last.evaluations,
                    most_evaluations=cost(start.most, start.scales),
                    pixels=size[0] * size[1],
                    loss=last.loss,
                    content_loss=last.content_loss,
                    style_loss=last.style_loss,
                    warping_error=_warping_error(image, start),
                    is_final=once.is_last,
                )
            )
            began = time.monotonic()


def _warping_error(image: Tensor, start: Start) -> float | None:
    """How far a result is from the one before it, moved along the flow; see `FrameDone.warping_error`."""
    if start.is_kept:
        return 0.0
    if start.before is None:
        return None
    squared = (image - start.before.image).square().mean(dim=1)[0]
    reliability = start.before.reliability
    return float((squared * reliability).sum() / reliability.sum().clamp_min(1))


def _bits_shown(task: ClipTask, frame: Frame) -> int:
    """How finely a result is rounded: a picture as its original, a video as it will be encoded."""
    video = task.output.input.video
    if video is None:
        return 8 * frame.pixels.itemsize
    return bits_of(task.output.job.encode, video, task.output.path)


def _look(engine: Engine, source: Source, clip: Clip, size: tuple[int, int]) -> Stylizer:
    """The style for a clip; if it takes on colors, those of the clip's first frame, also when going on in the middle."""
    if engine.settings.color == "style":
        return engine.stylizer(None)
    first = next(iter(source.read(clip.first_frame_index, clip.first_frame_index + 1)))
    return engine.stylizer(tensor_of(resized(first.pixels, size)))


def _optimized(stylizer: Stylizer, content: Tensor, start: Start, frame: Frame, task: ClipTask, emit: Emit) -> Iterate:
    """The last iterate of one frame."""
    optimizer = task.output.job.optimizer
    last: Iterate | None = None
    shown = time.monotonic()
    for last in stylizer.stylize(
        content,
        start.image,
        optimizer=optimizer.name,
        most=start.most,
        tolerance=optimizer.tolerance * start.tolerance,
        temporal_target=start.temporal_target,
        wrapped=_is_wrapped(task.output.job, frame),
        scales=start.scales,
        first_step=start.first_step,
    ):
        if time.monotonic() - shown > PROGRESS_INTERVAL_SECONDS:
            shown = time.monotonic()
            emit(
                FrameProgressed(
                    job=task.output.job.name,
                    path=str(task.output.input.file.path),
                    frame_index=frame.frame_index,
                    evaluations=last.evaluations,
                    most_evaluations=cost(start.most, start.scales),
                    loss=last.loss,
                )
            )
    assert last is not None, "the config allows no optimization without an iteration"
    return last


def _is_wrapped(job: Job, frame: Frame) -> bool:
    if job.panorama == "auto":
        return frame.metadata is not None and is_full_panorama(frame.metadata.xmp)
    return job.panorama == "wrapped"
