"""How large a part of a picture is worked on at once, so that it fits into the free memory."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import torch

from nstpipe.style.layers import LAYERS, pixels_a_position
from nstpipe.style.memory_share import MemoryShare
from nstpipe.style.minimize import bytes_held
from nstpipe.style.network import Network
from nstpipe.style.tiles import margin_pixels
from nstpipe.system.devices import free_bytes

# The measurements behind these figures: docs/decisions/2026-11-29-memory-and-tiles.md.

BYTES_A_PIXEL = 1800
"""Memory that a pixel of a whole picture takes in bfloat16: activations, gradients and the optimizer's history."""

TILE_BYTES_A_PIXEL = 1320
"""Memory that a pixel of a tile takes in bfloat16. The optimizer's history belongs to the whole picture and is not in it."""

USABLE_SHARE = 0.6
"""Share of the free memory that a picture in one piece may take."""

USABLE_SHARE_OF_TILES = 0.8
"""Share that a tile may take of the memory left beside what the whole picture takes."""

TILE_SIDES = (2048, 1536, 1024, 768, 512, 384, 256)
"""Sides of tiles, in pixels. They are few, so that a little more or less free memory does not change the tiles, and with them
the last digits of a result."""


class TileBudget:
    """Decides from the free memory whether a picture is worked on in tiles, and how large they are.

    Each engine has its own budget: one that has run out of memory does not make others work in smaller tiles.

    Args:
        network: computes the activations that take most of the memory.
        content_layers: the layers whose activations are kept for the whole picture while it is optimized.
    """

    def __init__(self, network: Network, content_layers: Collection[str]) -> None:
        self._network = network
        self._content_layers = content_layers
        self._memory = MemoryShare()

    def take_less_memory(self, height: int, width: int) -> int | None:
        """Halve the usable share of the free memory until a picture of this size gets smaller tiles.

        Args:
            height: in pixels.
            width: in pixels.

        Returns:
            The new side of its tiles, in pixels; None if they cannot be any smaller.
        """
        return self._memory.halve_until_smaller(partial(self.tile_side, height, width))

    def tile_side(self, height: int, width: int, *, is_optimized: bool = True) -> int | None:
        """Return the side of the tiles for a picture, in pixels, or None if the whole picture fits into memory.

        The answer depends on the memory that is free at this moment.

        Args:
            height: in pixels.
            width: in pixels.
            is_optimized: whether the picture is optimized. If only its activations are wanted, less memory is needed.
        """
        float32_factor = 1 if self._network.precision == torch.bfloat16 else 2
        free = free_bytes(self._network.device) * self._memory.share
        if height * width * BYTES_A_PIXEL * float32_factor <= free * USABLE_SHARE:
            return None
        # An optimized picture keeps several copies of the whole, and the content's activations, beside its tile.
        held = 0
        if is_optimized:
            held = bytes_held(3 * height * width, self._network.device) + self._content_bytes(height, width)
        usable = (free - held) * USABLE_SHARE_OF_TILES
        margins = 2 * margin_pixels(self._network.vgg)
        fitting = (side for side in TILE_SIDES if (side + margins) ** 2 * TILE_BYTES_A_PIXEL * float32_factor <= usable)
        return next(fitting, TILE_SIDES[-1])

    def _content_bytes(self, height: int, width: int) -> int:
        """Return the memory that the content's activations take."""
        channels = {layer.name: layer.out_channels for layer in LAYERS}
        values = (channels[layer] * height * width // pixels_a_position(layer) ** 2 for layer in self._content_layers)
        return sum(values) * self._network.precision.itemsize
