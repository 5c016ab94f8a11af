"""Transfers the colors of one picture to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nstpipe.media.frame import LUMA


@dataclass(frozen=True, eq=False)
class ColorStatistics:
    """Mean and covariance of colors.

    Attributes:
        mean: 3, float64: mean of R, G and B, 0 to 1.
        covariance: 3 x 3, float64.
    """

    mean: Tensor
    covariance: Tensor


def color_statistics(image: Tensor, weight: Tensor | None = None) -> ColorStatistics:
    """Return the mean and covariance of a picture's RGB values.

    Args:
        image: 1 x 3 x height x width, RGB, 0 to 1.
        weight: height x width, not negative: the weight of each pixel; None if all count alike.
    """
    # float64 costs nothing for 3 x 3 matrices, and a gray picture's covariance is nearly singular.
    colors = image[0].flatten(1).double()
    if weight is None:
        return ColorStatistics(colors.mean(dim=1), torch.cov(colors, correction=0))
    shares = weight.flatten().double() / weight.double().sum()
    return ColorStatistics(colors @ shares, torch.cov(colors, correction=0, aweights=shares))


def mixed_statistics(parts: Sequence[ColorStatistics], weights: Sequence[float]) -> ColorStatistics:
    """Return the statistics of several pictures together, each with its weight, which is positive."""
    shares = [weight / sum(weights) for weight in weights]
    mean = sum((share * part.mean for share, part in zip(shares, parts, strict=True)), torch.zeros(3).double())
    covariance = torch.zeros(3, 3).double()
    for share, part in zip(shares, parts, strict=True):
        apart = part.mean - mean
        covariance += share * (part.covariance + torch.outer(apart, apart))
    return ColorStatistics(mean, covariance)


def match_color(image: Tensor, target: ColorStatistics, source: ColorStatistics | None = None) -> Tensor:
    """Give `image` the mean and covariance of `target`.

    The map is the linear one that changes the colors least, the Monge-Kantorovich solution between two normal
    distributions (Pitié and Kokaram, 2007, "The linear Monge-Kantorovitch linear color mapping").

    Args:
        image: 1 x 3 x height x width, RGB, 0 to 1.
        target: the wanted statistics.
        source: the statistics that are mapped to them; None for the picture's own.

    Returns:
        A picture of the same shape, float32, clamped to 0 to 1.
    """
    source = source or color_statistics(image)
    source_root, source_inverse_root = _roots(source.covariance)
    middle, _ = _roots(source_root @ target.covariance @ source_root)
    transport = source_inverse_root @ middle @ source_inverse_root
    moved = transport @ (image[0].flatten(1).double() - source.mean[:, None]) + target.mean[:, None]
    return moved.reshape(image.shape).clamp(0, 1).float()


def luminance(image: Tensor) -> Tensor:
    """Return the luminance, 1 x 1 x height x width, of a picture's gamma-corrected values, 1 x 3 x height x width, 0 to 1."""
    shares = image.new_tensor(LUMA).reshape(1, 3, 1, 1)
    return (image * shares).sum(dim=1, keepdim=True)


def luminance_matched(image: Tensor, reference: ColorStatistics, weight: Tensor | None = None) -> Tensor:
    """Return a picture in gray, with the mean and standard deviation of the reference's luminance.

    Args:
        image: 1 x 3 x height x width, RGB, 0 to 1.
        reference: the colors whose luminance is matched.
        weight: height x width, not negative: the weight of each pixel; None if all count alike.

    Returns:
        1 x 3 x height x width, three equal channels, clamped to 0 to 1.
    """
    shares = torch.tensor(LUMA).double()
    wanted_mean = shares @ reference.mean
    wanted_spread = (shares @ reference.covariance @ shares).clamp_min(0).sqrt()
    gray = luminance(image).double()
    if weight is None:
        mean, spread = gray.mean(), gray.std(correction=0)
    else:
        shares = weight.double() / weight.double().sum()
        mean = (gray * shares).sum()
        spread = ((gray - mean).square() * shares).sum().sqrt()
    moved = (gray - mean) / spread.clamp_min(1 / 255) * wanted_spread + wanted_mean
    return moved.clamp(0, 1).float().expand_as(image)


def with_colors_of(gray: Tensor, content: Tensor) -> Tensor:
    """Combine the luminance of one picture with the colors of another.

    Args:
        gray: 1 x 3 x height x width: the picture whose luminance is used.
        content: 1 x 3 x height x width, RGB, 0 to 1: the picture whose colors are used.

    Returns:
        RGB, 0 to 1. A color that does not fit its new luminance is desaturated just enough, so the luminance stays exact.
    """
    wanted = luminance(gray).clamp(0, 1)
    color = content - luminance(content)
    # The largest share of the color that keeps each channel within 0 to 1.
    above, below = color.clamp_min(1e-6), (-color).clamp_min(1e-6)
    fits = torch.minimum((1 - wanted) / above, wanted / below).amin(dim=1, keepdim=True).clamp(0, 1)
    return (wanted + fits * color).clamp(0, 1)


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the symmetric square root of a covariance, and its inverse with variances no smaller than that of noise."""
    values, vectors = torch.linalg.eigh(matrix)
    # The variance of rounding to 8 bits. What varies less is noise, and is not amplified.
    noise = (1 / 255) ** 2 / 12
    root = vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
    inverse_root = vectors @ torch.diag(values.clamp_min(noise).rsqrt()) @ vectors.T
    return root, inverse_root
