"""From small to full size: at how many sizes a picture is painted, and what that costs."""

from __future__ import annotations

import math

SMALLEST_AUTO_PIXELS = 512
"""Longest side at which `auto` begins; VGG19 sees no wholes in anything much larger, and strokes come out small."""


SMALLEST_SHORT_SIDE_PIXELS = 64
"""Below it the deepest layers have hardly a position left; no scale is smaller, however many are asked for."""


def scale_count(wanted: int | str, size: tuple[int, int]) -> int:
    """Sizes at which a picture is painted, each twice the one before, the last its own.

    Args:
        wanted: a number, or ``auto``.
        size: width and height, in pixels.
    """
    if wanted != "auto":
        allowed = 1 + max(0, math.floor(math.log2(max(1, min(size)) / SMALLEST_SHORT_SIDE_PIXELS)))
        return min(int(wanted), allowed)
    return 1 + max(0, round(math.log2(max(size) / SMALLEST_AUTO_PIXELS)))


def cost(iterations: int, scales: int) -> int:
    """Return the cost of so many iterations at each scale, in iterations at full size."""
    return math.ceil(iterations * sum(0.25**smaller for smaller in range(scales)))
