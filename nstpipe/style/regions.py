"""Masks of regions as weights of the pixels and of the layers' positions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from nstpipe.style.layers import pixels_a_position

LEAST_SHARE = 1e-3
"""Share of the picture below which a region is too small to be compared with a style."""


def partition_masks(masks: Tensor) -> Tensor:
    """Divide each pixel among the masks. Where several overlap, the first one counts.

    Args:
        masks: regions x height x width, 0 to 1.

    Returns:
        (1 + regions) x height x width. The first is what no mask covers; at each pixel all add up to 1.
    """
    left = torch.ones_like(masks[0])
    own = []
    for mask in masks:
        own.append(left * mask.clamp(0, 1))
        left = left - own[-1]
    return torch.stack([left, *own])


def downsample_to_layers(weight: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
    """Return the weight of each position by layer: the mean over the pixels that the position stands for.

    Args:
        weight: 1 x 1 x height x width.
        layers: the names of the layers.
    """
    pooled: dict[str, Tensor] = {}
    for layer in layers:
        step = pixels_a_position(layer)
        pooled[layer] = functional.avg_pool2d(weight, step) if step > 1 else weight
    return pooled
