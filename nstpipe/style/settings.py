"""What decides an engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nstpipe.config.models import Color, Padding, Pooling, StyleDistance
from nstpipe.media.frame import Pixels


@dataclass(frozen=True)
class EngineSettings:
    """All that decides what an engine does; equal settings are served by one engine.

    Attributes:
        weights: bundled, torchvision or a path.
        device: auto, cpu, cuda or cuda:N.
        precision: auto, bfloat16 or float32.
        pooling: of VGG19.
        padding: what VGG19 sees beyond the edge.
        content_layers: names and weights.
        style_layers: names and weights.
        strength: of the style; 1 is the tuned default.
        style_scale: the style pictures' longest side over the frame's.
        total_variation: 1 is the tuned default, 0 is none.
        temporal: 1 is the tuned default, 0 is none.
        color: whose colors the result has; see `Stylizer`.
        distance: how style is compared.
    """

    weights: str | Path
    device: str
    precision: str
    pooling: Pooling
    padding: Padding
    content_layers: tuple[tuple[str, float], ...]
    style_layers: tuple[tuple[str, float], ...]
    strength: float
    style_scale: float
    total_variation: float
    temporal: float = 0.0
    color: Color = "style"
    distance: StyleDistance = "gram"


@dataclass(frozen=True, eq=False)
class StylePicture:
    """A painting and its share.

    Attributes:
        pixels: height x width x 3, uint8, RGB.
        weight: its share, beside the other pictures' weights.
    """

    pixels: Pixels
    weight: float


@dataclass(frozen=True, eq=False)
class RegionPaint:
    """What a region is painted with.

    Attributes:
        styles: the paintings; none if nothing is to change there.
        strength: 1 is the tuned default.
        style_scale: the paintings' longest side over the frame's.
    """

    styles: tuple[StylePicture, ...] = ()
    strength: float = 1.0
    style_scale: float = 1.0
