"""Loss curves, written by real trackers and read back from what they wrote."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nstpipe
from nstpipe.cli import exit_code
from nstpipe.config import load_pipeline
from nstpipe.errors import MachineError
from nstpipe.events import Event, FrameDone, FrameProgressed, Noticed
from nstpipe.listeners.listeners import check_packages
from tests.making import make_picture, make_video, write_pipeline


def a_film_and_pictures(folder: Path, **track: str) -> Path:
    make_video(folder / "in.mp4", frames=3)
    for number in range(2):
        make_picture(folder / "in" / f"{number}.png", seed=number)
    quick = {"optimizer": {"first": 3, "next": 2}}
    return write_pipeline(
        folder,
        {"name": "film", "input": "in.mp4", "output": "out/film.mp4", **quick},
        {"name": "street", "input": "in", "output": "out", **quick},
        track=track,
    )


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    """Steps and values of a curve in a folder of event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return [(point.step, point.value) for point in accumulator.Scalars(name)]


def test_tensorboard_gets_every_loss_at_its_frame(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    events: list[Event] = []
    nstpipe.run(a_film_and_pictures(tmp_path, tensorboard="board"), on_event=events.append)
    [run] = (tmp_path / "board").iterdir()
    frames = [event for event in events if isinstance(event, FrameDone)]
    film = [event for event in frames if event.job == "film"]
    for name in ("loss", "content_loss", "style_loss", "evaluations", "seconds"):
        expected = [(event.frame_index, pytest.approx(getattr(event, name), rel=1e-6)) for event in film]
        assert curve(run / "film" / "in.mp4", name) == expected
    flicker = [(event.frame_index, pytest.approx(event.warping_error, rel=1e-6)) for event in film[1:]]
    assert curve(run / "film" / "in.mp4", "warping_error") == flicker
    street = [pytest.approx(event.loss, rel=1e-6) for event in frames if event.job == "street"]
    assert curve(run / "street", "loss") == list(enumerate(street))
    # The optimization of the clip's first frame, by iteration; the last is the frame's own loss.
    progressed = [event for event in events if isinstance(event, FrameProgressed) and event.job == "film"]
    points = [(event.evaluations, event.loss) for event in (*progressed, film[0]) if event.frame_index == 0]
    expected = [(step, pytest.approx(loss, rel=1e-6)) for step, loss in points]
    assert curve(run / "film" / "optimization" / "in.mp4 frame 0", "loss") == expected


def leveldb_records(file: Path) -> Iterator[bytes]:
    """What a .wandb file holds: a header of 7 bytes, then LevelDB's log format, blocks of 32 KiB."""
    content, place, record = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_weights_and_biases_keeps_every_loss_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="the package wandb is not installed")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    events: list[Event] = []
    nstpipe.run(a_film_and_pictures(tmp_path, wandb="nights"), on_event=events.append)
    wandb.teardown()  # its service writes the last records as it ends
    [file] = (tmp_path / ".nstpipe" / "wandb").glob("offline-run-*/*.wandb")
    points: list[dict[str, object]] = []
    project = ""
    for content in leveldb_records(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        project = project or record.run.project
        if record.WhichOneof("record_type") == "history":
            points.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item})
    assert project == "nights"
    film = [event for event in events if isinstance(event, FrameDone) and event.job == "film"]
    kept = [(point["film/in_mp4/step"], point["film/in_mp4/loss"]) for point in points if "film/in_mp4/loss" in point]
    assert kept == [(event.frame_index, pytest.approx(event.loss, rel=1e-9)) for event in film]
    assert len([point for point in points if "street/loss" in point]) == 2


def test_a_missing_package_is_said_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load_pipeline(a_film_and_pictures(tmp_path, tensorboard="board", wandb="nights"))
    monkeypatch.setattr("nstpipe.listeners.tracking.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"track\.tensorboard: the package tensorboard is not installed") as caught:
        nstpipe.run(pipeline)
    assert "pip install 'nstpipe[tensorboard]'" in str(caught.value)
    assert not pipeline.work.exists()
    alone = pipeline.model_copy(update={"track": pipeline.track.model_copy(update={"tensorboard": None})})
    with pytest.raises(MachineError, match=r"nstpipe\[wandb\]"):
        check_packages(alone)


def test_a_board_that_breaks_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")

    def break_down(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nstpipe.listeners.tracking.TensorBoard.draw", break_down)
    events: list[Event] = []
    assert nstpipe.run(a_film_and_pictures(tmp_path, tensorboard="board"), on_event=events.append).exit_code == 0
    notices = [event.message for event in events if isinstance(event, Noticed)]
    assert [notice for notice in notices if "stopped" in notice] == [
        "tracker stopped: OSError: [Errno 28] No space left on device"
    ]


def test_trackers_are_imported_only_where_they_are_asked_for(tmp_path: Path) -> None:
    code = "import sys, nstpipe.api; print({'tensorboard', 'wandb'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_wrong_names_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = a_film_and_pictures(tmp_path, wandb="my project")
    assert exit_code(["plan", str(pipeline)]) == 78
    assert "track.wandb: found the text 'my project'; should be letters, digits, ., - and _ only" in capsys.readouterr().err
