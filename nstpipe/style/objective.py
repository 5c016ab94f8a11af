"""What is minimised: how far a picture is from its content and from its style."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nstpipe.style.losses import content_distance, gram, gram_distance, temporal_distance, total_variation
from nstpipe.style.vgg import VGG19, pixels_a_position
from nstpipe.style.weights import Preprocessing


@dataclass(frozen=True)
class Balance:
    """How much each part of the loss counts.

    Attributes:
        content: layers of the content, each with its weight.
        style: layers of the style, each with its weight.
        style_strength: times the mean over the style's layers.
        total_variation: times the picture's total variation.
        temporal: times the distance from the moved previous result.
    """

    content: Mapping[str, float]
    style: Mapping[str, float]
    style_strength: float
    total_variation: float
    temporal: float = 0.0

    @property
    def layers(self) -> frozenset[str]:
        """All the layers whose activations are needed."""
        return frozenset(self.content) | frozenset(self.style)


@dataclass(frozen=True, eq=False)
class Losses:
    """The loss of one picture, each a scalar tensor.

    Attributes:
        total: all parts together, weighted.
        content: the content's part, weighted.
        style: the style's part, weighted.
    """

    total: Tensor
    content: Tensor
    style: Tensor


@dataclass(frozen=True, eq=False)
class Anchor:
    """What a frame holds on to.

    Attributes:
        image: 1 x 3 x height x width, RGB, float32: the previous result, moved to where its parts are now.
        reliability: height x width, float32, 0 to 1: how far that can be trusted.
    """

    image: Tensor
    reliability: Tensor


@dataclass(frozen=True, eq=False)
class View:
    """A picture as VGG19 sees it.

    Attributes:
        network: frozen.
        preprocessing: what the network's weights want to see.
        wrap_pixels: how far the picture is continued beyond its left and right edge by what is at the other one; 0 for
            a flat picture.
    """

    network: VGG19
    preprocessing: Preprocessing
    wrap_pixels: int = 0

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Activations of an RGB picture from 0 to 1, in the network's own precision and memory layout."""
        weight = next(self.network.parameters())
        # Off the mean in float32: bfloat16 has 8 bits, and they should not be spent on the mean.
        wanted = self.preprocessing(image).to(weight.dtype)
        wrap = self.wrap_pixels // self.network.smallest_side * self.network.smallest_side
        if not wrap:
            return self._activations(wanted)
        width = image.shape[-1]
        around = torch.cat([wanted[..., -wrap:], wanted, wanted[..., :wrap]], dim=-1)
        # The continuation is cut off again, so that each place of the picture counts once.
        cropped: dict[str, Tensor] = {}
        for layer, activation in self._activations(around).items():
            step = pixels_a_position(layer)
            cropped[layer] = activation[..., wrap // step : (wrap + width) // step]
        return cropped

    def _activations(self, wanted: Tensor) -> dict[str, Tensor]:
        return self.network(wanted.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Objective:
    """The loss of a picture, as a function of its pixels (equation 7 of the paper, plus total variation).

    Attributes:
        view: how VGG19 sees the picture.
        balance: how much each part counts.
        content_targets: the content's activations by layer.
        style_targets: the style's Gram matrices by layer, float32.
        anchor: what the picture holds on to; None at a clip's beginning.
    """

    view: View
    balance: Balance
    content_targets: Mapping[str, Tensor]
    style_targets: Mapping[str, Tensor]
    anchor: Anchor | None = None

    def __call__(self, image: Tensor) -> Losses:
        """The losses of a picture, 1 x 3 x height x width, float32, RGB, 0 to 1; differentiable."""
        activations = self.view(image)
        zero = image.new_zeros(())
        content = zero
        content_weights = self.balance.content
        for layer, weight in content_weights.items():
            share = weight / sum(content_weights.values())
            content = content + share * content_distance(activations[layer], self.content_targets[layer])
        style = zero
        style_weights = self.balance.style
        for layer, weight in style_weights.items():
            share = weight / sum(style_weights.values())
            style = style + share * gram_distance(gram(activations[layer]), self.style_targets[layer])
        style = self.balance.style_strength * style
        variation = zero
        if self.balance.total_variation:
            seam = image[..., :1] if self.view.wrap_pixels else image[..., :0]
            variation = self.balance.total_variation * total_variation(torch.cat([image, seam], dim=-1))
        total = content + style + variation
        if self.anchor is not None and self.balance.temporal:
            total = total + self.balance.temporal * temporal_distance(image, self.anchor.image, self.anchor.reliability)
        return Losses(total, content, style)
