"""The frames of one clip, painted one after another: where pictures, motion and style meet."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nstpipe.config.models import Job, RegionStyle, StyleImage
from nstpipe.errors import ItemError
from nstpipe.events import Emit, FrameDone, FrameProgressed
from nstpipe.media.frame import Frame, Pixels, Source, resized
from nstpipe.media.masks import forget_masks, read_masks
from nstpipe.media.metadata import is_full_panorama
from nstpipe.media.pictures import read_picture
from nstpipe.media.video import bits_of
from nstpipe.motion.anchor import COLLAPSED_RELIABILITY, Moved, Result, anchor_of, moved, newness, warped_start
from nstpipe.motion.flow import flow_method
from nstpipe.motion.steps import Step, ahead, steps
from nstpipe.plan import Clip, Output
from nstpipe.style.engine import Engine, EngineSettings, Look, RegionPaint, StylePicture, pixels_of, tensor_of
from nstpipe.style.objective import Anchor
from nstpipe.style.optimise import FIRST_STEP, FIRST_STEP_NEARBY, Iterate
from nstpipe.style.scales import cost, scale_count

PROGRESS_INTERVAL_SECONDS = 0.25
"""Between two events of one optimisation; people read no faster."""

LATER_TOLERANCE = 2.5
"""Of a frame that goes on from paint, over `optimizer.tolerance`: what it leaves to do, the next one goes on with.

Chosen by measurement: docs/performance.md has the table.
"""

EARLIER_SHARE = 0.5
"""Of the moved result of the neighbour in the start of a later pass; the rest is the frame's own earlier result."""


@dataclass(frozen=True)
class Before:
    """The picture of a folder that another one goes on from.

    Attributes:
        original: the picture.
        result: its file, from which the other one starts.
        outdated: size in bytes and time in nanoseconds of a result that is no longer right, and is to be made anew; None
            if there is none.
    """

    original: Path
    result: Path
    outdated: tuple[int, int] | None = None


@dataclass(frozen=True)
class ClipTask:
    """A clip and what the whole run has in common; can be sent to another process.

    Attributes:
        output: whose clip it is.
        clip: what to do.
        work: folder of unfinished work.
        device: as in pipeline.yaml.
        precision: likewise.
        weights: likewise.
        seed: likewise.
        max_megapixels: likewise.
        before: the picture that this one goes on from; None if it starts afresh.
    """

    output: Output
    clip: Clip
    work: Path
    device: str
    precision: str
    weights: str | Path
    seed: int
    max_megapixels: float
    before: Before | None = None


@dataclass(frozen=True, eq=False)
class Pass:
    """Once over a clip.

    Attributes:
        order: the clip's frame indices as they are painted, rising or falling by one.
        is_last: whether its results are the clip's.
        earlier: what the pass before made of a frame, 1 x 3 x height x width, float32, 0 to 1; None in the first pass.
    """

    order: range
    is_last: bool = True
    earlier: Callable[[int], Tensor] | None = None


@dataclass(frozen=True, eq=False)
class _Start:
    """Where a frame's optimisation begins.

    Attributes:
        image: 1 x 3 x height x width, float32, 0 to 1.
        most: iterations at most, at each scale.
        tolerance: the fall of the loss at which it stops, over `optimizer.tolerance`.
        scales: sizes at which it is optimised, one after another.
        first_step: mean change of a value by its first step, of 1.
        anchor: what the frame holds on to, if anything.
        is_kept: whether it is the result as well, and only its loss is asked for.
        before: the result of the frame before, moved; None if nothing of it is to be seen.
        newness: of the frame's parts, see `Result`; None if nothing is new, or all.
    """

    image: Tensor
    most: int
    anchor: Anchor | None = None
    tolerance: float = LATER_TOLERANCE
    scales: int = 1
    first_step: float = FIRST_STEP_NEARBY
    is_kept: bool = False
    before: Moved | None = None
    newness: Tensor | None = None


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
    look = _look(engine, source, task.clip, size)
    painted = deque(results, maxlen=max(job.temporal.lags))
    # A picture of its own needs no flow, and none of its tools.
    lags = job.temporal.lags if job.temporal.follows_motion and len(once.order) > 1 else ()
    flow = flow_method(job.temporal.flow, task.device) if lags else flow_method("dis")
    began = time.monotonic()
    found = steps(source, once.order, begin, size, lags, flow)
    # Decoding and flow go on in a thread while a frame is optimised; a single picture has nothing ahead of it.
    with closing(ahead(found) if len(once.order) - begin > 1 else found) as coming:
        for step in coming:
            frame, content = step.frame, tensor_of(step.resized)
            masks = read_masks(task.output.found.masks, frame.frame_index, size)
            look = look.masked(torch.from_numpy(masks)) if masks is not None else look
            seen = look.seen(content)
            start = _start(look, seen, step, painted, once, job, task.seed)
            started = time.monotonic()
            try:
                last = _optimised(look, seen, start, frame, task, emit)
            except ItemError as error:
                place = source.path if frame.time is None else f"{source.path}, frame {frame.frame_index + 1}"
                raise ItemError(f"{place}: {error.problem}", error.next_step) from error
            optimising_seconds = time.monotonic() - started
            # What the next ones need stays in float32.
            image = start.image if start.is_kept else last.image.cpu().contiguous()
            result = Result(image, start.newness) if start.newness is not None else Result.of_image(image)
            painted.append(result)
            if once.is_last:
                pixels = pixels_of(look.shown(image, content), _bits_shown(task, frame))
            else:
                pixels = pixels_of(image, EARLIER_BITS)
            yield frame, pixels, result
            emit(
                FrameDone(
                    job=job.name,
                    path=str(task.output.found.file.path),
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


EARLIER_BITS = 16
"""In which a pass that is not the last hands its results on; each is used once, so that roundings do not add up."""


def _warping_error(image: Tensor, start: _Start) -> float | None:
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
    video = task.output.found.video
    if video is None:
        return 8 * frame.pixels.itemsize
    return bits_of(task.output.job.encode, video, task.output.path)


def _look(engine: Engine, source: Source, clip: Clip, size: tuple[int, int]) -> Look:
    """The style for a clip; if it takes on colours, those of the clip's first frame, also when going on in the middle."""
    if engine.settings.color == "style":
        return engine.look(None)
    first = next(iter(source.read(clip.first_frame_index, clip.first_frame_index + 1)))
    return engine.look(tensor_of(resized(first.pixels, size)))


def _optimised(look: Look, content: Tensor, start: _Start, frame: Frame, task: ClipTask, emit: Emit) -> Iterate:
    """The last iterate of one frame."""
    optimizer = task.output.job.optimizer
    last: Iterate | None = None
    shown = time.monotonic()
    for last in look.stylise(
        content,
        start.image,
        optimizer=optimizer.name,
        most=start.most,
        tolerance=optimizer.tolerance * start.tolerance,
        anchor=start.anchor,
        wrapped=_is_wrapped(task.output.job, frame),
        scales=start.scales,
        first_step=start.first_step,
    ):
        if time.monotonic() - shown > PROGRESS_INTERVAL_SECONDS:
            shown = time.monotonic()
            emit(
                FrameProgressed(
                    job=task.output.job.name,
                    path=str(task.output.found.file.path),
                    frame_index=frame.frame_index,
                    evaluations=last.evaluations,
                    most_evaluations=cost(start.most, start.scales),
                    loss=last.loss,
                )
            )
    assert last is not None, "the config allows no optimisation without an iteration"
    return last


def _is_wrapped(job: Job, frame: Frame) -> bool:
    if job.panorama == "auto":
        return frame.metadata is not None and is_full_panorama(frame.metadata.xmp)
    return job.panorama == "wrapped"


def _start(look: Look, content: Tensor, step: Step, painted: Sequence[Result], once: Pass, job: Job, seed: int) -> _Start:
    """Where a frame starts, for how long it is optimised at most, and what it holds on to."""
    optimizer, temporal = job.optimizer, job.temporal
    earlier = None if once.earlier is None else once.earlier(step.frame.frame_index)
    if not painted:
        if earlier is not None:
            return _Start(earlier, optimizer.next)
        return _afresh(look, content, job, seed)
    if temporal.init != "content" and earlier is None and step.before is not None and _is_equal(step.before, step.pixels):
        # Whatever more iterations would change would be seen as flicker.
        return _Start(painted[-1].image, 1, is_kept=True, newness=painted[-1].newness)
    held = [moved(painted[-lag].image, motion) for lag, motion in step.motions.items() if lag <= len(painted)]
    anchor = anchor_of(held) if held else None
    if anchor is not None and anchor.reliability.mean() < COLLAPSED_RELIABILITY:
        # As after a dissolve: nothing of what was painted is left.
        anchor = None
        if temporal.init == "warped":
            return _afresh(look, content, job, seed) if earlier is None else _Start(earlier, optimizer.next)
    most, tolerance, first_step, new = optimizer.next, LATER_TOLERANCE, FIRST_STEP_NEARBY, None
    if temporal.init == "content":
        image, tolerance, first_step = _first_start(look, content, job, seed), 1.0, FIRST_STEP
    elif temporal.init == "previous" or anchor is None or step.before is None:
        image = painted[-1].image
    else:
        image, unseen = warped_start(content, step, painted[-1].image, anchor)
        if earlier is None:
            new = newness(painted[-1], step.motions[1], unseen)
            anchor = replace(anchor, newness=new)
            # Where much has no paint yet, its share of what a whole first frame takes.
            most = max(most, round(float(unseen.mean()) * optimizer.first))
    if earlier is not None:
        share = EARLIER_SHARE if anchor is None else EARLIER_SHARE * anchor.reliability
        image = torch.lerp(earlier, image, torch.as_tensor(share))
    before = held[0] if anchor is not None else None
    held_to = anchor if temporal.weight else None
    return _Start(image, most, held_to, tolerance, first_step=first_step, before=before, newness=new)


def _is_equal(one: Pixels, other: Pixels) -> bool:
    """Whether two frames are the same to the last level; one that differs a little may be part of a slow change."""
    return bool(np.array_equal(one, other))


def _afresh(look: Look, content: Tensor, job: Job, seed: int) -> _Start:
    """As the first frame of a clip: from small to full size."""
    scales = scale_count(job.scales, (content.shape[3], content.shape[2]))
    start = _first_start(look, content, job, seed)
    return _Start(start, job.optimizer.first, tolerance=1.0, scales=scales, first_step=FIRST_STEP)


def _first_start(look: Look, content: Tensor, job: Job, seed: int) -> Tensor:
    if isinstance(job.init, Path):
        pixels, _ = read_picture(job.init)
        return look.seen(tensor_of(resized(pixels, (content.shape[3], content.shape[2]))))
    return look.first_start(content, job.init, seed)


def engine_settings(task: ClipTask) -> EngineSettings:
    """What of a task decides the engine."""
    return engine_settings_of(task.output.job, device=task.device, precision=task.precision, weights=task.weights)


def engine_settings_of(job: Job, *, device: str, precision: str, weights: str | Path) -> EngineSettings:
    """What of a job and its pipeline decides the engine."""
    return EngineSettings(
        weights=weights,
        device=device,
        precision=precision,
        pooling=job.pooling,
        padding=job.padding,
        content_layers=tuple(job.content.layers.items()),
        style_layers=tuple(job.style.layers.items()),
        strength=job.style.strength,
        style_scale=job.style.scale,
        total_variation=job.total_variation,
        temporal=job.temporal.weight,
        color=job.color,
        distance=job.style.distance,
    )


def engine_of(task: ClipTask) -> Engine:
    """The engine for a task, made when this process first needs it."""
    job = task.output.job
    regions = tuple(_Paint.of(region.style) for region in job.regions)
    return _engine(engine_settings(task), _paintings(job.style.images), regions)


_Paintings = tuple[tuple[Path, float], ...]
"""Paths and weights."""


@dataclass(frozen=True)
class _Paint:
    """What a region is painted with, as a key: `RegionPaint` without its pixels."""

    paintings: _Paintings = ()
    strength: float = 1.0
    scale: float = 1.0

    @classmethod
    def of(cls, style: RegionStyle | None) -> _Paint:
        return cls(_paintings(style.images), style.strength, style.scale) if style is not None else cls()


def _paintings(images: Iterable[StyleImage]) -> _Paintings:
    return tuple((image.path, image.weight) for image in images)


@functools.lru_cache(maxsize=1)
def _engine(settings: EngineSettings, paintings: _Paintings, regions: tuple[_Paint, ...]) -> Engine:
    """The pictures of a job share one engine: its weights are loaded and its style is measured once a process."""
    painted = [RegionPaint(_read(paint.paintings), paint.strength, paint.scale) for paint in regions]
    return Engine(settings, _read(paintings), painted)


def _read(paintings: _Paintings) -> tuple[StylePicture, ...]:
    return tuple(StylePicture(read_picture(path)[0], weight) for path, weight in paintings)


def forget_pictures() -> None:
    """Read paintings and masks again when they are next wanted; called as a run begins, so that within one they stay the same.

    In one process, such as a notebook's, pictures may be changed between two runs.
    """
    _engine.cache_clear()
    forget_masks()


def engine_is_loaded() -> bool:
    """Whether this process has an engine."""
    return _engine.cache_info().currsize > 0
