"""Whether the paint of a long clip fades: the loss of each frame, from the first to the last.

Clips:
    city: the second shot of samples/video/city_night.mp4.
    drive: 10 seconds of a view that comes closer to a street and shakes, at 12.5 frames a second.
    walk: 10 seconds of a view that goes forward on a street, which is seen in perspective, at 12.5 frames a second.
    pan: 10 seconds of a view that goes along a panorama and sways, at 12.5 frames a second.

Each clip is painted by `nstpipe run` in the style of *The Starry Night*. The loss of a frame is content, style and total
variation, without the temporal part and with each place counted once: what a frame by itself minimizes. It is measured on the
finished frames, in float32. The figure is its mean over the last tenth of the frames, divided by that over the first tenth; the
first frame counts in neither. The warping error is the one that is measured while painting, by the flow that moved the paint.

A later frame of a clip may show something that is harder to paint. So some frames are also painted by themselves, from the same
start as a first frame, with 60 iterations. How their loss rises is printed beside the clip's.

With --carried, nothing is optimized: the painting itself is carried along each clip, as a result is carried to the next frame.
What is printed is how much of its contrast is left at the end, in waves of about 4, 8 and 16 pixels, in parts that are flat in
the original and in the others, and which share of a frame starts from the content. It takes seconds.

Run: python benchmarks/fading.py [--size 320] [--clips CLIP ...] [--next 12] [--carried] [--json results.json]
With --keep FOLDER, each clip's videos stay there. With --before OLD.json, the frames by themselves are taken from there, and
--plot FILE.svg draws the curves of both versions.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from motion import SAMPLES, STYLE, Clip, city, default_engine, losses_of, painted
from numpy.typing import NDArray
from PIL import Image
from scenes import Matrix, shifted, turned, view
from torch import Tensor

from nstpipe.media.frame import Frame, Pixels, resized
from nstpipe.media.tensors import pixels_of, tensor_of
from nstpipe.motion.flow.method import DETAIL
from nstpipe.motion.flow.methods import flow_method
from nstpipe.motion.frames_with_flow import frames_with_flow
from nstpipe.painting.temporal_target import moved, temporal_target_of, warped_start
from nstpipe.style.engine import MinimizeOptions
from nstpipe.style.engines.optimizer import OptimizerStylizer

FIRST_ITERATIONS, NEXT_ITERATIONS = 100, 12
"""As in the sample pipeline."""

ALONE_ITERATIONS, FRAMES_BETWEEN = 60, 10
"""Of the frames that are painted by themselves, and how many frames of a clip there are from one to the next."""

BLUR_SIGMAS = (1.0, 2.0, 4.0)
"""Pixels. They divide the waves of carried paint into three bands, of about 4, 8 and 16 pixels."""

FLAT_SIGMA, FLAT_LEVELS = 4.0, 6.0
"""A part is flat if the original's local standard deviation stays below this many levels of 255 in all frames."""

SECONDS, FRAMES_A_SECOND = 10, 12.5


@dataclass(frozen=True)
class Curve:
    """What came of a clip.

    Attributes:
        clip: its name.
        size: width and height, in pixels.
        content: the content loss of each frame.
        style: the style loss of each frame.
        variation: the total variation of each frame.
        iterations: those of each frame.
        warping_errors: one for each frame but the first; None where too little of the flow is reliable.
        alone: the loss of every tenth frame, painted by itself.
    """

    clip: str
    size: tuple[int, int]
    content: tuple[float, ...]
    style: tuple[float, ...]
    variation: tuple[float, ...]
    iterations: tuple[int, ...]
    warping_errors: tuple[float | None, ...]
    alone: tuple[float, ...]

    @property
    def losses(self) -> list[float]:
        return [sum(parts) for parts in zip(self.content, self.style, self.variation, strict=True)]

    @property
    def rise(self) -> float:
        """The last tenth's mean loss, divided by the first tenth's."""
        later = self.losses[1:]
        tenth = max(1, round(len(later) / 10))
        return float(np.mean(later[-tenth:]) / np.mean(later[:tenth]))

    @property
    def rise_alone(self) -> float:
        """The same for frames by themselves, interpolated between those that were painted."""
        count = len(self.content)
        positions = np.arange(count)
        losses = np.interp(positions, positions[::FRAMES_BETWEEN], self.alone)[1:]
        tenth = max(1, round(len(losses) / 10))
        return float(losses[-tenth:].mean() / losses[:tenth].mean())

    @property
    def warping_error(self) -> float:
        return float(np.mean([error for error in self.warping_errors if error is not None]))

    def __str__(self) -> str:
        return (
            f"{self.clip:6} loss {np.mean(self.losses[1:]):.4f}, rises {self.rise:.4f} times, "
            f"by themselves {self.rise_alone:.4f} times, {np.mean(self.iterations[1:]):.2f} iterations, "
            f"warping error {self.warping_error:.3e}"
        )


def picture(name: str, width: int) -> Pixels:
    with Image.open(SAMPLES / "streetview" / name) as image:
        pixels = np.asarray(image.convert("RGB"))
    return resized(pixels, (width, round(width * pixels.shape[0] / pixels.shape[1])))


def moving(name: str, still: Pixels, size: tuple[int, int], places: Callable[[int], Matrix]) -> Clip:
    frames = round(SECONDS * FRAMES_A_SECOND)
    scene = view(still, size, [places(index) for index in range(frames)], DETAIL)
    # The motion is found as in any video: its errors are a part of what is measured.
    return Clip(name, size, tuple(scene.frames))


def drive(size: int) -> Clip:
    """A view whose scale doubles, with a shake of a hundredth of its width."""
    width, height = size, round(size * 9 / 16 / 2) * 2
    still = picture("street_03.jpg", 2 * DETAIL * size)
    last = SECONDS * FRAMES_A_SECOND

    def place(index: int) -> Matrix:
        shake = size / 200 * np.array([np.sin(1.1 * index), np.sin(0.9 * index)])
        middle = ((width - 1) / 2, (height - 1) / 2)
        return shifted(size * 0.5 + shake[0], height * 0.5 + shake[1]) @ turned(middle, 0, 0.8 * 2 ** (index / last))

    return moving("drive", still, (width, height), place)


def pan(size: int) -> Clip:
    """A view that goes a 200th of its width aside in each frame, and sways."""
    width, height = size, round(size * 9 / 16 / 2) * 2
    still = picture("street_09_360.jpg", round(3.2 * DETAIL * size))
    still = np.concatenate([still, still[:, : still.shape[1] // 3]], axis=1)

    def place(index: int) -> Matrix:
        return shifted(size * (1.5 + index / 200), size * (0.55 + 0.01 * np.sin(index / 9)))

    return moving("pan", still, (width, height), place)


def walk(size: int) -> Clip:
    """A view that goes forward on a street, with the sway of steps: what is near moves faster than what is far."""
    width, height = size, round(size * 9 / 16 / 2) * 2
    still = picture("street_01.jpg", 2 * DETAIL * size)
    places = [
        seen_from(index, still.shape[1], DETAIL * width, DETAIL * height) for index in range(round(SECONDS * FRAMES_A_SECOND))
    ]
    frames = [cv2.remap(still, *place, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT) for place in places]
    return Clip("walk", (width, height), tuple(frames))


def seen_from(index: int, still_width: int, width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where a frame of the walk sees each of its pixels in the still picture.

    The picture is painted on the ground, and, above the horizon, on a wall far away (as in Horry, Anjyo and Arai 1997, "Tour
    into the picture"). All lengths are in meters, and in widths of the frame on the plane of the picture.
    """
    step = 2 * np.pi * index / FRAMES_A_SECOND * STEPS_A_SECOND
    sway_right, sway_down = 0.002 * np.sin(step / 2), 0.003 * np.sin(step)
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    right = (column + 0.5) / width - 0.5 + sway_right
    down = (row + 0.5) / width - HORIZON * height / width + sway_down
    gone = METERS_A_FRAME * index
    with np.errstate(divide="ignore"):
        ground = np.where(down > 0, EYE_METERS * FOCAL_WIDTHS / down, np.inf)
    distance = np.minimum(ground, WALL_METERS - gone)
    scale = distance / (distance + gone)
    x = (right * scale + 0.5) * still_width - 0.5
    y = (down * scale + HORIZON * height / width) * still_width - 0.5
    return x.astype(np.float32), y.astype(np.float32)


EYE_METERS, WALL_METERS, FOCAL_WIDTHS, HORIZON = 1.5, 30.0, 0.6, 0.4
"""Height of the eye, distance of the wall, focal length in widths of a frame, and height of the horizon as a share of it."""

METERS_A_FRAME, STEPS_A_SECOND = 0.03, 2

CLIPS: dict[str, Callable[[int], Clip]] = {"city": lambda size: city(size, 75), "drive": drive, "pan": pan, "walk": walk}


def by_itself(stylizer: OptimizerStylizer, content: Pixels) -> Pixels:
    """A frame, painted as a first frame is."""
    seen = tensor_of(content)
    options = MinimizeOptions(ALONE_ITERATIONS)
    *_, last = stylizer.stylize(seen, stylizer.first_start(seen, "matched", 0), options)
    return pixels_of(last.image)


def measured(
    clip: Clip,
    folder: Path,
    painter: OptimizerStylizer,
    judge: OptimizerStylizer,
    settings: dict[str, Any],
    alone: Sequence[float] = (),
) -> Curve:
    results, done = painted(folder, clip.frames, max(clip.size), settings)
    losses = [losses_of(judge, clip, index, result) for index, result in enumerate(results)]
    alone = alone or [
        sum(losses_of(judge, clip, index, by_itself(painter, resized(clip.frames[index], clip.size))))
        for index in range(0, len(clip.frames), FRAMES_BETWEEN)
    ]
    content, style, variation = (tuple(parts) for parts in zip(*losses, strict=True))
    return Curve(
        clip=clip.name,
        size=clip.size,
        content=content,
        style=style,
        variation=variation,
        iterations=tuple(frame.evaluations for frame in done),
        warping_errors=tuple(frame.warping_error for frame in done[1:]),
        alone=tuple(alone),
    )


@dataclass(frozen=True)
class Carried:
    """What is left of paint that was carried along a clip.

    Attributes:
        clip: its name.
        flat: root of the share of the variance that is left in flat parts, for each of `BLUR_SIGMAS`.
        rest: the same in the others.
        unseen_flat: the mean share of the content in the start of a frame, in flat parts.
        unseen_rest: the same in the others.
    """

    clip: str
    flat: tuple[float, ...]
    rest: tuple[float, ...]
    unseen_flat: float
    unseen_rest: float

    def __str__(self) -> str:
        flat, rest = (" ".join(f"{value:.2f}" for value in values) for values in (self.flat, self.rest))
        return (
            f"{self.clip:6} contrast left: flat parts {flat}, others {rest}; "
            f"content in a start: flat parts {self.unseen_flat:.4f}, others {self.unseen_rest:.4f}"
        )


def carried(clip: Clip, painting: Pixels) -> Carried:
    """Carry the painting along a clip, without an iteration."""
    width, height = clip.size
    scaled = resized(painting, (width, round(width * painting.shape[0] / painting.shape[1])))
    first = paint = tensor_of(scaled[:height])
    steps = frames_with_flow(_Frames(clip.frames), range(len(clip.frames)), 0, clip.size, (1,), flow_method("dis"))
    flat, unseen_shares = np.ones((height, width), bool), []
    for step in steps:
        flat &= _waves(step.pixels.mean(axis=2), FLAT_SIGMA) < FLAT_LEVELS
        if not step.motions:
            continue
        target = temporal_target_of([moved(paint, step.motions[1])])
        paint, unseen = warped_start(tensor_of(step.resized), step, paint, target)
        unseen_shares.append(unseen.numpy())
    unseen = np.mean(unseen_shares, axis=0)

    def left(where: NDArray[np.bool_]) -> tuple[float, ...]:
        return tuple(_contrast(paint, sigma, where) / _contrast(first, sigma, where) for sigma in BLUR_SIGMAS)

    return Carried(clip.name, left(flat), left(~flat), float(unseen[flat].mean()), float(unseen[~flat].mean()))


def drawn(before: Sequence[Curve], after: Sequence[Curve], path: Path) -> None:
    """A plot for each clip, with the curves of both versions and of frames by themselves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(after), 3.2), layout="constrained")
    by_name = {curve.clip: curve for curve in before}
    for place, curve in enumerate(after, start=1):
        axes = figure.add_subplot(1, len(after), place)
        numbers = np.arange(1, len(curve.losses) + 1)
        if curve.clip in by_name:
            axes.plot(numbers, by_name[curve.clip].losses, color="tab:orange", label="before")
        axes.plot(numbers, curve.losses, color="tab:blue", label="now")
        axes.plot(numbers[::FRAMES_BETWEEN], curve.alone, ".", color="gray", label=f"by itself, {ALONE_ITERATIONS} iterations")
        axes.set(title=curve.clip, xlabel="frame", ylim=(0, None))
        if place == 1:
            axes.set_ylabel("content, style and variation")
            axes.legend(loc="lower right", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


@dataclass(frozen=True)
class _Frames:
    """A source of frames in memory."""

    frames: Sequence[Pixels]
    path: Path = Path()

    @property
    def frame_count(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        height, width, _ = self.frames[0].shape
        return width, height

    def read(self, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
        for index in range(first_frame_index, min(end_frame_index, len(self.frames))):
            yield Frame(self.frames[index], index)


def _waves(picture: NDArray[np.floating], sigma: float) -> NDArray[np.floating]:
    """The local standard deviation of a gray picture."""
    gray = picture.astype(np.float32)
    around = cv2.GaussianBlur(gray, (0, 0), sigma)
    return np.sqrt(cv2.GaussianBlur((gray - around) ** 2, (0, 0), sigma))


def _contrast(image: Tensor, sigma: float, where: NDArray[np.bool_]) -> float:
    """The standard deviation of the waves that a blur removes beyond half its width."""
    gray = image[0].mean(dim=0).numpy()
    band = cv2.GaussianBlur(gray, (0, 0), sigma / 2) if sigma > BLUR_SIGMAS[0] else gray
    return float(np.sqrt(((band - cv2.GaussianBlur(gray, (0, 0), sigma)) ** 2)[where].mean()))


def read(path: Path) -> list[Curve]:
    return [Curve(**row) for row in json.loads(path.read_text())["curves"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--clips", nargs="+", choices=tuple(CLIPS), default=tuple(CLIPS))
    parser.add_argument("--first", type=int, default=FIRST_ITERATIONS)
    parser.add_argument("--next", type=int, default=NEXT_ITERATIONS)
    parser.add_argument("--carried", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    with Image.open(STYLE) as image:
        painting = np.asarray(image.convert("RGB"))
    if arguments.carried:
        rows = []
        for name in arguments.clips:
            rows.append(carried(CLIPS[name](arguments.size), painting))
            print(rows[-1], flush=True)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        return
    painter, judge = (default_engine(painting, precision).stylizer(None) for precision in ("auto", "float32"))
    settings = {"optimizer": {"first": arguments.first, "next": arguments.next}}
    curves: list[Curve] = []
    before = read(arguments.before) if arguments.before is not None else []
    # Frames by themselves depend on no flow.
    known = {(curve.clip, tuple(curve.size)): curve.alone for curve in before}
    with tempfile.TemporaryDirectory() as name:
        for clip in (CLIPS[name](arguments.size) for name in arguments.clips):
            folder = (arguments.keep or Path(name)) / clip.name
            curves.append(measured(clip, folder, painter, judge, settings, known.get((clip.name, clip.size), ())))
            print(curves[-1], flush=True)
            if arguments.json is not None:
                arguments.json.parent.mkdir(parents=True, exist_ok=True)
                machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
                found = {"machine": machine, "settings": settings, "curves": [asdict(curve) for curve in curves]}
                arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.plot is not None:
        drawn(before, curves, arguments.plot)


if __name__ == "__main__":
    main()
