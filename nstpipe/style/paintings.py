"""The paintings that an engine takes its style from, measured at the sizes asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

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
from nstpipe.style.model import StyleModel
from nstpipe.style.objective import FeatureExtractor
from nstpipe.style.settings import RegionPaint
from nstpipe.style.tiles import measure

TARGETS_KEPT = 6
"""Sizes at which a painting's moments are remembered: those of one picture's scales, and of a few pictures."""


class AdaptedPaintings:
    """Paintings in the colors that a clip wants of them, and their moments at the sizes asked for.

    Args:
        model: which sees them.
        paint: the paintings.
        adapted: gives a painting its colors.
    """

    def __init__(self, model: StyleModel, paint: RegionPaint, adapted: Callable[[Tensor], Tensor]) -> None:
        self._model = model
        self._scale = paint.style_scale
        self.styles = paint.styles
        self.strength = paint.strength
        self._pictures = [adapted(tensor_of(style.pixels)) for style in paint.styles]
        self._targets: dict[int, Mapping[str, Moments]] = {}

    @functools.cached_property
    def _colors(self) -> ColorStatistics:
        return mixed_statistics(
            [color_statistics(picture) for picture in self._pictures], [style.weight for style in self.styles]
        )

    def start(self, content: Tensor, init: str | Path, weight: Tensor | None = None) -> Tensor:
        """A frame matched to the paintings' colors, or blank.

        Args:
            content: 1 x 3 x height x width, 0 to 1.
            init: matched or blank.
            weight: height x width: which of its pixels count; None for all.
        """
        if not self.styles:
            return content
        if init == "matched":
            return match_color(content, self._colors, color_statistics(content, weight) if weight is not None else None)
        return self._colors.mean.float().reshape(1, 3, 1, 1).expand_as(content)

    def targets(self, longest: int) -> Mapping[str, Moments]:
        """Weighted means of the paintings' moments, at the size that gives the wanted strokes.

        Args:
            longest: side of the frame, in pixels.
        """
        if longest in self._targets:
            return self._targets[longest]
        model = self._model
        view = FeatureExtractor(model.network, model.preprocessing)
        total = sum(style.weight for style in self.styles)
        parts: dict[str, list[tuple[float, Moments]]] = {}
        for style, picture in zip(self.styles, self._pictures, strict=True):
            height, width = picture.shape[-2:]
            scale = self._scale * longest / max(height, width)
            # However small the strokes are wanted, the deepest layer must still see something.
            scale = max(scale, model.network.smallest_side / min(height, width))
            pixels = resized(picture[0].permute(1, 2, 0).numpy(), (round(width * scale), round(height * scale)))
            painting = tensor_of_floats(pixels.clip(0, 1)).to(model.device)
            side = model.tile_side(*painting.shape[-2:], is_optimized=False) or max(painting.shape[-2:])
            measured = measure(view, painting, side, styles=frozenset(model.balance.style), activations=frozenset())
            for layer, found in measured.moments.items():
                parts.setdefault(layer, []).append((style.weight / total, found))
        if len(self._targets) >= TARGETS_KEPT:
            del self._targets[next(iter(self._targets))]
        self._targets[longest] = {layer: _mixed(found) for layer, found in parts.items()}
        return self._targets[longest]


def _mixed(parts: Sequence[tuple[float, Moments]]) -> Moments:
    """Moments of a mixture, from shares that add up to 1."""
    grams = torch.stack([share * part.gram for share, part in parts]).sum(dim=0)
    means = torch.stack([share * part.mean for share, part in parts if part.mean is not None]).sum(dim=0)
    return Moments(grams, means, parts[0][1].mass)
