"""The engines of this process, cached by what decides them."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nstpipe.config.models import Job, RegionStyle, StyleImage
from nstpipe.media.pictures.files import read_picture
from nstpipe.media.pictures.masks import forget_masks
from nstpipe.painting.task import ClipTask, RunSettings
from nstpipe.style.engine import Engine
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture


def engine_settings(job: Job, run: RunSettings) -> EngineSettings:
    """What of a job and its run decides the engine."""
    return EngineSettings(
        weights=run.weights,
        device=run.device,
        precision=run.precision,
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
    return _engine(engine_settings(job, task.run), _paintings(job.style.images), regions)


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
