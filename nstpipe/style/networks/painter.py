"""Applies a network to a frame: in tiles where memory is short, with the same result as in one piece.

Statistics and attention need the activations of the whole frame, which take little memory: some ten values a pixel. So the
frame is encoded tile by tile, its activations are stylized in one piece, and decoded tile by tile. Each tile has a margin as
wide as the receptive field of what computes it, and only what lies inside the margin counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Generic

import torch
from torch import Tensor, nn
from torch.nn import functional

from nstpipe.style.layers import check_network_size, pixels_a_position
from nstpipe.style.memory_share import MemoryShare
from nstpipe.style.networks.layers import DECODED_PIXELS, DECODER_REACH_POSITIONS, Encoder, decode
from nstpipe.style.networks.transfers import Kept, StyledPart, Transfer
from nstpipe.style.tiles import tiles_of
from nstpipe.system.devices import free_bytes

BYTES_A_PIXEL = 900
"""Memory that a pixel takes while a frame is encoded or decoded in one piece: the input of a convolution with 64 channels, its
copy with padding, and its output. Measured on a CPU: 680 in float32, 750 in bfloat16 (the last convolution is in float32)."""

FEATURE_BYTES_A_PIXEL = 120
"""Memory that a pixel of the whole frame takes in its activations and in what is made of them, in float32."""

USABLE_SHARE = 0.6
"""Share of the free memory that may be used."""

TILE_SIDES = (2048, 1536, 1024, 768, 512, 384, 256, 128)
"""Sides of tiles, in pixels."""


def weights_at(layers: Sequence[str], weight: Tensor) -> dict[str, Tensor]:
    """Return the weight of each position by layer: the mean over its pixels. The encoder rounds sizes up.

    Args:
        layers: the names of the layers.
        weight: 1 x 1 x height x width.
    """
    return {layer: functional.avg_pool2d(weight, pixels_a_position(layer), ceil_mode=True) for layer in layers}


def _exactly() -> AbstractContextManager[None]:
    """Make results on a GPU deterministic and use full float32, of whose 23 bits torch would use ten by default."""
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    return context


@dataclass
class Painter(Generic[Kept]):
    """A network on a device.

    Attributes:
        encoder: the encoder, on the device.
        decoder: the decoder, on the device.
        transfer: what is done with the activations, in float32.
        device: where it computes.
        memory: how much of the free memory is taken for granted.
    """

    encoder: Encoder
    decoder: nn.Sequential
    transfer: Transfer[Kept]
    device: torch.device
    memory: MemoryShare = field(default_factory=MemoryShare)

    @property
    def grid_pixels(self) -> int:
        """What the bounds of tiles are multiples of, so that every pooling cuts them as it cuts the whole frame."""
        return pixels_a_position(self.encoder.last)

    @property
    def margin_pixels(self) -> int:
        """The margin of an encoded tile, a multiple of `grid_pixels` that covers the receptive field."""
        return math.ceil(self.encoder.reach_pixels / self.grid_pixels) * self.grid_pixels

    @property
    def smallest_side(self) -> int:
        """The shortest side of a frame, in pixels: reflection padding needs two positions in the last layer."""
        return self.grid_pixels + 1

    def tile_side(self, height: int, width: int) -> int | None:
        """Return the side of the tiles for a frame, in pixels, or None if it is worked on in one piece.

        The answer depends on the memory that is free at this moment.
        """
        free = free_bytes(self.device) * self.memory.share * USABLE_SHARE - height * width * FEATURE_BYTES_A_PIXEL
        if height * width * BYTES_A_PIXEL <= free:
            return None
        margins = 2 * self.margin_pixels
        fitting = (side for side in TILE_SIDES if (side + margins) ** 2 * BYTES_A_PIXEL <= free)
        return next(fitting, TILE_SIDES[-1])

    def take_less_memory(self, height: int, width: int) -> int | None:
        """Halve the usable share of the free memory until a frame of this size gets smaller tiles.

        Returns:
            The new side of its tiles, in pixels; None if they cannot be any smaller.
        """
        return self.memory.halve_until_smaller(partial(self.tile_side, height, width))

    @torch.no_grad()
    def kept(self, painting: Tensor, opacity: Tensor | None) -> Kept:
        """Return what the transfer needs of a painting.

        Args:
            painting: 1 x 3 x height x width, RGB, 0 to 1.
            opacity: how much paint there is at each pixel, 1 x 1 x height x width; None if it is everywhere.
        """
        with _exactly():
            found = self._encoded(painting.to(self.device), self.tile_side(*painting.shape[-2:]))
            weights = None
            if opacity is not None and bool(opacity.any()):
                weights = weights_at(self.transfer.layers, opacity.to(self.device))
            return self.transfer.kept(found, weights)

    @torch.no_grad()
    def paint(self, content: Tensor, parts: Sequence[StyledPart[Kept]], *, alpha: float, wrapped: bool) -> Tensor:
        """Return a frame in the style of paintings.

        Args:
            content: 1 x 3 x height x width, RGB, 0 to 1, float32.
            parts: the styles, with the weight of each *pixel* under the name ``pixels``, or None for the whole frame.
            alpha: how far the style is applied, 0 to 1.
            wrapped: whether the left edge continues the right one.

        Returns:
            A picture of the same shape, float32, 0 to 1, on the device.

        Raises:
            ItemError: the frame is too small for the network.
        """
        height, width = content.shape[-2:]
        check_network_size((width, height), self.encoder.last)
        wrap = self._wrap_pixels(width) if wrapped else 0
        around = continued(content.to(self.device), wrap)
        side = self.tile_side(*around.shape[-2:])
        layers = self.transfer.layers
        with _exactly():
            features = self._encoded(around, side)
            at_layers = [
                StyledPart(part.styles, None if part.weights is None else self._at_layers(part.weights, wrap)) for part in parts
            ]
            columns = {layer: slice(wrap // (step := pixels_a_position(layer)), -(-(wrap + width) // step)) for layer in layers}
            stylized = self.transfer.stylized(features, at_layers, alpha, columns)
            del features
            result = self._decoded(stylized, side)
        # The encoder rounds sizes up to whole positions. The authors' programs keep the margin that this adds.
        return result[..., :height, wrap : wrap + width].clamp(0, 1)

    def _wrap_pixels(self, width: int) -> int:
        wanted = self.margin_pixels + math.ceil(DECODER_REACH_POSITIONS * DECODED_PIXELS / self.grid_pixels) * self.grid_pixels
        return min(wanted, width // self.grid_pixels * self.grid_pixels)

    def _at_layers(self, weights: Mapping[str, Tensor], wrap: int) -> dict[str, Tensor]:
        return weights_at(self.transfer.layers, continued(weights[PIXELS].to(self.device), wrap))

    def _encoded(self, picture: Tensor, side: int | None) -> dict[str, Tensor]:
        """Return the activations of the transfer's layers for a whole picture."""
        layers, (height, width) = self.transfer.layers, picture.shape[-2:]
        if side is None or max(height, width) <= side:
            found = self.encoder(picture.contiguous(memory_format=torch.channels_last))
            return {layer: found[layer] for layer in layers}
        whole: dict[str, Tensor] = {}
        for tile in tiles_of(height, width, side, self.margin_pixels):
            found = self.encoder(tile.cut(picture).contiguous(memory_format=torch.channels_last))
            for layer in layers:
                step = pixels_a_position(layer)
                activation = found[layer]
                if layer not in whole:
                    size = (1, activation.shape[1], -(-height // step), -(-width // step))
                    whole[layer] = activation.new_empty(size)
                top, _, left, _ = tile.outer
                rows = slice(tile.top // step, -(-tile.bottom // step))
                places = slice(tile.left // step, -(-tile.right // step))
                down, along = (rows.start - top // step, places.start - left // step)
                whole[layer][..., rows, places] = activation[
                    ..., down : down + rows.stop - rows.start, along : along + places.stop - places.start
                ]
        return whole

    def _decoded(self, stylized: Tensor, side: int | None) -> Tensor:
        """Return the picture of activations of `DECODED_LAYER`."""
        dtype = next(self.decoder.parameters()).dtype
        height, width = stylized.shape[-2:]

        def decoded(part: Tensor) -> Tensor:
            return decode(self.decoder, part.to(dtype).contiguous(memory_format=torch.channels_last))

        if side is None or max(height, width) * DECODED_PIXELS <= side:
            return decoded(stylized)
        whole = stylized.new_empty((1, 3, height * DECODED_PIXELS, width * DECODED_PIXELS))
        for tile in tiles_of(height, width, side // DECODED_PIXELS, DECODER_REACH_POSITIONS):
            found = decoded(tile.cut(stylized))
            top, _, left, _ = tile.outer
            down, along = (tile.top - top) * DECODED_PIXELS, (tile.left - left) * DECODED_PIXELS
            rows = slice(tile.top * DECODED_PIXELS, tile.bottom * DECODED_PIXELS)
            places = slice(tile.left * DECODED_PIXELS, tile.right * DECODED_PIXELS)
            whole[..., rows, places] = found[
                ..., down : down + rows.stop - rows.start, along : along + places.stop - places.start
            ]
        return whole


PIXELS = "pixels"
"""The name under which `Painter.paint` takes the weight of each pixel."""


def continued(picture: Tensor, wrap: int) -> Tensor:
    """Add strips to a panorama that repeat the opposite edge.

    Args:
        picture: 1 x channels x height x width.
        wrap: width of each strip, in pixels; 0 adds none.
    """
    return torch.cat([picture[..., -wrap:], picture, picture[..., :wrap]], dim=-1) if wrap else picture
