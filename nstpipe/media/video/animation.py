"""Animated WebP, which ffmpeg reads only in its newest versions: read by Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nstpipe.errors import ItemError
from nstpipe.media.frame import Pixels
from nstpipe.media.pictures.pillow import PILLOW_ERRORS, opened, pillow_settings

_RIFF_HEAD_BYTES = 12


@dataclass(frozen=True)
class AnimationTimes:
    """What an animated picture holds.

    Attributes:
        format: Pillow's name.
        width: in pixels.
        height: likewise.
        milliseconds: when each frame begins, from 0, and when the last one ends.
        loops: how often it is shown; 0 for ever.
    """

    format: str
    width: int
    height: int
    milliseconds: tuple[int, ...]
    loops: int


UNTIMED_MILLISECONDS = 100
"""What browsers take for a frame that is to be shown for no time at all."""


def is_animated_webp(path: Path) -> bool:
    """Whether a file is a WebP picture that moves; False for what cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_RIFF_HEAD_BYTES)
        if head[:4] != b"RIFF" or head[8:] != b"WEBP":
            return False
        with opened(path) as image:
            return bool(getattr(image, "is_animated", False))
    except PILLOW_ERRORS:
        return False


def animation_times(path: Path) -> AnimationTimes | None:
    """When the frames of an animated WebP are shown; None for any other file.

    Raises:
        ItemError: it is damaged.
    """
    if not is_animated_webp(path):
        return None
    try:
        with opened(path) as image:
            times = [0]
            for index in range(getattr(image, "n_frames", 1)):
                image.seek(index)
                image.load()
                times.append(times[-1] + (round(image.info.get("duration", 0)) or UNTIMED_MILLISECONDS))
            width, height = image.size
            return AnimationTimes(image.format or "WEBP", width, height, tuple(times), int(image.info.get("loop", 0)))
    except PILLOW_ERRORS as error:
        raise ItemError(f"{path} cannot be read: {error}.", "Copy the animation again.") from error


def gif_loops(path: Path) -> int:
    """How often a GIF is shown; 0 for ever. Its file says how often it is shown again, and nothing if it is not."""
    try:
        with opened(path) as image:
            again = image.info.get("loop")
            return 1 if again is None else int(again) and int(again) + 1
    except PILLOW_ERRORS:
        return 0


def animation_frames(path: Path, end_frame_index: int) -> Iterator[Pixels]:
    """The first frames of an animation, as they are shown; each is painted over the one before.

    Raises:
        ItemError: one of them cannot be read.
    """
    try:
        with pillow_settings():
            image = Image.open(path, formats=["WEBP"])
        with image:  # not within the settings, which would last as long as the caller takes for the frames
            for index in range(end_frame_index):
                image.seek(index)
                yield np.asarray(image.convert("RGB"))
    except PILLOW_ERRORS as error:
        raise ItemError(f"{path} cannot be read: {error}.", "Copy the animation again.") from error
