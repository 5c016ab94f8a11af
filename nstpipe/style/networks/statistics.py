"""Mean and standard deviation of activations over the positions of a picture, or of a part of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EPS = 1e-5
"""Added to each variance, so that a channel without variance can be divided by its deviation (as in the authors' code)."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and standard deviation of each channel (Huang and Belongie 2017, equations 5 and 6).

    Attributes:
        mean: pictures x channels x 1 x 1, float32.
        deviation: of the same shape.
    """

    mean: Tensor
    deviation: Tensor

    def normalized(self, activation: Tensor) -> Tensor:
        """Return an activation with the mean 0 and the deviation 1, if these are its own statistics."""
        return (activation - self.mean) / self.deviation

    def applied(self, normalized: Tensor) -> Tensor:
        """Return a normalized activation with this mean and deviation."""
        return normalized * self.deviation + self.mean


def statistics_of(activation: Tensor, weight: Tensor | None = None) -> Statistics:
    """Return the statistics of an activation. They are differentiable.

    The variance is a mean over the positions, as in the paper. The authors' PyTorch code divides by one less.

    Args:
        activation: pictures x channels x height x width.
        weight: 1 x 1 x height x width, not negative: how much each position counts; None if all count alike.
    """
    values = activation.float()
    if weight is None:
        mean = values.mean(dim=(2, 3), keepdim=True)
        variance = (values - mean).square().mean(dim=(2, 3), keepdim=True)
    else:
        shares = weight / weight.sum()
        mean = (values * shares).sum(dim=(2, 3), keepdim=True)
        variance = ((values - mean).square() * shares).sum(dim=(2, 3), keepdim=True)
    return Statistics(mean, (variance + EPS).sqrt())


def mixed(parts: list[tuple[float, Statistics]]) -> Statistics:
    """Return the statistics that several styles have together, each with its share; the shares add up to 1.

    A mixture of results is the result of mixed statistics: both are linear in mean and deviation (section 7.2 of the paper).
    """
    means = torch.stack([share * part.mean for share, part in parts]).sum(dim=0)
    return Statistics(means, torch.stack([share * part.deviation for share, part in parts]).sum(dim=0))
