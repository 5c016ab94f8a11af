"""Makes small pictures of inputs and results for the report."""

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
from nstpipe.media.pictures.color_spaces import told_color_space
from nstpipe.media.pictures.deep import is_deep
from nstpipe.media.pictures.files import read_picture
from nstpipe.media.pictures.pillow import PILLOW_ERRORS, opened
from nstpipe.media.pictures.profiles import in_srgb
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe
from nstpipe.storage.contents import held

LONGEST = 560
"""The longest side of a thumbnail, in pixels."""

LOOP_LONGEST, LOOP_FRAMES, LOOP_LARGEST_STEP = 240, 16, 3
"""The longest side of a loop's frames in pixels, the most frames of a loop, and the largest step between them in frames of the
video."""

QUALITY = 78


@dataclass(frozen=True)
class Thumbnail:
    """A picture within a page.

    Attributes:
        url: A ``data:`` URL that holds the whole picture.
        width: Width in pixels.
        height: Height in pixels.
    """

    url: str
    width: int
    height: int


@dataclass(frozen=True)
class Loop:
    """Some frames of a video, side by side in one picture, which the page shows one after another.

    Attributes:
        sheet: The picture with all frames.
        frames: The number of frames.
        seconds: The time from the first frame to the last.
    """

    sheet: Thumbnail
    frames: int
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """The same picture before and after.

    Attributes:
        before: The original; None if it cannot be read any more.
        after: The result; None if it cannot be read.
        problem: Why one of them is missing; empty if none is.
        frame_number: The number of a video's frame, from 1; None for a picture.
        loop: Some frames of the result, if it is a video.
    """

    before: Thumbnail | None
    after: Thumbnail | None
    problem: str = ""
    frame_number: int | None = None
    loop: Loop | None = None


def compare_pictures(original: Path, result: Path) -> Comparison:
    """Make thumbnails of a picture and of its result."""
    thumbnails: list[Thumbnail | None] = []
    problem = ""
    for path in (original, result):
        try:
            with held(path):
                thumbnails.append(as_thumbnail(small_picture(path)))
        except (ItemError, OSError) as error:
            thumbnails.append(None)
            problem = problem or _said(error)
    return Comparison(thumbnails[0], thumbnails[1], problem)


def compare_videos(original: Path, result: Path, rate: Fraction, cuts: Sequence[int], *, with_loop: bool) -> Comparison:
    """Make thumbnails of a video's middle frame, before and after, and a loop around it.

    Args:
        original: The input video.
        result: The painted video.
        rate: Frames per second of numbered pictures.
        cuts: The known indices of frames that begin a shot. The loop stays within one shot.
        with_loop: Whether to make a loop.
    """
    before = after = loop = None
    problem = ""
    middle = 0
    try:
        with held(result):
            made = probe(result, rate)
            middle = len(made.ticks) // 2
            first, end = _around(middle, (0, *cuts, len(made.ticks))) if with_loop else (middle, middle + 1)
            frames = [in_eight_bits(frame.pixels) for frame in VideoSource(made).read(first, end)]
        after = as_thumbnail(_reduced(frames[middle - first], LONGEST))
        loop = _loop(frames, made) if len(frames) > 1 else None
    except (ItemError, OSError) as error:
        problem = _said(error)
    try:
        with held(original):
            [frame] = VideoSource(probe(original, rate)).read(middle, middle + 1)
        before = as_thumbnail(_reduced(in_eight_bits(frame.pixels), LONGEST))
    except (ItemError, OSError, IndexError) as error:
        problem = problem or _said(error)
    return Comparison(before, after, problem, middle + 1, loop)


def _said(error: Exception) -> str:
    return error.problem if isinstance(error, ItemError) else str(error)


def _around(middle: int, bounds: Sequence[int]) -> tuple[int, int]:
    """Return the first and the end index of the frames that a loop shows. They lie between two neighboring bounds."""
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


def small_picture(path: Path) -> Pixels:
    """Return a picture's pixels in sRGB, upright, with a longest side of at most `LONGEST`.

    Raises:
        ItemError: The picture is missing, or cannot be read.
    """
    try:
        with opened(path) as image:
            profile = image.info.get("icc_profile") or None
            if not is_deep(path) and told_color_space(image, profile, path) is None:
                image.draft("RGB", (LONGEST, LONGEST))  # a JPEG is decoded several times as fast to an eighth of its size
                plain = _without_alpha(ImageOps.exif_transpose(image))
                plain.thumbnail((LONGEST, LONGEST), Image.Resampling.BOX, reducing_gap=2.0)
                return np.asarray(in_srgb(plain, profile)[0])
    except PILLOW_ERRORS:
        pass  # read_picture handles unusual and damaged pictures
    return _reduced(in_eight_bits(read_picture(path)[0]), LONGEST)


def _without_alpha(image: Image.Image) -> Image.Image:
    """Return a picture on white, in a mode that color profiles apply to."""
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _reduced(pixels: Pixels, longest: int) -> Pixels:
    height, width = pixels.shape[:2]
    return pixels if max(width, height) <= longest else resized(pixels, working_size((width, height), longest))


def as_thumbnail(pixels: Pixels) -> Thumbnail:
    """Encode pixels as WebP in a URL.

    Args:
        pixels: height x width x 3, uint8, RGB.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY, method=4)
    height, width = pixels.shape[:2]
    return Thumbnail(f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}", width, height)
