"""A frame's regions, each with the paintings whose style it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from nstpipe.config.models import StyleDistance
from nstpipe.style.multiscale import shrunk
from nstpipe.style.objective import KeepMask, StyleTarget
from nstpipe.style.paintings import PaintingMoments, Paintings
from nstpipe.style.regions import LEAST_SHARE, partition_masks

PaintingsKind = TypeVar("PaintingsKind", bound=Paintings, covariant=True)


@dataclass(frozen=True, eq=False)
class PaintedRegions(Generic[PaintingsKind]):
    """The paintings of a job, and where each of them is wanted in one frame.

    Attributes:
        paintings: first those of the whole picture, then those of each region.
        masks: regions x height x width, 0 to 1; where several overlap, the first one counts. None if the frame has no regions.
    """

    paintings: Sequence[PaintingsKind]
    masks: Tensor | None = None

    def start(self, content: Tensor, init: str) -> Tensor:
        """Return a start in which each region has the colors of its own paintings.

        Args:
            content: 1 x 3 x height x width, 0 to 1.
            init: matched or blank.
        """
        if self.masks is None:
            return self.paintings[0].start(content, init)
        start = torch.zeros_like(content)
        for paintings, weight in zip(self.paintings, partition_masks(self.masks), strict=True):
            if weight.mean() >= LEAST_SHARE:
                start += weight * paintings.start(content, init, weight)
            else:
                start += weight * content
        return start

    def keep_mask(self, content: Tensor) -> KeepMask | None:
        """Return the part of a frame that is to stay as it is; None if there is none."""
        if self.masks is None:
            return None
        weights = partition_masks(self.masks.to(content.device))
        kept = [weight for paintings, weight in zip(self.paintings, weights, strict=True) if not paintings.styles]
        return KeepMask(content, torch.stack(kept).sum(dim=0)[None, None]) if kept else None


@dataclass(frozen=True, eq=False)
class StyledRegions(PaintedRegions[PaintingMoments]):
    """Regions with the moments that the paintings' style is compared by."""

    def shrunk(self, factor: int) -> StyledRegions:
        """Return the regions of the frame with sides divided by a factor."""
        return self if self.masks is None else replace(self, masks=shrunk(self.masks[None], factor)[0])

    def style_targets(
        self,
        longest: int,
        distance: StyleDistance,
        device: torch.device,
        emphasis: Tensor | None,
        at_layers: Callable[[Tensor], Mapping[str, Tensor]],
    ) -> tuple[StyleTarget, ...]:
        """Return each style with its place.

        Args:
            longest: the frame's longest side, in pixels.
            distance: how styles are compared.
            device: where the targets are needed.
            emphasis: 1 x 1 x height x width: the factor of the style at each pixel; None if it is 1 everywhere.
            at_layers: returns the weight of each layer's positions for a weight of the pixels, 1 x 1 x height x width.
        """
        if self.masks is None:
            [paintings] = self.paintings[:1]
            where = at_layers(emphasis) if emphasis is not None else None
            return (StyleTarget(paintings.targets(longest), distance, paintings.strength, where),)
        targets = []
        for paintings, weight in zip(self.paintings, partition_masks(self.masks.to(device))[:, None, None], strict=True):
            share = float(weight.mean())
            if not paintings.styles or share < LEAST_SHARE:
                continue
            where = at_layers(weight * emphasis if emphasis is not None else weight)
            # The share makes style and content balance in a region as they do in a whole picture.
            targets.append(StyleTarget(paintings.targets(longest), distance, share * paintings.strength, where))
        return tuple(targets)
