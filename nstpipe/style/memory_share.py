"""How much of the free memory an engine takes for granted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

HALVINGS = 40
"""Enough to come from a terabyte to one byte: a container may allow far less memory than its machine says is free."""


@dataclass
class MemoryShare:
    """The share of the free memory that is taken for granted.

    Attributes:
        share: 1 at first, and smaller after the memory ran out.
    """

    share: float = 1.0

    def halve_until_smaller(self, tile_side: Callable[[], int | None]) -> int | None:
        """Halve the share until it leads to smaller tiles.

        Args:
            tile_side: returns the side of the tiles with the present share, in pixels; None for a picture in one piece.

        Returns:
            The new side, in pixels; None if the tiles cannot be any smaller.
        """
        before = tile_side()
        for _ in range(HALVINGS):
            self.share /= 2
            side = tile_side()
            if side != before:
                return side
        return None
