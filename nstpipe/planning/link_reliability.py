"""Measures how much two pictures of a folder have in common, by the optical flow between them."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2

from nstpipe.errors import ItemError
from nstpipe.media.frame import Pixels, working_size
from nstpipe.media.pictures.files import read_picture
from nstpipe.motion.flow.method import for_flow
from nstpipe.motion.motion import motion_between
from nstpipe.system.files import Stamp, stamp_of

LINK_LONGEST_SIDE = 256
"""The longest side in pixels at which the flow is computed. Large motion is found better in small pictures."""


_KEPT = 16
"""The number of small pictures that are remembered: each is measured with the one before it and with the one behind it."""


def link_reliability(before: Path, now: Path) -> float:
    """Return the share of a picture, 0 to 1, in which the flow from the previous picture is reliable."""
    try:
        (earlier, size), (later, _) = (_small(path, stamp_of(path)) for path in (before, now))
        # The flow itself tells whether two pictures show the same. A camera's motion can be fitted to any two.
        motion = motion_between(earlier, later, size=size, with_camera=False)
        return round(float(motion.reliability.mean()), 4)
    except (ItemError, cv2.error):
        return 0.0  # A broken picture is reported when it is painted; flow fails in a strip of a few pixels.


@functools.lru_cache(maxsize=_KEPT)
def _small(path: Path, _stamp: Stamp | None) -> tuple[Pixels, tuple[int, int]]:
    """Return a picture at the size at which flow is computed, with the width and height of the motion."""
    pixels, _ = read_picture(path)
    height, width, _ = pixels.shape
    size = working_size((width, height), min(LINK_LONGEST_SIDE, max(width, height)))
    return for_flow(pixels, size), size
