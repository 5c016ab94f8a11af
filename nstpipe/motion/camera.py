"""The motion of the camera, which parts of a picture follow that show no motion of their own."""

from __future__ import annotations

import cv2
import numpy as np

from nstpipe.media.frame import Pixels
from nstpipe.motion.flow.method import Floats, gray_levels
from nstpipe.motion.warp import sampling_positions

MOST_CORNERS, CORNER_QUALITY, CORNERS_ACROSS = 500, 0.01, 64
"""The corners that the camera's motion is fitted to: at most so many, at least so strong relative to the strongest one, and at
least this fraction of the longest side apart."""


LEAST_CORNERS, LEAST_SHARE, LARGEST_ERROR_PIXELS = 12, 0.25, 1.0
"""The motion of a camera is that of at least so many corners, and of this share of them, to within so many pixels."""


TEXTURE_SIGMA_PIXELS, WINDOW_SIGMA_PIXELS = 6.0, 4.0
"""Texture is what a blur of the first size removes, so that a change of light is no mismatch. Mismatches are averaged over the
second."""


LEVELS_PER_PIXEL, ENOUGH_LEVELS = 1.5, 3.0
"""A flow stands against the camera's motion where it matches better by so many levels of 255 for each pixel between both, or by
the second number. In a night sky, flow matches the noise of compression by 1 to 3 levels better."""


AROUND_PIXELS = 8
"""A flow that stands against the camera's motion does so in this neighborhood, too: up to the edge of a moving object, whose
mismatches were averaged with those behind it."""


def camera_motion(flow: Floats, picture: Pixels) -> Floats | None:
    """Return the flow of a whole picture that a homography gives, fitted to the flow of the picture's corners.

    A homography is exact for a camera that turns or zooms, and for a plane that it passes, such as a road (Hartley and
    Zisserman 2004, "Multiple View Geometry", chapter 13). It is found by RANSAC (Fischler and Bolles 1981), so things that move
    by themselves do not count.

    Args:
        flow: height x width x 2, in pixels.
        picture: height x width x 3, uint8, RGB: the picture that the flow starts from.

    Returns:
        Of the flow's shape, float32; None if too few corners move alike.
    """
    height, width, _ = flow.shape
    apart = max(height, width) / CORNERS_ACROSS
    corners = cv2.goodFeaturesToTrack(gray_levels(picture), MOST_CORNERS, CORNER_QUALITY, apart)
    if corners is None or len(corners) < LEAST_CORNERS:
        return None
    here = corners[:, 0]
    columns, rows = here.astype(np.int64).T
    matrix, follows = cv2.findHomography(here, here + flow[rows, columns], cv2.RANSAC, LARGEST_ERROR_PIXELS)
    if matrix is None or follows.sum() < max(LEAST_CORNERS, LEAST_SHARE * len(corners)):
        return None
    x, y = sampling_positions(np.zeros_like(flow))
    there = np.stack([x, y, np.ones_like(x)], axis=2) @ matrix.T.astype(np.float32)
    if there[..., 2].min() < _LEAST_DEPTH:
        return None  # a part of the picture would be seen from behind
    motion: Floats = there[..., :2] / there[..., 2:] - np.stack([x, y], axis=2)
    # Otherwise the edge of a still picture would come from beyond its edge.
    motion[np.abs(motion) < _ROUNDING_PIXELS] = 0
    return motion


_ROUNDING_PIXELS = 1e-6

_LEAST_DEPTH = 0.1
"""Of a point that the homography moves, where a point that stays has the depth 1."""


def follow_camera(flow: Floats, picture: Pixels, other: Pixels) -> Floats:
    """Return a flow that is the camera's motion wherever the pictures do not show another one.

    Where there is no texture, such as in a clear or a dark sky, flow follows the noise. There it differs from frame to frame,
    and would stir the brush strokes.

    Args:
        flow: height x width x 2: for each pixel of `picture`, where the same thing is in `other`, in pixels.
        picture: height x width x 3, uint8, RGB.
        other: of the same shape.
    """
    camera = camera_motion(flow, picture)
    if camera is None:
        return flow
    texture, other_texture = _texture(picture), _texture(other)
    apart = _around(np.linalg.norm(flow - camera, axis=2))
    gain = _mismatch(camera, texture, other_texture) - _mismatch(flow, texture, other_texture)
    shown = gain > np.minimum(LEVELS_PER_PIXEL * apart, ENOUGH_LEVELS)
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * AROUND_PIXELS + 1, 2 * AROUND_PIXELS + 1))
    own = cv2.dilate(shown.astype(np.uint8), around)
    followed: Floats = np.where(own[..., None] > 0, flow, camera)
    return followed


def _texture(picture: Pixels) -> Floats:
    levels = picture.astype(np.float32)
    return levels - cv2.GaussianBlur(levels, (0, 0), TEXTURE_SIGMA_PIXELS)


def _mismatch(flow: Floats, texture: Floats, other: Floats) -> Floats:
    """Return the mean difference of two textures around each pixel, height x width, in levels of 255."""
    there = cv2.remap(other, *sampling_positions(flow), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return _around(cv2.absdiff(texture, there).mean(axis=2, dtype=np.float32))


def _around(values: Floats) -> Floats:
    return cv2.GaussianBlur(values, (0, 0), WINDOW_SIGMA_PIXELS).astype(np.float32, copy=False)
