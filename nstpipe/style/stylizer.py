"""The style as the frames of one clip see it."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from nstpipe.style.color import (
    ColorStatistics,
    luminance,
    luminance_matched,
    match_color,
    with_colors_of,
)
from nstpipe.style.layers import check_size
from nstpipe.style.loss_and_grad import captured_on_gpu
from nstpipe.style.losses import Moments
from nstpipe.style.minimize import FIRST_STEP, Iterate, minimize
from nstpipe.style.model import StyleModel
from nstpipe.style.objective import FeatureExtractor, KeepMask, Objective, StyleTarget, TemporalTarget
from nstpipe.style.paintings import AdaptedPaintings
from nstpipe.style.regions import LEAST_SHARE, downsample_to_layers, partition_masks
from nstpipe.style.tiles import TiledObjective, measure

WRAP_PIXELS = 64
"""How far a panorama is continued beyond its edges. What VGG19 sees from further away hardly counts."""


LEAST_CAPTURED = 50
"""Iterations from which on an evaluation is captured for the GPU. That takes about as long as some evaluations; later frames
of a clip, which have fewer, wait for their flow rather than for the GPU."""


LARGEST_CAPTURED_PIXELS = 1024 * 1024
"""Beyond, a GPU takes longer for an evaluation than Python for saying what to do, and a graph holds as much memory again."""


NEW_STYLE_WEIGHT = 3.0
"""How much the style of what was not in view before counts, against the rest. That is little of a picture, so that what it
looks like matters more to people than to the mean over all."""


class Stylizer:
    """The style as the frames of one clip see it; pictures of one clip each share it where colors are the style's.

    With ``color: content``, the style is transferred in luminance alone, and the result takes its colors from the frame
    (Gatys, Bethge, Hertzmann, Shechtman 2016, "Preserving Color in Neural Artistic Style Transfer", section 3). With
    ``color: matched``, the paintings take the clip's colors before their style is measured (the same paper, section 2).

    Args:
        model: with the paintings.
        reference: colors of the clip's first frame; None if the style keeps its own.
    """

    def __init__(self, model: StyleModel, reference: ColorStatistics | None) -> None:
        self._model = model
        self._in_luminance = reference is not None and model.settings.color == "content"
        self._paints = [AdaptedPaintings(model, paint, self._adapter(reference)) for paint in model.paints]
        self._masks: Tensor | None = None

    def masked(self, masks: Tensor | None) -> Stylizer:
        """The same style with its regions where they are in one frame.

        Args:
            masks: regions x height x width, 0 to 1: where each of the engine's regions is, at the frame's size; where several
                are, the first one is. None if nowhere.
        """
        stylizer = copy.copy(self)
        stylizer._masks = masks
        return stylizer

    def _adapter(self, reference: ColorStatistics | None) -> Callable[[Tensor], Tensor]:
        if reference is None:
            return lambda painting: painting
        adapted = luminance_matched if self._in_luminance else match_color
        return lambda painting: adapted(painting, reference)

    def seen(self, content: Tensor) -> Tensor:
        """A frame as it is compared with the style: gray where only luminance is transferred."""
        return luminance(content).expand_as(content) if self._in_luminance else content

    def shown(self, image: Tensor, content: Tensor) -> Tensor:
        """A result, 0 to 1, as people see it: with the frame's own colors where only luminance was transferred."""
        shown = with_colors_of(image, content) if self._in_luminance else image
        held = self._held(content)
        return held.put_back(shown) if held is not None else shown

    def first_start(self, content: Tensor, init: str | Path, seed: int) -> Tensor:
        """Where the first frame of a clip starts.

        Args:
            content: as `seen`, 1 x 3 x height x width, 0 to 1.
            init: matched, content, noise, blank; a picture of one's own is read by the caller.
            seed: of the noise.
        """
        if init == "noise":
            generator = torch.Generator().manual_seed(seed)
            return torch.rand(content.shape, generator=generator)
        if init == "content":
            return content
        if self._masks is None:
            return self._paints[0].start(content, init)
        # Each region starts in its own style's colors.
        start = torch.zeros_like(content)
        for paint, weight in zip(self._paints, partition_masks(self._masks), strict=True):
            if weight.mean() >= LEAST_SHARE:
                start += weight * paint.start(content, init, weight)
            else:
                start += weight * content
        return start

    def _held(self, content: Tensor) -> KeepMask | None:
        """What no paint may change."""
        if self._masks is None:
            return None
        weights = partition_masks(self._masks.to(content.device))
        kept = [weight for paint, weight in zip(self._paints, weights, strict=True) if not paint.styles]
        return KeepMask(content, torch.stack(kept).sum(dim=0)[None, None]) if kept else None

    def stylize(
        self,
        content: Tensor,
        start: Tensor,
        *,
        optimizer: str,
        most: int,
        tolerance: float,
        temporal_target: TemporalTarget | None = None,
        wrapped: bool = False,
        scales: int = 1,
        first_step: float = FIRST_STEP,
    ) -> Iterator[Iterate]:
        """Optimize one frame; see `nstpipe.style.minimize.minimize`.

        Args:
            content: as `seen`, 1 x 3 x height x width, 0 to 1, float32.
            start: of the same shape.
            optimizer: lbfgs or adam.
            most: iterations at most, at each scale.
            tolerance: the fall of the loss at which it stops.
            temporal_target: what the frame holds on to; None at a clip's beginning.
            wrapped: whether the left edge continues the right one, as in a 360° panorama.
            scales: sizes to begin at, each half the next, up to the frame's own. What a scale has changed is carried up,
                not its picture, so that the frame keeps its detail. Evaluations at a smaller scale count by their pixels.
            first_step: see `nstpipe.style.minimize.minimize`; the same at each scale.

        Raises:
            ItemError: the frame is too small for the layers asked for, or the loss is not finite.
        """
        device = self._model.device

        def optimized(objective: Objective | TiledObjective, start: Tensor) -> Iterator[Iterate]:
            minimized = functools.partial(
                minimize,
                name=optimizer,
                most=most,
                tolerance=tolerance,
                first_step=first_step,
                capture=captured_on_gpu if _is_worth_capturing(objective, start, device, most) else None,
            )
            if not self._in_luminance:
                yield from minimized(objective, start.to(device))
                return
            # One value a pixel, as it is shown: what three of them gain apart from each other is lost in their luminance.
            for gray in minimized(lambda image: objective(image.expand(-1, 3, -1, -1)), luminance(start).to(device)):
                yield replace(gray, image=gray.image.expand(-1, 3, -1, -1))

        spent = 0.0
        start = self.seen(start)
        smallest = self._model.network.smallest_side
        for smaller in range(scales - 1, 0, -1):
            if min(content.shape[-2:]) // 2**smaller < smallest:
                continue  # of a strip so small nothing would be seen
            share = 1 / 4**smaller
            coarse = _shrunk(content, 2**smaller)
            coarse_start = _shrunk(start, 2**smaller)
            masks = _shrunk(self._masks[None], 2**smaller)[0] if self._masks is not None else None
            objective = self.masked(masks).objective(coarse.to(device), wrapped=wrapped)
            iterate = None
            for iterate in optimized(objective, coarse_start):
                evaluations = math.ceil(spent + iterate.evaluations * share)
                yield replace(iterate, evaluations=evaluations)
            assert iterate is not None, "no optimization is without an iteration"
            spent += iterate.evaluations * share
            change = iterate.image.to(start.device) - coarse_start
            start = (start + functional.interpolate(change, size=start.shape[-2:], mode="bicubic")).clamp(0, 1)
        objective = self.objective(content.to(device), temporal_target, wrapped=wrapped)
        for iterate in optimized(objective, start):
            yield replace(iterate, evaluations=math.ceil(spent + iterate.evaluations))

    def objective(
        self, content: Tensor, temporal_target: TemporalTarget | None = None, *, wrapped: bool = False
    ) -> Objective | TiledObjective:
        """The loss to minimize for a frame; see `stylize`."""
        model = self._model
        height, width = content.shape[-2:]
        check_size((width, height), (*model.balance.style, *model.balance.content))
        smallest = model.network.smallest_side
        wrap_pixels = min(WRAP_PIXELS, width) // smallest * smallest if wrapped else 0
        view = FeatureExtractor(model.network, model.preprocessing, wrap_pixels)
        if temporal_target is not None:
            temporal_target = temporal_target.to(model.device)
        held = self._held(content)
        layers = frozenset(model.balance.content)
        side = model.tile_side(height, width + 2 * wrap_pixels)
        if side is not None:
            goals = self._goals(max(height, width), temporal_target, view)
            measured = measure(view, content, side, styles=frozenset(), activations=layers)
            return TiledObjective(view, model.balance, measured.activations, goals, temporal_target, side, held)
        with torch.no_grad():
            activations = dict(view(content))
        content_targets = {layer: activations[layer] for layer in layers}
        goals = self._goals(max(height, width), temporal_target, None)
        return Objective(view, model.balance, content_targets, goals, temporal_target, held)

    def style_targets(self, longest: int) -> Mapping[str, Moments]:
        """What the job's own paintings look like to each style layer, for frames whose longest side is this."""
        return self._paints[0].targets(longest)

    def _goals(
        self, longest: int, temporal_target: TemporalTarget | None, continuing: FeatureExtractor | None
    ) -> tuple[StyleTarget, ...]:
        """The styles, each with where it is wanted.

        Args:
            longest: side of the frame, in pixels.
            temporal_target: what the frame holds on to; what is new counts more.
            continuing: a view whose continuation the weights need too; None if they do not.
        """
        settings = self._model.settings
        newness = temporal_target.newness if temporal_target is not None else None
        emphasis = None
        if newness is not None and float(newness.mean()) >= LEAST_SHARE:
            emphasis = (1 + (NEW_STYLE_WEIGHT - 1) * newness)[None, None]

        def weights(weight: Tensor) -> Mapping[str, Tensor]:
            around = continuing.continued(weight)[0] if continuing is not None else weight
            return downsample_to_layers(around, self._model.balance.style)

        if self._masks is None:
            where = weights(emphasis) if emphasis is not None else None
            return (StyleTarget(self._paints[0].targets(longest), settings.distance, settings.strength, where),)
        goals = []
        for paint, weight in zip(self._paints, partition_masks(self._masks.to(self._model.device))[:, None, None], strict=True):
            share = float(weight.mean())
            if not paint.styles or share < LEAST_SHARE:
                continue
            where = weights(weight * emphasis if emphasis is not None else weight)
            # By its area, so that style and content are balanced within a region as they are in a whole picture.
            goals.append(StyleTarget(paint.targets(longest), settings.distance, share * paint.strength, where))
        return tuple(goals)


def _is_worth_capturing(objective: Objective | TiledObjective, image: Tensor, device: torch.device, most: int) -> bool:
    """Whether the device would wait for Python's instructions, and for long enough."""
    is_possible = (
        device.type == "cuda"
        # Tiles ask for values in their midst, and so does the solver for eigenvalues.
        and isinstance(objective, Objective)
        and all(goal.distance == "gram" for goal in objective.goals)
    )
    return is_possible and most >= LEAST_CAPTURED and image.shape[-2] * image.shape[-1] <= LARGEST_CAPTURED_PIXELS


def _shrunk(picture: Tensor, times: int) -> Tensor:
    """A picture or masks, 1 x channels x height x width, so many times smaller; each pixel the mean of what it stands for."""
    height, width = picture.shape[-2:]
    return functional.interpolate(picture, size=(max(1, height // times), max(1, width // times)), mode="area")
