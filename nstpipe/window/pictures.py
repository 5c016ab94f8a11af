"""Small pictures of files, for the page. They are made when they are asked for, and the newest ones are kept in memory."""

from __future__ import annotations

import asyncio
import io
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from nstpipe.errors import ItemError, UsageError

if TYPE_CHECKING:
    from nstpipe.media.frame import Pixels

MOST_KEPT = 400
"""The most small pictures in memory; each has some 10 kB."""

AT_A_TIME = 2
"""So many pictures are made at a time, so that a folder of large ones leaves the machine to others."""

SMALL, LARGE = 192, 1280
"""Longest sides in pixels: of a picture in a list, and of one that is looked at."""


class SmallPictures:
    """Makes small pictures, and keeps the newest ones."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, int, int], bytes] = OrderedDict()
        self._turn = asyncio.Semaphore(AT_A_TIME)

    async def of(self, path: Path, longest: int) -> bytes:
        """Return a picture, or the first frame of a video, as WebP.

        Raises:
            UsageError: It cannot be read.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise UsageError(f"{path.name} cannot be read: {error.strerror}.") from error
        key = (str(path), found.st_mtime_ns, found.st_size, longest)
        if key not in self._kept:
            async with self._turn:
                self._kept[key] = await asyncio.to_thread(_made, path, longest)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _made(path: Path, longest: int) -> bytes:
    from nstpipe.media.detect import holds_video

    try:
        pixels = _first_frame(path) if holds_video(path) else _picture(path, longest)
    except (ItemError, OSError) as error:
        raise UsageError(f"{path.name} cannot be shown: {error}") from error
    return as_webp(pixels, longest)


def _picture(path: Path, longest: int) -> Pixels:
    from nstpipe.media.pictures.files import read_picture
    from nstpipe.report import thumbnails

    return thumbnails.small_picture(path) if longest <= thumbnails.LONGEST else read_picture(path)[0]


def _first_frame(path: Path) -> Pixels:
    from nstpipe.media.video.decode import VideoSource
    from nstpipe.media.video.probe import probe

    return next(iter(VideoSource(probe(path)).read(0, 1))).pixels


def as_webp(pixels: Pixels, longest: int) -> bytes:
    """Encode pixels as WebP, with sides of at most so many pixels."""
    from PIL import Image

    from nstpipe.media.frame import in_eight_bits

    image = Image.fromarray(in_eight_bits(pixels))
    image.thumbnail((longest, longest), Image.Resampling.BOX, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=82, method=2)
    return file.getvalue()
