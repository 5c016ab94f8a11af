"""Frames, and the interfaces of what reads and writes them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""height x width x 3, RGB, with the transfer function of sRGB or of the video, full range: 0 to 255, or 0 to 65535.

Values have two bytes if the file has more than 8 bits per value, and one byte if not."""

Alpha = NDArray[np.uint8] | NDArray[np.uint16]
"""height x width: how opaque each pixel is, from 0 to 255 or 65535."""

SIXTEEN_BIT_STEP = 257
"""The 16-bit value of one level of 8 bits, so that 255 becomes 65535."""

LUMA = (0.2126, 0.7152, 0.0722)
"""The shares of R, G and B in luminance (ITU-R BT.709, which has sRGB's primaries)."""


@dataclass(frozen=True, eq=False)
class PictureMetadata:
    """Everything in a picture file but its colors.

    Attributes:
        format: Pillow's name of the file's format, such as ``JPEG``.
        orientation: The EXIF orientation of the pixels as they are stored, 1 to 8; 1 is upright.
        exif: The EXIF block. Its orientation is 1, because the pixels are upright.
        icc: The color profile of the pixels, which are sRGB; None if the file has none.
        xmp: The XMP packet.
        dots_per_inch: Horizontal and vertical resolution.
        alpha: height x width, 0 to 255 or 65535, upright, at the file's own size.
        xmp_extensions: The segments of a JPEG that continue its XMP packet.
        iptc: The IPTC-NAA records.
        comment: The comment of a JPEG or a GIF.
        texts: The texts of a PNG, by their names.
    """

    format: str
    orientation: int = 1
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    dots_per_inch: tuple[float, float] | None = None
    alpha: NDArray[Any] | None = None
    xmp_extensions: tuple[bytes, ...] = ()
    iptc: bytes | None = None
    comment: bytes | None = None
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture, upright and with square pixels.

    Attributes:
        pixels: The picture at the source's own size.
        frame_index: The number of the frame in the source, from 0.
        time: When it is shown, in seconds, exact; None for a picture of a folder.
        metadata: The metadata of a picture of a folder; None for a frame of a video.
        alpha: height x width, of the type of the pixels: how opaque a transparent video is; None for an opaque one.
    """

    pixels: Pixels
    frame_index: int
    time: Fraction | None = None
    metadata: PictureMetadata | None = None
    alpha: Alpha | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype not in (np.uint8, np.uint16):
            found = f"{self.pixels.shape} {self.pixels.dtype}"
            raise ValueError(f"pixels should be height x width x 3 in uint8 or uint16, found {found}")

    def __repr__(self) -> str:
        height, width, _ = self.pixels.shape
        return f"Frame(frame_index={self.frame_index}, time={self.time}, {width}x{height})"


class Source(Protocol):
    """Frames in order: a video, or a folder of pictures."""

    @property
    def path(self) -> Path:
        """The video or the folder, or the picture if it is the only one."""

    @property
    def frame_count(self) -> int:
        """How many frames there are."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the first frame, upright and with square pixels."""

    def read(self, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
        """The frames from the first one up to, not including, the end.

        Raises:
            ItemError: A frame cannot be read. Those before it have been given.
        """


class Sink(Protocol):
    """Writes stylized frames in order. What it writes gets its final name in `finish` and not before."""

    def write(self, pixels: Pixels, frame: Frame) -> None:
        """Write the stylized pixels of an original frame."""

    def finish(self) -> Any:
        """Complete what was written, check it, and give it its final name."""

    def abandon(self) -> None:
        """Delete what was written. After `finish`, this does nothing."""


@functools.lru_cache(maxsize=256)
def working_size(size: tuple[int, int], longest: int | str, *, even: bool = False) -> tuple[int, int]:
    """The width and height at which a frame is stylized.

    Args:
        size: Width and height of the original, in pixels.
        longest: The longest side wanted, or ``native``.
        even: Round both sides to even numbers, as the pixel formats of most videos need.
    """
    width, height = size
    scale = 1.0 if longest == "native" else int(longest) / max(size)
    step = 2 if even else 1
    return tuple(max(step, round(side * scale / step) * step) for side in (width, height))  # type: ignore[return-value]


def resized(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize to a width and height: by area if that is smaller, so that nothing aliases, and bicubically if it is larger.

    Args:
        pixels: height x width, or height x width x channels; uint8, uint16 or float32.
        size: The new width and height, in pixels.
    """
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    import cv2  # plans resize nothing, and should not wait for it

    smaller = size[0] <= width and size[1] <= height
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def fitted(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """A picture resized into a width and height with its own shape, in the middle of black.

    Args:
        pixels: height x width x 3.
        size: The width and height of the result, in pixels.
    """
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    scale = min(size[0] / width, size[1] / height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    black = np.zeros((size[1], size[0], 3), pixels.dtype)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    black[top : top + inner[1], left : left + inner[0]] = resized(pixels, inner)
    return black


def in_eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels of either depth with 8 bits per value, rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + SIXTEEN_BIT_STEP // 2) // SIXTEEN_BIT_STEP).astype(np.uint8)


def in_sixteen_bits(pixels: NDArray[Any]) -> NDArray[np.uint16]:
    """Pixels of either depth with 16 bits per value."""
    if pixels.dtype == np.uint16:
        return pixels
    return pixels.astype(np.uint16) * np.uint16(SIXTEEN_BIT_STEP)
