"""The losses of AdaIN (Huang and Belongie 2017) and of IEContraAST (Chen et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nstpipe.style.networks.statistics import statistics_of

TEMPERATURE = 0.2
"""Divides the products of two projections in a contrastive loss (section 4.1 of Chen et al.)."""


def style_loss(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], layers: Sequence[str]) -> Tensor:
    """Return the distance of means and deviations, summed over layers (equation 13 of Huang and Belongie).

    As in the authors' code, each distance is a mean over the channels, not a norm.

    Args:
        found: a result's activations by layer, pictures x channels x height x width.
        wanted: those of the paintings.
        layers: the layers that are compared.
    """
    total = next(iter(found.values())).new_zeros(())
    for layer in layers:
        own, other = statistics_of(found[layer]), statistics_of(wanted[layer])
        total = total + functional.mse_loss(own.mean, other.mean) + functional.mse_loss(own.deviation, other.deviation)
    return total


def normalized_content_loss(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], layers: Sequence[str]) -> Tensor:
    """Return the distance of activations that are normalized by their means and deviations (Chen et al., equation 6)."""
    total = next(iter(found.values())).new_zeros(())
    for layer in layers:
        pairs = (activation[layer] for activation in (found, wanted))
        own, other = (statistics_of(activation).normalized(activation) for activation in pairs)
        total = total + functional.mse_loss(own, other)
    return total


def contrastive_loss(projections: Tensor, same: Tensor, other: Tensor) -> Tensor:
    """Return the contrastive loss of results, which come in pairs that have a style, or a content, in common.

    Each result is to be told apart by its partner from the results that share neither style nor content with it: the cross
    entropy of its products with them, divided by `TEMPERATURE` (Chen et al., equations 8 and 9). It is summed over the results.

    Args:
        projections: results x dimensions, of length 1.
        same: results: what partners have in common, such as the number of the style.
        other: results: what they have besides, such as the number of the content.
    """
    scores = projections @ projections.T / TEMPERATURE
    total = scores.new_zeros(())
    for index in range(len(projections)):
        is_partner = same == same[index]
        is_partner[index] = False
        is_apart = (same != same[index]) & (other != other[index])
        considered = torch.cat([scores[index, is_partner], scores[index, is_apart]])
        total = total + functional.cross_entropy(considered[None], torch.zeros(1, dtype=torch.long, device=scores.device))
    return total


class Projection(nn.Module):
    """Projects activations to a unit vector, in which contrastive losses compare them: two linear layers on their sum.

    Args:
        channels: of the activations.
        hidden: values between the layers.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 128))

    def forward(self, activation: Tensor) -> Tensor:
        """Return pictures x 128, each of length 1."""
        return functional.normalize(self.layers(activation.sum(dim=(2, 3))), dim=1)


SMALLEST_JUDGED = 2
"""The least positions along a side of the discriminator's last layer: instance normalization needs more than one."""


class Discriminator(nn.Module):
    """Judges whether a picture is a painting, at several sizes, each half of the one before (Chen et al., section 3.2).

    Args:
        crop: side of the pictures, in pixels. The paper has three sizes. There are fewer if a crop is so small that the last of
            four halvings would leave no more than one position.
    """

    def __init__(self, crop: int) -> None:
        super().__init__()
        sizes = [size for size in range(3) if crop // 2**size // 16 >= SMALLEST_JUDGED]
        self.judges = nn.ModuleList(_judge() for _ in sizes)
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def loss(self, pictures: Tensor, wanted: float) -> Tensor:
        """Return the mean squared distance of the judgments from a wanted one, summed over the sizes (least squares).

        Args:
            pictures: pictures x 3 x crop x crop.
            wanted: 1 for paintings, 0 for results.
        """
        total = pictures.new_zeros(())
        for judge in self.judges:
            total = total + (judge(pictures) - wanted).square().mean()
            pictures = self.halve(pictures)
        return total


def _judge() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for channels in (64, 128, 256):
        layers += [
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
            nn.InstanceNorm2d(2 * channels),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers, nn.Conv2d(512, 1, 3, padding=1))
