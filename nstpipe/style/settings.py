"""What decides an engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nstpipe.config.models import Color, Padding, Pooling, StyleDistance
from nstpipe.media.frame import Pixels


@dataclass(frozen=True)
class EngineSettings:
    """Everything but the pictures that decides what an engine does. One engine serves all clips with equal settings.

    Attributes:
        weights: VGG19's weights: bundled, torchvision or a path.
        device: auto, cpu, cuda or cuda:N.
        precision: auto, bfloat16 or float32.
        pooling: VGG19's pooling.
        padding: what VGG19's convolutions see beyond the edge.
        content_layers: the content layers with their weights.
        style_layers: the style layers with their weights.
        strength: factor of the style loss; 1 is the tuned default.
        style_scale: longest side of the paintings, divided by that of the frame.
        total_variation: factor of the total variation; 1 is the tuned default, 0 turns it off.
        temporal: factor of the temporal loss; 1 is the tuned default, 0 turns it off.
        color: whose colors the result has; see `nstpipe.style.color_transfer.ColorTransfer`.
        distance: how styles are compared.
        engine: the engine's name in `nstpipe.style.engines.ENGINES`.
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
    engine: str = "optimizer"


@dataclass(frozen=True, eq=False)
class StylePicture:
    """A painting and its weight.

    Attributes:
        pixels: height x width x 3, uint8, RGB.
        weight: weight of its style beside that of the other paintings; positive.
    """

    pixels: Pixels
    weight: float


@dataclass(frozen=True, eq=False)
class RegionPaint:
    """What a region is painted with.

    Attributes:
        styles: the paintings; none if the region stays as it is.
        strength: factor of the style loss; 1 is the tuned default.
        style_scale: longest side of the paintings, divided by that of the frame.
    """

    styles: tuple[StylePicture, ...] = ()
    strength: float = 1.0
    style_scale: float = 1.0
