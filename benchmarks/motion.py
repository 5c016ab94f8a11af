"""What the temporal loss is worth: flicker, loss, iterations and time of six ways to paint a moving picture.

Ways, all by `nstpipe run`, with the same style and the same weights of the losses:
    independent: each frame by itself, as a picture of its own.
    previous: each frame starts from the result before it, as it is.
    warped: each frame starts from the result before it, moved along the optical flow.
    full: the same, with the temporal loss and the long-term lag.
    brief: the full method, with 20 iterations a frame at most.
    light: the same, with about a third of the temporal loss.

Clips:
    city: the second shot of samples/video/city_night.mp4.
    passing: an ellipse passes before a slowly panned street; its flow and occlusion are known exactly.

The warping error is that of `nstpipe metrics` (docs/motion.md), with the exact flow where there is one; there, pixels in
which two things meet have no motion of their own and do not count. Losses are those of the finished frames, averaged over all
but the first, and of all ways alike: content, style and total variation, with each place counted once. That is what a frame by
itself minimizes; what has come into view counts more while a later one is painted.

With --drift, a still scene with grain is painted for 300 frames, and the last second is compared with the first.

Run: python benchmarks/motion.py [--size 512] [--frames 30] [--ways WAY ...] [--drift] [--json results.json] [--keep FOLDER]
With --keep, each way's video stays in FOLDER/CLIP/WAY, for `nstpipe metrics`, and a contact sheet in FOLDER/CLIP.png.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from scenes import Scene, passing

import nstpipe
from nstpipe.events import Event, FrameDone
from nstpipe.media.frame import Pixels, resized, working_size
from nstpipe.media.tensors import tensor_of
from nstpipe.media.video import ffmpeg
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.probe import probe
from nstpipe.motion.flow.method import DETAIL, for_flow
from nstpipe.motion.metrics import coherence, tone
from nstpipe.motion.motion import Motion, motion_between
from nstpipe.style.engines.optimizer import OptimizerEngine, OptimizerStylizer
from nstpipe.style.loss_weights import TOTAL_VARIATION
from nstpipe.style.losses import total_variation
from nstpipe.style.settings import EngineSettings, StylePicture

SAMPLES = Path(__file__).parent.parent / "samples"
STYLE = SAMPLES / "styles" / "van_gogh_starry_night.jpg"
STYLE_LAYERS = tuple(f"relu{block}_1" for block in range(1, 6))

FIRST_ITERATIONS = 200
INDEPENDENT_ITERATIONS = 60
"""Of each frame by itself, from the content: what the later frames of the other ways are held against."""

BRIEF_ITERATIONS, LIGHT_WEIGHT = 20, 0.35
LONG_LAG = 10
SHEET_FRAMES = (1, 2, 10, 30, 75)

DRIFT_FRAMES, DRIFT_SIZE, SECOND = 300, (64, 48), 25
GRAIN_LEVELS = 4.0
"""Standard deviation of the grain, of 255."""

WAYS: dict[str, dict[str, Any]] = {
    "independent": {
        "init": "content",
        "temporal": {"init": "content", "weight": 0},
        "optimizer": {"first": INDEPENDENT_ITERATIONS, "next": INDEPENDENT_ITERATIONS, "tolerance": 0},
    },
    "previous": {"temporal": {"init": "previous", "weight": 0}},
    "warped": {"temporal": {"weight": 0}},
    "full": {"temporal": {"lags": [1, LONG_LAG]}},
    "brief": {"temporal": {"lags": [1, LONG_LAG]}, "optimizer": {"next": BRIEF_ITERATIONS}},
    "light": {"temporal": {"lags": [1, LONG_LAG], "weight": LIGHT_WEIGHT}, "optimizer": {"next": BRIEF_ITERATIONS}},
}


@dataclass(frozen=True)
class Clip:
    """Frames to be painted.

    Attributes:
        size: width and height at which they are painted.
        frames: the originals, twice as large or more.
        scene: where the frames come from, if their motion is known.
    """

    name: str
    size: tuple[int, int]
    frames: tuple[Pixels, ...]
    scene: Scene | None = None

    def motion(self, before: int, now: int, one: Pixels, other: Pixels, size: tuple[int, int]) -> Motion:
        if self.scene is not None:
            return self.scene.motion(before, now)
        return motion_between(for_flow(one, size), for_flow(other, size), size=size)


@dataclass(frozen=True)
class Row:
    """One line of the table; see the module's own words."""

    clip: str
    way: str
    warping_error: float
    long_warping_error: float
    original_warping_error: float
    content_loss: float
    style_loss: float
    total_variation: float
    iterations: float
    seconds: float
    optimizing_share: float

    @property
    def total_loss(self) -> float:
        return self.content_loss + self.style_loss + self.total_variation


def city(size: int, frames: int) -> Clip:
    source = VideoSource(probe(SAMPLES / "video" / "city_night.mp4"))
    first = 23  # the cut
    taken = tuple(frame.pixels for frame in source.read(first, min(75, first + frames)))
    return Clip("city", working_size(source.size, size, even=True), taken)


def synthetic(size: int, frames: int) -> Clip:
    def picture(name: str, width: int) -> Pixels:
        with Image.open(SAMPLES / "streetview" / name) as image:
            pixels = np.asarray(image.convert("RGB"))
        return resized(pixels, (width, round(width * pixels.shape[0] / pixels.shape[1])))

    width, height, fine = size, round(size * 0.5625 / 2) * 2, DETAIL * size
    background = picture("street_03.jpg", round(fine * 1.5))[round(fine * 0.13) :][: DETAIL * height]
    side = round(fine * 0.36)
    foreground = picture("street_06.jpg", round(fine * 0.72))[round(fine * 0.05) :, round(fine * 0.09) :][:side, :side]
    scene = passing(
        background,
        foreground,
        (width, height),
        frames,
        camera_step=size / 4 / frames,
        step=size / 1.6 / frames,
        start=(size * 0.04, height * 0.25),
        detail=DETAIL,
    )
    return Clip("passing", (width, height), tuple(scene.frames), scene)


def painted(
    folder: Path, frames: Sequence[Pixels], longest: int, settings: dict[str, Any]
) -> tuple[list[Pixels], list[FrameDone]]:
    """Paint a clip with `nstpipe run`: what came of it, and what each frame took."""
    height, width, _ = frames[0].shape
    folder.mkdir(parents=True)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", "-"]
    command = [ffmpeg.executable(), "-v", "error", *raw, "-c:v", "ffv1", "-pix_fmt", "bgr0", str(folder / "in.mkv")]
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in frames), check=True)
    optimizer = {"first": FIRST_ITERATIONS, **settings.get("optimizer", {})}
    job = {"name": "clip", "input": "in.mkv", "output": "out.mkv", "style": str(STYLE), "size": longest, "shots": "none"}
    encode = {"codec": "ffv1", "pix_fmt": "bgr0"}
    content = {"version": 1, "workers": 1, "jobs": [{**job, "encode": encode, **settings, "optimizer": optimizer}]}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(content))
    done: list[FrameDone] = []

    def watch(event: Event) -> None:
        if isinstance(event, FrameDone) and event.is_final:
            done.append(event)

    nstpipe.run(folder / "pipeline.yaml", on_event=watch)
    source = VideoSource(probe(folder / "out.mkv"))
    return [frame.pixels for frame in source.read(0, source.frame_count)], done


def default_engine(painting: Pixels, precision: str) -> OptimizerEngine:
    """As the pipeline's defaults have it."""
    settings = EngineSettings(
        weights="bundled",
        device="auto",
        precision=precision,
        pooling="max",
        padding="replicate",
        content_layers=(("relu4_2", 1.0),),
        style_layers=tuple((layer, 1.0) for layer in STYLE_LAYERS),
        strength=1.0,
        style_scale=1.0,
        total_variation=1.0,
        temporal=1.0,
    )
    return OptimizerEngine(settings, [StylePicture(painting, 1.0)])


def losses_of(stylizer: OptimizerStylizer, clip: Clip, index: int, result: Pixels) -> tuple[float, float, float]:
    """Content, style and total variation of a finished frame."""
    image, content = tensor_of(result), tensor_of(resized(clip.frames[index], clip.size))
    with torch.no_grad():
        losses = stylizer.objective(content)(image)
    return float(losses.content), float(losses.style), TOTAL_VARIATION * float(total_variation(image))


def measured(clip: Clip, way: str, stylizer: OptimizerStylizer, results: Sequence[Pixels], done: Sequence[FrameDone]) -> Row:
    ranges = coherence(zip(clip.frames, results, strict=True), (1, LONG_LAG), clip.motion).ranges
    later = done[1:]
    losses = [losses_of(stylizer, clip, index, result) for index, result in enumerate(results[1:], start=1)]
    content, style, variation = np.mean(losses, axis=0).tolist()

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return Row(
        clip=clip.name,
        way=way,
        warping_error=ranges[0].stylized,
        long_warping_error=ranges[1].stylized,
        original_warping_error=ranges[0].original,
        content_loss=content,
        style_loss=style,
        total_variation=variation,
        iterations=mean([frame.evaluations for frame in later]),
        seconds=mean([frame.seconds for frame in later]),
        optimizing_share=sum(frame.optimising_seconds for frame in later) / sum(frame.seconds for frame in later),
    )


def drift(folder: Path) -> dict[str, float]:
    """The last second of a long clip of a still scene with grain, against its first."""
    with Image.open(SAMPLES / "streetview" / "street_03.jpg") as image:
        still = resized(np.asarray(image.convert("RGB")), DRIFT_SIZE).astype(np.float32)
    noise = np.random.default_rng(0)
    frames = [
        (still + noise.normal(0, GRAIN_LEVELS, still.shape)).round().clip(0, 255).astype(np.uint8) for _ in range(DRIFT_FRAMES)
    ]
    results, done = painted(folder, frames, max(DRIFT_SIZE), {})
    tones = [tone(index, pixels) for index, pixels in enumerate(results)]
    losses = [frame.content_loss + frame.style_loss for frame in done]
    first, last = slice(0, SECOND), slice(-SECOND, None)

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return {
        "frames": DRIFT_FRAMES,
        "luminance_levels": mean([one.luminance for one in tones[last]]) - mean([one.luminance for one in tones[first]]),
        "detail_ratio": mean([one.detail for one in tones[last]]) / mean([one.detail for one in tones[first]]),
        "loss_ratio": mean(losses[last]) / mean(losses[first]),
        "iterations": mean([frame.evaluations for frame in done[1:]]),
    }


def sheet(clip: Clip, results: dict[str, list[Pixels]]) -> Pixels:
    """A row a way, a column for each of `SHEET_FRAMES`; the original on top."""
    indices = [number - 1 for number in SHEET_FRAMES if number <= len(clip.frames)]
    rows = [[resized(frame, clip.size) for frame in clip.frames], *results.values()]
    return np.vstack([np.hstack([row[index] for index in indices]) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--clips", nargs="+", choices=("city", "passing"), default=("city", "passing"))
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=tuple(WAYS))
    parser.add_argument("--drift", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    rows: list[Row] = []
    found: dict[str, Any] = {}
    with Image.open(STYLE) as image:
        stylizer = default_engine(np.asarray(image.convert("RGB")), "float32").stylizer(None)
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        for make in (city, synthetic):
            clip = make(arguments.size, arguments.frames)
            if clip.name not in arguments.clips:
                continue
            results = {}
            ways = {way: settings for way, settings in WAYS.items() if way in arguments.ways}
            for way, settings in ways.items():
                results[way], done = painted(folder / clip.name / way, clip.frames, max(clip.size), settings)
                rows.append(measured(clip, way, stylizer, results[way], done))
                row = rows[-1]
                print(
                    f"{row.clip:8} {row.way:12} warping error {row.warping_error:.6f} long {row.long_warping_error:.6f} "
                    f"(original {row.original_warping_error:.6f})  content {row.content_loss:.3f} style {row.style_loss:.3f} "
                    f"variation {row.total_variation:.3f} total {row.total_loss:.3f}  {row.iterations:.1f} iterations, "
                    f"{row.seconds:.2f} s a frame, {row.optimizing_share:.1%} of it optimizing",
                    flush=True,
                )
            alone, *others = rows[-len(ways) :]
            for row in others if alone.way == "independent" else ():
                print(
                    f"{clip.name}: {row.way} against independent: {alone.warping_error / row.warping_error:.1f} times less "
                    f"warping error, {row.total_loss / alone.total_loss:.3f} times the total loss, "
                    f"{row.iterations / alone.iterations:.2f} times the iterations"
                )
            Image.fromarray(sheet(clip, results)).save(folder / f"{clip.name}.png")
        if arguments.drift:
            found["drift"] = drift(folder / "drift")
            print("drift:", ", ".join(f"{key} {value:.4g}" for key, value in found["drift"].items()))
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
        found |= {"machine": machine, "size": arguments.size, "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
