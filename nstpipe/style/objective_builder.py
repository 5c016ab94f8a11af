"""Builds the loss that is minimized for a frame."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from nstpipe.config.models import StyleDistance
from nstpipe.style.features import FeatureExtractor
from nstpipe.style.layers import check_size
from nstpipe.style.loss_weights import LossWeights
from nstpipe.style.network import Network
from nstpipe.style.objective import Objective, StyleTarget, TemporalTarget
from nstpipe.style.paintings import digest
from nstpipe.style.regions import LEAST_SHARE, downsample_to_layers
from nstpipe.style.styled_regions import StyledRegions
from nstpipe.style.tile_budget import TileBudget
from nstpipe.style.tiles import TiledObjective, measure

WRAP_PIXELS = 64
"""How far a panorama is continued beyond its edges. What lies further away hardly changes VGG19's activations."""

NEW_STYLE_WEIGHT = 3.0
"""Factor of the style where something has just come into view. See docs/decisions/2026-11-23-new-areas-count-three-times.md."""

LARGEST_KEPT_PIXELS = 1024 * 1024
"""The content of a frame of at most this size is remembered, some 20 MB, for a preview of it with other settings."""

_known_content: WeakKeyDictionary[Network, tuple[Hashable, Mapping[str, Tensor]]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class ObjectiveBuilder:
    """Builds the loss of a frame, in one piece or in tiles as the memory allows.

    Attributes:
        network: computes the activations.
        loss_weights: the weight of each part of the loss.
        distance: how styles are compared.
        tile_budget: decides whether the frame is worked on in tiles.
    """

    network: Network
    loss_weights: LossWeights
    distance: StyleDistance
    tile_budget: TileBudget

    def build(
        self, content: Tensor, regions: StyledRegions, temporal_target: TemporalTarget | None, *, wrapped: bool
    ) -> Objective | TiledObjective:
        """Build the loss of one frame.

        Args:
            content: 1 x 3 x height x width, RGB, 0 to 1, float32, on the network's device.
            regions: the paintings, and where each is wanted.
            temporal_target: the warped previous result, or None.
            wrapped: whether the left edge continues the right one.

        Raises:
            ItemError: the frame is too small for one of the layers.
        """
        height, width = content.shape[-2:]
        check_size((width, height), (*self.loss_weights.style, *self.loss_weights.content))
        smallest = self.network.vgg.smallest_side
        wrap_pixels = min(WRAP_PIXELS, width) // smallest * smallest if wrapped else 0
        view = self.network.features(wrap_pixels)
        if temporal_target is not None:
            temporal_target = temporal_target.to(self.network.device)
        keep_mask = regions.keep_mask(content)
        layers = frozenset(self.loss_weights.content)
        side = self.tile_budget.tile_side(height, width + 2 * wrap_pixels)
        newness = temporal_target.newness if temporal_target is not None else None
        if side is not None:
            # Tiles are cut from the picture with its strips, so the weights of the styles need the strips, too.
            targets = self._style_targets(regions, content, newness, lambda weight: view.continued(weight)[0])
            measured = measure(view, content, side, styles=frozenset(), activations=layers)
            return TiledObjective(view, self.loss_weights, measured.activations, targets, temporal_target, side, keep_mask)
        content_targets = self._content_targets(view, content, layers)
        targets = self._style_targets(regions, content, newness, lambda weight: weight)
        return Objective(view, self.loss_weights, content_targets, targets, temporal_target, keep_mask)

    def _content_targets(self, view: FeatureExtractor, content: Tensor, layers: frozenset[str]) -> Mapping[str, Tensor]:
        """Return the activations that the result is compared with. Those of the newest small frame are remembered."""
        height, width = content.shape[-2:]
        is_kept = content.device.type == "cpu" and height * width <= LARGEST_KEPT_PIXELS
        key = (layers, view.wrap_pixels, digest(content)) if is_kept else None
        known = _known_content.get(self.network)
        if known is not None and known[0] == key:
            return known[1]
        with torch.no_grad():
            activations = dict(view(content))
        found = {layer: activations[layer] for layer in layers}
        _known_content.pop(self.network, None)
        if key is not None:
            _known_content[self.network] = (key, found)
        return found

    def _style_targets(
        self, regions: StyledRegions, content: Tensor, newness: Tensor | None, continued: Callable[[Tensor], Tensor]
    ) -> tuple[StyleTarget, ...]:
        """Return the styles of a frame.

        Args:
            regions: the paintings, and where each is wanted.
            content: the frame.
            newness: height x width, 0 to 1: what came into view lately counts more; None if nothing did.
            continued: adds to a weight of the pixels whatever the loss adds to the picture.
        """
        emphasis = None
        if newness is not None and float(newness.mean()) >= LEAST_SHARE:
            emphasis = (1 + (NEW_STYLE_WEIGHT - 1) * newness)[None, None]

        def at_layers(weight: Tensor) -> Mapping[str, Tensor]:
            return downsample_to_layers(continued(weight), self.loss_weights.style)

        return regions.style_targets(max(content.shape[-2:]), self.distance, self.network.device, emphasis, at_layers)
