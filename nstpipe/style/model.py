"""VGG19, its weights and the paintings of a job: what each stylizer of an engine shares."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from nstpipe.config.models import StyleDistance
from nstpipe.style.layers import LAYERS, pixels_a_position
from nstpipe.style.minimize import bytes_held
from nstpipe.style.objective import LossWeights
from nstpipe.style.precision import choose_precision
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from nstpipe.style.tiles import margin_pixels
from nstpipe.style.vgg import VGG19
from nstpipe.style.weights import Weights, load_weights
from nstpipe.system.devices import choose_device, free_bytes
from nstpipe.system.memory import ask_for_large_pages

STYLE_STRENGTH: Mapping[StyleDistance, float] = {"gram": 10.0, "wasserstein": 6.0}
"""What `strength: 1` multiplies the style's loss with. Chosen by eye, on the samples at 256 to 512 pixels; the second so
that about as much of the content is left."""


TOTAL_VARIATION = 10.0
"""What `total_variation: 1` multiplies the total variation with. Takes the grain off without softening strokes, by eye."""


BYTES_A_PIXEL = 1800
"""Memory of a pixel in bfloat16: 1200 for activations and their gradients, measured at a megapixel, 480 for the optimizer's
history, and a little more."""


TILE_BYTES_A_PIXEL = 1320
"""The same of a tile: without the history, which is the whole picture's."""


USABLE_SHARE = 0.6
"""Of the free memory, for a picture in one piece; the rest is for others, and for what was not counted."""


USABLE_SHARE_OF_TILES = 0.8
"""Of what is free beside the whole picture's own memory, which is counted then."""


TILE_SIDES = (2048, 1536, 1024, 768, 512, 384, 256)
"""Pixels; few, so that a little more or less of free memory does not change the tiles, and with them the last digits of a
result. Below, most of the work would go into margins; above, nothing is gained."""


TEMPORAL = 150.0
"""What `temporal.weight: 1` multiplies the distance from the moved previous result with. Against 100, it takes
off a sixth of the flicker, at 1 % more content and style loss."""


@functools.lru_cache(maxsize=2)
def _weights(spec: str | Path) -> Weights:
    return load_weights(spec)


class StyleModel:
    """Weights, network and paintings, on a device, with the memory that a frame may take there.

    Args:
        settings: all that is no picture.
        styles: the paintings of all that belongs to no region.
        regions: what each region is painted with.

    Raises:
        MachineError: weights or device are not to be had.
    """

    def __init__(self, settings: EngineSettings, styles: Sequence[StylePicture], regions: Sequence[RegionPaint] = ()) -> None:
        ask_for_large_pages()
        self.settings = settings
        everywhere = RegionPaint(tuple(styles), settings.strength, settings.style_scale)
        self.paints = (everywhere, *regions)
        self.device = choose_device(settings.device)
        self.precision = choose_precision(settings.precision, self.device)
        weights = _weights(settings.weights)
        self.preprocessing = weights.preprocessing
        self.balance = LossWeights(
            content=dict(settings.content_layers),
            style=dict(settings.style_layers),
            style_strength=STYLE_STRENGTH[settings.distance],
            total_variation=TOTAL_VARIATION * settings.total_variation,
            temporal=TEMPORAL * settings.temporal,
        )
        network = VGG19(weights.state, self.balance.layers, pooling=settings.pooling, padding=settings.padding)
        self.network = network.to(self.device, self.precision).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._memory_share = 1.0

    def take_less_memory(self) -> None:
        """Halve what a frame may take of the free memory: after it did not suffice, the next try has smaller tiles."""
        self._memory_share /= 2

    def tile_side(self, height: int, width: int, *, is_optimized: bool = True) -> int | None:
        """Side of the tiles, in pixels, in which a picture is worked on; None if it fits into memory whole.

        Decided from the memory that is free now.

        Args:
            height: in pixels.
            width: likewise.
            is_optimized: whether it is changed, and not only looked at.
        """
        float32_factor = 1 if self.precision == torch.bfloat16 else 2
        free = free_bytes(self.device) * self._memory_share
        if height * width * BYTES_A_PIXEL * float32_factor <= free * USABLE_SHARE:
            return None
        # Beside a tile of a picture that is changed there is the whole of it, several times over, and what it holds to.
        held = bytes_held(3 * height * width, self.device) + self._content_bytes(height, width) if is_optimized else 0
        usable = (free - held) * USABLE_SHARE_OF_TILES
        margins = 2 * margin_pixels(self.network)
        fitting = (side for side in TILE_SIDES if (side + margins) ** 2 * TILE_BYTES_A_PIXEL * float32_factor <= usable)
        return next(fitting, TILE_SIDES[-1])

    def _content_bytes(self, height: int, width: int) -> int:
        """Memory of the content's activations of a picture."""
        channels = {layer.name: layer.out_channels for layer in LAYERS}
        values = (channels[layer] * height * width // pixels_a_position(layer) ** 2 for layer in self.balance.content)
        return sum(values) * self.precision.itemsize
