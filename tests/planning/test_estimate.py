"""What a run would take: counted by hand, with a pace that a trial or an earlier run has given."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from nstpipe import api
from nstpipe.cli import exit_code
from nstpipe.events import JobPlanned
from nstpipe.journal.journal import Journal
from tests.making import make_picture, make_video, write_pipeline

LONG = {"optimizer": {"first": 10, "next": 4}, "size": 64}


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A film of six frames of 64x48 pixels, and two pictures of 64x48."""
    make_video(tmp_path / "film.mp4", frames=6)
    for number in (1, 2):
        make_picture(tmp_path / "in" / f"{number}.png", size=(80, 60))
    return write_pipeline(
        tmp_path,
        {"name": "film", "input": "film.mp4", "output": "out/film.mp4", "shots": "none", **LONG},
        {"name": "street", "input": "in", "output": "out/street", "link": "none", **LONG},
    )


def test_iterations_and_time_are_counted_clip_by_clip(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = api.estimated(pipeline)
    film, *pictures = found.costs
    assert (film.frames_left, film.max_iterations) == (6, 10 + 5 * 4)
    assert [cost.max_iterations for cost in pictures] == [10, 10]
    assert film.bytes_needed == found.plan.bytes_needed > 0
    assert film.seconds is not None
    assert pictures[0].seconds is not None
    # The same pace for all, since the work is counted in iterations and pixels.
    assert film.seconds == pytest.approx(3 * pictures[0].seconds)
    assert found.seconds == pytest.approx(5 * pictures[0].seconds)
    assert found.sources == ("a short trial",)
    # It is kept: another trial would have taken another time.
    half = api.estimated(pipeline, overrides=["jobs.*.optimizer.first=5", "jobs.*.optimizer.next=2"])
    assert half.seconds == pytest.approx((found.seconds or 0) / 2)
    exit_code(["plan", str(pipeline), "--json"])
    said, first, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert (said["most_evaluations"], said["frames_left"], said["pace"], said["workers"]) == (30, 6, "a short trial", 1)
    [clip] = said["clips"]
    assert (clip["first_frame_index"], clip["end_frame_index"], clip["seconds"]) == (0, 6, film.seconds)
    assert first["bytes_needed"] == 0


def test_without_a_trial_there_is_no_time(pipeline: Path) -> None:
    without = api.estimated(pipeline, calibrate=False)
    assert (without.seconds, without.sources) == (None, ())
    assert [cost.max_iterations for cost in without.costs] == [30, 10, 10]


def test_an_earlier_run_is_believed_more(pipeline: Path) -> None:
    api.run(pipeline, jobs=["street"])
    found = api.estimated(pipeline)
    film, *pictures = found.costs
    assert [(cost.frames_left, cost.max_iterations, cost.seconds) for cost in pictures] == [(0, 0, 0), (0, 0, 0)]
    assert found.sources == ("an earlier run",)
    with closing(Journal(pipeline.parent / ".nstpipe")) as journal:
        run = journal.latest_run()
    assert run is not None
    spent = run.jobs["street"]
    assert film.seconds == pytest.approx(spent.seconds / spent.work * 30 * 64 * 48)


def test_an_earlier_run_of_much_smaller_frames_is_not_believed(pipeline: Path) -> None:
    api.run(pipeline, jobs=["street"], overrides=["jobs.*.size=32"])
    assert api.estimated(pipeline, calibrate=False).sources == ("an earlier run",), (
        "of the film, whose frames take twice the work"
    )
    larger = api.estimated(pipeline, overrides=["jobs.*.size=256"], calibrate=False)
    assert (larger.seconds, larger.sources) == (None, ())


def test_workers_share_the_clips_but_not_a_clip(pipeline: Path) -> None:
    api.run(pipeline, jobs=["street"])
    alone = api.estimated(pipeline)
    together = api.estimated(pipeline, workers=4)
    assert together.seconds == alone.seconds, "one clip is left, and it cannot be shared"
    assert together.workers == 4


def test_what_failed_before_costs_nothing_and_is_said(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pipeline.parent / "in" / "3.png").write_bytes((pipeline.parent / "in" / "1.png").read_bytes()[:200])
    api.run(pipeline, jobs=["street"])
    assert exit_code(["plan", str(pipeline), "--job", "street", "--no-calibrate"]) == 0
    said = capsys.readouterr().out
    assert "not tried again (1)" in said
    assert "(1) failed before (1 try): " in said
    assert "--retry-failed" in said


def test_the_table_fits_into_eighty_columns(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["plan", str(pipeline), "--no-calibrate"]) == 0
    said = capsys.readouterr().out
    table = said[: said.index("Total:")]
    assert max(map(len, table.splitlines())) <= 80
    assert "film: film.mp4" in table
    assert "to do: new" in table
    assert "Total: 8 frames, at most 50 iterations" in said
    assert exit_code(["plan", str(pipeline), "--no-calibrate", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_a_long_reason_stands_below_the_table_once(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.run(pipeline, jobs=["street"])
    longer = ["--set", "jobs.*.optimizer.first=12", "--set", "jobs.*.style.strength=2"]
    assert exit_code(["plan", str(pipeline), "--job", "street", "--no-calibrate", *longer]) == 0
    said = capsys.readouterr().out
    assert said.count("to do (1)") == 2
    assert said.count("(1) optimizer.first changed from 10 to 12, style.strength changed from 1.0 to 2.0\n") == 1


def test_many_pictures_share_a_row_unless_all_are_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(41):
        make_picture(tmp_path / "in" / f"{number}.png")
    pipeline = write_pipeline(tmp_path, {"name": "street", "input": "in", "output": "out"})
    exit_code(["plan", str(pipeline), "--no-calibrate"])
    said = capsys.readouterr().out
    # The first one has none before it, and goes with the others all the same.
    assert "street: 41 pictures" in said
    assert "new; 40 linked to the previous picture" in said
    assert "40.png" not in said
    exit_code(["plan", str(pipeline), "--no-calibrate", "--all"])
    assert "street: 40.png" in capsys.readouterr().out


def test_a_picture_that_goes_on_from_another_takes_the_share_that_is_new(tmp_path: Path) -> None:
    for number in (1, 2):
        make_picture(tmp_path / "in" / f"{number}.png")
    settings = {"optimizer": {"first": 50, "next": 4}}
    pipeline = write_pipeline(tmp_path, {"name": "street", "input": "in", "output": "out", **settings})
    first, second = api.estimated(pipeline, calibrate=False).costs
    # The same picture twice: nothing of the second is new.
    assert (first.max_iterations, second.max_iterations) == (50, 4)


def test_pictures_that_go_on_from_one_another_share_no_workers(tmp_path: Path) -> None:
    """Four alike, so that each starts from the previous one: three workers find nothing to do."""
    for number in range(4):
        make_picture(tmp_path / "in" / f"{number}.png", size=(80, 60))
    pipeline = write_pipeline(tmp_path, {"name": "street", "input": "in", "output": "out", **LONG})
    linked = api.estimated(pipeline, workers=4)
    assert linked.seconds == pytest.approx(sum(cost.seconds or 0 for cost in linked.costs))
    alone = api.estimated(pipeline, workers=4, overrides=["jobs.street.link=none"])
    assert alone.seconds == pytest.approx(sum(cost.seconds or 0 for cost in alone.costs) / 4)
    planned: list[JobPlanned] = []
    api.run(
        pipeline,
        workers=2,
        overrides=["jobs.street.optimizer.first=1", "jobs.street.optimizer.next=1"],
        on_event=lambda event: planned.append(event) if isinstance(event, JobPlanned) else None,
    )
    assert [event.workers for event in planned] == [1]
