"""Paints a short form of the sample video and a linked folder, whose frames must stay the same to the byte.

``python -m tests.unchanged.painting`` writes the reference anew. Do so only where pictures are meant to change, together with
a raised `ALGORITHM_VERSION`.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

import nstpipe

HERE = Path(__file__).parent
SAMPLES = HERE.parent.parent / "samples"
REFERENCE, SHEET = HERE / "reference.json", HERE / "reference.png"

CITY_FRAMES = range(16, 34)
"""Frames of the sample video that are painted, counted from 0; frame 24 begins its second shot."""

SHOWN = tuple(f"city/frame_{number:05d}.png" for number in (16, 23, 24, 33))
"""Frames in the sheet: the first, both sides of the cut, and the last. The linked pictures are there as well."""

THREADS = 2
"""Rounding depends on how sums and pictures are shared out, so both jobs are painted by as many threads on every machine."""

PAN_PIXELS, PICTURES = 10, 4
"""How far apart the linked pictures are, and how many there are."""


def pipeline_in(folder: Path) -> Path:
    """Write both jobs into a folder: a cut of the sample video, and linked pictures with masks and `color: content`."""
    (folder / "film").mkdir(parents=True)
    with av.open(str(SAMPLES / "video" / "city_night.mp4")) as container:
        for frame_index, frame in enumerate(container.decode(video=0)):
            if frame_index in CITY_FRAMES:
                frame.to_image().save(folder / "film" / f"frame_{frame_index:05d}.png")
    with Image.open(SAMPLES / "streetview" / "street_03.jpg") as street:
        whole = street.convert("RGB").resize((320, 180), Image.Resampling.BICUBIC)
    (folder / "street").mkdir(parents=True)
    for number in range(PICTURES):
        whole.crop((number * PAN_PIXELS, 0, number * PAN_PIXELS + 240, 180)).save(folder / "street" / f"picture_{number}.png")
    ramp = np.linspace(0, 255, 180, dtype=np.uint8)[:, None].repeat(240, axis=1)
    Image.fromarray(ramp).save(folder / "ground.png")
    block = np.zeros((180, 240), np.uint8)
    block[20:70, 30:110] = 255
    Image.fromarray(block).save(folder / "plate.png")
    styles = SAMPLES / "styles"
    settings = {
        "version": 1,
        "device": "cpu",
        "precision": "float32",
        "workers": 1,
        "jobs": [
            {
                "name": "city",
                "input": "film/frame_%05d.png",
                "output": "city/frame_%05d.png",
                "style": str(styles / "van_gogh_starry_night.jpg"),
                "size": 96,
                "optimizer": {"first": 8, "next": 3},
            },
            {
                "name": "linked",
                "input": "street",
                "output": "linked",
                "style": {
                    "images": [
                        str(styles / "van_gogh_cafe_terrace.jpg"),
                        {"path": str(styles / "van_gogh_night_cafe.jpg"), "weight": 0.5},
                    ],
                    "strength": 1.5,
                },
                "regions": [
                    {"mask": "plate.png", "style": "keep"},
                    {"mask": "ground.png", "style": str(styles / "van_gogh_starry_night.jpg")},
                ],
                "color": "content",
                "size": 120,
                "optimizer": {"first": 8, "next": 4},
            },
        ],
    }
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def painted(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Run both jobs by `THREADS` threads, and give all their pictures by their paths below the folder."""
    with _threads(THREADS):
        result = nstpipe.run(pipeline_in(folder))
    assert result.exit_code == 0, result.failures
    paths = sorted(path for name in ("city", "linked") for path in (folder / name).glob("*.png"))
    return {path.relative_to(folder).as_posix(): np.asarray(Image.open(path).convert("RGB")) for path in paths}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    torch_threads, opencv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(opencv_threads)


def machine() -> str:
    """What rounding depends on: equal machines give equal bytes, others give neighboring levels."""
    cpu = next((line for line in _cpu_lines() if line.startswith("model name")), platform.processor())
    flags = next((line for line in _cpu_lines() if line.startswith("flags")), "")
    parts = (cpu, hashlib.sha256(flags.encode()).hexdigest()[:8], torch.backends.cpu.get_cpu_capability(), torch.__version__)
    libraries = (f"{THREADS} threads", f"OpenCV {cv2.__version__}", f"Pillow {Image.__version__}")
    return " | ".join((*parts, *libraries))


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def digests(pictures: dict[str, NDArray[np.uint8]]) -> dict[str, str]:
    """sha256 of each picture's pixels."""
    return {name: hashlib.sha256(pixels.tobytes()).hexdigest() for name, pixels in pictures.items()}


def sheet(pictures: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The pictures shown, from left to right, at the top of a black strip."""
    shown = [*SHOWN, *(name for name in pictures if name.startswith("linked/"))]
    height = max(pictures[name].shape[0] for name in shown)
    parts = [np.pad(pictures[name], ((0, height - pictures[name].shape[0]), (0, 0), (0, 0))) for name in shown]
    return np.concatenate(parts, axis=1)


def write_reference() -> None:
    """Write down what this version paints; machines known before stay only if their pictures are these."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = painted(Path(folder))
    REFERENCE.write_text(json.dumps({"machine": machine(), "sha256": digests(pictures)}, indent=1) + "\n", encoding="utf-8")
    Image.fromarray(sheet(pictures)).save(SHEET)


if __name__ == "__main__":
    write_reference()
