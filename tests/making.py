"""Small real media and pipelines, made by ffmpeg and Pillow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.made_once import make_with_ffmpeg


def make_video(path: Path, *, frames: int = 6, size: str = "64x48", audio: bool = True, pan_pixels: int = 0) -> Path:
    """A moving test picture at 25 frames a second, with a tone; if the camera pans, by so many pixels a frame to the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = frames / 25
    width, height = (int(side) for side in size.split("x"))
    picture = f"testsrc2=size={width + frames * pan_pixels}x{height}:rate=25:duration={seconds}"
    video = ["-f", "lavfi", "-i", f"{picture},crop={width}:{height}:n*{pan_pixels}:0"]
    sound = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}", "-c:a", "aac"] if audio else []
    return make_with_ffmpeg(*video, *sound, "-c:v", "libx264", "-pix_fmt", "yuv420p", result=path)


def make_picture(path: Path, seed: int = 0, size: tuple[int, int] = (72, 54)) -> Path:
    """A smooth colored picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


QUICK: dict[str, Any] = {
    "size": 48,
    "style": {"images": ["style.png"], "layers": {"relu1_1": 1, "relu2_1": 1}},
    "content": {"layers": {"relu2_2": 1}},
    "optimizer": {"first": 3, "next": 2},
}
"""Settings of a job that takes a moment: a tiny picture and the first layers of VGG19, but the real engine and its weights.

Nine tenths of the time of a tiny picture go into the layers behind these. The tests of `style/`, the examples of the documents
and the frames that must stay the same take all layers.
"""

ALL_LAYERS: dict[str, Any] = {"style": "style.png", "content": {}}
"""Settings of a job that brings back the layers that jobs have by default."""


def write_pipeline(folder: Path, *jobs: dict[str, Any], **top: Any) -> Path:
    """A pipeline.yaml in `folder`, on the CPU in float32, with quick jobs."""
    make_picture(folder / "style.png", seed=9)
    content = {
        "version": 1,
        "device": "cpu",
        "precision": "float32",
        "jobs": [{**QUICK, **job} for job in jobs],
        **top,
    }
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@contextmanager
def small_disk(folder: Path, size: str, *options: str) -> Iterator[None]:
    """A disk of its own for a folder; skips where that cannot be had."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here: it takes Linux and a superuser")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
