"""The engine: weights, network and style in one place, ready for any number of frames."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nstpipe.config.models import Color, Padding, Pooling, StyleDistance
from nstpipe.errors import ItemError
from nstpipe.media.frame import Pixels, resized
from nstpipe.memory import ask_for_large_pages
from nstpipe.style.color import (
    ColorStatistics,
    color_statistics,
    luminance,
    luminance_matched,
    match_color,
    mixed_statistics,
    with_colors_of,
)
from nstpipe.style.device import choose_device, choose_precision, free_bytes
from nstpipe.style.evaluation import captured_on_gpu
from nstpipe.style.losses import Moments
from nstpipe.style.objective import Anchor, Balance, Goal, Held, Objective, View
from nstpipe.style.optimise import FIRST_STEP, Iterate, bytes_held, iterates
from nstpipe.style.regions import LEAST_SHARE, at_layers, claimed
from nstpipe.style.tiles import TiledObjective, margin_pixels, measure
from nstpipe.style.vgg import LAYERS, VGG19, pixels_a_position
from nstpipe.style.weights import Weights, load_weights

STYLE_STRENGTH: Mapping[StyleDistance, float] = {"gram": 10.0, "wasserstein": 6.0}
"""What `strength: 1` multiplies the style's loss with. Chosen by eye, on the samples at 256 to 512 pixels; the second so
that about as much of the content is left."""

TOTAL_VARIATION = 10.0
"""What `total_variation: 1` multiplies the total variation with. Takes the grain off without softening strokes, by eye."""

WRAP_PIXELS = 64
"""How far a panorama is continued beyond its edges. What VGG19 sees from further away hardly counts."""

BYTES_A_PIXEL = 1800
"""Memory of a pixel in bfloat16: 1200 for activations and their gradients, measured at a megapixel, 480 for the optimiser's
history, and a little more."""

TILE_BYTES_A_PIXEL = 1320
"""The same of a tile: without the history, which is the whole picture's."""

USABLE_SHARE = 0.6
"""Of the free memory, for a picture in one piece; the rest is for others, and for what was not counted."""

USABLE_SHARE_OF_TILES = 0.8
"""Of what is free beside the whole picture's own memory, which is counted then."""

TILE_SIDES = (2048, 1536, 1024, 768, 512, 384, 256)
"""Pixels; few, so that a little more or less of free memory does not change the tiles, and with them the last digits of a
result. Below, most of the work would go into margins; above, nothing is gained."""

TARGETS_KEPT = 6
"""Sizes at which a painting's moments are remembered: those of one picture's scales, and of a few pictures."""

LEAST_CAPTURED = 50
"""Iterations from which on an evaluation is captured for the GPU. That takes about as long as some evaluations; later frames
of a clip, which have fewer, wait for their flow rather than for the GPU."""

LARGEST_CAPTURED_PIXELS = 1024 * 1024
"""Beyond, a GPU takes longer for an evaluation than Python for saying what to do, and a graph holds as much memory again."""

TEMPORAL = 150.0
"""What `temporal.weight: 1` multiplies the distance from the moved previous result with. Against 100, it takes
off a sixth of the flicker, at 1 % more content and style loss."""

NEW_STYLE_WEIGHT = 3.0
"""How much the style of what was not in view before counts, against the rest. That is little of a picture, so that what it
looks like matters more to people than to the mean over all."""


@dataclass(frozen=True)
class EngineSettings:
    """All that decides what an engine does; equal settings are served by one engine.

    Attributes:
        weights: bundled, torchvision or a path.
        device: auto, cpu, cuda or cuda:N.
        precision: auto, bfloat16 or float32.
        pooling: of VGG19.
        padding: what VGG19 sees beyond the edge.
        content_layers: names and weights.
        style_layers: names and weights.
        strength: of the style; 1 is the tuned default.
        style_scale: the style pictures' longest side over the frame's.
        total_variation: 1 is the tuned default, 0 is none.
        temporal: 1 is the tuned default, 0 is none.
        color: whose colours the result has; see `Look`.
        distance: how style is compared.
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


@dataclass(frozen=True, eq=False)
class StylePicture:
    """A painting and its share.

    Attributes:
        pixels: height x width x 3, uint8, RGB.
        weight: its share, beside the other pictures' weights.
    """

    pixels: Pixels
    weight: float


@dataclass(frozen=True, eq=False)
class RegionPaint:
    """What a region is painted with.

    Attributes:
        styles: the paintings; none if nothing is to change there.
        strength: 1 is the tuned default.
        style_scale: the paintings' longest side over the frame's.
    """

    styles: tuple[StylePicture, ...] = ()
    strength: float = 1.0
    style_scale: float = 1.0


@functools.lru_cache(maxsize=2)
def _weights(spec: str | Path) -> Weights:
    return load_weights(spec)


class Engine:
    """Weights, network and paintings; `look` gives the style as one clip sees it.

    Args:
        settings: all that is no picture.
        styles: the paintings of all that belongs to no region.
        regions: what each region is painted with.

    Raises:
        MachineError: weights or device are not to be had.
    """

    def __init__(self, settings: EngineSettings, styles: Sequence[StylePicture], regions: Sequence[RegionPaint] = ()) -> None:
        ask_for_large_pages()
        self.settings = settings
        everywhere = RegionPaint(tuple(styles), settings.strength, settings.style_scale)
        self.paints = (everywhere, *regions)
        self.device = choose_device(settings.device)
        self.precision = choose_precision(settings.precision, self.device)
        weights = _weights(settings.weights)
        self.preprocessing = weights.preprocessing
        self.balance = Balance(
            content=dict(settings.content_layers),
            style=dict(settings.style_layers),
            style_strength=STYLE_STRENGTH[settings.distance],
            total_variation=TOTAL_VARIATION * settings.total_variation,
            temporal=TEMPORAL * settings.temporal,
        )
        network = VGG19(weights.state, self.balance.layers, pooling=settings.pooling, padding=settings.padding)
        self.network = network.to(self.device, self.precision).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._shared_look: Look | None = None
        self._memory_share = 1.0

    def take_less_memory(self) -> None:
        """Halve what a frame may take of the free memory: after it did not suffice, the next try has smaller tiles."""
        self._memory_share /= 2

    def look(self, first_content: Tensor | None) -> Look:
        """The style for a clip.

        Args:
            first_content: of the clip's first frame, 1 x 3 x height x width, RGB, 0 to 1. The colours that the style is
                adapted to, where it is, are this frame's for the whole clip: they must not drift. With
                ``color: style`` it is not needed.
        """
        if self.settings.color != "style" and first_content is not None:
            return Look(self, color_statistics(first_content))
        if self._shared_look is None:
            self._shared_look = Look(self, None)
        return self._shared_look

    def tile_side(self, height: int, width: int, *, is_optimised: bool = True) -> int | None:
        """Side of the tiles, in pixels, in which a picture is worked on; None if it fits into memory whole.

        Decided from the memory that is free now.

        Args:
            height: in pixels.
            width: likewise.
            is_optimised: whether it is changed, and not only looked at.
        """
        float32_factor = 1 if self.precision == torch.bfloat16 else 2
        free = free_bytes(self.device) * self._memory_share
        if height * width * BYTES_A_PIXEL * float32_factor <= free * USABLE_SHARE:
            return None
        # Beside a tile of a picture that is changed there is the whole of it, several times over, and what it holds to.
        held = bytes_held(3 * height * width, self.device) + self._content_bytes(height, width) if is_optimised else 0
        usable = (free - held) * USABLE_SHARE_OF_TILES
        margins = 2 * margin_pixels(self.network)
        fitting = (side for side in TILE_SIDES if (side + margins) ** 2 * TILE_BYTES_A_PIXEL * float32_factor <= usable)
        return next(fitting, TILE_SIDES[-1])

    def _content_bytes(self, height: int, width: int) -> int:
        """Memory of the content's activations of a picture."""
        channels = {layer.name: layer.out_channels for layer in LAYERS}
        values = (channels[layer] * height * width // pixels_a_position(layer) ** 2 for layer in self.balance.content)
        return sum(values) * self.precision.itemsize


def check_size(size: tuple[int, int], layers: Iterable[str]) -> None:
    """See that each layer still has a position in a frame.

    Args:
        size: width and height in pixels of the frame when stylised.
        layers: of VGG19, by name.

    Raises:
        ItemError: one has none.
    """
    smallest = max(map(pixels_a_position, layers))
    if min(size) < smallest:
        raise ItemError(
            f"the frame is {size[0]}x{size[1]} pixels when stylised; the layers asked for need {smallest} on the shorter side.",
            "Give a larger size, or layers of earlier blocks.",
        )


class Look:
    """The style as the frames of one clip see it; pictures of one clip each share it where colours are the style's.

    With ``color: content``, the style is transferred in luminance alone, and the result takes its colours from the frame
    (Gatys, Bethge, Hertzmann, Shechtman 2016, "Preserving Color in Neural Artistic Style Transfer", section 3). With
    ``color: matched``, the paintings take the clip's colours before their style is measured (the same paper, section 2).

    Args:
        engine: with the paintings.
        reference: colours of the clip's first frame; None if the style keeps its own.
    """

    def __init__(self, engine: Engine, reference: ColorStatistics | None) -> None:
        self._engine = engine
        self._in_luminance = reference is not None and engine.settings.color == "content"
        self._paints = [_AdaptedPaint(engine, paint, self._adapter(reference)) for paint in engine.paints]
        self._masks: Tensor | None = None

    def masked(self, masks: Tensor | None) -> Look:
        """The same style with its regions where they are in one frame.

        Args:
            masks: regions x height x width, 0 to 1: where each of the engine's regions is, at the frame's size; where several
                are, the first one is. None if nowhere.
        """
        look = copy.copy(self)
        look._masks = masks
        return look

    def _adapter(self, reference: ColorStatistics | None) -> Callable[[Tensor], Tensor]:
        if reference is None:
            return lambda painting: painting
        adapted = luminance_matched if self._in_luminance else match_color
        return lambda painting: adapted(painting, reference)

    def seen(self, content: Tensor) -> Tensor:
        """A frame as it is compared with the style: grey where only luminance is transferred."""
        return luminance(content).expand_as(content) if self._in_luminance else content

    def shown(self, image: Tensor, content: Tensor) -> Tensor:
        """A result, 0 to 1, as people see it: with the frame's own colours where only luminance was transferred."""
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
        # Each region starts in its own style's colours.
        start = torch.zeros_like(content)
        for paint, weight in zip(self._paints, claimed(self._masks), strict=True):
            if weight.mean() >= LEAST_SHARE:
                start += weight * paint.start(content, init, weight)
            else:
                start += weight * content
        return start

    def _held(self, content: Tensor) -> Held | None:
        """What no paint may change."""
        if self._masks is None:
            return None
        weights = claimed(self._masks.to(content.device))
        kept = [weight for paint, weight in zip(self._paints, weights, strict=True) if not paint.styles]
        return Held(content, torch.stack(kept).sum(dim=0)[None, None]) if kept else None

    def stylise(
        self,
        content: Tensor,
        start: Tensor,
        *,
        optimizer: str,
        most: int,
        tolerance: float,
        anchor: Anchor | None = None,
        wrapped: bool = False,
        scales: int = 1,
        first_step: float = FIRST_STEP,
    ) -> Iterator[Iterate]:
        """Optimise one frame; see `nstpipe.style.optimise.iterates`.

        Args:
            content: as `seen`, 1 x 3 x height x width, 0 to 1, float32.
            start: of the same shape.
            optimizer: lbfgs or adam.
            most: iterations at most, at each scale.
            tolerance: the fall of the loss at which it stops.
            anchor: what the frame holds on to; None at a clip's beginning.
            wrapped: whether the left edge continues the right one, as in a 360° panorama.
            scales: sizes to begin at, each half the next, up to the frame's own. What a scale has changed is carried up,
                not its picture, so that the frame keeps its detail. Evaluations at a smaller scale count by their pixels.
            first_step: see `nstpipe.style.optimise.iterates`; the same at each scale.

        Raises:
            ItemError: the frame is too small for the layers asked for, or the loss is not finite.
        """
        device = self._engine.device

        def optimised(objective: Objective | TiledObjective, start: Tensor) -> Iterator[Iterate]:
            minimised = functools.partial(
                iterates,
                name=optimizer,
                most=most,
                tolerance=tolerance,
                first_step=first_step,
                capture=captured_on_gpu if _is_worth_capturing(objective, start, device, most) else None,
            )
            if not self._in_luminance:
                yield from minimised(objective, start.to(device))
                return
            # One value a pixel, as it is shown: what three of them gain apart from each other is lost in their luminance.
            for grey in minimised(lambda image: objective(image.expand(-1, 3, -1, -1)), luminance(start).to(device)):
                yield replace(grey, image=grey.image.expand(-1, 3, -1, -1))

        spent = 0.0
        start = self.seen(start)
        smallest = self._engine.network.smallest_side
        for smaller in range(scales - 1, 0, -1):
            if min(content.shape[-2:]) // 2**smaller < smallest:
                continue  # of a strip so small nothing would be seen
            share = 1 / 4**smaller
            coarse = _shrunk(content, 2**smaller)
            coarse_start = _shrunk(start, 2**smaller)
            masks = _shrunk(self._masks[None], 2**smaller)[0] if self._masks is not None else None
            objective = self.masked(masks).objective(coarse.to(device), wrapped=wrapped)
            iterate = None
            for iterate in optimised(objective, coarse_start):
                evaluations = math.ceil(spent + iterate.evaluations * share)
                yield replace(iterate, evaluations=evaluations)
            assert iterate is not None, "no optimisation is without an iteration"
            spent += iterate.evaluations * share
            change = iterate.image.to(start.device) - coarse_start
            start = (start + functional.interpolate(change, size=start.shape[-2:], mode="bicubic")).clamp(0, 1)
        objective = self.objective(content.to(device), anchor, wrapped=wrapped)
        for iterate in optimised(objective, start):
            yield replace(iterate, evaluations=math.ceil(spent + iterate.evaluations))

    def objective(self, content: Tensor, anchor: Anchor | None = None, *, wrapped: bool = False) -> Objective | TiledObjective:
        """The loss to minimise for a frame; see `stylise`."""
        engine = self._engine
        height, width = content.shape[-2:]
        check_size((width, height), (*engine.balance.style, *engine.balance.content))
        smallest = engine.network.smallest_side
        wrap_pixels = min(WRAP_PIXELS, width) // smallest * smallest if wrapped else 0
        view = View(engine.network, engine.preprocessing, wrap_pixels)
        if anchor is not None:
            anchor = anchor.to(engine.device)
        held = self._held(content)
        layers = frozenset(engine.balance.content)
        side = engine.tile_side(height, width + 2 * wrap_pixels)
        if side is not None:
            goals = self._goals(max(height, width), anchor, view)
            measured = measure(view, content, side, styles=frozenset(), activations=layers)
            return TiledObjective(view, engine.balance, measured.activations, goals, anchor, side, held)
        with torch.no_grad():
            activations = dict(view(content))
        content_targets = {layer: activations[layer] for layer in layers}
        goals = self._goals(max(height, width), anchor, None)
        return Objective(view, engine.balance, content_targets, goals, anchor, held)

    def style_targets(self, longest: int) -> Mapping[str, Moments]:
        """What the job's own paintings look like to each style layer, for frames whose longest side is this."""
        return self._paints[0].targets(longest)

    def _goals(self, longest: int, anchor: Anchor | None, continuing: View | None) -> tuple[Goal, ...]:
        """The styles, each with where it is wanted.

        Args:
            longest: side of the frame, in pixels.
            anchor: what the frame holds on to; what is new counts more.
            continuing: a view whose continuation the weights need too; None if they do not.
        """
        settings = self._engine.settings
        newness = anchor.newness if anchor is not None else None
        emphasis = None
        if newness is not None and float(newness.mean()) >= LEAST_SHARE:
            emphasis = (1 + (NEW_STYLE_WEIGHT - 1) * newness)[None, None]

        def weights(weight: Tensor) -> Mapping[str, Tensor]:
            around = continuing.continued(weight)[0] if continuing is not None else weight
            return at_layers(around, self._engine.balance.style)

        if self._masks is None:
            where = weights(emphasis) if emphasis is not None else None
            return (Goal(self._paints[0].targets(longest), settings.distance, settings.strength, where),)
        goals = []
        for paint, weight in zip(self._paints, claimed(self._masks.to(self._engine.device))[:, None, None], strict=True):
            share = float(weight.mean())
            if not paint.styles or share < LEAST_SHARE:
                continue
            where = weights(weight * emphasis if emphasis is not None else weight)
            # By its area, so that style and content are balanced within a region as they are in a whole picture.
            goals.append(Goal(paint.targets(longest), settings.distance, share * paint.strength, where))
        return tuple(goals)


class _AdaptedPaint:
    """Paintings in the colours that a clip wants of them, and their moments at the sizes asked for.

    Args:
        engine: which sees them.
        paint: the paintings.
        adapted: gives a painting its colours.
    """

    def __init__(self, engine: Engine, paint: RegionPaint, adapted: Callable[[Tensor], Tensor]) -> None:
        self._engine = engine
        self._scale = paint.style_scale
        self.styles = paint.styles
        self.strength = paint.strength
        self._pictures = [adapted(tensor_of(style.pixels)) for style in paint.styles]
        self._targets: dict[int, Mapping[str, Moments]] = {}

    @functools.cached_property
    def _colors(self) -> ColorStatistics:
        return mixed_statistics(
            [color_statistics(picture) for picture in self._pictures], [style.weight for style in self.styles]
        )

    def start(self, content: Tensor, init: str | Path, weight: Tensor | None = None) -> Tensor:
        """A frame matched to the paintings' colours, or blank.

        Args:
            content: 1 x 3 x height x width, 0 to 1.
            init: matched or blank.
            weight: height x width: which of its pixels count; None for all.
        """
        if not self.styles:
            return content
        if init == "matched":
            return match_color(content, self._colors, color_statistics(content, weight) if weight is not None else None)
        return self._colors.mean.float().reshape(1, 3, 1, 1).expand_as(content)

    def targets(self, longest: int) -> Mapping[str, Moments]:
        """Weighted means of the paintings' moments, at the size that gives the wanted strokes.

        Args:
            longest: side of the frame, in pixels.
        """
        if longest in self._targets:
            return self._targets[longest]
        engine = self._engine
        view = View(engine.network, engine.preprocessing)
        total = sum(style.weight for style in self.styles)
        parts: dict[str, list[tuple[float, Moments]]] = {}
        for style, picture in zip(self.styles, self._pictures, strict=True):
            height, width = picture.shape[-2:]
            scale = self._scale * longest / max(height, width)
            # However small the strokes are wanted, the deepest layer must still see something.
            scale = max(scale, engine.network.smallest_side / min(height, width))
            pixels = resized(picture[0].permute(1, 2, 0).numpy(), (round(width * scale), round(height * scale)))
            painting = tensor_of_floats(pixels.clip(0, 1)).to(engine.device)
            side = engine.tile_side(*painting.shape[-2:], is_optimised=False) or max(painting.shape[-2:])
            measured = measure(view, painting, side, styles=frozenset(engine.balance.style), activations=frozenset())
            for layer, found in measured.moments.items():
                parts.setdefault(layer, []).append((style.weight / total, found))
        if len(self._targets) >= TARGETS_KEPT:
            del self._targets[next(iter(self._targets))]
        self._targets[longest] = {layer: _mixed(found) for layer, found in parts.items()}
        return self._targets[longest]


def _is_worth_capturing(objective: Objective | TiledObjective, image: Tensor, device: torch.device, most: int) -> bool:
    """Whether the device would wait for Python's instructions, and for long enough."""
    is_possible = (
        device.type == "cuda"
        # Tiles ask for values in their midst, and so does the solver for eigenvalues.
        and isinstance(objective, Objective)
        and all(goal.distance == "gram" for goal in objective.goals)
    )
    return is_possible and most >= LEAST_CAPTURED and image.shape[-2] * image.shape[-1] <= LARGEST_CAPTURED_PIXELS


def _mixed(parts: Sequence[tuple[float, Moments]]) -> Moments:
    """Moments of a mixture, from shares that add up to 1."""
    grams = torch.stack([share * part.gram for share, part in parts]).sum(dim=0)
    means = torch.stack([share * part.mean for share, part in parts if part.mean is not None]).sum(dim=0)
    return Moments(grams, means, parts[0][1].mass)


def _shrunk(picture: Tensor, times: int) -> Tensor:
    """A picture or masks, 1 x channels x height x width, so many times smaller; each pixel the mean of what it stands for."""
    height, width = picture.shape[-2:]
    return functional.interpolate(picture, size=(max(1, height // times), max(1, width // times)), mode="area")


def tensor_of(pixels: Pixels) -> Tensor:
    """From height x width x 3, 0 to 255 or 65535, to 1 x 3 x height x width, float32, 0 to 1."""
    return tensor_of_floats(pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max))


def tensor_of_floats(picture: NDArray[np.float32]) -> Tensor:
    """From height x width x 3, 0 to 1, to 1 x 3 x height x width, float32, 0 to 1."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()


def pixels_of(image: Tensor, bits: int = 8) -> Pixels:
    """Back to height x width x 3, rounded, not cut off: cutting would darken by half a level.

    Args:
        image: 1 x 3 x height x width, 0 to 1.
        bits: 8 for one byte a value; for more, two bytes.
    """
    if bits > 8:
        wide = (image[0].clamp(0, 1) * 65535).round().to(torch.int32)
        return wide.permute(1, 2, 0).contiguous().cpu().numpy().astype(np.uint16)
    scaled = (image[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return scaled.permute(1, 2, 0).contiguous().cpu().numpy()
