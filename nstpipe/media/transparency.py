"""Transparent pixels: what is painted in place of their hidden colors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nstpipe.media.frame import Alpha, Pixels


def with_hidden_filled(pixels: Pixels, alpha: Alpha) -> Pixels:
    """A picture whose fully transparent pixels have the colors of the visible ones around them.

    Their own colors are arbitrary, and often black. Painted as they are, they would bleed into what is visible. A picture
    without a visible pixel becomes gray.

    Args:
        pixels: height x width x 3.
        alpha: height x width, of the same type.
    """
    hidden = alpha == 0
    if not hidden.any():
        return pixels
    weight = (alpha / np.float32(np.iinfo(alpha.dtype).max)).astype(np.float32)
    fill = _spread(pixels.astype(np.float32) * weight[..., None], weight)
    gray = np.float32(np.iinfo(pixels.dtype).max / 2)
    fill = np.where(np.isfinite(fill), fill, gray)
    filled: Any = np.where(hidden[..., None], np.rint(fill).astype(pixels.dtype), pixels)
    return filled  # type: ignore[no-any-return]


def _spread(colors: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colors for all pixels: where the weight is 0, those of the nearest level of a pyramid that has one; NaN if none has.

    Args:
        colors: height x width x 3, times the weight.
        weight: height x width.
    """
    import cv2  # plans fill nothing, and should not wait for it

    with np.errstate(invalid="ignore", divide="ignore"):
        found = colors / weight[..., None]
    height, width = weight.shape
    if (weight > 0).all() or height == width == 1:
        return found
    half = max(1, width // 2), max(1, height // 2)
    fewer: Any = cv2.resize(colors, half, interpolation=cv2.INTER_AREA)
    lighter: Any = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    coarse = _spread(fewer.reshape(half[1], half[0], 3), lighter.reshape(half[1], half[0]))
    larger = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, 3)
    return np.where(weight[..., None] > 0, found, larger)
