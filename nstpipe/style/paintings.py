"""The paintings that the style is taken from: their colors, and their moments at the sizes asked for."""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from nstpipe.media.frame import resized
from nstpipe.media.tensors import tensor_of, tensor_of_floats
from nstpipe.style.color import (
    ColorStatistics,
    color_statistics,
    match_color,
    mixed_statistics,
)
from nstpipe.style.losses import Moments
from nstpipe.style.network import Network
from nstpipe.style.regions import downsample_to_layers
from nstpipe.style.settings import RegionPaint
from nstpipe.style.tile_budget import TileBudget
from nstpipe.style.tiles import measure

TARGETS_KEPT = 6
"""The number of sizes at which a painting's moments are remembered: those of one frame's scales, and of a few frames."""

MOMENTS_KEPT = 12
"""The number of pictures whose moments are remembered for each network. Each takes 2.4 MB. Another engine of this process, such
as that of a preview with another strength, measures the same picture no second time."""

_known_moments: WeakKeyDictionary[Network, OrderedDict[Hashable, Mapping[str, Moments]]] = WeakKeyDictionary()


Adapted = Callable[[Tensor, Tensor | None], Tensor]
"""Returns a painting, 1 x 3 x height x width, in other colors, given how much each of its pixels counts."""


class Paintings:
    """The paintings of one region: their colors, and their pictures at the sizes asked for.

    Args:
        paint: the paintings, with their strength and scale.
        adapted: returns a painting in the colors whose style is wanted; None leaves them.
    """

    def __init__(self, paint: RegionPaint, adapted: Adapted | None = None) -> None:
        self._scale = paint.style_scale
        self.styles = paint.styles
        self.strength = paint.strength
        pictures = [tensor_of(style.pixels) for style in paint.styles]
        self._opacities = [None if style.opacity is None else torch.from_numpy(style.opacity) for style in paint.styles]
        if adapted is not None:
            pictures = [adapted(*found) for found in zip(pictures, self._opacities, strict=True)]
        self._pictures = pictures

    @functools.cached_property
    def _colors(self) -> ColorStatistics:
        return mixed_statistics(
            [color_statistics(*found) for found in zip(self._pictures, self._opacities, strict=True)],
            [style.weight for style in self.styles],
        )

    def start(self, content: Tensor, init: str, weight: Tensor | None = None) -> Tensor:
        """Return a frame matched to the paintings' colors, or a picture of their mean color.

        Args:
            content: 1 x 3 x height x width, 0 to 1.
            init: matched or blank.
            weight: height x width: how much each pixel counts in the frame's colors; None if all count alike.
        """
        if not self.styles:
            return content
        if init == "matched":
            return match_color(content, self._colors, color_statistics(content, weight) if weight is not None else None)
        return self._colors.mean.float().reshape(1, 3, 1, 1).expand_as(content)

    def sized(self, longest: int, smallest_side: int) -> Iterator[tuple[float, Tensor, Tensor | None]]:
        """Yield each painting at the size that gives the wanted strokes.

        Args:
            longest: the frame's longest side, in pixels.
            smallest_side: the shortest side that a painting may have, in pixels, however small the strokes are wanted.

        Yields:
            The painting's share of the style, so that all add up to 1; the painting, 1 x 3 x height x width, RGB, 0 to 1; and
            how much paint there is at each pixel, 1 x 1 x height x width, 0 to 1, or None if it is everywhere.
        """
        total = sum(style.weight for style in self.styles)
        for style, picture in zip(self.styles, self._pictures, strict=True):
            height, width = picture.shape[-2:]
            scale = self._scale * longest / max(height, width)
            # However small the strokes are wanted, the deepest layer needs a position.
            scale = max(scale, smallest_side / min(height, width))
            size = round(width * scale), round(height * scale)
            pixels = resized(picture[0].permute(1, 2, 0).numpy(), size)
            opacity = None
            if style.opacity is not None:
                opacity = torch.from_numpy(resized(style.opacity, size).clip(0, 1))[None, None]
            yield style.weight / total, tensor_of_floats(pixels.clip(0, 1)), opacity


class PaintingMoments(Paintings):
    """The paintings of one region, and the moments of their activations at the sizes asked for.

    Args:
        network: computes the activations.
        tile_budget: decides in which tiles a large painting is measured.
        layers: the style layers.
        paint: the paintings, with their strength and scale.
        adapted: returns a painting in the colors whose style is wanted; None leaves them.
    """

    def __init__(
        self,
        network: Network,
        tile_budget: TileBudget,
        layers: Collection[str],
        paint: RegionPaint,
        adapted: Adapted | None = None,
    ) -> None:
        super().__init__(paint, adapted)
        self._network, self._tile_budget, self._layers = network, tile_budget, frozenset(layers)
        self._targets: dict[int, Mapping[str, Moments]] = {}

    def targets(self, longest: int) -> Mapping[str, Moments]:
        """Return the weighted mean of the paintings' moments by layer, measured at the size that gives the wanted strokes.

        Args:
            longest: the frame's longest side, in pixels.
        """
        if longest not in self._targets:
            if len(self._targets) >= TARGETS_KEPT:
                del self._targets[next(iter(self._targets))]
            self._targets[longest] = self._measured(longest)
        return self._targets[longest]

    def _measured(self, longest: int) -> Mapping[str, Moments]:
        network = self._network
        parts: dict[str, list[tuple[float, Moments]]] = {}
        for share, picture, opacity in self.sized(longest, network.vgg.smallest_side):
            painting = picture.to(network.device)
            side = self._tile_budget.tile_side(*painting.shape[-2:], is_optimized=False) or max(painting.shape[-2:])
            weights = self._weights(opacity)
            key = (side, self._layers, digest(picture), digest(opacity) if opacity is not None else b"")
            known = _known_moments.setdefault(network, OrderedDict())
            if key not in known:
                view = network.features()
                measured = measure(view, painting, side, styles=self._layers, activations=frozenset(), weights=weights)
                known[key] = measured.moments
                while len(known) > MOMENTS_KEPT:
                    known.popitem(last=False)
            known.move_to_end(key)
            for layer, found in known[key].items():
                parts.setdefault(layer, []).append((share, found))
        return {layer: _mixed(found) for layer, found in parts.items()}

    def _weights(self, opacity: Tensor | None) -> Mapping[str, Tensor] | None:
        """Return how much paint there is at the positions of each layer; None if it is everywhere."""
        if opacity is None:
            return None
        weights = downsample_to_layers(opacity.to(self._network.device), self._layers)
        # A speck of paint may lie beyond the last whole position of a deep layer. There every position counts.
        return {layer: weight if bool(weight.any()) else torch.ones_like(weight) for layer, weight in weights.items()}


def _mixed(parts: Sequence[tuple[float, Moments]]) -> Moments:
    """Return the moments of a mixture whose shares add up to 1."""
    grams = torch.stack([share * part.gram for share, part in parts]).sum(dim=0)
    means = torch.stack([share * part.mean for share, part in parts if part.mean is not None]).sum(dim=0)
    return Moments(grams, means, parts[0][1].count)


def digest(picture: Tensor) -> bytes:
    """Return what tells a picture from every other one of the same or another shape."""
    values = picture.cpu().contiguous().numpy()
    return hashlib.blake2b(values.tobytes(), digest_size=20, key=repr(values.shape).encode()).digest()
