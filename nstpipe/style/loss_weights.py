"""The weights of the parts of the loss, and the factors behind the settings `strength`, `total_variation` and `temporal`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nstpipe.config.models import StyleDistance
from nstpipe.style.settings import EngineSettings

STYLE_STRENGTH: Mapping[StyleDistance, float] = {"gram": 10.0, "wasserstein": 6.0}
"""Weight of the style loss at `strength: 1`, for each distance. See docs/decisions/2026-11-29-losses-and-weights.md."""

TOTAL_VARIATION = 10.0
"""Weight of the total variation at `total_variation: 1`. See docs/decisions/2026-11-29-losses-and-weights.md."""

TEMPORAL = 150.0
"""Weight of the temporal loss at `temporal.weight: 1`. See docs/decisions/2026-11-29-temporal-weight.md."""


@dataclass(frozen=True)
class LossWeights:
    """The weight of each part of the loss.

    Attributes:
        content: weight of each content layer.
        style: weight of each style layer.
        style_strength: factor of the mean over the style layers.
        total_variation: factor of the picture's total variation.
        temporal: factor of the squared distance from the warped previous result.
    """

    content: Mapping[str, float]
    style: Mapping[str, float]
    style_strength: float
    total_variation: float
    temporal: float = 0.0

    @classmethod
    def of(cls, settings: EngineSettings) -> LossWeights:
        """Return the weights that a job's settings stand for."""
        return cls(
            content=dict(settings.content_layers),
            style=dict(settings.style_layers),
            style_strength=STYLE_STRENGTH[settings.distance],
            total_variation=TOTAL_VARIATION * settings.total_variation,
            temporal=TEMPORAL * settings.temporal,
        )

    @property
    def layers(self) -> frozenset[str]:
        """All layers whose activations the loss needs."""
        return frozenset(self.content) | frozenset(self.style)

    def content_shares(self) -> dict[str, float]:
        """Return the factor of each content layer's distance. The factors add up to 1."""
        return {layer: weight / sum(self.content.values()) for layer, weight in self.content.items()}

    def style_shares(self) -> dict[str, float]:
        """Return the factor of each style layer's distance. The factors add up to `style_strength`."""
        return {layer: self.style_strength * weight / sum(self.style.values()) for layer, weight in self.style.items()}
