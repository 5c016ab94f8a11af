"""The engines of this process, cached by everything that decides them."""

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
from nstpipe.style.engines import make_engine
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture


def engine_settings(job: Job, run: RunSettings) -> EngineSettings:
    """Return what decides the engine of a job, except for the pictures."""
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
        engine=job.engine,
    )


def engine_of(task: ClipTask) -> Engine:
    """Return the engine for a task; see `engine_of_job`."""
    return engine_of_job(task.output.job, task.run)


def engine_of_job(job: Job, run: RunSettings) -> Engine:
    """Return the engine for the clips of a job. It is made when this process first needs it.

    Raises:
        ItemError: a painting cannot be read.
        MachineError: this machine lacks something that the engine needs.
    """
    regions = tuple(_Paint.of(region.style) for region in job.regions)
    return _engine(engine_settings(job, run), _paintings(job.style.images), regions)


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
    """Make an engine. All clips of a job share it, so a process reads and measures the paintings once."""
    return make_engine(settings, _read(paintings), _region_paints(regions))


def paints_of(job: Job) -> tuple[tuple[StylePicture, ...], list[RegionPaint]]:
    """Return the paintings of a job, and what each of its regions is painted with.

    Raises:
        ItemError: a painting cannot be read.
    """
    regions = [_Paint.of(region.style) for region in job.regions]
    return _read(_paintings(job.style.images)), _region_paints(regions)


def _region_paints(regions: Iterable[_Paint]) -> list[RegionPaint]:
    return [RegionPaint(_read(paint.paintings), paint.strength, paint.scale) for paint in regions]


def _read(paintings: _Paintings) -> tuple[StylePicture, ...]:
    return tuple(_painting(path, weight) for path, weight in paintings)


def _painting(path: Path, weight: float) -> StylePicture:
    pixels, metadata = read_picture(path)
    return StylePicture.of(pixels, metadata.alpha, weight)


def forget_pictures() -> None:
    """Have paintings and masks read again when they are next wanted.

    It is called when a run begins: in one process, such as a notebook's, pictures may change between two runs, but not within
    one. The network stays, for it depends on no picture.
    """
    _engine.cache_clear()
    forget_masks()


def engine_is_loaded() -> bool:
    """Return whether this process holds an engine."""
    return _engine.cache_info().currsize > 0
