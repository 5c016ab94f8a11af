"""What the work folder can do without, found and removed; and what it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nstpipe
from nstpipe import api
from nstpipe.cli import exit_code
from nstpipe.errors import BusyError
from nstpipe.events import ClipStarted, Event, FrameDone
from nstpipe.planning.leftovers import Leftover
from nstpipe.system.lock import locked
from nstpipe.system.stop import Stop, StopReason
from tests.making import make_picture, make_video, write_pipeline


def film(folder: Path, **job: object) -> Path:
    make_video(folder / "in.mp4", frames=4)
    return write_pipeline(folder, {"name": "film", "input": "in.mp4", "output": "out/film.mp4", **job})


def paint(pipeline: Path, frames: int) -> list[int]:
    """Paint so many frames and stop; the indices of those that were."""
    stop, done = Stop(), []

    def watch(event: Event) -> None:
        if isinstance(event, FrameDone):
            done.append(event.frame_index)
            if len(done) == frames:
                stop.ask(StopReason.INTERRUPTED)

    nstpipe.run(pipeline, stop=stop, on_event=watch)
    return done


def stored(folder: Path) -> set[Path]:
    return set((folder / ".nstpipe" / "clips").glob("*"))


def test_frames_of_a_setting_that_was_changed_midway_can_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = film(tmp_path)
    assert paint(pipeline, 2) == [0, 1]
    assert api.clean(pipeline, lambda _: False).leftovers == (), "they are waited for"
    [before] = stored(tmp_path)
    pipeline = film(tmp_path, style={"images": ["style.png"], "strength": 2.0})
    assert paint(pipeline, 1) == [0]
    damaged = tmp_path / ".nstpipe" / "journal.damaged-20260101-000000.sqlite"
    damaged.write_bytes(b"12345")
    assert exit_code(["clean", str(pipeline), "--json"]) == 0
    said = capsys.readouterr()
    found = [json.loads(line) for line in said.out.splitlines()]
    size = sum(path.stat().st_size for path in before.rglob("*") if path.is_file())
    assert found == [
        {"path": str(before), "bytes": size, "removed": False},
        {"path": str(damaged), "bytes": 5, "removed": False},
    ]
    assert "--yes deletes them" in said.err
    assert before in stored(tmp_path)
    assert exit_code(["clean", str(pipeline), "--yes"]) == 0
    assert capsys.readouterr().out.endswith("Deleted.\n")
    assert before not in stored(tmp_path)
    assert not damaged.exists()
    # The frame that was painted since is not painted again.
    assert paint(pipeline, 9) == [1, 2, 3]
    assert stored(tmp_path) == set()
    assert exit_code(["clean", str(pipeline)]) == 0
    assert "Nothing to delete." in capsys.readouterr().out


def test_frames_of_another_pipeline_and_of_an_input_out_of_reach_stay(tmp_path: Path) -> None:
    pipeline = film(tmp_path)
    paint(pipeline, 2)
    kept = stored(tmp_path)
    (tmp_path / "in.mp4").rename(tmp_path / "away.mp4")
    assert api.clean(pipeline).leftovers == ()
    (tmp_path / "away.mp4").rename(tmp_path / "in.mp4")
    other = tmp_path / "other.yaml"
    other.write_text(pipeline.read_text().replace("out/film.mp4", "out/other.mp4").replace("size: 48", "size: 32"))
    assert api.clean(other).leftovers == ()
    assert stored(tmp_path) == kept
    assert paint(pipeline, 9) == [2, 3]


def test_a_job_left_out_keeps_the_frames_that_it_shares(tmp_path: Path) -> None:
    """One film for two containers: the one that is finished by itself leaves the other's frames where they are."""
    make_video(tmp_path / "in.mp4", frames=3)
    pipeline = write_pipeline(
        tmp_path,
        {"name": "one", "input": "in.mp4", "output": "out/film.mp4"},
        {"name": "other", "input": "in.mp4", "output": "out/film.mkv"},
    )
    assert paint(pipeline, 1) == [0]
    starts: list[int] = []
    nstpipe.run(pipeline, jobs=["one"])
    nstpipe.run(
        pipeline,
        on_event=lambda event: starts.append(event.next_frame_index) if isinstance(event, ClipStarted) else None,
    )
    assert (tmp_path / "out" / "film.mkv").exists()
    assert starts in ([], [3]), "no frame was painted again"
    assert stored(tmp_path) == set()


def test_a_run_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    pipeline = film(tmp_path)
    (tmp_path / ".nstpipe").mkdir()
    with locked(tmp_path / ".nstpipe"), pytest.raises(BusyError):
        api.clean(pipeline)


def test_before_the_first_run_nothing_is_made(tmp_path: Path) -> None:
    assert api.clean(film(tmp_path)).leftovers == ()
    assert not (tmp_path / ".nstpipe").exists()


def test_a_network_can_go_when_its_setting_was_changed_and_no_other_pipeline_has_painted_with_it(tmp_path: Path) -> None:
    make_picture(tmp_path / "in.png")
    job = {"input": "in.png", "engine": {"name": "network", "train_minutes": 0.001}, "size": 48}

    def pipeline(name: str, strength: float) -> Path:
        style = {"images": ["style.png"], "strength": strength}
        path = write_pipeline(tmp_path, {**job, "name": name, "output": f"{name}.png", "style": style}, workers=1)
        return path.rename(tmp_path / f"{name}.yaml")

    def keep_all(found: tuple[Leftover, ...]) -> bool:
        return False

    own = pipeline("own", 1.0)
    assert nstpipe.run(own).exit_code == 0
    assert api.clean(own, keep_all).leftovers == (), "it is used"
    assert api.clean(pipeline("other", 2.0), keep_all).leftovers == (), "another pipeline has painted with it"
    found = api.clean(pipeline("own", 3.0), lambda _: True).leftovers
    [network] = {leftover.path.stem for leftover in found}
    assert [leftover.path.suffix for leftover in found] == [".json", ".safetensors"]
    assert not list((tmp_path / ".nstpipe" / "networks").glob(f"{network}*"))
