"""The number of sizes at which a picture is painted, from small to full size, and their cost."""

from __future__ import annotations

import math

SMALLEST_AUTO_PIXELS = 512
"""Longest side at which `auto` begins. In a much larger picture VGG19's receptive field covers only details, and strokes come
out small."""


SMALLEST_SHORT_SIDE_PIXELS = 64
"""Shortest side of any scale. Below it the deepest layers have hardly a position left."""


def scale_count(wanted: int | str, size: tuple[int, int]) -> int:
    """Return the number of sizes at which a picture is painted. Each is twice as wide as the one before; the last is its own.

    Args:
        wanted: a number, or ``auto``.
        size: the picture's width and height, in pixels.
    """
    if wanted != "auto":
        allowed = 1 + max(0, math.floor(math.log2(max(1, min(size)) / SMALLEST_SHORT_SIDE_PIXELS)))
        return min(int(wanted), allowed)
    return 1 + max(0, round(math.log2(max(size) / SMALLEST_AUTO_PIXELS)))


def cost(iterations: int, scales: int) -> int:
    """Return the cost of so many iterations at each scale, in iterations at full size."""
    return math.ceil(iterations * sum(0.25**smaller for smaller in range(scales)))
