"""A first pipeline.yaml: whatever the inputs are called, it is one that nstpipe can read, and says what was seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from nstpipe import api
from nstpipe.cli import exit_code
from nstpipe.commands.scaffold import default_output, look_at
from nstpipe.config import load_pipeline
from nstpipe.errors import UsageError
from nstpipe.planning.inputs import find_inputs
from tests.making import make_picture, make_video

ODD_NAMES = [
    "two words",
    'it\'s "quoted"',
    "colon: space",
    "hash #1",
    "海辺の街 éü",
    "-leading",
    "~home",
    "$HOME ${HOME}",
    "{clip}",
    "no",
    "12",
    "1e3",
    "[a-z]*",
    "new\nline",
    "tab\there",
    " spaces ",
    "back\\slash",
    "& anchor *alias !tag |",
    "%05d",
]


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses most of these names")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_input_of_any_name_makes_a_pipeline_that_validates(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture = make_picture(tmp_path / name / f"{name}.jpg")
    folder = make_picture(tmp_path / "more" / name / "deep" / "p.png").parents[1]
    style = make_picture(tmp_path / f"style {name}.png")
    given = [str(path.relative_to(tmp_path)) for path in (picture, folder)]
    assert exit_code(["init", "--style", str(style), "--output", f"out {name}", "--yes", "--", *given]) == 0
    pipeline = load_pipeline(tmp_path / "pipeline.yaml", environment={})
    assert [job.input for job in pipeline.jobs] == [picture, folder]
    assert [image.path for job in pipeline.jobs for image in job.style.images] == [style, style]
    assert {job.output.parent for job in pipeline.jobs} == {tmp_path / f"out {name}"}
    assert api.validate(pipeline) == api.Validation((), (), 2)


def test_what_was_seen_is_said(tmp_path: Path) -> None:
    make_video(tmp_path / "film.mp4", frames=6)
    for number, size in enumerate([(72, 54), (90, 60)]):
        make_picture(tmp_path / "pictures" / f"{number}.png", size=size)
    assert look_at(tmp_path / "film.mp4").described == "64x48 pixels, 6 frames, 25 a second, 0.2 s, with sound"
    assert look_at(tmp_path / "pictures").described == "2 pictures, 72x54 to 90x60 pixels"
    assert look_at(tmp_path / "pictures" / "1.png").described == "a picture of 90x60 pixels"


def test_panoramas_are_noticed(samples: Path) -> None:
    seen = look_at(samples / "streetview" / "street_08_360.jpg")
    assert seen.has_panoramas
    assert seen.described.startswith("a 360° panorama")


def test_a_job_for_each_input_and_style_with_names_and_outputs_of_their_own(tmp_path: Path) -> None:
    films = [make_video(tmp_path / folder / "film.mp4", frames=1, audio=False) for folder in ("one", "two")]
    old = films[1].with_suffix(".avi")
    films[1].rename(old)
    styles = [make_picture(tmp_path / f"{name}.png") for name in ("night", "day")]
    options = [part for style in styles for part in ("--style", str(style))]
    arguments = ["init", str(films[0]), str(old), *options, "--yes", "-o", str(tmp_path / "p.yaml"), "--size", "64"]
    assert exit_code(arguments) == 0
    pipeline = load_pipeline(tmp_path / "p.yaml")
    assert [job.name for job in pipeline.jobs] == ["film_night", "film_day", "film_night-2", "film_day-2"]
    assert [job.output.name for job in pipeline.jobs] == [
        "film_night.mp4", "film_day.mp4", "film_night-2.mkv", "film_day-2.mkv",
    ]  # fmt: skip
    assert {job.size for job in pipeline.jobs} == {64}


def test_small_inputs_keep_their_size(tmp_path: Path) -> None:
    style = make_picture(tmp_path / "style.png")
    assert exit_code(["init", str(style), "--style", str(style), "--yes", "-o", str(tmp_path / "p.yaml")]) == 0
    [job] = load_pipeline(tmp_path / "p.yaml").jobs
    assert job.size == "native"
    assert job.output == tmp_path / "out" / "style.png"


def test_a_picture_of_any_name_goes_to_a_picture(tmp_path: Path) -> None:
    style = make_picture(tmp_path / "style.png")
    names = {"a.bmp": "BMP", "b.jfif": "JPEG", "c.dat": "PNG", "d.BMP": "BMP"}
    for name, kind in names.items():
        with Image.open(style) as image:
            image.save(tmp_path / name, format=kind)
        assert look_at(tmp_path / name).described == "a picture of 72x54 pixels"
    given = [str(tmp_path / name) for name in names]
    assert exit_code(["init", *given, "--style", str(style), "--yes", "-o", str(tmp_path / "p.yaml")]) == 0
    pipeline = load_pipeline(tmp_path / "p.yaml")
    outputs = [file.output.relative_to(tmp_path).as_posix() for job in pipeline.jobs for file in find_inputs(job)]
    assert outputs == ["out/a.bmp", "out/b.jfif", "out/c.png", "out/d.BMP"]
    assert api.validate(pipeline) == api.Validation((), (), 4)


def test_results_do_not_become_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_picture(tmp_path / "pictures" / "a.png").parent
    style = make_picture(tmp_path / "style.png")
    assert default_output([folder], folder / "pipeline.yaml") == tmp_path / "pictures_painted"
    monkeypatch.chdir(folder)
    assert exit_code(["init", ".", "--style", str(style), "--yes"]) == 0
    assert api.validate(folder / "pipeline.yaml") == api.Validation((), (), 1)


def test_nothing_is_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    style = make_picture(tmp_path / "style.png")
    file = tmp_path / "pipeline.yaml"
    file.write_text("mine")
    arguments = ["init", str(style), "--style", str(style), "--yes", "-o", str(file)]
    assert exit_code(arguments) == 64
    assert "is there already" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert exit_code([*arguments, "--output", str(style), "--force"]) == 64, "the output would be within the input"
    assert file.read_text() == "mine"
    assert exit_code([*arguments, "--force"]) == 0
    assert "version: 1" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no input is given"),
        (["gone.mp4"], "gone.mp4 does not exist"),
        (["text.txt"], "text.txt"),
        (["empty"], "holds no picture"),
        (["style.png"], "no --style is given"),
        (["style.png", "--style", "gone.png"], "gone.png does not exist"),
        (["style.png", "--style", "text.txt"], "text.txt is no picture"),
        (["style.png", "--style", "style.png", "--size", "20"], "32 to 16384 pixels, or native"),
        (["style.png", "--style", "style.png", "--size", "big"], "32 to 16384 pixels, or native"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_picture(tmp_path / "style.png")
    (tmp_path / "text.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    assert exit_code(["init", *arguments, "--yes"]) == 64
    assert said in capsys.readouterr().err
    assert not (tmp_path / "pipeline.yaml").exists()


def test_a_path_that_yaml_cannot_hold_is_said(tmp_path: Path) -> None:
    try:
        picture = make_picture(tmp_path / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    from nstpipe.commands.scaffold import pipeline_text

    with pytest.raises(UsageError, match="Rename it first"):
        pipeline_text([look_at(picture)], [picture], tmp_path / "out", None, tmp_path / "p.yaml")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_on_a_terminal_it_asks_and_asks_again(tmp_path: Path) -> None:
    make_picture(tmp_path / "my picture.png")
    make_picture(tmp_path / "style.png")
    import pty

    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "nstpipe", "init"], cwd=tmp_path, stdin=there, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.write(here, b"gone.png\n'my picture.png'\nstyle.png\n\nnative\n")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"gone.png does not exist" in out
    [job] = load_pipeline(tmp_path / "pipeline.yaml").jobs
    assert (job.input.name, job.output, job.size) == ("my picture.png", tmp_path / "out" / "my picture.png", "native")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_leaving_the_questions_is_no_bug(tmp_path: Path) -> None:
    import pty

    here, there = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "nstpipe", "init"], cwd=tmp_path, stdin=there, stderr=subprocess.PIPE)
    os.write(here, b"\x04")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
