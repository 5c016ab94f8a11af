"""The frames of one clip, painted one after another: where pictures, motion and style meet."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nstpipe.config.models import Job, RegionStyle, StyleImage
from nstpipe.errors import ItemError
from nstpipe.events import Emit, FrameDone, FrameProgressed
from nstpipe.media.frame import Frame, Pixels, Source, in_eight_bits, resized
from nstpipe.media.masks import read_masks
from nstpipe.media.metadata import is_full_panorama
from nstpipe.media.pictures import read_picture
from nstpipe.media.video import bits_of
from nstpipe.motion.flow import motion_between, resemblance, warp
from nstpipe.plan import Clip, Output
from nstpipe.style.color import color_statistics, match_color
from nstpipe.style.engine import Engine, EngineSettings, Look, RegionPaint, StylePicture, pixels_of, tensor_of, tensor_of_floats
from nstpipe.style.objective import Anchor
from nstpipe.style.optimise import Iterate
from nstpipe.style.scales import cost, scale_count

PROGRESS_INTERVAL_SECONDS = 0.25
"""Between two events of one optimisation; people read no faster."""


COLLAPSED_RELIABILITY = 0.1
"""Where less of a frame than this has been seen before, as in a dissolve, it starts afresh."""


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
    """

    output: Output
    clip: Clip
    work: Path
    device: str
    precision: str
    weights: str | Path
    seed: int
    max_megapixels: float


@dataclass(frozen=True, eq=False)
class _Painted:
    """A frame that is done.

    Attributes:
        pixels: the original, height x width x 3, at the working size.
        state: the result, 1 x 3 x height x width, float32, 0 to 1.
    """

    pixels: Pixels
    state: Tensor


@dataclass(frozen=True, eq=False)
class _Start:
    """Where a frame's optimisation begins.

    Attributes:
        image: 1 x 3 x height x width, float32, 0 to 1.
        most: iterations at most, at each scale.
        scales: sizes at which it is optimised, one after another.
        anchor: what the frame holds on to, if anything.
    """

    image: Tensor
    most: int
    anchor: Anchor | None = None
    scales: int = 1


def painted_frames(
    task: ClipTask, source: Source, next_frame_index: int, state: Tensor | None, emit: Emit
) -> Iterator[tuple[Frame, Pixels, Tensor]]:
    """Frames with their results, as they are shown and as the state that the next one needs.

    Args:
        task: the clip.
        source: of the frames.
        next_frame_index: to begin with.
        state: the stylised picture before that one; None at the clip's beginning.
        emit: takes the events.
    """
    job, size = task.output.job, task.output.size
    engine = engine_of(task)
    look = _look(engine, source, task.clip, size)
    painted: _Painted | None = None
    # The flow needs the original of the frame before, also when an earlier run has painted that one.
    first_read = next_frame_index if state is None else next_frame_index - 1
    began = time.monotonic()
    for frame in source.read(first_read, task.clip.end_frame_index):
        pixels = resized(frame.pixels, size)
        if frame.frame_index < next_frame_index and state is not None:
            painted = _Painted(in_eight_bits(pixels), state)
            continue
        content = tensor_of(pixels)
        masks = read_masks(task.output.found.masks, frame.frame_index, size)
        look = look.masked(torch.from_numpy(masks)) if masks is not None else look
        seen = look.seen(content)
        # Flow is measured on 8 bits, which is all that its tools take.
        pixels = in_eight_bits(pixels)
        start = _start(look, seen, pixels, painted, job, task.seed)
        try:
            last = _optimised(look, seen, start, frame, task, emit)
        except ItemError as error:
            place = source.path if frame.time is None else f"{source.path}, frame {frame.frame_index + 1}"
            raise ItemError(f"{place}: {error.problem}", error.next_step) from error
        # The state stays in float32 and within the range of a picture; what is beyond cannot be shown.
        painted = _Painted(pixels, last.image.clamp(0, 1).cpu())
        yield frame, pixels_of(look.shown(painted.state, content), _bits_shown(task, frame)), painted.state
        emit(
            FrameDone(
                job=job.name,
                path=str(task.output.found.file.path),
                first_frame_index=task.clip.first_frame_index,
                frame_index=frame.frame_index,
                seconds=time.monotonic() - began,
                evaluations=last.evaluations,
                most_evaluations=cost(start.most, start.scales),
                pixels=size[0] * size[1],
                loss=last.loss,
                content_loss=last.content_loss,
                style_loss=last.style_loss,
                warping_error=None if start.anchor is None else _warping_error(painted.state, start.anchor),
            )
        )
        began = time.monotonic()


def _warping_error(state: Tensor, anchor: Anchor) -> float:
    """How far a result is from the one before it, moved along the flow; see `FrameDone.warping_error`."""
    squared = (state - anchor.image).square().mean(dim=1)[0]
    return float((squared * anchor.reliability).sum() / anchor.reliability.sum())


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
        tolerance=optimizer.tolerance,
        anchor=start.anchor,
        wrapped=_is_wrapped(task.output.job, frame),
        scales=start.scales,
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


def _start(look: Look, content: Tensor, pixels: Pixels, before: _Painted | None, job: Job, seed: int) -> _Start:
    """Where a frame starts: afresh, from the result before it, or from that result moved along the flow."""
    optimizer, temporal = job.optimizer, job.temporal
    if before is None:
        return _afresh(look, content, job, seed)
    if temporal.init == "content":
        return _Start(_first_start(look, content, job, seed), optimizer.next)
    if temporal.init == "previous":
        return _Start(before.state, optimizer.next)
    motion = motion_between(before.pixels, pixels)
    if motion.reliability.mean() < COLLAPSED_RELIABILITY:
        return _afresh(look, content, job, seed)
    moved = tensor_of_floats(warp(before.state[0].permute(1, 2, 0).numpy(), motion.backward))
    reliability = torch.from_numpy(motion.reliability)
    # What was hidden until now starts in the colours of what is painted already; as plain content it would look bare.
    filled = match_color(content, color_statistics(moved, reliability), color_statistics(content, reliability))
    # Paint stays wherever the original still looks the same, even where its flow cannot be trusted.
    same = torch.from_numpy(resemblance(before.pixels, pixels))
    image = torch.lerp(torch.lerp(filled, before.state, same), moved, reliability)
    return _Start(image, optimizer.next, Anchor(moved, reliability))


def _afresh(look: Look, content: Tensor, job: Job, seed: int) -> _Start:
    """As the first frame of a clip: from small to full size."""
    scales = scale_count(job.scales, (content.shape[3], content.shape[2]))
    return _Start(_first_start(look, content, job, seed), job.optimizer.first, scales=scales)


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


def engine_is_loaded() -> bool:
    """Whether this process has an engine."""
    return _engine.cache_info().currsize > 0
