"""Which style goes where: masks, as weights of the pixels and of the layers' positions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from nstpipe.style.layers import pixels_a_position

LEAST_SHARE = 1e-3
"""Of the picture; what a smaller region looks like cannot be compared with a style."""


def partition_masks(masks: Tensor) -> Tensor:
    """Make masks share each pixel out: where several claim it, the first one has it, and the rest belongs to nobody.

    Args:
        masks: regions x height x width, 0 to 1.

    Returns:
        (1 + regions) x height x width, which add up to 1 at each pixel: first what nobody claims, then each mask's own.
    """
    left = torch.ones_like(masks[0])
    own = []
    for mask in masks:
        own.append(left * mask.clamp(0, 1))
        left = left - own[-1]
    return torch.stack([left, *own])


def downsample_to_layers(weight: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
    """The weight of each position of each layer: the mean over the pixels that it stands for.

    Args:
        weight: 1 x 1 x height x width.
        layers: names.
    """
    pooled: dict[str, Tensor] = {}
    for layer in layers:
        step = pixels_a_position(layer)
        pooled[layer] = functional.avg_pool2d(weight, step) if step > 1 else weight
    return pooled
