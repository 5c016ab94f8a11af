"""Small pipeline.yaml texts, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nstpipe.config import Pipeline, load_pipeline
from nstpipe.errors import ConfigError, Problem

REPOSITORY = Path(__file__).parents[2]

CONTRACT = """\
version: 1
work: .nstpipe
device: auto
workers: auto
weights: bundled
seed: 0
defaults:
  size: 512
jobs:
  - name: city-night
    input: samples/video/city_night.mp4
    output: out/city_night.mp4
    style: samples/styles/van_gogh_starry_night.jpg
    size: 320
  - name: street
    input: samples/streetview
    output: out/streetview
    include: ["**/*.jpg"]
    exclude: []
    style:
      images:
        - samples/styles/van_gogh_cafe_terrace.jpg
        - {path: samples/styles/van_gogh_night_cafe.jpg, weight: 0.5}
      strength: 1.0
      scale: 1.0
      layers: {relu1_1: 1, relu2_1: 1, relu3_1: 1, relu4_1: 1, relu5_1: 1}
    content: {layers: {relu4_2: 1}}
    color: style
    init: matched
    optimizer: {name: lbfgs, first: 200, next: 30, tolerance: 0.001}
    temporal: {init: warped, weight: 1.0}
    shots: auto
    encode: {codec: libx264, crf: 18}
    audio: copy
    metadata: keep
"""
"""What the format's description shows."""


def job(*lines: str, name: str = "a", **keys: str) -> str:
    """A job with all that is required, then `lines`. A key given as "" is left out."""
    required = {"name": name, "input": f"in/{name}", "output": f"out/{name}", "style": "style.jpg", **keys}
    return "  - " + "\n    ".join([*(f"{key}: {value}" for key, value in required.items() if value), *lines]) + "\n"


def document(*jobs: str, top: str = "") -> str:
    """A file with these jobs. The lines of `top` start at line 2; without it the first job starts at line 3."""
    return f"version: 1\n{top}jobs:\n{''.join(jobs)}"


def load(folder: Path, text: str, *overrides: str, **environment: str) -> Pipeline:
    file = folder / "pipeline.yaml"
    file.write_bytes(text.encode())
    return load_pipeline(file, overrides, environment)


def problems(folder: Path, text: str, *overrides: str, **environment: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides, **environment)
    assert caught.value.problems
    return caught.value.problems


def only_problem(folder: Path, text: str, *overrides: str, **environment: str) -> Problem:
    found = problems(folder, text, *overrides, **environment)
    assert len(found) == 1, found
    return found[0]


def marked(text: str) -> list[int]:
    """Numbers of the lines that carry the comment ``# <-``."""
    return [number for number, line in enumerate(text.split("\n"), start=1) if "# <-" in line]
