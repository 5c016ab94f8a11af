"""DIS optical flow, with its edges aligned to those of the picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nstpipe.media.frame import Pixels, resized
from nstpipe.motion.flow.method import Floats, gray_levels
from nstpipe.motion.warp import sampling_positions

PROPAGATION_PIXELS = (16, 8, 4, 2)
"""The distances from which a pixel may take over a flow: up, down, left and right, one after the other. In the flow of DIS, an
object in front drags a seam of the background along. This corrects seven of eight visible pixels that are wrong by a pixel."""


MATCH_WINDOW_PIXELS, MATCH_VARIANCE = 5, 1e-4
"""Window and regularization of the guided filter that sums differences around a pixel without crossing edges."""


LARGEST_MATCH_LEVELS, LEAST_GAIN_LEVELS = 20, 0.1
"""Levels of 255. A larger difference than the first counts as the first, so that a highlight does not outweigh everything
around it. A flow is taken over only if it matches better by more than the second."""


MEDIAN_PIXELS, REFINEMENT_ROUNDS = 5, 10
"""Window of the median that removes single wrong flows (Sun, Roth and Black 2010), and rounds of variational refinement."""


def dis_flow(picture: Pixels, other: Pixels, at_least: tuple[int, int]) -> Floats:
    """Dense inverse search (Kroeger et al. 2016), the medium preset, sharpened at edges; a `FlowMethod`."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width, _ = picture.shape
    wide, high = max(width, at_least[0]), max(height, at_least[1])
    one, two = (resized(gray_levels(pixels), (wide, high)) for pixels in (picture, other))
    # No buffer is passed for the result: DIS would use its content as a first guess.
    flow = search.calc(one, two, None)  # type: ignore[call-overload]
    own = resized(flow, (width, height)) * np.array([width / wide, height / high], np.float32)
    # At its own size: the edges of an enlarged picture are no finer.
    return _sharpened(own, picture, other)


def _sharpened(flow: Floats, picture: Pixels, other: Pixels) -> Floats:
    """Align a flow's edges to those of the picture: each pixel takes over the flow of a neighbor if it matches better.

    The flow is propagated as in PatchMatch (Barnes et al. 2009), by differences that are summed with a guided filter (He, Sun
    and Tang 2010; for flow, Hosni et al. 2013). A median and a subpixel refinement follow.
    """
    one, two = gray_levels(picture), gray_levels(other)
    # Columns and rows in planes of their own: OpenCV takes ten times as long to copy pairs of them by a mask.
    best = np.ascontiguousarray(flow[..., 0]), np.ascontiguousarray(flow[..., 1])
    mismatch = _Mismatch(picture, other, one)
    least = mismatch(*best).copy()
    moved = np.empty_like(least), np.empty_like(least)
    for distance in PROPAGATION_PIXELS:
        for right, down in ((distance, 0), (-distance, 0), (0, distance), (0, -distance)):
            for part, shifted in zip(best, moved, strict=True):
                _shift(part, right, down, shifted)
            found = mismatch(*moved)
            better = cv2.compare(found, least - LEAST_GAIN_LEVELS, cv2.CMP_LT)
            cv2.copyTo(found, better, least)
            for part, shifted in zip(best, moved, strict=True):
                cv2.copyTo(shifted, better, part)
    smooth = cv2.merge([cv2.medianBlur(part, MEDIAN_PIXELS) for part in best])
    refinement = cv2.VariationalRefinement.create()
    refinement.setFixedPointIterations(REFINEMENT_ROUNDS)
    return refinement.calc(one, two, smooth).astype(np.float32, copy=False)


class _Mismatch:
    """How badly flows match two pictures around each pixel. Its memory is used again at each call, which halves the time.

    Args:
        picture: height x width x 3, uint8, RGB.
        other: A picture of the same shape.
        gray: The luminance of `picture`.
    """

    def __init__(self, picture: Pixels, other: Pixels, gray: NDArray[np.uint8]) -> None:
        self._picture, self._other = picture, other
        self._x, self._y = sampling_positions(np.zeros((*gray.shape, 2), np.float32))
        self._guide = gray.astype(np.float32) / 255
        self._guide_mean = cv2.blur(self._guide, _WINDOW)
        self._guide_variance = cv2.blur(self._guide * self._guide, _WINDOW) - self._guide_mean**2 + MATCH_VARIANCE
        self._unknown = np.full(gray.shape, LARGEST_MATCH_LEVELS / 2, np.float32)
        self._there_x, self._there_y, self._mean, self._slope, self._product, self._result = (
            np.empty_like(self._unknown) for _ in range(6)
        )
        self._there = np.empty_like(other)

    def __call__(self, columns: Floats, rows: Floats) -> Floats:
        """Return the mean difference around each pixel, height x width, in levels of 255. The next call overwrites it.

        Args:
            columns: height x width: how far to the right each pixel goes.
            rows: How far down.
        """
        height, width, _ = self._other.shape
        cv2.add(self._x, columns, self._there_x)
        cv2.add(self._y, rows, self._there_y)
        cv2.remap(self._other, self._there_x, self._there_y, cv2.INTER_LINEAR, self._there, cv2.BORDER_REPLICATE)
        cv2.absdiff(self._picture, self._there, self._there)
        red, green, blue = (cv2.extractChannel(self._there, channel) for channel in range(3))
        # A sum that exceeds what a byte holds is beyond the largest difference anyway.
        levels = cv2.LUT(cv2.add(cv2.add(red, green), blue), _LEVELS_OF_SUMS)
        # Outside the picture nothing can be compared, so that counts as neither a good match nor the worst.
        for place, last in ((self._there_x, width - 1), (self._there_y, height - 1)):
            inside = cv2.inRange(place, 0, last)  # type: ignore[call-overload]
            cv2.copyTo(self._unknown, cv2.bitwise_not(inside), levels)
        mean, slope, product = cv2.blur(levels, _WINDOW, self._mean), self._slope, self._product
        cv2.blur(cv2.multiply(self._guide, levels, product), _WINDOW, slope)
        cv2.subtract(slope, cv2.multiply(self._guide_mean, mean, product), slope)
        np.divide(slope, self._guide_variance, out=slope)
        cv2.subtract(mean, cv2.multiply(slope, self._guide_mean, product), mean)
        cv2.multiply(cv2.blur(slope, _WINDOW, self._result), self._guide, self._result)
        cv2.add(self._result, cv2.blur(mean, _WINDOW, product), self._result)
        return self._result


_WINDOW = (MATCH_WINDOW_PIXELS, MATCH_WINDOW_PIXELS)

_LEVELS_OF_SUMS = np.minimum(np.rint(np.arange(256) / 3), LARGEST_MATCH_LEVELS).astype(np.float32)
"""The mean of three differences, by their sum, as far as it counts."""


def _shift(values: Floats, right: int, down: int, shifted: Floats) -> None:
    """Move values into `shifted`, to the right or down. What comes in repeats the edge. One of the two distances is 0."""
    if down:
        values, shifted, right = values.T, shifted.T, down
    distance = min(abs(right), values.shape[1])
    kept = values.shape[1] - distance
    if right > 0:
        shifted[:, distance:], shifted[:, :distance] = values[:, :kept], values[:, :1]
    else:
        shifted[:, :kept], shifted[:, kept:] = values[:, distance:], values[:, -1:]
