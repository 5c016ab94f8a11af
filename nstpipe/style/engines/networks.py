"""The engines that paint a frame by a network, in one pass: AdaIN (Huang, Belongie 2017) and IEContraAST (Chen et al. 2021)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nstpipe.config.engines import NetworkEngine
from nstpipe.style.color_transfer import ColorTransfer
from nstpipe.style.engine import Iterate, MinimizeOptions
from nstpipe.style.networks.load import TrainedNetwork, load_network
from nstpipe.style.networks.painter import PIXELS, Painter
from nstpipe.style.networks.transfers import AdainTransfer, AttentionTransfer, StyledPart, Transfer
from nstpipe.style.objective import TemporalTarget
from nstpipe.style.paintings import TARGETS_KEPT, Adapted, Paintings
from nstpipe.style.precision import choose_precision
from nstpipe.style.region_engine import RegionEngine
from nstpipe.style.region_stylizer import RegionStylizer
from nstpipe.style.regions import LEAST_SHARE, partition_masks
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from nstpipe.style.styled_regions import PaintedRegions
from nstpipe.system.devices import choose_device
from nstpipe.system.memory import ask_for_large_pages

TEMPORAL_WEIGHT = 2.0
"""Weight of the warped earlier result in a frame, beside the network's own result with the weight 1, where the flow is fully
reliable and `temporal.weight` is 1."""


class NetworkPaintings(Paintings):
    """The paintings of one region, and what a network keeps of them at the sizes asked for.

    Args:
        painter: the network.
        paint: the paintings, with their scale.
        adapted: returns a painting in the colors whose style is wanted.
    """

    def __init__(self, painter: Painter[Any], paint: RegionPaint, adapted: Adapted) -> None:
        super().__init__(paint, adapted)
        self._painter = painter
        self._kept: dict[int, list[tuple[float, Any]]] = {}

    def kept(self, longest: int) -> list[tuple[float, Any]]:
        """Return what the network keeps of each painting, with its share. It is computed once for a size.

        Args:
            longest: the frame's longest side, in pixels.
        """
        if longest not in self._kept:
            if len(self._kept) >= TARGETS_KEPT:
                del self._kept[next(iter(self._kept))]
            sized = self.sized(longest, self._painter.smallest_side)
            self._kept[longest] = [(share, self._painter.kept(picture, opacity)) for share, picture, opacity in sized]
        return self._kept[longest]


class OnePassEngine(RegionEngine["OnePassStylizer"]):
    """Paints by a network. It is an `nstpipe.style.engine.Engine`.

    Args:
        settings: everything that decides the result, except for the pictures.
        styles: the paintings of the whole picture, or of what belongs to no region.
        regions: what each region is painted with.

    Raises:
        MachineError: the weights or the device are not available.
    """

    def __init__(self, settings: EngineSettings, styles: Sequence[StylePicture], regions: Sequence[RegionPaint] = ()) -> None:
        assert isinstance(settings.engine, NetworkEngine), "the table of engines gives this class its own settings"
        super().__init__(settings, styles, regions)
        ask_for_large_pages()
        self.alpha = settings.engine.alpha
        self.painter = _painter(settings, load_network(settings.engine, settings.weights))

    def take_less_memory(self, height: int, width: int) -> int | None:
        """See `nstpipe.style.engine.Engine.take_less_memory`."""
        return self.painter.take_less_memory(height, width)

    def _stylizer(self, colors: ColorTransfer) -> OnePassStylizer:
        paintings = [NetworkPaintings(self.painter, paint, colors.adapted) for paint in self.paints]
        return OnePassStylizer(colors, PaintedRegions(paintings), self.painter, self.alpha, self.settings.temporal)


def _painter(settings: EngineSettings, trained: TrainedNetwork) -> Painter[Any]:
    """Return a trained network on the device and in the precision of the settings.

    Attention and statistics stay in float32: the scores of the attention are sums of 512 products that are not scaled.
    """
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    transfer: Transfer[Any] = AdainTransfer()
    if trained.transformer is not None:
        transfer = AttentionTransfer(copy.deepcopy(trained.transformer).to(device))
    encoder, decoder = _on_device(trained.encoder, device, precision), _on_device(trained.decoder, device, precision)
    return Painter(encoder, decoder, transfer, device)


Part = TypeVar("Part", bound=nn.Module)


def _on_device(part: Part, device: torch.device, precision: torch.dtype) -> Part:
    """Return a copy of a part of a network. In channels_last convolutions are fastest."""
    return copy.deepcopy(part).to(device, precision).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True, eq=False)
class OnePassStylizer(RegionStylizer[PaintedRegions[NetworkPaintings]]):
    """Paints the frames of one clip. It is an `nstpipe.style.engine.Stylizer`. The network needs no picture to start from.

    Attributes:
        painter: the network.
        alpha: how far the style is applied, 0 to 1.
        temporal_weight: factor of the weight of earlier results.
    """

    painter: Painter[Any]
    alpha: float
    temporal_weight: float

    def stylize(
        self,
        content: Tensor,
        start: Tensor,
        options: MinimizeOptions,
        *,
        temporal_target: TemporalTarget | None = None,
        wrapped: bool = False,
    ) -> Iterator[Iterate]:
        """Yield the result of one pass; see `nstpipe.style.engine.Stylizer.stylize`.

        Raises:
            ItemError: the frame is too small for the network.
        """
        image = self.painter.paint(content, self._parts(content), alpha=self.alpha, wrapped=wrapped)
        if temporal_target is not None:
            image = held(image, temporal_target.to(image.device), TEMPORAL_WEIGHT * self.temporal_weight)
        yield Iterate(image)

    def _parts(self, content: Tensor) -> list[StyledPart[Any]]:
        """Return the styles of a frame, with the weight of each pixel."""
        longest = max(content.shape[-2:])
        paintings = self.regions.paintings
        if self.regions.masks is None:
            return [StyledPart(paintings[0].kept(longest))]
        weights = partition_masks(self.regions.masks)
        painted = [(one, weight) for one, weight in zip(paintings, weights, strict=True) if _is_painted(one, weight)]
        if not painted:
            return [StyledPart(paintings[0].kept(longest))]  # all of it is put back
        # What is kept or too small is painted like the others, in their proportions; the kept part is put back afterwards.
        together = torch.stack([weight for _, weight in painted]).sum(dim=0)
        largest = max(range(len(painted)), key=lambda index: float(painted[index][1].mean()))
        parts = []
        for index, (one, weight) in enumerate(painted):
            own = weight + (1 - together) if index == largest else weight
            parts.append(StyledPart(one.kept(longest), {PIXELS: own[None, None]}))
        return parts


def _is_painted(paintings: Paintings, weight: Tensor) -> bool:
    return bool(paintings.styles) and float(weight.mean()) >= LEAST_SHARE


def held(image: Tensor, target: TemporalTarget, weight: float) -> Tensor:
    """Return a frame that is held to the warped earlier result.

    It is the x that minimizes (x - image)² + weight · reliability · (x - target)², the temporal loss of Ruder, Dosovitskiy and
    Brox 2016 (equation 7) with the network's result in place of the other losses.

    Args:
        image: 1 x 3 x height x width: the network's own result.
        target: the warped earlier result, of the same size and on the same device.
        weight: the weight where the flow is fully reliable.
    """
    pull = weight * target.reliability
    return torch.lerp(image, target.image, pull / (1 + pull))
