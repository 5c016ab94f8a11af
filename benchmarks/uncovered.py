"""How well areas that come into view are painted, by what they start from.

The clip is `passing` of scenes.py: what its ellipse uncovers, what its pan brings in, and since when, is known exactly. The
frames are painted one after another from their moved results, with the same first frame and a fixed number of iterations,
or with that many at most if a --tolerance is given (0.0025 is what `nstpipe run` has for later frames). Ways to begin where
nothing was painted:
    content: the original as it is.
    matched: the original in the colors of what is painted.
    patches: for each uncovered patch, the paint of the earlier frame's most similar patch (Hertzmann et al. 2001).
And what is done from there on:
    more: matched, with more iterations in proportion to what is new.
    weighted: the same, and the style loss counts what is new more (what nstpipe does), or --weight times,
        in --layers.
Without any of it, to see how far two ways to paint the same differ without any motion:
    alone: each frame by itself, from the content.

For each way, by how long ago an area was uncovered: its style distance (Gram matrices over that area alone) and its color
distance (Fréchet's, between the RGB statistics of area and painting), over the mean of those of areas of the same shape in the
rest of the frame: what is as small as the area itself, since a part is farther from a painting than a whole, in which
opposite errors cancel, and stays so however long the whole is worked on. A road and a sky are not equally far from a
painting either, so each quotient is divided by that of the same areas in the same frame painted by itself for many
iterations, from the start that is nstpipe's default. 1 is as painted as the rest.

With --pan, only what the pan brings in is looked at, without the ellipse.

Run: python benchmarks/uncovered.py [--pan] [--size 224] [--frames 13] [--iterations 20] [--tolerance 0] [--weight 3]
     [--layers relu1_1 ...] [--style NAME] [--ways WAY ...] [--json results.json]
"""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from motion import SAMPLES, STYLE_LAYERS, Clip, default_engine, synthetic
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nstpipe.media.frame import Frame, Pixels, resized
from nstpipe.media.tensors import pixels_of, tensor_of, tensor_of_floats
from nstpipe.motion.frames_with_flow import FrameWithFlow
from nstpipe.motion.metrics import warping_error
from nstpipe.motion.motion import motion_between
from nstpipe.motion.reliability import came_from_inside, resemblance
from nstpipe.painting.temporal_target import Moved, Result, moved, newness, temporal_target_of, warped_start
from nstpipe.style.color import ColorStatistics, color_statistics
from nstpipe.style.engine import FIRST_STEP_NEARBY, MinimizeOptions
from nstpipe.style.engines.optimizer import OptimizerEngine, OptimizerStylizer
from nstpipe.style.losses import gram, gram_distance
from nstpipe.style.minimize import MinimizerIterate, minimize
from nstpipe.style.objective import Objective, TemporalTarget
from nstpipe.style.objective_builder import NEW_STYLE_WEIGHT
from nstpipe.style.regions import downsample_to_layers
from nstpipe.style.tiles import TiledObjective

ALONE_ITERATIONS, FIRST_ITERATIONS = 100, 200
AGES = ((0, 0), (1, 2), (3, 9))
"""Frames since an area was uncovered, first and last."""

ALWAYS_SEEN = 999
PLACES, NEARLY_ALL, FEWEST_PLACES = 9, 0.9, 3
"""Into how many places, from side to side, a shape is moved; how much of it is to be old paint there; and how many of those
with the most are taken anyway."""
LEVELS = 255
PATCH_PIXELS, PATCH_STEP_PIXELS, CANDIDATE_STEP_PIXELS, PATCH_DETAIL = 12, 6, 3, 4

WAYS: Mapping[str, tuple[str, bool, bool]] = {
    "content": ("content", False, False),
    "matched": ("matched", False, False),
    "patches": ("patches", False, False),
    "more": ("matched", True, False),
    "weighted": ("matched", True, True),
}
"""What new areas start from, whether there are more iterations for them, and whether their style counts more."""


@dataclass(frozen=True)
class AgeDistances:
    """Means over the judged frames, by age; the colors' in levels of 255.

    Attributes:
        style: of what was uncovered.
        style_elsewhere: of areas of that shape in the rest of the frame.
        color: like `style`.
        color_elsewhere: like `style_elsewhere`.
    """

    style: tuple[float, ...]
    style_elsewhere: tuple[float, ...]
    color: tuple[float, ...]
    color_elsewhere: tuple[float, ...]

    def quotients(self, other: AgeDistances) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of style and color: how much farther what was uncovered is than the rest, over how much it is in the other."""

        def quotient(here: tuple[float, ...], there: tuple[float, ...]) -> NDArray[np.float64]:
            return np.divide(here, there)

        style = quotient(self.style, self.style_elsewhere) / quotient(other.style, other.style_elsewhere)
        color = quotient(self.color, self.color_elsewhere) / quotient(other.color, other.color_elsewhere)
        return tuple(style.tolist()), tuple(color.tolist())


@dataclass(frozen=True)
class Row:
    """One way: quotients by age, what they are made of, and what it cost."""

    way: str
    style: tuple[float, ...]
    color: tuple[float, ...]
    distances: AgeDistances
    loss: float
    iterations: float
    warping_error: float | None


class Judge:
    """Distances of areas, and of areas of the same shape in the rest."""

    def __init__(
        self, stylizer: OptimizerStylizer, engine: OptimizerEngine, painting: Tensor, clip: Clip, *, pan: bool
    ) -> None:
        self.stylizer, self.view = stylizer, engine.network.features()
        self.colors = color_statistics(painting)
        self.ages = ages(clip, pan=pan)

    def judged(self, pictures: Mapping[int, Tensor]) -> AgeDistances:
        """Args: pictures: by their places in the clip."""
        found = np.mean([self._of_a_frame(index, picture) for index, picture in pictures.items()], axis=0)
        (style, style_elsewhere), (color, color_elsewhere) = np.moveaxis(found, 0, -1).tolist()
        return AgeDistances(tuple(style), tuple(style_elsewhere), tuple(color), tuple(color_elsewhere))

    def _of_a_frame(self, index: int, picture: Tensor) -> NDArray[np.float64]:
        """Ages x (style, color) x (there, elsewhere)."""
        with torch.no_grad():
            activations = {layer: activation.float() for layer, activation in self.view(picture) if layer in STYLE_LAYERS}
        found = []
        for first, last in AGES:
            area = (self.ages[index] >= first) & (self.ages[index] <= last)
            here = self._distances(picture, activations, area)
            elsewhere = np.mean([self._distances(picture, activations, one) for one in self._elsewhere(index, area)], axis=0)
            found.append(np.stack([here, elsewhere], axis=-1))
        return np.stack(found)

    def _elsewhere(self, index: int, area: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
        """The same shape, farther left in the frame, where nearly all of it is old paint, or else as much as can be had."""
        rest = self.ages[index] > AGES[-1][1]
        width = area.shape[1]
        moved = [np.roll(area, -(number * width) // PLACES, axis=1) & rest for number in range(1, PLACES)]
        enough = [one for one in moved if one.sum() >= NEARLY_ALL * area.sum()]
        if len(enough) < FEWEST_PLACES:
            enough = sorted(moved, key=lambda one: -int(one.sum()))[:FEWEST_PLACES]
        assert all(one.any() for one in enough), "too much of the frame is new to compare with the rest"
        return enough

    def _distances(self, picture: Tensor, activations: Mapping[str, Tensor], area: NDArray[np.bool_]) -> NDArray[np.float64]:
        weight = torch.from_numpy(area.astype(np.float32))
        targets = self.stylizer.regions.paintings[0].targets(max(picture.shape[-2:]))
        weights = downsample_to_layers(weight[None, None], STYLE_LAYERS)
        style = 0.0
        for layer in STYLE_LAYERS:
            activation, share = activations[layer], weights[layer]
            share = share[..., : activation.shape[-2], : activation.shape[-1]]
            # Of the area alone: each position as much as the area has of it.
            matrix = gram(activation * (share / share.mean()).sqrt())
            style += float(gram_distance(matrix, targets[layer].gram)) / len(STYLE_LAYERS)
        return np.array([style, LEVELS * frechet(color_statistics(picture, weight), self.colors)])


def frechet(one: ColorStatistics, other: ColorStatistics) -> float:
    """Between two normal distributions of colors."""

    def root(matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        return vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T

    half = root(one.covariance)
    between = root(half @ other.covariance @ half)
    squared = (one.mean - other.mean).square().sum() + torch.trace(one.covariance + other.covariance - 2 * between)
    return float(squared.clamp_min(0)) ** 0.5


def ages(clip: Clip, *, pan: bool) -> list[NDArray[np.float32]]:
    """For each frame and pixel, how many frames ago it came into view, or from beyond the frame if only the pan counts."""
    assert clip.scene is not None
    width, height = clip.size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    found = [np.full((height, width), ALWAYS_SEEN, np.float32)]
    for index in range(1, len(clip.frames)):
        motion = clip.scene.motion(index - 1, index)
        before = cv2.remap(found[-1], x + motion.backward[..., 0], y + motion.backward[..., 1], cv2.INTER_NEAREST)
        seen = came_from_inside(motion.backward) > 0 if pan else motion.reliability > 0
        found.append(np.where(seen, np.where(before == ALWAYS_SEEN, before, before + 1), 0).astype(np.float32))
    return found


def patched(before: Pixels, now: Pixels, painted: Tensor, reliability: Tensor, otherwise: Tensor) -> Tensor:
    """Paint of similar patches, where the flow is not reliable."""
    height, width, _ = now.shape
    old, new = before.astype(np.float32) / 255, now.astype(np.float32) / 255
    paint = painted[0].permute(1, 2, 0).numpy()

    def described(picture: NDArray[np.float32], top: int, left: int) -> NDArray[np.float32]:
        patch = picture[top : top + PATCH_PIXELS, left : left + PATCH_PIXELS]
        return cv2.resize(patch, (PATCH_DETAIL, PATCH_DETAIL), interpolation=cv2.INTER_AREA).ravel()

    def places(step: int) -> list[tuple[int, int]]:
        rows, columns = range(0, height - PATCH_PIXELS + 1, step), range(0, width - PATCH_PIXELS + 1, step)
        return [(top, left) for top in rows for left in columns]

    candidates = places(CANDIDATE_STEP_PIXELS)
    known = np.stack([described(old, *place) for place in candidates])
    window = np.hanning(PATCH_PIXELS + 2)[1:-1]
    soft = np.outer(window, window)[..., None].astype(np.float32)
    total, weight = np.zeros((height, width, 3), np.float32), np.zeros((height, width, 1), np.float32)
    for top, left in places(PATCH_STEP_PIXELS):
        here = np.s_[top : top + PATCH_PIXELS, left : left + PATCH_PIXELS]
        if reliability.numpy()[here].mean() > 0.9:
            continue
        nearest = int(((known - described(new, top, left)) ** 2).sum(axis=1).argmin())
        row, column = candidates[nearest]
        total[here] += soft * paint[row : row + PATCH_PIXELS, column : column + PATCH_PIXELS]
        weight[here] += soft
    filled = np.where(weight > 0, total / np.maximum(weight, 1e-6), otherwise[0].permute(1, 2, 0).numpy())
    return tensor_of_floats(filled.astype(np.float32).clip(0, 1))


def by_itself(stylizer: OptimizerStylizer, content: Tensor, start: Tensor) -> MinimizerIterate:
    """A frame without any before it."""
    done = stylizer.stylize(content, start, MinimizeOptions(ALONE_ITERATIONS))
    return deque(done, maxlen=1).pop()


def going_on(
    stylizer: OptimizerStylizer,
    content: Tensor,
    start: Tensor,
    most: int,
    tolerance: float,
    temporal_target: TemporalTarget,
    emphasis: Tensor,
    emphasized: Sequence[str],
) -> MinimizerIterate:
    """A frame that holds on to the one before it; its losses are those in which all areas count alike.

    Args:
        emphasis: height x width: how much the style counts while the frame is painted.
        emphasized: the layers in which it does.
    """
    objective = stylizer.objective(content, temporal_target)

    def counting(weights: Mapping[str, Tensor] | None) -> Objective | TiledObjective:
        return replace(objective, style_targets=tuple(replace(target, weights=weights) for target in objective.style_targets))

    alike = downsample_to_layers(torch.ones_like(emphasis)[None, None], STYLE_LAYERS)
    done = minimize(
        counting(alike | downsample_to_layers(emphasis[None, None], emphasized)),
        start,
        optimizer="lbfgs",
        max_iterations=most,
        tolerance=tolerance,
        first_step=FIRST_STEP_NEARBY,
    )
    last = deque(done, maxlen=1).pop()
    with torch.no_grad():
        plain = counting(None)(last.image)
    return replace(last, content_loss=float(plain.content), style_loss=float(plain.style))


def painted(
    way: str,
    clip: Clip,
    stylizer: OptimizerStylizer,
    first: Tensor,
    *,
    iterations: int,
    tolerance: float,
    weight: float,
    layers: Sequence[str],
) -> tuple[list[Tensor], list[MinimizerIterate]]:
    """Paint the clip.

    Args:
        weight: how much the style of what is new counts, in the ways in which it counts more.
        layers: in which it does.
    """
    results, done = [Result.of_image(first)], []
    beginning, has_more, is_weighted = WAYS[way]
    for index in range(1, len(clip.frames)):
        before, now = (resized(frame, clip.size) for frame in clip.frames[index - 1 : index + 1])
        content = tensor_of(now)
        motion = motion_between(clip.frames[index - 1], clip.frames[index], size=clip.size)
        before_it = results[-1]
        held: Moved = moved(before_it.image, motion)
        temporal_target = temporal_target_of([held])
        step = FrameWithFlow(Frame(now, index), now, now, {1: motion}, before)
        start, unseen = warped_start(content, step, before_it.image, temporal_target)
        same = torch.from_numpy(resemblance(before, now))
        if beginning == "content":
            start = torch.lerp(torch.lerp(content, before_it.image, same), temporal_target.image, temporal_target.reliability)
        elif beginning == "patches":
            filled = patched(before, now, before_it.image, temporal_target.reliability, start)
            start = torch.lerp(torch.lerp(filled, before_it.image, same), temporal_target.image, temporal_target.reliability)
        share = float(unseen.mean()) if has_more else 0.0
        most = round(iterations + share * (FIRST_ITERATIONS - iterations))
        new = newness(before_it, motion, unseen)
        emphasis = 1 + (weight - 1) * new if is_weighted else torch.ones_like(unseen)
        done.append(going_on(stylizer, content, start, most, tolerance, temporal_target, emphasis, layers))
        results.append(Result(done[-1].image, new))
    return [result.image for result in results], done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pan", action="store_true")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--frames", type=int, default=13)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--tolerance", type=float, default=0.0)
    parser.add_argument("--weight", type=float, default=NEW_STYLE_WEIGHT)
    parser.add_argument("--layers", nargs="+", choices=STYLE_LAYERS, default=STYLE_LAYERS)
    parser.add_argument("--style", default="van_gogh_starry_night")
    parser.add_argument("--ways", nargs="+", choices=("alone", *WAYS), default=("alone", *WAYS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with Image.open(SAMPLES / "styles" / f"{arguments.style}.jpg") as image:
        painting = np.asarray(image.convert("RGB"))
    engine = default_engine(painting, "auto")
    stylizer = engine.stylizer(None)
    clip = synthetic(arguments.size, arguments.frames)
    judge = Judge(stylizer, engine, tensor_of(painting), clip, pan=arguments.pan)
    judged = [index for index in range(1, arguments.frames) if index % 4 == 0]
    contents = {index: tensor_of(resized(clip.frames[index], clip.size)) for index in (0, *judged)}
    alone = {
        index: by_itself(stylizer, content, stylizer.first_start(content, "matched", 0)).image
        for index, content in contents.items()
    }
    well_painted = judge.judged({index: alone[index] for index in judged})
    rows = []
    for way in arguments.ways:
        if way == "alone":
            done = [by_itself(stylizer, contents[index], contents[index]) for index in judged]
            distances, errors = judge.judged({index: one.image for index, one in zip(judged, done, strict=True)}), None
        else:
            states, done = painted(
                way,
                clip,
                stylizer,
                alone[0],
                iterations=arguments.iterations,
                tolerance=arguments.tolerance,
                weight=arguments.weight,
                layers=arguments.layers,
            )
            distances = judge.judged({index: states[index] for index in judged})
            assert clip.scene is not None
            errors = [
                warping_error(pixels_of(states[index - 1]), pixels_of(states[index]), clip.scene.motion(index - 1, index))
                for index in range(1, arguments.frames)
            ]
        style_quotients, color_quotients = distances.quotients(well_painted)
        rows.append(
            Row(
                way=way,
                style=style_quotients,
                color=color_quotients,
                distances=distances,
                loss=float(np.mean([one.content_loss + one.style_loss for one in done])),
                iterations=float(np.mean([one.iterations for one in done])),
                warping_error=float(np.mean(errors)) if errors is not None else None,
            )
        )
        style, color = (" ".join(f"{value:.2f}" for value in values) for values in (rows[-1].style, rows[-1].color))
        print(
            f"{way:9} style {style}  color {color}  loss {rows[-1].loss:.3f}  {rows[-1].iterations:.1f} iterations  "
            + (f"warping error {rows[-1].warping_error:.5f}" if rows[-1].warping_error is not None else ""),
            flush=True,
        )
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        found = {**vars(arguments), "json": None, "by_itself": asdict(well_painted), "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
