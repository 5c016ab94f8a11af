"""Numbered pictures as the frames of a video, such as ``frame_%05d.png``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from nstpipe.errors import ItemError
from nstpipe.media.frame import Alpha, Frame, PictureMetadata, Pixels, fitted, in_eight_bits, in_sixteen_bits, resized
from nstpipe.media.pictures.files import PictureSink, picture_size, read_picture
from nstpipe.media.video.info import VideoInfo
from nstpipe.system.files import complete, ensure_folder, numbered_files, partial_path

DEFAULT_RATE = Fraction(25)
"""Frames per second, if the job does not set `rate`."""


class SequenceSink:
    """Writes stylized frames as numbered pictures. They get their final names when all of them are complete.

    Args:
        path: The pattern of their names, such as ``frame_%05d.png``.
        numbers: The numbers of the frames, in order.
        place: Called with the pattern of the complete pictures just before they get their names. It may raise an error to keep
            them from that.

    Raises:
        ItemError: The folder has pictures of this pattern with other numbers, which would be mistaken for the result.
    """

    def __init__(self, path: Path, numbers: tuple[int, ...], *, place: Callable[[Path], None] = lambda _: None) -> None:
        self.path = path
        self._place = place
        self._numbers = numbers
        check_free(path, numbers)
        self._folder = partial_path(path).with_suffix("")
        shutil.rmtree(self._folder, ignore_errors=True)
        ensure_folder(self._folder)
        self._sink = PictureSink([self._folder / (path.name % number) for number in numbers], keep_metadata=False)
        self._written = 0

    def write(self, pixels: Pixels, frame: Frame) -> None:
        """See `Sink.write`."""
        if frame.alpha is not None:
            frame = replace(frame, metadata=PictureMetadata("PNG", alpha=frame.alpha))
        self._sink.write(pixels, frame)
        self._written += 1

    def finish(self) -> tuple[int, int]:
        """Give the pictures their final names.

        Returns:
            The width and height of the last one as read back, in pixels.

        Raises:
            ItemError: A frame is missing.
        """
        found = numbered_files(self._folder / self.path.name)
        if not len(self._numbers) == self._written == len(found):
            planned = len(self._numbers)
            raise ItemError(f"{self.path}: {planned} frames planned, {self._written} written and {len(found)} found.")
        read_back = picture_size(found[self._numbers[-1]])
        self._place(self._folder / self.path.name)
        for number in self._numbers:
            complete(found[number], self.path.with_name(self.path.name % number))
        self.abandon()
        return read_back

    def abandon(self) -> None:
        """See `Sink.abandon`."""
        with suppress(OSError):
            shutil.rmtree(self._folder)

    def __enter__(self) -> SequenceSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.abandon()


def check_free(path: Path, numbers: tuple[int, ...]) -> None:
    """Check that a result will not mix with other numbered pictures.

    Raises:
        ItemError: The folder has pictures of the pattern with other numbers.
    """
    other = sorted(set(numbered_files(path)).difference(numbers))
    if other:
        raise ItemError(
            f"output: {path.parent} has {len(other)} pictures of the pattern {path.name} with other numbers, "
            f"such as {path.name % other[0]}.",
            "Remove them, or give another name.",
        )


def numbered_pictures(info: VideoInfo, first_frame_index: int, end_frame_index: int) -> Iterator[tuple[Pixels, Alpha | None]]:
    """The pictures of a pattern, in the order of their numbers, and how opaque they are if they have an alpha channel.

    All have the size and the depth of the first one.

    Raises:
        ItemError: A picture cannot be read.
    """
    files = numbered_files(info.path)
    for number in sorted(files)[first_frame_index:end_frame_index]:
        pixels, metadata = read_picture(files[number])
        alpha = metadata.alpha
        if pixels.shape[:2] != (info.height, info.width):
            pixels, alpha = fitted(pixels, (info.width, info.height)), None if alpha is None else _fitted_alpha(alpha, info)
        yield (in_sixteen_bits(pixels) if info.is_deep else in_eight_bits(pixels)), alpha


def _fitted_alpha(alpha: Alpha, info: VideoInfo) -> Alpha:
    """How opaque a picture is that is fitted into another shape. The bars are opaque."""
    scale = min(info.width / alpha.shape[1], info.height / alpha.shape[0])
    width, height = max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale))
    opaque = np.full((info.height, info.width), np.iinfo(alpha.dtype).max, alpha.dtype)
    left, top = (info.width - width) // 2, (info.height - height) // 2
    opaque[top : top + height, left : left + width] = resized(alpha, (width, height))
    return opaque
