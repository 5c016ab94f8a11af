"""The activations that VGG19 has for a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nstpipe.style.layers import pixels_a_position
from nstpipe.style.vgg import VGG19
from nstpipe.style.weights import Preprocessing


@dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """Computes VGG19's activations of RGB pictures with values from 0 to 1.

    Attributes:
        network: frozen VGG19.
        preprocessing: converts a picture to the input that the network's weights expect.
        wrap_pixels: width of the strips that continue a panorama beyond its left and right edge. Each strip repeats the
            opposite edge. A multiple of the network's `smallest_side`; 0 for a flat picture.
    """

    network: VGG19
    preprocessing: Preprocessing
    wrap_pixels: int = 0

    def continued(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Add the strips of a panorama to a picture.

        Args:
            image: 1 x channels x height x width, or a weight of that shape.

        Returns:
            The wider picture, and the first and end column of the original within it.
        """
        width = image.shape[-1]
        wrap = self.wrap_pixels
        if not wrap:
            return image, (0, width)
        return torch.cat([image[..., -wrap:], image, image[..., :wrap]], dim=-1), (wrap, wrap + width)

    def activations(self, image: Tensor) -> dict[str, Tensor]:
        """Return the activations of a picture by layer, in the network's precision and in channels_last memory."""
        return dict(self._walk(image))

    def _walk(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        # The mean is subtracted in float32: bfloat16 has 8 bits of precision, too few to spend on the mean.
        return self.network.walk(self.preprocessing(image))

    def __call__(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each layer's name and activation. The strips of a panorama are cut off again, so each position counts once."""
        around, (first, end) = self.continued(image)
        for layer, activation in self._walk(around):
            step = pixels_a_position(layer)
            yield layer, activation[..., first // step : end // step]
