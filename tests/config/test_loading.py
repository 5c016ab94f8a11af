"""What a right file becomes: values, defaults, paths."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nstpipe.config import Job, Pipeline, load_pipeline

from .making import CONTRACT, REPOSITORY, document, job, load


def value_at(model: Any, key: str) -> Any:
    for step in key.split("."):
        model = model[step] if isinstance(model, dict) else getattr(model, step)
    return list(model) if isinstance(model, tuple) else model


def test_the_contracts_example(tmp_path: Path) -> None:
    pipeline = load(tmp_path, CONTRACT)
    night, street = pipeline.jobs
    assert (night.name, street.name) == ("city-night", "street")
    assert (night.size, street.size) == (320, 512)
    assert night.output == tmp_path / "out/city_night.mp4"
    assert [picture.path for picture in night.style.images] == [tmp_path / "samples/styles/van_gogh_starry_night.jpg"]
    assert [(picture.path.name, picture.weight) for picture in street.style.images] == [
        ("van_gogh_cafe_terrace.jpg", 1.0),
        ("van_gogh_night_cafe.jpg", 0.5),
    ]
    assert street.include == ("**/*.jpg",)
    assert street.encode.crf == 18
    assert street.optimizer.tolerance == 0.001


def test_the_repositorys_own_file() -> None:
    pipeline = load_pipeline(REPOSITORY / "pipeline.yaml")
    assert [(entry.name, entry.size) for entry in pipeline.jobs] == [("city-night", 320), ("street", 384)]
    assert all(entry.input.exists() and entry.style.images[0].path.is_file() for entry in pipeline.jobs)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("device", "auto"),
        ("precision", "auto"),
        ("workers", "auto"),
        ("weights", "bundled"),
        ("seed", 0),
    ],
)
def test_defaults_of_the_file(tmp_path: Path, key: str, expected: Any) -> None:
    assert value_at(load(tmp_path, document(job())), key) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("size", 512),
        ("include", None),
        ("exclude", []),
        ("style.strength", 1.0),
        ("style.scale", 1.0),
        ("style.layers", {"relu1_1": 1, "relu2_1": 1, "relu3_1": 1, "relu4_1": 1, "relu5_1": 1}),
        ("content.layers", {"relu4_2": 1}),
        ("color", "style"),
        ("init", "matched"),
        ("total_variation", 1.0),
        ("pooling", "max"),
        ("padding", "replicate"),
        ("optimizer.name", "lbfgs"),
        ("optimizer.first", 200),
        ("optimizer.next", 30),
        ("optimizer.tolerance", 0.001),
        ("temporal.init", "warped"),
        ("temporal.weight", 1.0),
        ("temporal.lags", [1]),
        ("temporal.passes", 1),
        ("temporal.flow", "dis"),
        ("shots", "auto"),
        ("link", "auto"),
        ("encode.codec", None),
        ("encode.crf", None),
        ("encode.preset", None),
        ("encode.pix_fmt", None),
        ("audio", "copy"),
        ("metadata", "keep"),
    ],
)
def test_defaults_of_a_job(tmp_path: Path, key: str, expected: Any) -> None:
    entry = load(tmp_path, document(job())).jobs[0]
    assert value_at(entry, key) == expected
    (picture,) = entry.style.images
    assert picture.weight == 1.0


def test_the_work_folder_lies_beside_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, document(job())).work == tmp_path / ".nstpipe"


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir()
    folder.mkdir()
    top = "work: state\nweights: vgg19.pth\n"
    text = document(job("init: first.png", style="{images: [b.jpg, {path: c.jpg}]}"), top=top)

    monkeypatch.chdir(elsewhere)
    pipeline = load(folder, text)
    monkeypatch.chdir(folder)
    assert load_pipeline(Path("pipeline.yaml")) == pipeline

    (entry,) = pipeline.jobs
    assert (pipeline.work, pipeline.weights) == (folder / "state", folder / "vgg19.pth")
    assert (entry.input, entry.output, entry.init) == (folder / "in/a", folder / "out/a", folder / "first.png")
    assert [picture.path for picture in entry.style.images] == [folder / "b.jpg", folder / "c.jpg"]


def test_absolute_and_home_paths_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere/home")
    (entry,) = load(tmp_path, document(job(input="/media/clips", output="~/out"))).jobs
    assert (entry.input, entry.output) == (Path("/media/clips"), Path("/somewhere/home/out"))


@pytest.mark.parametrize(
    ("line", "key", "expected"),
    [
        ("size: native", "size", "native"),
        ("size: 32", "size", 32),
        ("size: 16384", "size", 16384),
        ("init: noise", "init", "noise"),
        ("optimizer: {tolerance: 1e-3}", "optimizer.tolerance", 0.001),
        ("optimizer: {tolerance: 0}", "optimizer.tolerance", 0.0),
        ("total_variation: 2", "total_variation", 2.0),
        ("content: {layers: {conv5_4: 2.5, pool1: 1e+2}}", "content.layers", {"conv5_4": 2.5, "pool1": 100.0}),
        ("encode: {crf: 0, preset: veryslow, pix_fmt: yuv420p}", "encode.preset", "veryslow"),
    ],
)
def test_values_that_are_right(tmp_path: Path, line: str, key: str, expected: Any) -> None:
    found = value_at(load(tmp_path, document(job(line))).jobs[0], key)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
def test_devices(tmp_path: Path, device: str) -> None:
    assert load(tmp_path, document(job(), top=f"device: {device}\n")).device == device


@pytest.mark.parametrize("weights", ["bundled", "torchvision"])
def test_weights_by_name_are_no_path(tmp_path: Path, weights: str) -> None:
    assert load(tmp_path, document(job(), top=f"weights: {weights}\n")).weights == weights


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "libx265"), ("mp4", "libsvtav1"), ("mov", "prores"), ("mkv", "ffv1"), ("webm", "libsvtav1"), ("MP4", "libx264")],
)
def test_codecs_and_containers_that_go_together(tmp_path: Path, suffix: str, codec: str) -> None:
    (entry,) = load(tmp_path, document(job(f"encode: {{codec: {codec}}}", output=f"out/a.{suffix}"))).jobs
    assert entry.encode.codec == codec


def test_text_with_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    text = document(job("size: 64"))
    assert load(tmp_path, "\ufeff" + text.replace("\n", "\r\n")) == load(tmp_path, text)


@pytest.mark.parametrize("name", ["name", "style", "invented"])
def test_models_cannot_be_changed(tmp_path: Path, name: str) -> None:
    pipeline = load(tmp_path, document(job()))
    before = pipeline.model_dump()
    for model in (pipeline, pipeline.jobs[0], pipeline.jobs[0].style, pipeline.jobs[0].encode):
        with pytest.raises(ValidationError):
            setattr(model, name, "b")
    assert pipeline.model_dump() == before


def test_two_loads_share_nothing_that_can_change(tmp_path: Path) -> None:
    text = document(job())
    load(tmp_path, text).jobs[0].content.layers["relu1_1"] = 5.0
    assert load(tmp_path, text).jobs[0].content.layers == {"relu4_2": 1}


def test_the_package_gives_its_names() -> None:
    assert Pipeline.model_fields["jobs"].annotation == tuple[Job, ...]


def test_importing_and_loading_needs_no_heavy_package(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(document(job()))
    program = (
        "import sys, pathlib, nstpipe.config as config\n"
        "config.load_pipeline(pathlib.Path(sys.argv[1])); config.json_schema()\n"
        "print(sorted({'torch', 'torchvision', 'cv2', 'av', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "pipeline.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
