"""What decides an engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nstpipe.config.engines import OPTIMIZER, Engine
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
        engine: the engine, with its own settings. Its name is one of `nstpipe.style.engines.ENGINES`.
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
    engine: Engine = OPTIMIZER


@dataclass(frozen=True, eq=False)
class StylePicture:
    """A painting and its weight.

    Attributes:
        pixels: height x width x 3, uint8, RGB.
        weight: weight of its style beside that of the other paintings; positive.
        opacity: height x width, 0 to 1: how much paint there is at each pixel; None if the painting covers everything.
    """

    pixels: Pixels
    weight: float
    opacity: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, pixels: Pixels, alpha: NDArray[Any] | None, weight: float) -> StylePicture:
        """A painting with the transparency of its file: what is hidden there is no paint.

        Args:
            pixels: height x width x 3, RGB.
            alpha: height x width, 0 to the largest value of its type; None if the file has none.
            weight: weight of its style.
        """
        if alpha is None or alpha.min() == np.iinfo(alpha.dtype).max:
            return cls(pixels, weight)
        opacity = alpha.astype(np.float32) / np.float32(np.iinfo(alpha.dtype).max)
        return cls(_spread(pixels, opacity), weight, opacity)


def _spread(pixels: Pixels, opacity: NDArray[np.float32]) -> Pixels:
    """The painting with the nearest paint in place of what is hidden, so that the border of the paint is no stroke."""
    import cv2  # plans paint nothing, and should not wait for it

    hidden = (opacity == 0).astype(np.uint8)
    if not hidden.any() or hidden.all():
        return pixels
    _, labels = cv2.distanceTransformWithLabels(hidden, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    paint = np.zeros((int(labels.max()) + 1, 3), pixels.dtype)
    paint[labels[hidden == 0]] = pixels[hidden == 0]
    spread: Pixels = paint[labels]
    return spread


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
