"""Named pipes and devices, which would be read forever, are refused wherever a path is given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nstpipe.cli import exit_code
from tests.making import make_picture, make_video, write_pipeline

pytestmark = [pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes of this kind"), pytest.mark.timeout(60)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pipe under each kind of name, and a link to an endless device."""
    for name in ("pipe.mp4", "pipe.png", "numbered/f_2.png", "masks/0002.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.mkfifo(tmp_path / name)
    (tmp_path / "endless.mp4").symlink_to("/dev/zero")
    make_picture(tmp_path / "numbered" / "f_1.png")
    make_picture(tmp_path / "masks" / "0001.png")
    make_picture(tmp_path / "a.png")
    make_video(tmp_path / "film.mp4", frames=2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    return tmp_path


JOBS = {
    "a video": ({"input": "pipe.mp4", "output": "out.mp4"}, "pipe.mp4 cannot be read: it is a named pipe, not a file."),
    "a picture": ({"input": "pipe.png", "output": "out.png"}, "pipe.png cannot be read: it is a named pipe"),
    "a device": ({"input": "endless.mp4", "output": "out.mp4"}, "endless.mp4 cannot be read: it is a device"),
    "a numbered picture": ({"input": "numbered/f_%d.png", "output": "out.mp4"}, "f_2.png cannot be read: it is a named pipe"),
    "a painting": ({"input": "a.png", "output": "out.png", "style": "pipe.png"}, "style.images[0]: "),
    "a start picture": ({"input": "a.png", "output": "out.png", "init": "pipe.png"}, "init: "),
    "a mask": (
        {"input": "film.mp4", "output": "out.mp4", "regions": [{"mask": "masks", "style": "keep"}]},
        "0002.png cannot be read: it is a named pipe",
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_names_one_fails_and_the_other_is_planned(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, said = JOBS[name]
    good = {"name": "good", "input": "a.png", "output": "good.png"}
    pipeline = write_pipeline(folder, {"name": "bad", "shots": "none", **job}, good)
    assert exit_code(["plan", str(pipeline), "--no-calibrate"]) == 2
    found = "".join(capsys.readouterr())
    assert said in found
    assert "to do: new" in found
    if name != "a numbered picture":  # whose first picture alone is opened
        assert exit_code(["validate", str(pipeline)]) == 2
        assert said in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("metrics", "pipe.mp4", "film.mp4"), 65, "pipe.mp4 cannot be read: it is a named pipe"),
        (("metrics", "film.mp4", "film.mp4", "--style", "pipe.png"), 65, "pipe.png cannot be read: it is a named pipe"),
        (("run", "pipeline.yaml", "--set", "weights=pipe.png"), 69, "weights: "),
        (("plan", "pipeline.yaml", "--set", "ffmpeg=pipe.png"), 69, "--set ffmpeg: "),
    ],
)
def test_a_command_that_is_given_one_ends(
    arguments: tuple[str, ...], code: int, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pipeline(folder, {"name": "good", "input": "a.png", "output": "good.png"})
    assert exit_code(arguments) == code
    assert said in "".join(capsys.readouterr())
