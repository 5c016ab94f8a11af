"""Where the places of a picture are after it was turned upright and resized."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nstpipe.media.pictures.orientation import TURNS, UPRIGHT

Pair = tuple[float, float]
"""Two numbers, the horizontal one first."""


@dataclass(frozen=True)
class PixelMap:
    """Maps places in the stored pixels of an original to places in the pixels of its result.

    Attributes:
        before: The width and height of the original as it is stored, in pixels.
        size: The width and height of the result, in pixels.
        orientation: The EXIF orientation of the original. The result is upright.
    """

    before: tuple[float, float]
    size: tuple[float, float]
    orientation: int = UPRIGHT

    @classmethod
    def of_upright(cls, before: tuple[int, int], size: tuple[int, int], orientation: int) -> PixelMap:
        """The map of a picture whose size is known after it was turned upright."""
        turn = TURNS.get(orientation)
        return cls(before[::-1] if turn is not None and turn.swaps_sides else before, size, orientation)

    @property
    def is_turned(self) -> bool:
        """Whether the original is turned or mirrored."""
        return self.orientation in TURNS

    @property
    def swaps_sides(self) -> bool:
        """Whether width and height change places."""
        return self.is_turned and TURNS[self.orientation].swaps_sides

    @property
    def is_identity(self) -> bool:
        """Whether every pixel stays where it was."""
        return not self.is_turned and self.before == self.size

    @property
    def scale(self) -> float:
        """The factor of a length whose direction is not known."""
        return math.sqrt(self.size[0] * self.size[1] / (self.before[0] * self.before[1]))

    @property
    def of_shares(self) -> PixelMap:
        """The same map for places that are shares of the width and the height."""
        return PixelMap((1, 1), (1, 1), self.orientation)

    @property
    def without_turn(self) -> PixelMap:
        """The same map for places that were measured on the upright picture."""
        return PixelMap(self.before[::-1] if self.swaps_sides else self.before, self.size)

    def place(self, x: float, y: float) -> Pair:
        """A place, in pixels from the top left corner of the picture."""
        if not self.is_turned:
            return x * self.size[0] / self.before[0], y * self.size[1] / self.before[1]
        u, v = TURNS[self.orientation].of_place(x / self.before[0], y / self.before[1])
        return u * self.size[0], v * self.size[1]

    def pixel(self, x: float, y: float) -> Pair:
        """A place, in pixels from the center of the top left pixel."""
        x, y = self.place(x + 0.5, y + 0.5)
        return x - 0.5, y - 0.5

    def offset(self, x: float, y: float) -> Pair:
        """The distance of two places, in pixels to the right and down."""
        (x, y), (left, top) = self.place(x, y), self.place(0, 0)
        return x - left, y - top

    def extent(self, width: float, height: float) -> Pair:
        """A width and a height, or the numbers of pixels in a unit of length, each without a sign."""
        width, height = self.offset(width, height)
        return abs(width), abs(height)
