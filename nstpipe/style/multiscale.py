"""Optimization from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor
from torch.nn import functional

from nstpipe.style.minimize import MinimizerIterate

MinimizeAt = Callable[[Tensor, Tensor, int], Iterator[MinimizerIterate]]
"""Minimizes the loss of a frame at one size. Takes the content, the start and the factor by which both were made smaller."""


def coarse_to_fine(
    minimize_at: MinimizeAt, content: Tensor, start: Tensor, *, scales: int, smallest_side: int
) -> Iterator[MinimizerIterate]:
    """Optimize a frame at several sizes, each twice as wide as the one before.

    What a size has changed is carried up, not its picture, so the frame keeps its detail.

    Args:
        minimize_at: minimizes the loss at one size.
        content: 1 x 3 x height x width, RGB, 0 to 1.
        start: a picture of the same shape.
        scales: the number of sizes; the last is the frame's own.
        smallest_side: sizes with a shorter side than this, in pixels, are left out.

    Yields:
        The iterates of all sizes. An iteration at a smaller size counts by its number of pixels.
    """
    iterations_before = 0.0
    for scale in range(scales - 1, 0, -1):
        factor = 2**scale
        if min(content.shape[-2:]) // factor < smallest_side:
            continue  # the deepest layer would have no position
        cost = 1 / factor**2
        coarse_start = shrunk(start, factor)
        iterate = None
        for iterate in minimize_at(shrunk(content, factor), coarse_start, factor):
            yield replace(iterate, iterations=math.ceil(iterations_before + iterate.iterations * cost))
        assert iterate is not None, "no optimization is without an iteration"
        iterations_before += iterate.iterations * cost
        change = iterate.image.to(start.device) - coarse_start
        start = (start + functional.interpolate(change, size=start.shape[-2:], mode="bicubic")).clamp(0, 1)
    for iterate in minimize_at(content, start, 1):
        yield replace(iterate, iterations=math.ceil(iterations_before + iterate.iterations))


def shrunk(picture: Tensor, factor: int) -> Tensor:
    """Return a picture or masks, 1 x channels x height x width, with sides divided by a factor; each pixel is a mean."""
    height, width = picture.shape[-2:]
    return functional.interpolate(picture, size=(max(1, height // factor), max(1, width // factor)), mode="area")
