"""All that is wrong in one go: in the file, and in what the right part of it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nstpipe import api
from nstpipe.cli import exit_code
from tests.making import make_picture, make_video, write_pipeline

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
    assert head.split() == ["where", "problem"]
    assert [row.split("  ")[0].strip() for row in rows] == [
        "pipeline.yaml:2: device", "pipeline.yaml:6: jobs.wrong.sise", "job right", "job gone", "job unpainted",
    ]  # fmt: skip
    assert last.endswith("has 2 problems, and 3 files it refers to cannot be used.")
    pipeline.write_text(TEXT.replace("device: gpu", "device: cpu").replace(", sise: 3", ""))
    assert exit_code(["validate", str(pipeline)]) == 2
    assert "is valid, but 4 files it refers to cannot be used." in capsys.readouterr().out


def test_the_same_for_machines(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["validate", str(pipeline), "--json"]) == 78
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line.get("line") or line["job"] for line in lines] == [2, 6, "right", "gone", "unpainted"]
    assert "2 problems" in said.err


def test_a_file_that_is_no_yaml_has_no_right_part(pipeline: Path) -> None:
    pipeline.write_text("version: 1\njobs: [\n")
    found = api.validate(pipeline)
    assert (len(found.problems), found.failures, found.usable) == (1, (), 0)


def test_what_a_run_would_end_with_at_once_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_picture(tmp_path / "in" / "a.png")
    (tmp_path / "text").write_text("no folder")
    job = {"name": "one", "input": "in", "output": "text/out", "temporal": {"flow": "gone.pth"}}
    wrong = {"weights": "missing.pth", "device": "cuda:99", "work": "text"}
    pipeline = write_pipeline(tmp_path, job, {**job, "name": "two", "output": "out"}, **wrong)
    found = api.validate(pipeline)
    said = [str(error) for error in found.missing]
    for words in ("found cuda:99", "missing.pth cannot be read", "gone.pth does not exist", "text cannot be written to"):
        assert len([error for error in said if words in error]) == 1, words
    assert len(said) == 4
    [failure] = found.failures
    assert (failure.job, found.problems, found.usable) == ("one", (), 1)
    assert "text/out cannot be made" in failure.reason
    assert not (tmp_path / "out").exists()
    assert exit_code(["validate", str(pipeline)]) == 69
    assert "this machine lacks 4 things that a run needs" in capsys.readouterr().out
    pipeline = write_pipeline(tmp_path, {**job, "temporal": {}})
    assert exit_code(["validate", str(pipeline), "--json"]) == 73
    [line] = capsys.readouterr().out.splitlines()
    assert "text/out cannot be made" in json.loads(line)["message"]


def test_what_a_trial_encode_finds_is_found(tmp_path: Path) -> None:
    make_video(tmp_path / "film.mp4", frames=2)
    job = {"name": "film", "input": "film.mp4", "output": "out/film.mp4", "encode": {"preset": "hasty"}}
    [failure] = api.validate(write_pipeline(tmp_path, job)).failures
    assert (failure.job, Path(failure.path).name, "hasty" in failure.reason) == ("film", "film.mp4", True)
    again = {**job, "name": "again", "encode": {}}
    assert api.validate(write_pipeline(tmp_path, again)) == api.Validation((), (), 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "pipeline.yaml", "style.png"]


def test_two_jobs_that_write_the_same_file_are_found(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "deep" / "a.png")
    outer = {"name": "outer", "input": "in", "output": "out"}
    inner = {"name": "inner", "input": "in/deep", "output": "out/deep"}
    [failure] = api.validate(write_pipeline(tmp_path, outer, inner)).failures
    assert (failure.job, "would both be written to" in failure.reason) == ("inner", True)


def test_a_variable_that_is_not_set_is_told_once(tmp_path: Path) -> None:
    pipeline = write_pipeline(tmp_path, {"name": "one", "input": "${NSTPIPE_NOWHERE}", "output": "out"})
    found = api.validate(pipeline)
    assert ([problem.key for problem in found.problems], found.failures) == (["jobs[0].input"], ())
