"""Animated WebP, read by Pillow: only the newest versions of ffmpeg read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nstpipe.errors import ItemError
from nstpipe.media.frame import Alpha, Pixels
from nstpipe.media.pictures.pillow import PILLOW_ERRORS, opened, pillow_settings

_RIFF_HEAD_BYTES = 12


@dataclass(frozen=True)
class AnimationTimes:
    """The size and the times of an animated picture.

    Attributes:
        format: Pillow's name of its format.
        width: Pixels of a frame.
        height: Pixels of a frame.
        milliseconds: When each frame begins, from 0, and when the last one ends.
        loops: How often it is shown; 0 for endlessly.
        is_transparent: Whether some of its pixels are not opaque.
    """

    format: str
    width: int
    height: int
    milliseconds: tuple[int, ...]
    loops: int
    is_transparent: bool = False


UNTIMED_MILLISECONDS = 100
"""How long browsers show a frame whose duration is zero."""


def is_animated_webp(path: Path) -> bool:
    """Whether a file is an animated WebP picture. False if it cannot be read."""
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
    """The size and the times of an animated WebP; None for any other file.

    Raises:
        ItemError: The file is damaged.
    """
    if not is_animated_webp(path):
        return None
    try:
        with opened(path) as image:
            times, is_transparent = [0], False
            for index in range(getattr(image, "n_frames", 1)):
                image.seek(index)
                image.load()
                is_transparent = is_transparent or _is_transparent(image)
                times.append(times[-1] + (round(image.info.get("duration", 0)) or UNTIMED_MILLISECONDS))
            width, height = image.size
            loops = int(image.info.get("loop", 0))
            return AnimationTimes(image.format or "WEBP", width, height, tuple(times), loops, is_transparent)
    except PILLOW_ERRORS as error:
        raise ItemError(f"{path} cannot be read: {error}.", "Copy the animation again.") from error


def _is_transparent(image: Image.Image) -> bool:
    lowest = image.getchannel("A").getextrema()[0] if image.mode == "RGBA" else 255
    return isinstance(lowest, int) and lowest < 255


def gif_loops(path: Path) -> int:
    """How often a GIF is shown; 0 for endlessly. The file states the repeats, or nothing if there are none."""
    try:
        with opened(path) as image:
            again = image.info.get("loop")
            return 1 if again is None else int(again) and int(again) + 1
    except PILLOW_ERRORS:
        return 0


def animation_frames(path: Path, end_frame_index: int) -> Iterator[tuple[Pixels, Alpha]]:
    """The first frames of an animation as they are shown, each drawn over the one before it, and how opaque they are.

    Raises:
        ItemError: A frame cannot be read.
    """
    try:
        with pillow_settings():
            image = Image.open(path, formats=["WEBP"])
        with image:  # not within the settings, which would last as long as the caller takes for the frames
            for index in range(end_frame_index):
                image.seek(index)
                shown = image.convert("RGBA")
                yield np.asarray(image.convert("RGB")), np.asarray(shown.getchannel("A"))
    except PILLOW_ERRORS as error:
        raise ItemError(f"{path} cannot be read: {error}.", "Copy the animation again.") from error
