"""The engine that optimizes the pixels of each frame (Gatys, Ecker, Bethge 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nstpipe.style.color import luminance
from nstpipe.style.color_transfer import ColorTransfer
from nstpipe.style.engine import MinimizeOptions
from nstpipe.style.loss_and_grad import captured_on_gpu
from nstpipe.style.loss_weights import LossWeights
from nstpipe.style.minimize import MinimizerIterate, minimize
from nstpipe.style.multiscale import coarse_to_fine
from nstpipe.style.network import network_of
from nstpipe.style.objective import Losses, Objective, TemporalTarget
from nstpipe.style.objective_builder import ObjectiveBuilder
from nstpipe.style.paintings import PaintingMoments
from nstpipe.style.region_engine import RegionEngine
from nstpipe.style.region_stylizer import RegionStylizer
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from nstpipe.style.styled_regions import StyledRegions
from nstpipe.style.tile_budget import TileBudget
from nstpipe.style.tiles import TiledObjective

LEAST_CAPTURED = 50
"""Fewest iterations for which an evaluation is captured as a CUDA graph. A capture takes about as long as some evaluations.
Later frames of a clip, which have fewer, wait for their flow and not for the GPU."""

LARGEST_CAPTURED_PIXELS = 1024 * 1024
"""Above this size the GPU takes longer for an evaluation than Python takes to launch it, so a capture would gain nothing. It
would hold as much memory again."""


class OptimizerEngine(RegionEngine["OptimizerStylizer"]):
    """Minimizes the loss of each frame by L-BFGS or Adam. It is an `nstpipe.style.engine.Engine`.

    Args:
        settings: everything that decides the result, except for the pictures.
        styles: the paintings of the whole picture, or of what belongs to no region.
        regions: what each region is painted with.

    Raises:
        MachineError: the weights or the device are not available.
    """

    def __init__(self, settings: EngineSettings, styles: Sequence[StylePicture], regions: Sequence[RegionPaint] = ()) -> None:
        super().__init__(settings, styles, regions)
        self.network = network_of(settings)
        self.loss_weights = LossWeights.of(settings)
        self.tile_budget = TileBudget(self.network, self.loss_weights.content)

    def take_less_memory(self, height: int, width: int) -> int | None:
        """See `nstpipe.style.engine.Engine.take_less_memory`."""
        return self.tile_budget.take_less_memory(height, width)

    def _stylizer(self, colors: ColorTransfer) -> OptimizerStylizer:
        paintings = [
            PaintingMoments(self.network, self.tile_budget, self.loss_weights.style, paint, colors.adapted)
            for paint in self.paints
        ]
        builder = ObjectiveBuilder(self.network, self.loss_weights, self.settings.distance, self.tile_budget)
        return OptimizerStylizer(colors, StyledRegions(paintings), builder)


@dataclass(frozen=True, eq=False)
class OptimizerStylizer(RegionStylizer[StyledRegions]):
    """Optimizes the frames of one clip. It is an `nstpipe.style.engine.Stylizer`.

    Attributes:
        objectives: builds the loss of a frame.
    """

    objectives: ObjectiveBuilder

    def objective(
        self, content: Tensor, temporal_target: TemporalTarget | None = None, *, wrapped: bool = False
    ) -> Objective | TiledObjective:
        """Return the loss that is minimized for a frame; see `ObjectiveBuilder.build`."""
        return self.objectives.build(content, self.regions, temporal_target, wrapped=wrapped)

    def stylize(
        self,
        content: Tensor,
        start: Tensor,
        options: MinimizeOptions,
        *,
        temporal_target: TemporalTarget | None = None,
        wrapped: bool = False,
    ) -> Iterator[MinimizerIterate]:
        """See `nstpipe.style.engine.Stylizer.stylize`.

        Raises:
            ItemError: the frame is too small for one of the layers, or the loss is not finite.
        """
        device = self.objectives.network.device

        def minimize_at(content: Tensor, start: Tensor, factor: int) -> Iterator[MinimizerIterate]:
            # The temporal target is of the frame's own size.
            held_to = temporal_target if factor == 1 else None
            objective = self.objectives.build(content.to(device), self.regions.shrunk(factor), held_to, wrapped=wrapped)
            return self._minimized(objective, start, options)

        smallest_side = self.objectives.network.vgg.smallest_side
        return coarse_to_fine(minimize_at, content, self.seen(start), scales=options.scales, smallest_side=smallest_side)

    def _minimized(
        self, objective: Objective | TiledObjective, start: Tensor, options: MinimizeOptions
    ) -> Iterator[MinimizerIterate]:
        device = self.objectives.network.device
        capture = captured_on_gpu if _is_worth_capturing(objective, start, device, options.max_iterations) else None

        def minimized(loss: Callable[[Tensor], Losses], start: Tensor) -> Iterator[MinimizerIterate]:
            return minimize(
                loss,
                start.to(device),
                optimizer=options.optimizer,
                max_iterations=options.max_iterations,
                tolerance=options.tolerance,
                first_step=options.first_step,
                capture=capture,
            )

        if not self.colors.is_in_luminance:
            yield from minimized(objective, start)
            return
        # One value a pixel: differences between the channels would be lost when the result takes the frame's colors.
        for gray in minimized(lambda image: objective(image.expand(-1, 3, -1, -1)), luminance(start)):
            yield replace(gray, image=gray.image.expand(-1, 3, -1, -1))


def _is_worth_capturing(
    objective: Objective | TiledObjective, image: Tensor, device: torch.device, max_iterations: int
) -> bool:
    """Return whether a CUDA graph is possible for this loss, and saves more time than it takes."""
    is_possible = (
        device.type == "cuda"
        # A graph cannot ask the device for values. Tiles do, and so does the eigenvalue solver.
        and isinstance(objective, Objective)
        and all(target.distance == "gram" for target in objective.style_targets)
    )
    return is_possible and max_iterations >= LEAST_CAPTURED and image.shape[-2] * image.shape[-1] <= LARGEST_CAPTURED_PIXELS
