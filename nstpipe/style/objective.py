"""What is minimized: how far a picture is from its content and from its style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nstpipe.config.models import StyleDistance
from nstpipe.style.features import FeatureExtractor
from nstpipe.style.loss_weights import LossWeights
from nstpipe.style.losses import (
    Moments,
    content_distance,
    gram_distance,
    moments,
    temporal_distance,
    total_variation,
    wasserstein_distance,
)


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
class TemporalTarget:
    """What a frame holds on to.

    Attributes:
        image: 1 x 3 x height x width, RGB, float32: the previous result, moved to where its parts are now.
        reliability: height x width, float32, 0 to 1: how far that can be trusted.
        newness: likewise: 1 for what was not in view before, less for what came into view lately; None if that is not
            known. Much of a frame may have no reliable flow, and yet was seen before.
    """

    image: Tensor
    reliability: Tensor
    newness: Tensor | None = None

    def to(self, device: torch.device) -> TemporalTarget:
        """The same on a device."""
        newness = self.newness.to(device) if self.newness is not None else None
        return TemporalTarget(self.image.to(device), self.reliability.to(device), newness)


@dataclass(frozen=True, eq=False)
class KeepMask:
    """A part of the picture in which nothing is to change.

    Attributes:
        image: 1 x 3 x height x width, RGB: what is there.
        weight: 1 x 1 x height x width, 0 to 1: where.
    """

    image: Tensor
    weight: Tensor

    def put_back(self, image: Tensor) -> Tensor:
        """A picture with the held part as it was; what was there instead gets no gradient."""
        return torch.lerp(image, self.image, self.weight)


@dataclass(frozen=True, eq=False)
class StyleTarget:
    """A style, and where it is wanted.

    Attributes:
        targets: the style's moments by layer.
        distance: how a picture's moments are compared with them.
        share: how much it counts, beside the strength that all styles have in common.
        weights: by layer, 1 x 1 x height x width: how much each position counts; None for all of the picture alike.
    """

    targets: Mapping[str, Moments]
    distance: StyleDistance = "gram"
    share: float = 1.0
    weights: Mapping[str, Tensor] | None = None

    def weight(self, layer: str) -> Tensor | None:
        """How much each position of a layer counts."""
        return self.weights[layer] if self.weights is not None else None

    def measured(self, activation: Tensor, weight: Tensor | None) -> Moments:
        """What the distance needs to know of a layer."""
        return moments(activation, weight, with_mean=self.distance == "wasserstein")

    def loss(self, layer: str, found: Moments) -> Tensor:
        """How far a layer is from the style, a scalar."""
        if self.distance == "wasserstein":
            return wasserstein_distance(found, self.targets[layer])
        return gram_distance(found.gram, self.targets[layer].gram)


@dataclass(frozen=True, eq=False)
class Objective:
    """The loss of a picture, as a function of its pixels (equation 7 of the paper, plus total variation).

    Attributes:
        view: how VGG19 sees the picture.
        loss_weights: how much each part counts.
        content_targets: the content's activations by layer.
        style_targets: the styles wanted.
        temporal_target: what the picture holds on to; None at a clip's beginning.
        keep_mask: the part in which nothing is to change; None if there is none.
    """

    view: FeatureExtractor
    loss_weights: LossWeights
    content_targets: Mapping[str, Tensor]
    style_targets: Sequence[StyleTarget]
    temporal_target: TemporalTarget | None = None
    keep_mask: KeepMask | None = None

    def __call__(self, image: Tensor) -> Losses:
        """The losses of a picture, 1 x 3 x height x width, float32, RGB, 0 to 1; differentiable."""
        image = self.keep_mask.put_back(image) if self.keep_mask is not None else image
        content, style = image.new_zeros(()), image.new_zeros(())
        content_shares, style_shares = self.loss_weights.content_shares(), self.loss_weights.style_shares()
        for layer, activation in self.view(image):
            if layer in content_shares:
                distance = content_distance(activation, self.content_targets[layer])
                content = content + content_shares[layer] * distance
            if layer in style_shares:
                for target in self.style_targets:
                    found = target.measured(activation, target.weight(layer))
                    style = style + style_shares[layer] * target.share * target.loss(layer, found)
        wrapped = self.view.wrap_pixels > 0
        return picture_losses(image, content + style, content, style, self.loss_weights, self.temporal_target, wrapped=wrapped)


def picture_losses(
    image: Tensor,
    seen: Tensor,
    content: Tensor,
    style: Tensor,
    loss_weights: LossWeights,
    temporal_target: TemporalTarget | None,
    *,
    wrapped: bool,
) -> Losses:
    """Add to what VGG19 sees what is measured on the pixels themselves.

    Args:
        image: 1 x 3 x height x width, RGB.
        seen: content and style loss together, differentiable.
        content: content loss, weighted.
        style: style loss, weighted.
        loss_weights: how much each part counts.
        temporal_target: what the picture holds on to.
        wrapped: whether the left edge continues the right one.
    """
    total = seen
    if loss_weights.total_variation:
        seam = image[..., :1] if wrapped else image[..., :0]
        total = total + loss_weights.total_variation * total_variation(torch.cat([image, seam], dim=-1))
    if temporal_target is not None and loss_weights.temporal:
        total = total + loss_weights.temporal * temporal_distance(image, temporal_target.image, temporal_target.reliability)
    return Losses(total, content, style)
