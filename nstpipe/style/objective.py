"""The loss that is minimized: the weighted distances of a picture from its content and from its style."""

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
        total: the sum of all weighted parts.
        content: the weighted content loss.
        style: the weighted style loss.
    """

    total: Tensor
    content: Tensor
    style: Tensor


@dataclass(frozen=True, eq=False)
class TemporalTarget:
    """The picture that a frame should stay close to.

    Attributes:
        image: 1 x 3 x height x width, RGB, float32: the previous result, warped to the current frame.
        reliability: height x width, float32, 0 to 1: how far the flow can be trusted.
        newness: height x width, float32, 0 to 1: 1 for what has just come into view, less for what did so a few frames ago;
            None if it is not known. It is not the opposite of `reliability`: the flow may fail for what was always in view.
    """

    image: Tensor
    reliability: Tensor
    newness: Tensor | None = None

    def to(self, device: torch.device) -> TemporalTarget:
        """Return the same target on a device."""
        newness = self.newness.to(device) if self.newness is not None else None
        return TemporalTarget(self.image.to(device), self.reliability.to(device), newness)


@dataclass(frozen=True, eq=False)
class KeepMask:
    """The part of a picture that stays as it is.

    Attributes:
        image: 1 x 3 x height x width, RGB: the picture that is kept.
        weight: 1 x 1 x height x width, 0 to 1: where it is kept.
    """

    image: Tensor
    weight: Tensor

    def put_back(self, image: Tensor) -> Tensor:
        """Return a picture with the kept part put back. What was there instead gets no gradient."""
        return torch.lerp(image, self.image, self.weight)


@dataclass(frozen=True, eq=False)
class StyleTarget:
    """A style, and where in the picture it is wanted.

    Attributes:
        targets: the style's moments by layer.
        distance: how a picture's moments are compared with them.
        share: factor of this style's loss, beside the strength that all styles share.
        weights: the weight of each position by layer, 1 x 1 x height x width; None if all positions count alike.
    """

    targets: Mapping[str, Moments]
    distance: StyleDistance = "gram"
    share: float = 1.0
    weights: Mapping[str, Tensor] | None = None

    def weight(self, layer: str) -> Tensor | None:
        """Return the weight of each position of a layer, or None if all count alike."""
        return self.weights[layer] if self.weights is not None else None

    def measured(self, activation: Tensor, weight: Tensor | None) -> Moments:
        """Return the moments of an activation that the distance compares."""
        return moments(activation, weight, with_mean=self.distance == "wasserstein")

    def loss(self, layer: str, found: Moments) -> Tensor:
        """Return the distance of a layer's moments from the style, a scalar."""
        if self.distance == "wasserstein":
            return wasserstein_distance(found, self.targets[layer])
        return gram_distance(found.gram, self.targets[layer].gram)


@dataclass(frozen=True, eq=False)
class Objective:
    """The loss of a picture as a function of its pixels (equation 7 of the paper, plus total variation).

    Attributes:
        view: computes the activations.
        loss_weights: the weight of each part of the loss.
        content_targets: the content's activations by layer.
        style_targets: the styles.
        temporal_target: the warped previous result; None for a clip's first frame.
        keep_mask: the part that stays as it is; None if there is none.
    """

    view: FeatureExtractor
    loss_weights: LossWeights
    content_targets: Mapping[str, Tensor]
    style_targets: Sequence[StyleTarget]
    temporal_target: TemporalTarget | None = None
    keep_mask: KeepMask | None = None

    def __call__(self, image: Tensor) -> Losses:
        """Return the losses of a picture, 1 x 3 x height x width, float32, RGB, 0 to 1. They are differentiable."""
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
    """Add the total variation and the temporal loss, which are measured on the pixels themselves.

    Args:
        image: 1 x 3 x height x width, RGB.
        seen: the sum of content and style loss, differentiable.
        content: the weighted content loss.
        style: the weighted style loss.
        loss_weights: the weight of each part of the loss.
        temporal_target: the warped previous result, or None.
        wrapped: whether the left edge continues the right one.
    """
    total = seen
    if loss_weights.total_variation:
        seam = image[..., :1] if wrapped else image[..., :0]
        total = total + loss_weights.total_variation * total_variation(torch.cat([image, seam], dim=-1))
    if temporal_target is not None and loss_weights.temporal:
        total = total + loss_weights.temporal * temporal_distance(image, temporal_target.image, temporal_target.reliability)
    return Losses(total, content, style)
