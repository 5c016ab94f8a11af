"""Measures how much two pictures of a folder have in common, by the optical flow between them."""

from __future__ import annotations

from pathlib import Path

import cv2

from nstpipe.errors import ItemError
from nstpipe.media.frame import Pixels, working_size
from nstpipe.media.pictures.files import read_picture
from nstpipe.motion.flow.method import for_flow
from nstpipe.motion.motion import motion_between

LINK_LONGEST_SIDE = 256
"""Pixels. Motion by a tenth of the picture is found better in a small picture."""


def link_reliability(before: Path, now: Path) -> float:
    """Measure the share of a picture, 0 to 1, whose flow from the picture before it is reliable."""
    try:
        (earlier, size), (later, _) = _small(before), _small(now)
        return round(float(motion_between(earlier, later, size=size).reliability.mean()), 4)
    except (ItemError, cv2.error):
        return 0.0  # A broken picture is reported when it is painted; flow fails in a strip of a few pixels.


def _small(path: Path) -> tuple[Pixels, tuple[int, int]]:
    """Read a picture as flow needs it, and choose the width and height at which motion is measured."""
    pixels, _ = read_picture(path)
    height, width, _ = pixels.shape
    size = working_size((width, height), min(LINK_LONGEST_SIDE, max(width, height)))
    return for_flow(pixels, size), size
