"""The distances of neural style transfer, as pure functions of activations (Gatys, Ecker, Bethge 2016, section 2).

Each is divided by the size of its target, so a weight means the same for any picture size, layer, pooling and VGG19 weights.
The paper divides by constants instead.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def content_distance(activation: Tensor, target: Tensor, energy: Tensor | None = None) -> Tensor:
    """Return Σ(F − P)² / ΣP², for activations F of the picture and P of the content (equation 1, normalized).

    Args:
        activation: 1 x channels x height x width.
        target: of the same shape.
        energy: ΣP² of the whole picture, if these activations are a part of it; None if they are all of it.

    Returns:
        A float32 scalar: 0 when equal, 1 when the picture has no activation at all.
    """
    energy = squared_norm(target) if energy is None else energy
    distance: Tensor = _SquaredDistance.apply(activation, target)  # type: ignore[no-untyped-call]
    # The paper halves the sum; here it is divided by the target's energy.
    return distance / energy.clamp_min(_TINY)


def squared_norm(activation: Tensor) -> Tensor:
    """Return the sum of squares, a scalar in float32, or float64 for a float64 activation. No wider copy is made."""
    wide = torch.promote_types(activation.dtype, torch.float32)
    norm: Tensor = torch.linalg.vector_norm(activation, dtype=wide)
    return norm.square()


class _SquaredDistance(torch.autograd.Function):
    """Σ(F − P)². It keeps one tensor in the activation's own precision, where autograd would keep wide ones."""

    @staticmethod
    def forward(ctx: Any, activation: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        difference = activation - target
        ctx.save_for_backward(difference)
        return squared_norm(difference)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (difference,) = ctx.saved_tensors
        return difference * (2 * upstream), None


def gram(activation: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return G = F Fᵀ / (height · width), for F the activation with its positions in one row a channel (equation 3).

    The paper does not divide. Dividing makes the Gram matrix of a texture independent of the picture's size. With weights w it
    is F diag(w) Fᵀ / Σw.

    Args:
        activation: 1 x channels x height x width, any floating type; fastest in channels_last memory.
        weight: 1 x 1 x height x width, not negative, a constant: the weight of each position; None if all count alike.

    Returns:
        channels x channels, symmetric and positive semi-definite; float32, or float64 for a float64 activation.
    """
    matrix: Tensor = _Gram.apply(activation, weight)  # type: ignore[no-untyped-call]
    return matrix


class _Gram(torch.autograd.Function):
    """The Gram matrix. Its gradient takes one matrix product, where autograd would take two."""

    @staticmethod
    def forward(ctx: Any, activation: Tensor, weight: Tensor | None) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(activation, weight)
        positions = sampling_positions(activation)
        count: Tensor | int = len(positions)
        if weight is not None:
            # A root of the weight on both sides keeps the product symmetric.
            positions = positions * sampling_positions(weight).sqrt().to(positions.dtype)
            count = weight.sum()
        # Products run in the activation's own precision, on as few positions as a 16-bit product sums without harm. Their
        # sums are added in float32.
        wide = torch.promote_types(activation.dtype, torch.float32)
        whole = len(positions) // _POSITIONS_A_PRODUCT * _POSITIONS_A_PRODUCT
        chunks = positions[:whole].unflatten(0, (-1, _POSITIONS_A_PRODUCT))
        rest = positions[whole:]
        matrix = (rest.T @ rest).to(wide)
        if whole:
            matrix += torch.bmm(chunks.transpose(1, 2), chunks).to(wide).sum(0)
        return matrix / count

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        activation, weight = ctx.saved_tensors
        positions = sampling_positions(activation)
        # d tr(Sᵀ FᵀF) = tr((S + Sᵀ) Fᵀ dF), the paper's equation 6 before its chain rule.
        count = len(positions) if weight is None else weight.sum()
        slope = positions @ ((gradient + gradient.T) / count).to(activation.dtype)
        if weight is not None:
            slope *= sampling_positions(weight).to(slope.dtype)
        _, channels, height, width = activation.shape
        return slope.reshape(1, height, width, channels).permute(0, 3, 1, 2), None


@dataclass(frozen=True, eq=False)
class Moments:
    """Means over the positions of a layer, which a style distance compares. They do not depend on where things are.

    Attributes:
        gram: channels x channels: mean of the product of each pair of channels.
        mean: channels: mean of each channel; None where only the Gram matrix is compared.
        count: the number of positions, or the sum of their weights; a scalar.
    """

    gram: Tensor
    mean: Tensor | None
    count: Tensor

    @property
    def covariance(self) -> Tensor:
        """The covariance of the channels, channels x channels."""
        assert self.mean is not None, "the mean was not measured"
        covariance: Tensor = self.gram - torch.outer(self.mean, self.mean)
        return covariance

    @functools.cached_property
    def eps(self) -> Tensor:
        """A variance too small to matter, a scalar. It keeps the roots of singular covariances differentiable."""
        return COVARIANCE_EPS * self.covariance.diagonal().mean().clamp_min(_TINY)

    @functools.cached_property
    def covariance_root(self) -> Tensor:
        """The symmetric square root of the covariance with `eps` added to each variance."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * (values.clamp_min(0) + self.eps).sqrt()) @ vectors.T
        return root


COVARIANCE_EPS = 1e-3
"""Share of a layer's mean variance that is added to every variance. float32 still tells its square from zero."""


def moments(activation: Tensor, weight: Tensor | None = None, *, with_mean: bool = False) -> Moments:
    """Return the means over the positions of a layer.

    Args:
        activation: 1 x channels x height x width.
        weight: 1 x 1 x height x width, not negative: the weight of each position (the guidance of Gatys et al. 2017,
            "Controlling Perceptual Factors in Neural Style Transfer", section 4); None if all count alike.
        with_mean: whether the mean is computed as well.
    """
    wide = torch.promote_types(activation.dtype, torch.float32)
    # The paper normalizes the guidance to a sum of squares of 1. Here the weights sum to the count, so a mean stays a mean.
    if weight is None:
        count = torch.full((), float(activation.shape[-2] * activation.shape[-1]), device=activation.device)
    else:
        count = weight.to(wide).sum()
    mean = None
    if with_mean and weight is None:
        mean = activation[0].mean(dim=(1, 2), dtype=wide)
    elif with_mean and weight is not None:
        mean = (activation * weight.to(activation.dtype))[0].sum(dim=(1, 2), dtype=wide) / count
    return Moments(gram(activation, weight), mean, count)


def sampling_positions(activation: Tensor) -> Tensor:
    """Return an activation as height · width rows of channels, a view of channels_last memory."""
    return activation[0].permute(1, 2, 0).flatten(0, 1)


_POSITIONS_A_PRODUCT = 1024
"""Positions in one product. A bfloat16 product rounds its sums to 8 bits, and over many short sums the errors cancel."""


def gram_distance(matrix: Tensor, target: Tensor) -> Tensor:
    """Return Σ(G − A)² / ΣA², for Gram matrices G of the picture and A of the style (equation 4, normalized).

    Args:
        matrix: channels x channels.
        target: of the same shape.

    Returns:
        A float32 scalar: 0 when equal, 1 when the picture has no activation at all.
    """
    # The paper divides by 4 N² M², for N channels and M positions.
    return (matrix - target).square().sum() / target.square().sum().clamp_min(_TINY)


def wasserstein_distance(found: Moments, target: Moments) -> Tensor:
    """Return (|μ − m|² + tr(Σ + S − 2 (S^½ Σ S^½)^½)) / (|m|² + tr S), the distance from the style's activations.

    The squared Wasserstein-2 distance between normal distributions of means μ, m and covariances Σ, S (Olkin and
    Pukelsheim 1982; as a style distance: Mroueh 2020, "Wasserstein Style Transfer"), divided by its value for a
    picture without any activation.

    Args:
        found: the picture's moments, with their mean.
        target: the style's moments, with as many channels; a constant.

    Returns:
        A scalar: 0 when equal, 1, but for `eps`, when the picture has no activation at all.
    """
    assert found.mean is not None
    assert target.mean is not None
    shift = (found.mean - target.mean).square().sum()
    eps = target.eps * len(target.mean)
    # `eps` is added to both covariances, so that the distance of equal ones stays 0.
    spread = found.covariance.trace() + target.covariance.trace() + 2 * eps
    overlap: Tensor = _RootTrace.apply(found.covariance, target.covariance_root, target.eps)  # type: ignore[no-untyped-call]
    distance: Tensor = (shift + spread - 2 * overlap) / target.gram.trace().clamp_min(_TINY)
    return distance


class _RootTrace(torch.autograd.Function):
    """tr(R (Σ + eps) R)^½. Its derivative avoids that of eigenvectors, which does not exist where two eigenvalues are equal."""

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, root: Tensor, eps: Tensor) -> Tensor:  # type: ignore[override]
        inner = root @ (covariance + eps * torch.eye(len(root), dtype=root.dtype, device=root.device)) @ root
        values, vectors = torch.linalg.eigh(inner)
        roots = values.clamp_min(eps**2).sqrt()
        # d tr M^½ = ½ tr(M^-½ dM), for symmetric M.
        half = root @ vectors
        ctx.save_for_backward((half / (2 * roots)) @ half.T)
        trace: Tensor = roots.sum()
        return trace

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (slope,) = ctx.saved_tensors
        return upstream * slope, None, None


def total_variation(image: Tensor) -> Tensor:
    """Return the mean squared difference between neighboring pixels, horizontal plus vertical.

    This is the total variation of Mahendran and Vedaldi 2015 with β = 2.

    Args:
        image: 1 x 3 x height x width, RGB.

    Returns:
        A scalar: 0 for a picture of one color, 2 for a checkerboard of 0 and 1.
    """
    variation: Tensor = _TotalVariation.apply(image)  # type: ignore[no-untyped-call]
    return variation


class _TotalVariation(torch.autograd.Function):
    """The total variation. The backward pass computes the differences again instead of keeping them."""

    @staticmethod
    def forward(ctx: Any, image: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(image)
        variation = image.new_zeros(())
        for dimension in (-1, -2):
            variation += image.diff(dim=dimension).square().mean()
        return variation

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor) -> Tensor:  # type: ignore[override]
        (image,) = ctx.saved_tensors
        gradient = torch.zeros_like(image)
        for dimension in (-1, -2):
            difference = image.diff(dim=dimension)
            difference *= 2 * upstream / difference.numel()
            gradient.narrow(dimension, 1, difference.shape[dimension]).add_(difference)
            gradient.narrow(dimension, 0, difference.shape[dimension]).sub_(difference)
        return gradient


def temporal_distance(image: Tensor, target: Tensor, reliability: Tensor) -> Tensor:
    """Return Σ c (x − p)² / (3 · height · width), for a picture x and a target p (Ruder et al. 2016, equation 7).

    Args:
        image: 1 x 3 x height x width, RGB.
        target: of the same shape: the previous result, warped along the flow.
        reliability: height x width, 0 to 1: c.

    Returns:
        A scalar: 0 where nothing is reliable or nothing has changed.
    """
    return (reliability * (image - target).square()).mean()


_TINY = 1e-12
"""Avoids a division by zero for a target without any energy, such as a black layer."""
