"""The encoder's weights: the authors' normalized VGG19, or VGG19's ordinary weights in the same form."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nstpipe.style.layers import LAYERS
from nstpipe.style.networks.layers import encoder_convolutions
from nstpipe.style.weights import Preprocessing, Weights

LEAST_MEAN = 0.1
"""Least mean activation of a channel, as a share of its layer's mean. The losses are squares, so channels that are hardly ever
active would decide them if they were blown up further. In the decoder that comes with nstpipe it concerns one of the 960
channels that the losses of adain compare."""


def encoder_shapes(last: str = "relu5_1") -> dict[str, tuple[int, ...]]:
    """Return the shape of each of the encoder's weights, by its name in vgg_normalised.pth."""
    layers = {layer.name: layer for layer in LAYERS}
    shapes: dict[str, tuple[int, ...]] = {"0.weight": (3, 3, 1, 1), "0.bias": (3,)}
    for name, place in encoder_convolutions(last):
        layer = layers[name]
        shapes |= {f"{place}.weight": (layer.out_channels, layer.in_channels, 3, 3), f"{place}.bias": (layer.out_channels,)}
    return shapes


def folded(weights: Weights, means: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return VGG19's weights in the form of vgg_normalised.pth.

    The first 1 x 1 convolution does the preprocessing. A rectified channel with mean activation m is divided by m, in its own
    weights, and the weights that read it are multiplied by m. This changes no other channel, because relu(x / m) = relu(x) / m
    for m > 0. The authors' VGG19 was normalized like this (Gatys, Ecker, Bethge 2016, section 2), with other means.

    Args:
        weights: VGG19's weights, with the preprocessing that they expect.
        means: mean activation of each channel by convolution, such as ``conv1_1``; None divides by nothing.
    """
    state = _first_convolution(weights.preprocessing)
    before: Tensor | None = None
    for name, place in encoder_convolutions():
        kernel, bias = weights.state[f"{name}.weight"], weights.state[f"{name}.bias"]
        if before is not None:
            kernel = kernel * before[None, :, None, None]
        if means is not None and name in means:
            before = _positive(means[name])
            kernel, bias = kernel / before[:, None, None, None], bias / before
        else:
            before = None
        state |= {f"{place}.weight": kernel, f"{place}.bias": bias}
    return state


def _positive(means: Tensor) -> Tensor:
    return means.clamp_min(LEAST_MEAN * float(means.mean()) or 1.0)


def _first_convolution(preprocessing: Preprocessing) -> dict[str, Tensor]:
    """Return a 1 x 1 convolution that does the preprocessing. It is found by trying it on black and the three primaries."""
    black = preprocessing(torch.zeros(1, 3, 1, 1))[0]
    columns = [preprocessing(torch.eye(3)[channel].reshape(1, 3, 1, 1))[0] - black for channel in range(3)]
    return {"0.weight": torch.stack(columns, dim=1)[..., 0, 0][..., None, None], "0.bias": black.flatten()}
