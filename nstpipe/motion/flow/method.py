"""What a method of optical flow is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nstpipe.media.frame import Pixels, in_eight_bits, resized

Floats = NDArray[np.float32]


Flow = Callable[[Pixels, Pixels, tuple[int, int]], Floats]
"""From one picture to another, both height x width x 3, uint8, RGB: for each pixel of the first, how far right and down
the same thing is in the second, in pixels; height x width x 2, float32. Width and height are those to look at it in, at least,
where a method is better at that."""


DETAIL = 2
"""Flow is found in pictures so many times larger than the motion that is wanted, where the original is that large. On ten
sequences whose flow is known, that halves the visible pixels whose flow is wrong by 0.1, 0.3 or 1 pixels."""


LONGEST_SIDE_PIXELS = 2048
"""Of the pictures between which flow is found, unless the motion itself is wanted larger. It takes 0.6 GB at this side, and
2 GB at twice it."""


def flow_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height in which flow is best looked at, for motion of a width and height."""
    times = max(1.0, min(DETAIL, LONGEST_SIDE_PIXELS / max(size)))
    return round(times * size[0]), round(times * size[1])


def for_flow(pixels: NDArray[Any], size: tuple[int, int]) -> Pixels:
    """As much of a picture as flow looks at, uint8.

    Args:
        pixels: height x width x 3, uint8 or uint16, RGB.
        size: width and height of the motion wanted.
    """
    height, width, _ = pixels.shape
    largest = flow_size(size)
    if width >= largest[0] and height >= largest[1]:
        return in_eight_bits(resized(pixels, largest))
    return in_eight_bits(pixels if width >= size[0] and height >= size[1] else resized(pixels, size))


def gray_levels(picture: Pixels) -> NDArray[np.uint8]:
    """A picture's luminance, height x width."""
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]
