"""DIS optical flow, with its edges brought to the picture's."""

from __future__ import annotations

import cv2
import numpy as np

from nstpipe.media.frame import Pixels, resized
from nstpipe.motion.flow.method import Floats, gray_levels
from nstpipe.motion.warp import sampling_positions

PROPAGATION_PIXELS = (16, 8, 4, 2)
"""From how far up, down, left and right a pixel may take over a flow, one after the other. What moves before something else
drags a seam of it along in DIS' flow; these take away seven of eight of the visible pixels whose flow is wrong by a pixel."""


MATCH_WINDOW_PIXELS, MATCH_VARIANCE = 5, 1e-4
"""Window and regularization of the guided filter that adds up differences around a pixel without crossing edges."""


LARGEST_MATCH_LEVELS, LEAST_GAIN_LEVELS = 20, 0.1
"""Of 255. Differences beyond the first count as the first, so that a highlight does not outweigh all around it; a flow is taken
over only where it matches better by more than the second."""


MEDIAN_PIXELS, REFINEMENT_ROUNDS = 5, 10
"""Window of the median that single wrong flows fall to (Sun, Roth and Black 2010), and rounds of variational refinement."""


def dis_flow(picture: Pixels, other: Pixels, at_least: tuple[int, int]) -> Floats:
    """Dense inverse search (Kroeger et al. 2016), the medium preset, sharpened at edges; a `FlowMethod`."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width, _ = picture.shape
    wide, high = max(width, at_least[0]), max(height, at_least[1])
    one, two = (resized(gray_levels(pixels), (wide, high)) for pixels in (picture, other))
    # No buffer is handed in for the result: its content would be taken for a first guess.
    flow = search.calc(one, two, None)  # type: ignore[call-overload]
    own = resized(flow, (width, height)) * np.array([width / wide, height / high], np.float32)
    # Where a picture was enlarged, its edges are no finer.
    return _sharpened(own, picture, other)


def _sharpened(flow: Floats, picture: Pixels, other: Pixels) -> Floats:
    """Bring a flow's edges to where the picture's are: each pixel takes over the flow of a neighbor if it matches better.

    `flow` itself is changed. Propagation as in PatchMatch (Barnes et al. 2009), by differences that are added up with a guided
    filter (He, Sun and Tang 2010; for flow, Hosni et al. 2013); then a median, and refinement below the pixel.
    """
    height, width, _ = flow.shape
    one, two = gray_levels(picture), gray_levels(other)
    x, y = sampling_positions(np.zeros_like(flow))
    window = (MATCH_WINDOW_PIXELS, MATCH_WINDOW_PIXELS)
    guide = one.astype(np.float32) / 255
    guide_mean = cv2.blur(guide, window)
    guide_variance = cv2.blur(guide * guide, window) - guide_mean**2 + MATCH_VARIANCE

    def mismatch(candidate: Floats) -> Floats:
        there_x, there_y = x + candidate[:, :, 0], y + candidate[:, :, 1]
        there = cv2.remap(other, there_x, there_y, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        apart = cv2.transform(cv2.absdiff(picture, there), np.full((1, 3), 1 / 3))
        levels = np.minimum(apart, np.uint8(LARGEST_MATCH_LEVELS)).astype(np.float32)
        # Outside there is nothing to compare with: neither a good match nor the worst.
        levels[(there_x < 0) | (there_x > width - 1) | (there_y < 0) | (there_y > height - 1)] = LARGEST_MATCH_LEVELS / 2
        mean = cv2.blur(levels, window)
        slope = (cv2.blur(guide * levels, window) - guide_mean * mean) / guide_variance
        around: Floats = cv2.blur(slope, window) * guide + cv2.blur(mean - slope * guide_mean, window)
        return around

    best = mismatch(flow)
    for distance in PROPAGATION_PIXELS:
        for right, down in ((distance, 0), (-distance, 0), (0, distance), (0, -distance)):
            shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
            neighbors = cv2.warpAffine(
                flow, shift, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
            ).astype(np.float32, copy=False)
            found = mismatch(neighbors)
            better = found < best - LEAST_GAIN_LEVELS
            np.copyto(flow, neighbors, where=better[..., None])
            np.copyto(best, found, where=better)
    smooth = cv2.merge([cv2.medianBlur(part, MEDIAN_PIXELS) for part in cv2.split(flow)])
    refinement = cv2.VariationalRefinement.create()
    refinement.setFixedPointIterations(REFINEMENT_ROUNDS)
    return refinement.calc(one, two, smooth).astype(np.float32, copy=False)
