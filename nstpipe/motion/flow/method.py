"""The interface of optical flow, and the size of the pictures it is computed between."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from nstpipe.media.frame import Pixels, in_eight_bits, resized

Floats = NDArray[np.float32]


class FlowMethod(Protocol):
    """Computes the optical flow from one picture to another."""

    def __call__(self, picture: Pixels, other: Pixels, at_least: tuple[int, int], /) -> Floats:
        """The displacement of each pixel of `picture`.

        Two calls with the same pictures give the same flow.

        Args:
            picture: height x width x 3, uint8, RGB. Any size from 1 x 1 on is allowed.
            other: A picture of the same shape.
            at_least: Width and height in pixels; the longer side is 32 or more, as the shortest one of a job. A method that
                is more accurate on larger pictures may enlarge them to it.

        Returns:
            height x width x 2, float32, finite: for each pixel of `picture`, how far to the right and how far down the same
            thing is in `other`, in pixels.
        """


DETAIL = 2
"""Flow is computed between pictures that are this many times larger than the motion, if the original is that large. On ten
sequences with known flow, this halves the number of visible pixels whose flow is wrong by 0.1, 0.3 or 1 pixels."""


LONGEST_SIDE_PIXELS = 2048
"""The longest side of the pictures that flow is computed between, unless the motion itself is larger. Flow takes 0.6 GB at
this side, and 2 GB at twice this side."""


def flow_size(size: tuple[int, int]) -> tuple[int, int]:
    """The width and height at which flow is computed for motion of a width and height."""
    times = max(1.0, min(DETAIL, LONGEST_SIDE_PIXELS / max(size)))
    return round(times * size[0]), round(times * size[1])


def for_flow(pixels: NDArray[Any], size: tuple[int, int]) -> Pixels:
    """A picture at the size at which flow is computed, uint8.

    Args:
        pixels: height x width x 3, uint8 or uint16, RGB.
        size: Width and height of the motion.
    """
    height, width, _ = pixels.shape
    largest = flow_size(size)
    if width >= largest[0] and height >= largest[1]:
        return in_eight_bits(resized(pixels, largest))
    return in_eight_bits(pixels if width >= size[0] and height >= size[1] else resized(pixels, size))


def gray_levels(picture: Pixels) -> NDArray[np.uint8]:
    """The luminance of a picture, height x width, uint8."""
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]
