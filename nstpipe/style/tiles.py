"""The loss of a picture that is too large for memory, tile by tile, with the same result as in one piece.

A Gram matrix is a mean over positions, so it can be summed over tiles. A first pass over the tiles finds the Gram matrices,
and with them the loss and its derivative with respect to each Gram matrix. A second pass finds each tile's part of the
gradient. Each tile has a margin as wide as VGG19's receptive field, and only what lies inside the margin counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nstpipe.style.features import FeatureExtractor
from nstpipe.style.layers import pixels_a_position
from nstpipe.style.loss_weights import LossWeights
from nstpipe.style.losses import Moments, content_distance, moments
from nstpipe.style.objective import KeepMask, Losses, StyleTarget, TemporalTarget, picture_losses
from nstpipe.style.vgg import VGG19

GRID_PIXELS = 16
"""Tiles begin at multiples of this, so every pooling cuts them as it cuts the whole picture."""


def margin_pixels(network: VGG19) -> int:
    """Return the margin of a tile in pixels, a multiple of `GRID_PIXELS` that covers the receptive field of the last layer."""
    return math.ceil(network.reach_pixels / GRID_PIXELS) * GRID_PIXELS


@dataclass(frozen=True)
class Tile:
    """A part of a picture, in pixels.

    Attributes:
        top, bottom, left, right: the bounds of what counts; bottom and right are exclusive.
        outer: the same four bounds with the margins.
    """

    top: int
    bottom: int
    left: int
    right: int
    outer: tuple[int, int, int, int]

    def cut(self, picture: Tensor) -> Tensor:
        """Return the tile with its margins, cut from a picture, 1 x channels x height x width."""
        top, bottom, left, right = self.outer
        return picture[..., top:bottom, left:right]

    def counted(self, layer: str, activation: Tensor) -> Tensor:
        """Return the part of an activation that counts, without the margins."""
        step = pixels_a_position(layer)
        top, _, left, _ = self.outer
        rows = slice((self.top - top) // step, self.bottom // step - top // step)
        columns = slice((self.left - left) // step, self.right // step - left // step)
        return activation[..., rows, columns]

    def place(self, layer: str) -> tuple[slice, slice]:
        """Return the rows and columns of that part in the activation of the whole picture."""
        step = pixels_a_position(layer)
        return slice(self.top // step, self.bottom // step), slice(self.left // step, self.right // step)


def tiles_of(height: int, width: int, side: int, margin: int, columns: tuple[int, int] | None = None) -> Iterator[Tile]:
    """Yield tiles that together count every pixel once.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        side: side of a tile without its margins, in pixels, a multiple of `GRID_PIXELS`.
        margin: see `margin_pixels`.
        columns: first and end of the columns that count, the first a multiple of `GRID_PIXELS`; None if all count.
    """
    first, end = columns or (0, width)
    for top in range(0, height, side):
        bottom = min(top + side, height)
        for left in range(first, end, side):
            right = min(left + side, end)
            outer = (
                max(0, top - margin),
                min(height, bottom + margin),
                max(0, left - margin),
                min(width, right + margin),
            )
            yield Tile(top, bottom, left, right, outer)


@dataclass(frozen=True, eq=False)
class Measured:
    """Moments and activations of a picture.

    Attributes:
        moments: the moments by layer, with their means.
        activations: the activations of the whole picture by layer.
    """

    moments: Mapping[str, Moments]
    activations: Mapping[str, Tensor]


@torch.no_grad()
def measure(
    view: FeatureExtractor,
    image: Tensor,
    side: int,
    *,
    styles: frozenset[str],
    activations: frozenset[str],
    weights: Mapping[str, Tensor] | None = None,
) -> Measured:
    """Measure a picture tile by tile.

    Args:
        view: computes the activations.
        image: 1 x 3 x height x width, RGB, 0 to 1.
        side: side of a tile, in pixels.
        styles: layers whose moments are wanted.
        activations: layers whose activations are wanted.
        weights: how much each position of a layer counts in its moments, 1 x 1 x height x width; None if all count alike.
    """
    around, columns = view.continued(image)
    height, width = around.shape[-2:]
    sums: dict[str, _Sum] = {}
    whole: dict[str, Tensor] = {}
    for tile in tiles_of(height, width, side, margin_pixels(view.network), columns):
        for layer, activation in view.activations(tile.cut(around)).items():
            counted = tile.counted(layer, activation)
            count = counted.shape[-1] * counted.shape[-2]
            rows, places = tile.place(layer)
            weight = weights[layer][..., rows, places] if weights is not None and layer in styles else None
            if layer in styles and count and (weight is None or bool(weight.any())):
                sums.setdefault(layer, _Sum()).add(moments(counted, weight, with_mean=True))
            if layer in activations:
                if layer not in whole:
                    step = pixels_a_position(layer)
                    shape = (1, counted.shape[1], height // step, width // step)
                    whole[layer] = counted.new_empty(shape).contiguous(memory_format=torch.channels_last)
                whole[layer][..., rows, places] = counted
    return Measured({layer: total.mean() for layer, total in sums.items()}, whole)


class _Sum:
    """Adds the moments of parts up to those of the whole."""

    def __init__(self) -> None:
        self._parts: Moments | None = None

    def add(self, part: Moments) -> None:
        grams, count = part.gram * part.count, part.count
        means = part.mean * count if part.mean is not None else None
        if self._parts is not None:
            grams, count = grams + self._parts.gram, count + self._parts.count
            means = means + self._parts.mean if means is not None and self._parts.mean is not None else None
        self._parts = Moments(grams, means, count)

    def mean(self) -> Moments:
        assert self._parts is not None, "a layer without a position"
        grams, means, count = self._parts.gram, self._parts.mean, self._parts.count
        return Moments(grams / count, means / count if means is not None else None, count)


@dataclass(frozen=True, eq=False)
class _Slope:
    """The derivative of the whole picture's loss with respect to the moments of a layer.

    Attributes:
        gram: channels x channels: the derivative with respect to the Gram matrix.
        mean: channels: the derivative with respect to the mean; None if the loss does not use the mean.
        count: the number of positions, or the sum of their weights, over which both are means.
    """

    gram: Tensor
    mean: Tensor | None
    count: Tensor

    def share(self, part: Moments) -> Tensor:
        """Return a scalar whose gradient is this part's share of the loss's gradient."""
        share = (part.gram * self.gram).sum()
        if part.mean is not None and self.mean is not None:
            share = share + (part.mean * self.mean).sum()
        return share * (part.count / self.count)


@dataclass(frozen=True, eq=False)
class TiledObjective:
    """`nstpipe.style.objective.Objective`, in the memory of a tile.

    Attributes:
        view: computes the activations.
        loss_weights: the weight of each part of the loss.
        content_targets: the content's activations by layer, with the strips of a panorama.
        style_targets: the styles; their weights, too, are with the strips of a panorama.
        temporal_target: the warped previous result, or None.
        side: side of a tile, in pixels.
        keep_mask: the part that stays as it is; None if there is none.
    """

    view: FeatureExtractor
    loss_weights: LossWeights
    content_targets: Mapping[str, Tensor]
    style_targets: Sequence[StyleTarget]
    temporal_target: TemporalTarget | None
    side: int
    keep_mask: KeepMask | None = None

    def __call__(self, image: Tensor) -> Losses:
        """Return the losses of a picture; see `Objective`."""
        image = self.keep_mask.put_back(image) if self.keep_mask is not None else image
        around, columns = self.view.continued(image)
        height, width = around.shape[-2:]
        tiles = tuple(tiles_of(height, width, self.side, margin_pixels(self.view.network), columns))
        energies = self._energies(columns)
        style, content, slopes = self._losses(around.detach(), tiles, energies)
        seen = style + content
        if torch.is_grad_enabled():
            gradient = torch.zeros_like(around)
            for tile in tiles:
                part = tile.cut(around.detach()).clone().requires_grad_(True)
                self._share(part, tile, slopes, energies).backward()  # type: ignore[no-untyped-call]
                assert part.grad is not None
                tile.cut(gradient).add_(part.grad)
            seen = _Known.apply(around, seen, gradient)
        return picture_losses(
            image, seen, content, style, self.loss_weights, self.temporal_target, wrapped=self.view.wrap_pixels > 0
        )

    def _energies(self, columns: tuple[int, int]) -> dict[str, Tensor]:
        """Return ΣP² of each content layer, without the strips of a panorama."""
        energies: dict[str, Tensor] = {}
        for layer, target in self.content_targets.items():
            step = pixels_a_position(layer)
            counted = target[..., columns[0] // step : columns[1] // step]
            energies[layer] = counted.float().square().sum()
        return energies

    @torch.no_grad()
    def _losses(
        self, around: Tensor, tiles: tuple[Tile, ...], energies: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[tuple[str, int], _Slope]]:
        """Return the style loss, the content loss, and the derivatives with respect to the moments, by layer and style."""
        sums: dict[tuple[str, int], _Sum] = {}
        content = around.new_zeros(())
        for tile in tiles:
            activations = self.view.activations(tile.cut(around))
            content = content + self._content(activations, tile, energies)
            for layer in self.loss_weights.style:
                for index, part in self._parts(activations, tile, layer):
                    sums.setdefault((layer, index), _Sum()).add(part)
        style = around.new_zeros(())
        slopes: dict[tuple[str, int], _Slope] = {}
        shares = self.loss_weights.style_shares()
        for (layer, index), total in sums.items():
            target, found = self.style_targets[index], total.mean()
            free = [part.requires_grad_(True) for part in (found.gram, found.mean) if part is not None]
            with torch.enable_grad():
                distance = shares[layer] * target.share * target.loss(layer, found)
                gradients = torch.autograd.grad(distance, free)
            slopes[layer, index] = _Slope(gradients[0], gradients[1] if len(gradients) > 1 else None, found.count)
            style = style + distance.detach()
        return style, content, slopes

    def _parts(self, activations: Mapping[str, Tensor], tile: Tile, layer: str) -> Iterator[tuple[int, Moments]]:
        """Yield the index of each style that is wanted in a tile, with the moments that the tile adds to a layer."""
        counted = tile.counted(layer, activations[layer])
        if not counted.shape[-1] * counted.shape[-2]:
            return
        rows, columns = tile.place(layer)
        for index, target in enumerate(self.style_targets):
            weight = target.weight(layer)
            weight = weight[..., rows, columns] if weight is not None else None
            if weight is None or bool(weight.any()):
                yield index, target.measured(counted, weight)

    def _share(
        self,
        part: Tensor,
        tile: Tile,
        slopes: Mapping[tuple[str, int], _Slope],
        energies: Mapping[str, Tensor],
    ) -> Tensor:
        """Return a scalar whose gradient is the tile's share of the loss's gradient."""
        activations = self.view.activations(part)
        share = self._content(activations, tile, energies)
        for layer in self.loss_weights.style:
            for index, found in self._parts(activations, tile, layer):
                share = share + slopes[layer, index].share(found)
        return share

    def _content(self, activations: Mapping[str, Tensor], tile: Tile, energies: Mapping[str, Tensor]) -> Tensor:
        total = next(iter(energies.values())).new_zeros(())
        for layer, share_of_layer in self.loss_weights.content_shares().items():
            rows, places = tile.place(layer)
            target = self.content_targets[layer][..., rows, places]
            distance = content_distance(tile.counted(layer, activations[layer]), target, energies[layer])
            total = total + share_of_layer * distance
        return total


class _Known(torch.autograd.Function):
    """Returns a value whose gradient has been computed already."""

    @staticmethod
    def forward(ctx: Any, picture: Tensor, value: Tensor, gradient: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None
