"""What a run would take: counted by hand, with a pace that a trial or an earlier run has given."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

import nstpipe
import nstpipe.planning.estimate
import nstpipe.running.trial
from nstpipe import api
from nstpipe.cli import exit_code
from nstpipe.config import load_pipeline
from nstpipe.events import JobPlanned
from nstpipe.journal.journal import Journal
from nstpipe.journal.records import FrameKind, FrameTime
from nstpipe.planning.estimate import CLIP_SECONDS, ENCODE_SECONDS, RUN_STARTS, Estimate, Trial, estimate
from nstpipe.planning.pace import WARM_UP_PASSES, Timed
from nstpipe.planning.plan import plan_pipeline
from nstpipe.system.load import Load
from nstpipe.system.stop import Stop
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


def small_frames(seconds_a_pixel: float, *, load_share: float = 0.0) -> Timed:
    """Frames of two sizes whose passes take a second and so many seconds a pixel, and whose set-up is worth two passes."""
    kinds: tuple[FrameKind, ...] = ("picture", "first", "later")
    frames = [
        FrameTime(kind, pixels, passes, passes, seconds + 0.5, seconds, 0.0)
        for kind in kinds
        for pixels in (64 * 64, 256 * 256)
        for passes in (1, 20)
        if (seconds := (passes + 2) * (1 + seconds_a_pixel * pixels))
    ]
    return Timed(tuple(frames), start_seconds=2.0, load_share=load_share)


def estimated(
    pipeline: Path, timed: Timed | None = None, *, busy: float = 0.0, workers: int | None = None, overrides: Sequence[str] = ()
) -> tuple[Estimate, int]:
    """Return the estimate with a trial that finds these times, beside a load, and how often the trial was made."""
    trials: list[int] = []

    def trial(*_: object) -> Timed:
        trials.append(1)
        assert timed is not None, "no trial is needed"
        return timed

    settings = load_pipeline(pipeline, [*overrides, *([f"workers={workers}"] if workers else ())])
    with closing(Journal(settings.work, pipeline=settings.file)) as journal:
        plan = plan_pipeline(settings, journal, stop=Stop(), emit=lambda _: None)
        found = estimate(settings, plan, journal, trial=lambda: Trial(trial), load=lambda: Load(2, busy))
    return found, len(trials)


def test_the_time_is_that_of_passes_and_what_surrounds_them(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exact = ["jobs.*.optimizer.tolerance=0"]  # so that all iterations are likely
    found, _ = estimated(pipeline, small_frames(0.001), overrides=exact)
    film, *pictures = found.costs
    a_pass = 1 + 0.001 * 64 * 48
    assert [(cost.frames_left, cost.max_iterations, cost.likely_iterations) for cost in (film, *pictures)] == [
        (6, 10 + 5 * 4, 30),
        (1, 10, 10),
        (1, 10, 10),
    ]
    # Half a second beside the engine was that of frames of two sizes, so it is what every frame takes.
    warm_up = WARM_UP_PASSES * a_pass
    picture_seconds = (10 + 2) * a_pass + 0.5
    assert [picture.seconds for picture in pictures] == [
        pytest.approx(picture_seconds + warm_up, rel=0.02),
        pytest.approx(picture_seconds, rel=0.02),
    ]
    film_seconds = warm_up + (30 + 6 * 2) * a_pass + 6 * 0.5
    around = CLIP_SECONDS + ENCODE_SECONDS
    assert film.seconds == pytest.approx(film_seconds + around, rel=0.02)
    start = (1 + RUN_STARTS) * 2.0
    assert found.seconds == pytest.approx(film_seconds + around + 2 * picture_seconds + warm_up + start, rel=0.02)
    assert found.seconds_at_most is not None
    assert found.seconds_at_most > found.seconds
    assert film.bytes_needed == found.plan.bytes_needed > 0
    assert found.sources == ("a short trial",)
    # The trial is kept: there is no other when the plan is asked again.
    again, trials = estimated(pipeline, overrides=exact)
    assert (again.seconds, trials) == (found.seconds, 0)
    exit_code(["plan", str(pipeline), "--json", "--no-calibrate", "--set", exact[0]])
    said, first, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert (said["most_evaluations"], said["frames_left"], said["pace"], said["workers"]) == (30, 6, "a short trial", 1)
    [clip] = said["clips"]
    assert (clip["first_frame_index"], clip["end_frame_index"], clip["seconds"]) == (0, 6, said["seconds"])
    assert said["seconds"] < said["seconds_at_most"] < said["total_seconds_at_most"]
    assert first["bytes_needed"] == 0


def test_without_a_trial_there_is_no_time(pipeline: Path) -> None:
    without = api.estimated(pipeline, calibrate=False)
    assert (without.seconds, without.seconds_at_most, without.sources) == (None, None, ())
    assert [cost.max_iterations for cost in without.costs] == [30, 10, 10]


def test_a_busy_machine_is_said_and_its_trial_is_not_taken_for_a_quiet_ones(
    pipeline: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, _ = estimated(pipeline, small_frames(0.001))
    busy, trials = estimated(pipeline, small_frames(0.003, load_share=0.5), busy=1.0)
    assert trials == 1, "for both jobs, whose engines take the same"
    assert quiet.seconds is not None
    assert busy.seconds is not None
    assert busy.seconds > 1.5 * quiet.seconds
    assert busy.seconds_when_quiet == pytest.approx(quiet.seconds, rel=1e-6)
    assert (quiet.seconds_when_quiet, estimated(pipeline)[0].seconds) == (None, quiet.seconds)
    assert estimated(pipeline, busy=1.0)[0].seconds == busy.seconds, "kept for some minutes"
    monkeypatch.setattr(nstpipe.planning.estimate, "TRIAL_SECONDS_KEPT", {"quiet": 0.0, "busy": 0.0})
    assert estimated(pipeline, small_frames(0.002))[1] == 1, "none is kept, and one serves both jobs"
    monkeypatch.undo()
    monkeypatch.setattr(api, "estimated", lambda *_, **__: busy)
    exit_code(["plan", str(pipeline)])
    said = " ".join(capsys.readouterr().out.split())
    assert "other programs use 1.0 of 2 cores. The time holds if they go on. Without them it would be about" in said
    assert re.search(r"That is about .+, at most .+ with 1 worker, measured in a short trial", said)


def test_jobs_alike_share_a_trial_although_the_load_has_changed_during_it(pipeline: Path) -> None:
    assert estimated(pipeline, small_frames(0.003, load_share=0.0), busy=1.9)[1] == 1


def test_an_earlier_run_is_believed_more(pipeline: Path) -> None:
    """Also for another job, whose frames are as large; but not for frames that are much larger."""
    nstpipe.run(pipeline, jobs=["street"], workers=1)
    with closing(Journal(pipeline.parent / ".nstpipe")) as journal:
        known = journal.latest_times()
    assert [(frame.kind, frame.pixels, frame.max_iterations, frame.tolerance) for frame in known] == [
        ("picture", 64 * 48, 10, 0.001)
    ] * 2
    assert all(frame.optimizing_seconds and frame.optimizing_seconds < frame.seconds for frame in known)
    [share] = {frame.load_share for frame in known}
    found, trials = estimated(pipeline, busy=2 * (share or 0.0), workers=1)
    film, *pictures = found.costs
    assert [(cost.frames_left, cost.max_iterations, cost.seconds) for cost in pictures] == [(0, 0, 0), (0, 0, 0)]
    assert (found.sources, trials) == (("an earlier run",), 0)
    assert film.seconds is not None
    larger, trials = estimated(pipeline, small_frames(0.001), workers=1, overrides=["jobs.*.size=512"])
    assert (larger.sources, trials) == (("a short trial",), 1)


def test_workers_share_the_clips_but_not_a_clip(pipeline: Path) -> None:
    alone, _ = estimated(pipeline, small_frames(0.001), workers=1, overrides=["jobs.street.size=32"])
    together, _ = estimated(pipeline, small_frames(0.001), workers=4, overrides=["jobs.street.size=32"])
    film, *pictures = (cost.seconds or 0.0 for cost in alone.costs)
    start = (1 + RUN_STARTS) * 2.0
    assert alone.seconds == pytest.approx(film + sum(pictures) + start)
    assert together.seconds == pytest.approx(film + start), "the pictures are done long before the film"


def test_a_trial_paints_and_times_small_frames(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nstpipe.running.trial, "SIDES", {"cpu": (32, 48)})
    monkeypatch.setattr(nstpipe.running.trial, "ITERATIONS", {"cpu": (1, 2)})
    settings = load_pipeline(pipeline, ["workers=1"])
    before = sorted(path.name for path in pipeline.parent.iterdir())
    for has_videos, kinds in ((True, ["first", "later"]), (False, ["picture"] * 2)):
        timed = nstpipe.running.trial.timed(settings, settings.jobs[0], isolated=False, has_videos=has_videos)
        assert [(frame.kind, frame.pixels) for frame in timed.frames] == [
            (kind, side * side) for _ in range(2) for side in (32, 48) for kind in kinds
        ]
        assert [frame.iterations for frame in timed.frames] == [1] * 4 + [2] * 4
        assert all(frame.optimizing_seconds and frame.optimizing_seconds < frame.seconds for frame in timed.frames)
    assert sorted(path.name for path in pipeline.parent.iterdir()) == before


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
    assert "Total: 8 frames, 50 iterations." in said
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
    start = (1 + RUN_STARTS) * 2.0
    linked, _ = estimated(pipeline, small_frames(0.001), workers=4)
    assert linked.seconds == pytest.approx(sum(cost.seconds or 0 for cost in linked.costs) + start)
    alone, _ = estimated(pipeline, small_frames(0.001), workers=4, overrides=["jobs.street.link=none"])
    assert alone.seconds == pytest.approx(sum(cost.seconds or 0 for cost in alone.costs) / 4 + start), "each new to the size"
    estimated(pipeline, small_frames(0.001), workers=2)
    planned: list[JobPlanned] = []
    api.run(
        pipeline,
        workers=2,
        overrides=["jobs.street.optimizer.first=1", "jobs.street.optimizer.next=1"],
        on_event=lambda event: planned.append(event) if isinstance(event, JobPlanned) else None,
    )
    assert [(event.workers, event.seconds_likely is not None) for event in planned] == [(1, True)], "as the trial told"
