"""All that is wrong in one go: in the file, and in what the right part of it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nstpipe import api
from nstpipe.cli import exit_code
from tests.making import make_picture, make_video

TEXT = """\
version: 1
device: gpu
defaults: {style: style.png, size: 64}
jobs:
  - {name: right, input: in, output: out/right}
  - {name: wrong, input: in, output: out/wrong, sise: 3}
  - {name: gone, input: gone.mp4, output: out/gone.mp4}
  - {name: unpainted, input: film.mp4, output: out/film.mp4, style: text.png}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    make_picture(tmp_path / "style.png")
    make_picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_text("no picture")
    (tmp_path / "text.png").write_text("no picture")
    make_video(tmp_path / "film.mp4", frames=2)
    (tmp_path / "pipeline.yaml").write_text(TEXT)
    return tmp_path / "pipeline.yaml"


def test_faults_of_the_file_and_of_the_inputs_are_found_together(pipeline: Path) -> None:
    found = api.validate(pipeline)
    assert [(problem.line, problem.key) for problem in found.problems] == [(2, "device"), (6, "jobs.wrong.sise")]
    assert [(failure.job, Path(failure.path).name) for failure in found.failures] == [
        ("right", "b.png"), ("gone", "gone.mp4"), ("unpainted", "text.png"),
    ]  # fmt: skip
    assert found.usable == 1, "the film cannot be painted without its painting"


def test_one_table_says_it_all(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["validate", str(pipeline)]) == 78
    said = capsys.readouterr()
    assert said.err == ""
    head, _, *rows, last = [line for line in said.out.splitlines() if line.strip()]
    assert head.split() == ["where", "what", "is", "wrong"]
    assert [row.split("  ")[0].strip() for row in rows] == [
        "pipeline.yaml:2: device", "pipeline.yaml:6: jobs.wrong.sise", "job right", "job gone", "job unpainted",
    ]  # fmt: skip
    assert last.endswith("has 2 faults; 3 things that it reads cannot be used.")
    pipeline.write_text(TEXT.replace("device: gpu", "device: cpu").replace(", sise: 3", ""))
    assert exit_code(["validate", str(pipeline)]) == 2
    assert "has no fault of its own; 4 things that it reads cannot be used." in capsys.readouterr().out


def test_the_same_for_machines(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["validate", str(pipeline), "--json"]) == 78
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line.get("line") or line["job"] for line in lines] == [2, 6, "right", "gone", "unpainted"]
    assert "faults" in said.err


def test_a_file_that_is_no_yaml_has_no_right_part(pipeline: Path) -> None:
    pipeline.write_text("version: 1\njobs: [\n")
    found = api.validate(pipeline)
    assert (len(found.problems), found.failures, found.usable) == (1, (), 0)
