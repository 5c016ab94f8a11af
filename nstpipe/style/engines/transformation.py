"""The engine that paints a frame by a network that has learned one look, in one pass (Johnson, Alahi, Li 2016)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from nstpipe.config.engines import LookEngine
from nstpipe.errors import MachineError
from nstpipe.style.color_transfer import ColorTransfer
from nstpipe.style.engine import Iterate, MinimizeOptions
from nstpipe.style.engines.networks import TEMPORAL_WEIGHT, held
from nstpipe.style.memory_share import MemoryShare
from nstpipe.style.networks.looks import load_look
from nstpipe.style.networks.painter import continued
from nstpipe.style.networks.transformation import GRID_PIXELS, TransformationNetwork
from nstpipe.style.objective import TemporalTarget
from nstpipe.style.paintings import Paintings
from nstpipe.style.precision import choose_precision
from nstpipe.style.region_engine import RegionEngine
from nstpipe.style.region_stylizer import RegionStylizer
from nstpipe.style.regions import partition_masks
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from nstpipe.style.styled_regions import PaintedRegions
from nstpipe.system.devices import choose_device, free_bytes
from nstpipe.system.memory import ask_for_large_pages

BYTES_A_PIXEL = {torch.bfloat16: 480, torch.float32: 620}
"""Memory that a pixel takes while a frame is painted in one piece. Measured on a CPU: 457 and 573, at 1920x1080."""

BAND_BYTES_A_PIXEL = {torch.bfloat16: 210, torch.float32: 310}
"""Memory that a pixel of the whole frame takes if it is painted in bands. Measured in bands of 64 rows, these among it: 184 and
275, at 1920x1080."""

USABLE_SHARE = 0.6
"""Share of the free memory that may be used."""

BAND_ROWS = (1024, 512, 256, 128, 64, 32)
"""Heights of bands, in pixels."""

WRAP_PIXELS = 128
"""How far a panorama is continued beyond its edges. What lies further away changes the result by its statistics alone."""


@dataclass
class LookPainter:
    """A network that has learned one look, on a device.

    Attributes:
        network: on the device, with its convolutions in the precision of the settings.
        device: where it computes.
        memory: how much of the free memory is taken for granted.
    """

    network: TransformationNetwork
    device: torch.device
    memory: MemoryShare = field(default_factory=MemoryShare)

    def rows(self, height: int, width: int) -> int | None:
        """Return the height in pixels of the bands in which a frame is painted, or None if it is painted in one piece.

        The answer depends on the memory that is free at this moment.
        """
        precision = self.network.precision
        free = free_bytes(self.device) * self.memory.share * USABLE_SHARE
        if height * width * BYTES_A_PIXEL[precision] <= free:
            return None
        free -= height * width * BAND_BYTES_A_PIXEL[precision]
        return next((rows for rows in BAND_ROWS if rows * width * BYTES_A_PIXEL[precision] <= free), BAND_ROWS[-1])

    def take_less_memory(self, height: int, width: int) -> int | None:
        """Halve the usable share of the free memory until a frame of this size is painted in lower bands.

        Returns:
            The new height of the bands, in pixels; None if they cannot be any lower.
        """
        return self.memory.halve_until_smaller(partial(self.rows, height, width))

    @torch.no_grad()
    def paint(self, frame: Tensor, base: Tensor, regions: Tensor | None, *, wrapped: bool) -> Tensor:
        """Return a painted frame, on the device; see `TransformationNetwork.forward`.

        Args:
            frame: 1 x 3 x height x width, RGB, 0 to 1, float32.
            base: the frame in the colors of the style, of the same shape.
            regions: where each region is, regions x height x width, 0 to 1; None if there are none.
            wrapped: whether the left edge continues the right one.
        """
        width = frame.shape[-1]
        wrap = min(WRAP_PIXELS, width) // GRID_PIXELS * GRID_PIXELS if wrapped else 0
        given = [continued(part.to(self.device), wrap) for part in (frame, base)]
        places = continued(regions[None].to(self.device), wrap) if regions is not None else None
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):  # type: ignore[no-untyped-call]
            result: Tensor = self.network(*given, places, wrap=wrap, rows=self.rows(*given[0].shape[-2:]))
        return result[..., wrap : wrap + width].clamp(0, 1)


def painter_of(network: TransformationNetwork, device: torch.device, precision: torch.dtype) -> LookPainter:
    """Return a copy of a network on a device. What changes colors directly stays in float32."""
    own = copy.deepcopy(network).to(device).requires_grad_(False).eval()
    for module in own.modules():
        if isinstance(module, nn.Conv2d) and module is not own.last:
            module.to(precision)
    return LookPainter(own.to(memory_format=torch.channels_last), device)  # type: ignore[call-overload]


class TransformationEngine(RegionEngine["TransformationStylizer"]):
    """Paints by a network that has learned one look. It is an `nstpipe.style.engine.Engine`.

    Args:
        settings: everything that decides the result, except for the pictures.
        styles: the paintings of the whole picture, or of what belongs to no region. The network has learned their strokes, and
            adds these to the frame in their colors.
        regions: what each region is painted with.

    Raises:
        MachineError: the weights or the device are not available, or the weights are those of another number of regions.
    """

    def __init__(self, settings: EngineSettings, styles: Sequence[StylePicture], regions: Sequence[RegionPaint] = ()) -> None:
        assert isinstance(settings.engine, LookEngine), "the table of engines gives this class its own settings"
        if settings.engine.weights is None:
            raise MachineError(
                "engine.weights: the network of this job is not trained yet.",
                "`nstpipe run` trains it before it paints; `nstpipe train pipeline.yaml --job NAME -o FILE` makes a file for "
                "`engine.weights`.",
            )
        super().__init__(settings, styles, regions)
        ask_for_large_pages()
        device = choose_device(settings.device)
        network = load_look(settings.engine.weights, learned_regions(regions))
        self.painter = painter_of(network, device, choose_precision(settings.precision, device))
        self.blend = TEMPORAL_WEIGHT * settings.temporal if settings.engine.blend else 0.0

    def take_less_memory(self, height: int, width: int) -> int | None:
        """See `nstpipe.style.engine.Engine.take_less_memory`. The bands are as wide as the frame."""
        return self.painter.take_less_memory(height, width)

    def _stylizer(self, colors: ColorTransfer) -> TransformationStylizer:
        paintings = [Paintings(paint, colors.adapted) for paint in self.paints]
        return TransformationStylizer(colors, PaintedRegions(paintings), self.painter, self.blend)


@dataclass(frozen=True, eq=False)
class TransformationStylizer(RegionStylizer[PaintedRegions[Paintings]]):
    """Paints the frames of one clip. It is an `nstpipe.style.engine.Stylizer`. The network needs no picture to start from.

    Attributes:
        painter: the network.
        blend: weight of the warped earlier result where the flow is fully reliable; 0 leaves frames as the network paints them.
    """

    painter: LookPainter
    blend: float

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

        Unless frames are blended, it is not held to earlier results: the network has learned to paint the same thing alike.
        """
        base = self.regions.start(content, "matched")
        image = self.painter.paint(content, base, places_of(self.regions), wrapped=wrapped)
        if self.blend and temporal_target is not None:
            image = held(image, temporal_target.to(image.device), self.blend)
        yield Iterate(self.seen(image))


def places_of(regions: PaintedRegions[Paintings]) -> Tensor | None:
    """Return where each region with paintings of its own is, so that no two overlap: regions x height x width, or None."""
    if regions.masks is None:
        return None
    weights = partition_masks(regions.masks)[1:]
    places = [weight for paintings, weight in zip(regions.paintings[1:], weights, strict=True) if paintings.styles]
    return torch.stack(places) if places else None


def learned_regions(regions: Sequence[RegionPaint]) -> int:
    """Return the number of regions that a network must tell apart. A region that stays as it is, is put back afterwards."""
    return sum(bool(region.styles) for region in regions)
