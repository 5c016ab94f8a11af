"""Paints the frames of one clip one after another: where pictures, motion and style meet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nstpipe.config import Job
from nstpipe.errors import ItemError
from nstpipe.events import Emit, FrameDone, FrameProgressed
from nstpipe.media.frame import Frame, Pixels, Source, in_eight_bits, resized
from nstpipe.media.pictures.masks import read_masks
from nstpipe.media.pictures.metadata import is_full_panorama
from nstpipe.media.tensors import pixels_of, tensor_of
from nstpipe.media.video.encoding import bits_of
from nstpipe.motion.flow.methods import flow_method
from nstpipe.motion.frames_with_flow import frames_with_flow, prefetch
from nstpipe.painting.engines import engine_of
from nstpipe.painting.start import Pass, Start, start_of
from nstpipe.painting.task import ClipTask
from nstpipe.painting.temporal_target import Result
from nstpipe.planning.outputs import EARLIER_BITS, Clip, Output
from nstpipe.style.engine import Engine, Iterate, Stylizer
from nstpipe.style.scales import cost

PROGRESS_INTERVAL_SECONDS = 0.25
"""Shortest time between two events of one frame. People read no faster."""


@dataclass(frozen=True, eq=False)
class Glimpse:
    """A frame while it is painted.

    Attributes:
        before: The frame as it was, height x width x 3, at the working size.
        iterations: The number of iterations so far.
        max_iterations: The most that the frame can take.
        loss: The total loss; None from an engine that knows of none.
        shown: Returns the frame as it looks now, height x width x 3, uint8. Valid only until the next iteration.
    """

    before: Pixels
    iterations: int
    max_iterations: int
    loss: float | None
    shown: Callable[[], Pixels]


Watch = Callable[[Glimpse], None]
"""Sees each iteration of a frame. An error that it raises ends the painting."""


def painted_frames(
    task: ClipTask,
    source: Source,
    once: Pass,
    begin: int,
    results: Sequence[Result],
    emit: Emit,
    watch: Watch | None = None,
) -> Iterator[tuple[Frame, Pixels, Result]]:
    """Paint the frames of a clip.

    Args:
        task: the clip.
        source: reads the frames.
        once: the pass over the clip.
        begin: the position in the pass's order, from 0, at which to begin.
        results: the results of the frames painted before it, the newest last: as many as the longest of `temporal.lags`, or
            all there are.
        emit: takes the events.
        watch: sees each iteration; None if nobody looks on.

    Yields:
        Each frame with its result: the pixels as they are shown, and the state that the next frames need.

    Raises:
        ItemError: a frame cannot be read or painted.
    """
    job, size = task.output.job, task.output.size
    engine = engine_of(task)
    stylizer = _clip_stylizer(engine, source, task.clip, size)
    painted = deque(results, maxlen=max(job.temporal.lags))
    # A single picture needs no flow.
    lags = job.temporal.lags if job.follows_motion and len(once.order) > 1 else ()
    flow = flow_method(job.temporal.flow, task.run.device) if lags else flow_method("dis")
    began = time.monotonic()
    found = frames_with_flow(source, once.order, begin, size, lags, flow)
    # A thread decodes and computes flow while a frame is painted. A single picture has nothing to prefetch.
    is_single = len(once.order) - begin == 1
    with closing(found if is_single else prefetch(found, is_urgent=not job.iterates)) as coming:
        for step in coming:
            frame, content = step.frame, tensor_of(step.resized)
            masks = read_masks(task.output.input.masks, frame.frame_index, size)
            stylizer = stylizer.masked(torch.from_numpy(masks)) if masks is not None else stylizer
            seen = stylizer.seen(content)
            start = start_of(stylizer, seen, step, painted, once, job, task.run.seed)
            started = time.monotonic()
            try:
                look = None if watch is None else _Onlooker(watch, stylizer, content, step.resized)
                last = _last_iterate(stylizer, seen, start, frame, task, emit, look)
            except ItemError as error:
                place = source.path if frame.time is None else f"{source.path}, frame {frame.frame_index + 1}"
                raise ItemError(f"{place}: {error.problem}", error.next_step) from error
            optimizing_seconds = time.monotonic() - started
            # The next frames need the result in float32.
            image = start.image if start.is_kept else last.image.cpu().contiguous()
            result = Result(image, start.newness) if start.newness is not None else Result.of_image(image)
            painted.append(result)
            if once.is_last:
                pixels = pixels_of(stylizer.shown(image, content), _bits_shown(task, frame))
            else:
                pixels = pixels_of(image, EARLIER_BITS)
            yield frame, pixels, result
            seconds = time.monotonic() - began
            emit(_frame_done(task, frame, start, last, image, seconds, optimizing_seconds, is_final=once.is_last))
            began = time.monotonic()


def _frame_done(
    task: ClipTask,
    frame: Frame,
    start: Start,
    last: Iterate,
    image: Tensor,
    seconds: float,
    optimizing_seconds: float,
    *,
    is_final: bool,
) -> FrameDone:
    width, height = task.output.size
    return FrameDone(
        job=task.output.job.name,
        path=str(task.output.input.file.path),
        first_frame_index=task.clip.first_frame_index,
        frame_index=frame.frame_index,
        seconds=seconds,
        optimising_seconds=optimizing_seconds,
        evaluations=last.iterations,
        most_evaluations=_max_iterations(task.output.job, start),
        pixels=width * height,
        loss=last.loss,
        content_loss=last.content_loss,
        style_loss=last.style_loss,
        warping_error=_warping_error(image, start),
        is_final=is_final,
    )


def _max_iterations(job: Job, start: Start) -> int:
    """Return the most iterations that a frame can take; 1 if the engine does not iterate."""
    return cost(start.options.max_iterations, start.options.scales) if job.iterates else 1


def _warping_error(image: Tensor, start: Start) -> float | None:
    """Return how far a result is from the previous one, warped along the flow; see `FrameDone.warping_error`."""
    if start.is_kept:
        return 0.0
    if start.previous is None:
        return None
    squared = (image - start.previous.image).square().mean(dim=1)[0]
    reliability = start.previous.reliability
    return float((squared * reliability).sum() / reliability.sum().clamp_min(1))


def _bits_shown(task: ClipTask, frame: Frame) -> int:
    """Return the bits a value to which a result is rounded: as in the original picture, or as the video will be encoded."""
    video = task.output.input.video
    if video is None:
        return 8 * frame.pixels.itemsize
    return bits_of(task.output.job.encode, video, task.output.path)


def _clip_stylizer(engine: Engine, source: Source, clip: Clip, size: tuple[int, int]) -> Stylizer:
    """Return the stylizer of a clip.

    Colors are adapted to the clip's first frame, also when a run continues in the middle of the clip.
    """
    if not engine.needs_first_frame:
        return engine.stylizer(None)
    first = next(iter(source.read(clip.first_frame_index, clip.first_frame_index + 1)))
    return engine.stylizer(tensor_of(resized(first.pixels, size)))


@dataclass(frozen=True, eq=False)
class _Onlooker:
    """Shows the iterations of one frame to whoever watches."""

    watch: Watch
    stylizer: Stylizer
    content: Tensor
    before: Pixels

    def see(self, iterate: Iterate, max_iterations: int) -> None:
        self.watch(
            Glimpse(self.before, iterate.iterations, max_iterations, iterate.loss, lambda: self._shown(iterate.image.cpu()))
        )

    def _shown(self, image: Tensor) -> Pixels:
        # The first scales are smaller than the frame.
        size = self.content.shape[-2:]
        full = image if image.shape[-2:] == size else functional.interpolate(image, size=size, mode="bilinear")
        return in_eight_bits(pixels_of(self.stylizer.shown(full, self.content)))


def _last_iterate(
    stylizer: Stylizer, content: Tensor, start: Start, frame: Frame, task: ClipTask, emit: Emit, onlooker: _Onlooker | None
) -> Iterate:
    """Paint one frame, with events of its progress, and return its last iterate."""
    last: Iterate | None = None
    began = shown = time.monotonic()
    for last in stylizer.stylize(
        content,
        start.image,
        start.options,
        temporal_target=start.temporal_target,
        wrapped=_is_wrapped(task.output, frame),
    ):
        if onlooker is not None:
            onlooker.see(last, _max_iterations(task.output.job, start))
        # Only an engine that iterates has progress to report within a frame.
        if last.iterations and time.monotonic() - shown > PROGRESS_INTERVAL_SECONDS:
            shown = time.monotonic()
            emit(
                FrameProgressed(
                    job=task.output.job.name,
                    path=str(task.output.input.file.path),
                    frame_index=frame.frame_index,
                    evaluations=last.iterations,
                    most_evaluations=_max_iterations(task.output.job, start),
                    loss=last.loss,
                    pixels=content.shape[-2] * content.shape[-1],
                    seconds=shown - began,
                )
            )
    assert last is not None, "an engine yields at least one iterate"
    return last


def _is_wrapped(output: Output, frame: Frame) -> bool:
    if output.job.panorama != "auto":
        return output.job.panorama == "wrapped"
    if output.input.video is not None:
        return output.input.video.is_panorama
    return frame.metadata is not None and is_full_panorama(frame.metadata.xmp)
