"""What the stylizers have in common that paint regions in the colors of their paintings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from nstpipe.style.color_transfer import ColorTransfer
from nstpipe.style.styled_regions import PaintedRegions

RegionsKind = TypeVar("RegionsKind", bound=PaintedRegions[Any])
Own = TypeVar("Own", bound="RegionStylizer[Any]")


@dataclass(frozen=True, eq=False)
class RegionStylizer(Generic[RegionsKind]):
    """An `nstpipe.style.engine.Stylizer` but for `stylize`.

    Attributes:
        colors: which colors the paintings, the frames and the results have.
        regions: the paintings, and where each is wanted.
    """

    colors: ColorTransfer
    regions: RegionsKind

    def masked(self: Own, masks: Tensor | None) -> Own:
        """See `nstpipe.style.engine.Stylizer.masked`."""
        return replace(self, regions=replace(self.regions, masks=masks))

    def seen(self, content: Tensor) -> Tensor:
        """Return a frame as it is compared with the style: gray where only luminance is transferred."""
        return self.colors.seen(content)

    def shown(self, image: Tensor, content: Tensor) -> Tensor:
        """Return a result with the frame's colors where only luminance was transferred, and the frame where it is kept."""
        shown = self.colors.shown(image, content)
        keep_mask = self.regions.keep_mask(content)
        return keep_mask.put_back(shown) if keep_mask is not None else shown

    def first_start(self, content: Tensor, init: str, seed: int) -> Tensor:
        """See `nstpipe.style.engine.Stylizer.first_start`."""
        if init == "noise":
            return torch.rand(content.shape, generator=torch.Generator().manual_seed(seed))
        return content if init == "content" else self.regions.start(content, init)
