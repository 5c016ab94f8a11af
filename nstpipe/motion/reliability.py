"""Measures where optical flow is reliable."""

from __future__ import annotations

import cv2
import numpy as np

from nstpipe.media.frame import Pixels, resized
from nstpipe.motion.flow.method import Floats
from nstpipe.motion.warp import sampling_positions, warp

CONSISTENCY_SHARE, CONSISTENCY_FLOOR = 0.01, 0.5
"""The forward and the backward flow may differ by this share of their squared lengths, plus this many squared pixels."""


EDGE_SHARE, EDGE_FLOOR = 0.01, 0.002
"""A flow that changes faster than this between neighbors is the edge of a moving object."""


MASK_BLUR_SIGMA = 0.8
"""Pixels. The blur softens the edge of the reliability mask."""


ALIKE_LEVELS, ALIKE_BLUR_SIGMA = 6.0, 2.0
"""Levels of 255 by which similar pictures may differ, and the size of the neighborhood in pixels."""


def reliability(backward: Floats, forward: Floats, size: tuple[int, int] | None = None) -> Floats:
    """How reliable the backward flow is, on the grid of the frame that it starts from.

    Args:
        backward: height x width x 2, from the frame to the previous one, in pixels.
        forward: height x width x 2, from the previous frame to the frame.
        size: width and height of the motion that is made of it, whose pixels the published limits are in; the flow's own if
            None. Edges are as thin as the flow shows them.

    Returns:
        Of that height and width, float32, 0 to 1.
    """
    height, width, _ = backward.shape
    size = size or (width, height)
    x, y = sampling_positions(backward)
    there, forward_there = backward * (size[0] / width), warp(forward, backward) * (size[0] / width)
    squared_length = (there**2).sum(axis=2)
    consistent = ((there + forward_there) ** 2).sum(axis=2) < CONSISTENCY_SHARE * (
        squared_length + (forward_there**2).sum(axis=2)
    ) + CONSISTENCY_FLOOR
    gradients = sum(
        (np.gradient(backward[:, :, channel], axis=axis) ** 2 for channel in (0, 1) for axis in (0, 1)),
        start=np.zeros((height, width), np.float32),
    )
    smooth = gradients <= EDGE_SHARE * squared_length + EDGE_FLOOR
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    mask: Floats = resized((consistent & smooth & inside).astype(np.float32), size)
    softened = cv2.GaussianBlur(mask, (0, 0), MASK_BLUR_SIGMA)
    return softened.clip(0, 1)


def resemblance(one: Pixels | Floats, other: Pixels) -> Floats:
    """How similar two pictures are around each pixel, whatever the flow between them is.

    Where nothing has texture, a clear or a dark sky, flow means nothing, yet nothing has been uncovered either.

    Args:
        one: height x width x 3, RGB, 0 to 255.
        other: of the same shape.

    Returns:
        height x width, float32: 1 where they are the same, 0.6 where they differ by `ALIKE_LEVELS`, 0 far beyond.
    """
    squared = ((one.astype(np.float32) - other.astype(np.float32)) ** 2).mean(axis=2)
    around = cv2.GaussianBlur(squared, (0, 0), ALIKE_BLUR_SIGMA)
    alike: Floats = np.exp(-around / np.float32(2 * ALIKE_LEVELS**2))
    return alike


def came_from_inside(backward: Floats) -> Floats:
    """Which pixels were inside the previous frame. What a pan brings into view was not.

    Unlike `reliability` it does not ask whether the flow is right; unlike `resemblance` it tells a clear sky within the frame
    from the same sky beyond its edge.

    Args:
        backward: height x width x 2, from the frame to the previous one, in pixels.

    Returns:
        height x width, float32: 1 up to the frame's edge, which is half a pixel outside the middles of its last pixels; 0
        half a pixel and more beyond it.
    """
    height, width, _ = backward.shape
    x, y = sampling_positions(backward)
    beyond = np.maximum.reduce([-x, x - (width - 1), -y, y - (height - 1)])
    inside: Floats = (2 - 2 * beyond).clip(0, 1)
    return inside
