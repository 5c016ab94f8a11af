"""Farnebäck's optical flow."""

from __future__ import annotations

import cv2

from nstpipe.media.frame import Pixels
from nstpipe.motion.flow.method import Floats, gray_levels

FARNEBACK_PYRAMID_SCALE, FARNEBACK_LEVELS, FARNEBACK_WINDOW_PIXELS, FARNEBACK_ITERATIONS = 0.5, 6, 15, 3


FARNEBACK_NEIGHBORHOOD_PIXELS, FARNEBACK_SIGMA = 7, 1.5
"""Farnebäck's parameters: those of OpenCV's documentation, with more levels for larger motions."""


def farneback_flow(picture: Pixels, other: Pixels, _at_least: tuple[int, int]) -> Floats:
    """Polynomial expansion (Farnebäck 2003); a `FlowMethod`. Calls much of a grainy still picture moving."""
    flow: Floats = cv2.calcOpticalFlowFarneback(
        gray_levels(picture),
        gray_levels(other),
        None,  # type: ignore[call-overload]
        pyr_scale=FARNEBACK_PYRAMID_SCALE,
        levels=FARNEBACK_LEVELS,
        winsize=FARNEBACK_WINDOW_PIXELS,
        iterations=FARNEBACK_ITERATIONS,
        poly_n=FARNEBACK_NEIGHBORHOOD_PIXELS,
        poly_sigma=FARNEBACK_SIGMA,
        flags=0,
    )
    return flow
