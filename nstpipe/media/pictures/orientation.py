"""The EXIF orientation of a picture, and what turns the picture upright."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nstpipe.media.pictures.pillow import PILLOW_ERRORS

ORIENTATION_TAG = 0x0112
UPRIGHT = 1


@dataclass(frozen=True)
class Turn:
    """What turns a picture of one orientation upright.

    Attributes:
        of_image: The operation of Pillow.
        of_array: The same operation on height x width, or height x width x channels.
        of_place: The same operation on a place, as shares of the width and the height from the top left corner, 0 to 1.
        swaps_sides: Whether width and height change places.
    """

    of_image: Image.Transpose
    of_array: Callable[[NDArray[Any]], NDArray[Any]]
    of_place: Callable[[float, float], tuple[float, float]]
    swaps_sides: bool = False


TURNS = {
    2: Turn(Image.Transpose.FLIP_LEFT_RIGHT, lambda stored: stored[:, ::-1], lambda u, v: (1 - u, v)),
    3: Turn(Image.Transpose.ROTATE_180, lambda stored: stored[::-1, ::-1], lambda u, v: (1 - u, 1 - v)),
    4: Turn(Image.Transpose.FLIP_TOP_BOTTOM, lambda stored: stored[::-1], lambda u, v: (u, 1 - v)),
    5: Turn(Image.Transpose.TRANSPOSE, lambda stored: stored.swapaxes(0, 1), lambda u, v: (v, u), swaps_sides=True),
    6: Turn(Image.Transpose.ROTATE_270, lambda stored: np.rot90(stored, -1), lambda u, v: (1 - v, u), swaps_sides=True),
    7: Turn(
        Image.Transpose.TRANSVERSE,
        lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
        lambda u, v: (1 - v, 1 - u),
        swaps_sides=True,
    ),
    8: Turn(Image.Transpose.ROTATE_90, lambda stored: np.rot90(stored), lambda u, v: (v, 1 - u), swaps_sides=True),
}
"""For each EXIF orientation but upright, what turns the picture upright."""


def stored_orientation(image: Image.Image, *, from_head: bool = False) -> int:
    """The orientation that EXIF or XMP states; upright if they state none.

    Args:
        image: The picture as Pillow has opened it.
        from_head: Ignore what stands behind the pixels. To read it, Pillow decodes all of a PNG.
    """
    try:
        exif = Image.Image.getexif(image) if from_head else image.getexif()
        return int(exif.get(ORIENTATION_TAG, UPRIGHT))
    except PILLOW_ERRORS:
        return UPRIGHT  # a damaged EXIF block is no reason to refuse the picture
