"""Moving the colors of one picture to those of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ColorStatistics:
    """How colors are spread.

    Attributes:
        mean: 3, float64: mean of R, G and B, 0 to 1.
        covariance: 3 x 3, float64.
    """

    mean: Tensor
    covariance: Tensor


def color_statistics(image: Tensor, weight: Tensor | None = None) -> ColorStatistics:
    """Mean and covariance of a picture's RGB values.

    Args:
        image: 1 x 3 x height x width, RGB, 0 to 1.
        weight: height x width, not negative: how much each pixel counts; None for all alike.
    """
    # 3 x 3 matrices: float64 costs nothing and keeps a gray picture's nearly singular covariance usable.
    colors = image[0].flatten(1).double()
    if weight is None:
        return ColorStatistics(colors.mean(dim=1), torch.cov(colors, correction=0))
    shares = weight.flatten().double() / weight.double().sum()
    return ColorStatistics(colors @ shares, torch.cov(colors, correction=0, aweights=shares))


def mixed_statistics(parts: Sequence[ColorStatistics], weights: Sequence[float]) -> ColorStatistics:
    """Statistics of colors drawn from several pictures, each as often as its weight (positive) says."""
    shares = [weight / sum(weights) for weight in weights]
    mean = sum((share * part.mean for share, part in zip(shares, parts, strict=True)), torch.zeros(3).double())
    covariance = torch.zeros(3, 3).double()
    for share, part in zip(shares, parts, strict=True):
        apart = part.mean - mean
        covariance += share * (part.covariance + torch.outer(apart, apart))
    return ColorStatistics(mean, covariance)


def match_color(image: Tensor, target: ColorStatistics, source: ColorStatistics | None = None) -> Tensor:
    """Give `image` the mean and covariance of `target`.

    The map is the linear one that moves the colors least: the Monge-Kantorovich solution between two normal
    distributions (Pitié and Kokaram, 2007, "The linear Monge-Kantorovitch linear color mapping").

    Args:
        image: 1 x 3 x height x width, RGB, 0 to 1.
        target: the statistics wanted.
        source: the statistics that become those; None for the picture's own.

    Returns:
        Like `image`, float32, held within 0 to 1.
    """
    source = source or color_statistics(image)
    source_root, source_inverse_root = _roots(source.covariance)
    middle, _ = _roots(source_root @ target.covariance @ source_root)
    transport = source_inverse_root @ middle @ source_inverse_root
    moved = transport @ (image[0].flatten(1).double() - source.mean[:, None]) + target.mean[:, None]
    return moved.reshape(image.shape).clamp(0, 1).float()


LUMA = (0.2126, 0.7152, 0.0722)
"""Shares of R, G and B in luminance (ITU-R BT.709, whose primaries sRGB has)."""


def luminance(image: Tensor) -> Tensor:
    """1 x 1 x height x width, 0 to 1, of a picture 1 x 3 x height x width; on its gamma-corrected values."""
    shares = image.new_tensor(LUMA).reshape(1, 3, 1, 1)
    return (image * shares).sum(dim=1, keepdim=True)


def luminance_matched(image: Tensor, reference: ColorStatistics) -> Tensor:
    """The gray of a picture, with the mean and spread that the luminance of the reference colors has.

    Args:
        image: 1 x 3 x height x width, RGB, 0 to 1.
        reference: whose luminance is wanted.

    Returns:
        1 x 3 x height x width, three equal channels, held within 0 to 1.
    """
    shares = torch.tensor(LUMA).double()
    wanted_mean = shares @ reference.mean
    wanted_spread = (shares @ reference.covariance @ shares).clamp_min(0).sqrt()
    gray = luminance(image).double()
    spread = gray.std(correction=0).clamp_min(1 / 255)
    moved = (gray - gray.mean()) / spread * wanted_spread + wanted_mean
    return moved.clamp(0, 1).float().expand_as(image)


def with_colors_of(gray: Tensor, content: Tensor) -> Tensor:
    """A picture with the luminance of one and the colors of another.

    Args:
        gray: 1 x 3 x height x width; its luminance counts.
        content: 1 x 3 x height x width, RGB, 0 to 1; how its channels differ from its luminance counts.

    Returns:
        RGB, 0 to 1. Where a color does not go with its new luminance, it is paled just enough to fit, so that the
        luminance stays right.
    """
    wanted = luminance(gray).clamp(0, 1)
    color = content - luminance(content)
    # The largest share of the color that keeps each channel within 0 to 1.
    above, below = color.clamp_min(1e-6), (-color).clamp_min(1e-6)
    fits = torch.minimum((1 - wanted) / above, wanted / below).amin(dim=1, keepdim=True).clamp(0, 1)
    return (wanted + fits * color).clamp(0, 1)


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric square root of a covariance, and its inverse with the smallest variance held above noise."""
    values, vectors = torch.linalg.eigh(matrix)
    # One step of an 8-bit picture has this variance; what varies less is noise and is not stretched.
    noise = (1 / 255) ** 2 / 12
    root = vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
    inverse_root = vectors @ torch.diag(values.clamp_min(noise).rsqrt()) @ vectors.T
    return root, inverse_root
