"""Small pictures of inputs and results, as they stand in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nstpipe.errors import ItemError
from nstpipe.media.frame import Pixels, in_eight_bits, resized, working_size
from nstpipe.media.pictures.deep import is_deep
from nstpipe.media.pictures.files import read_picture
from nstpipe.media.pictures.pillow import PILLOW_ERRORS, opened
from nstpipe.media.pictures.profiles import in_srgb
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe

LONGEST = 560
"""Pixels of a thumbnail's longest side."""

LOOP_LONGEST, LOOP_FRAMES, LOOP_LARGEST_STEP = 240, 16, 3
"""Of a loop: pixels of a frame's longest side, frames at most, and how many of the video's frames it goes on at a time."""

QUALITY = 78


@dataclass(frozen=True)
class Thumbnail:
    """A picture within a page.

    Attributes:
        url: ``data:``, with the whole picture.
        width: in pixels.
        height: in pixels.
    """

    url: str
    width: int
    height: int


@dataclass(frozen=True)
class Loop:
    """Some frames of a video side by side in one picture, to be shown one after the other.

    Attributes:
        sheet: all frames.
        frames: how many.
        seconds: from the first to the last.
    """

    sheet: Thumbnail
    frames: int
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """The same picture before and after.

    Attributes:
        before: None if the original cannot be read any more.
        after: None if the result cannot be read.
        problem: why one of them is missing.
        frame_number: of a video's frame, from 1; None for a picture.
        loop: of a video.
    """

    before: Thumbnail | None
    after: Thumbnail | None
    problem: str = ""
    frame_number: int | None = None
    loop: Loop | None = None


def compare_pictures(original: Path, result: Path) -> Comparison:
    """Thumbnails of a picture and of what was made of it."""
    thumbnails: list[Thumbnail | None] = []
    problem = ""
    for path in (original, result):
        try:
            thumbnails.append(as_thumbnail(_small_picture(path)))
        except (ItemError, OSError) as error:
            thumbnails.append(None)
            problem = problem or _said(error)
    return Comparison(thumbnails[0], thumbnails[1], problem)


def compare_videos(original: Path, result: Path, rate: Fraction, cuts: Sequence[int], *, with_loop: bool) -> Comparison:
    """Thumbnails of a video's middle frame before and after, and a loop around it.

    Args:
        original: what was painted.
        result: what came of it.
        rate: frames a second of numbered pictures.
        cuts: indices of the frames that begin a shot, as far as they are known; the loop stays within one.
        with_loop: whether a loop is wanted.
    """
    before = after = loop = None
    problem = ""
    middle = 0
    try:
        made = probe(result, rate)
        middle = len(made.ticks) // 2
        first, end = _around(middle, (0, *cuts, len(made.ticks))) if with_loop else (middle, middle + 1)
        frames = [in_eight_bits(frame.pixels) for frame in VideoSource(made).read(first, end)]
        after = as_thumbnail(_reduced(frames[middle - first], LONGEST))
        loop = _loop(frames, made) if len(frames) > 1 else None
    except (ItemError, OSError) as error:
        problem = _said(error)
    try:
        [frame] = VideoSource(probe(original, rate)).read(middle, middle + 1)
        before = as_thumbnail(_reduced(in_eight_bits(frame.pixels), LONGEST))
    except (ItemError, OSError, IndexError) as error:
        problem = problem or _said(error)
    return Comparison(before, after, problem, middle + 1, loop)


def _said(error: Exception) -> str:
    return error.problem if isinstance(error, ItemError) else str(error)


def _around(middle: int, bounds: Sequence[int]) -> tuple[int, int]:
    """The first and end index of what a loop shows, between two of the bounds."""
    begin, end = max(bound for bound in bounds if bound <= middle), min(bound for bound in bounds if bound > middle)
    length = min(end - begin, (LOOP_FRAMES - 1) * LOOP_LARGEST_STEP + 1)
    first = min(max(begin, middle - length // 2), end - length)
    return first, first + length


def _loop(frames: Sequence[Pixels], video: VideoInfo) -> Loop:
    step = max(1, min(LOOP_LARGEST_STEP, (len(frames) - 1) // (LOOP_FRAMES - 1)))
    chosen = frames[::step][:LOOP_FRAMES]
    sheet = np.concatenate([_reduced(pixels, LOOP_LONGEST) for pixels in chosen], axis=1)
    seconds = step * (len(chosen) - 1) / float(video.average_rate)
    return Loop(as_thumbnail(sheet), len(chosen), seconds)


def _small_picture(path: Path) -> Pixels:
    """A picture's pixels in sRGB, upright, at most `LONGEST`.

    Raises:
        ItemError: it is missing or no picture.
    """
    try:
        with opened(path) as image:
            if not is_deep(path):
                profile = image.info.get("icc_profile") or None
                image.draft("RGB", (LONGEST, LONGEST))  # a JPEG is decoded several times as fast to an eighth of its size
                plain = _without_alpha(ImageOps.exif_transpose(image))
                plain.thumbnail((LONGEST, LONGEST), Image.Resampling.BOX, reducing_gap=2.0)
                return np.asarray(in_srgb(plain, profile)[0])
    except PILLOW_ERRORS:
        pass  # what is special or damaged is for the careful reader
    return _reduced(in_eight_bits(read_picture(path)[0]), LONGEST)


def _without_alpha(image: Image.Image) -> Image.Image:
    """On white, and in a mode that color profiles are made for."""
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _reduced(pixels: Pixels, longest: int) -> Pixels:
    height, width = pixels.shape[:2]
    return pixels if max(width, height) <= longest else resized(pixels, working_size((width, height), longest))


def as_thumbnail(pixels: Pixels) -> Thumbnail:
    """Pixels as WebP in a URL.

    Args:
        pixels: height x width x 3, uint8, RGB.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY, method=4)
    height, width = pixels.shape[:2]
    return Thumbnail(f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}", width, height)
