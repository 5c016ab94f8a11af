"""Warps pictures along optical flow."""

from __future__ import annotations

import cv2
import numpy as np

from nstpipe.motion.flow.method import Floats


def warp(picture: Floats, backward: Floats) -> Floats:
    """Warp a picture of the previous frame to the frame.

    Sampling is bicubic: each bilinear step between pixels halves the fine detail, and a clip has hundreds of steps.

    Args:
        picture: height x width, or height x width x channels, float32.
        backward: height x width x 2, from the frame to the previous one, in pixels.

    Returns:
        An array of the picture's shape, and within its range. Beyond the edge, the last pixel is repeated.
    """
    x, y = sampling_positions(backward)
    moved = cv2.remap(picture, x, y, interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    # Bicubic sampling overshoots at edges, and the overshoot would grow from frame to frame.
    return moved.clip(picture.min(), picture.max())


def sampling_positions(backward: Floats) -> tuple[Floats, Floats]:
    """The columns and the rows that each pixel is sampled from, each height x width."""
    height, width, _ = backward.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x + backward[:, :, 0], y + backward[:, :, 1]
