"""Pictures moved along optical flow."""

from __future__ import annotations

import cv2
import numpy as np

from nstpipe.motion.flow.method import Floats


def warp(picture: Floats, backward: Floats) -> Floats:
    """Move a picture of the previous frame to where its parts are in the frame.

    Sampled bicubically: each bilinear step between pixels halves the fine detail, and a clip has hundreds of them.

    Args:
        picture: height x width, or height x width x channels, float32.
        backward: height x width x 2, from the frame to the previous one, in pixels.

    Returns:
        Of the picture's shape, and within its range; beyond the edge its last pixel is repeated.
    """
    x, y = sampling_positions(backward)
    moved = cv2.remap(picture, x, y, interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    # Bicubic sampling overshoots at edges; frame upon frame that would grow.
    return moved.clip(picture.min(), picture.max())


def sampling_positions(backward: Floats) -> tuple[Floats, Floats]:
    """Where each pixel is read from: the columns and the rows, each height x width."""
    height, width, _ = backward.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x + backward[:, :, 0], y + backward[:, :, 1]
