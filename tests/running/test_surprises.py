"""What nobody expected costs one item, not the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nstpipe
from nstpipe import api
from nstpipe.errors import ItemError
from nstpipe.events import Event, FrameDone, Noticed
from nstpipe.media.video.probe import probe
from nstpipe.painting import clip, encode
from nstpipe.planning import plan, validate
from tests.making import make_picture, make_video, write_pipeline


def two_pictures(folder: Path) -> Path:
    for name in ("a.png", "b.png"):
        make_picture(folder / "in" / name)
    return write_pipeline(folder, {"name": "pictures", "input": "in", "output": "out"})


def test_a_bug_in_painting_fails_its_item_and_its_traceback_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = clip.painted_frames

    def painted_frames(task: Any, *others: Any) -> Iterator[Any]:
        if task.output.path.name == "a.png":
            raise ZeroDivisionError("nobody thought of this")
        yield from whole(task, *others)

    monkeypatch.setattr(clip, "painted_frames", painted_frames)
    result = nstpipe.run(two_pictures(tmp_path))
    assert result.exit_code == 2
    assert [Path(output.output).name for output in result.outputs] == ["b.png"]
    [failure] = result.failures
    assert "a bug in nstpipe: ZeroDivisionError: nobody thought of this (in test_surprises.py, line " in failure.reason
    [log] = (tmp_path / ".nstpipe" / "logs").iterdir()
    assert str(log) in failure.next_step
    assert "Traceback (most recent call last)" in log.read_text()
    # It has failed, and is not tried every night until somebody asks.
    assert [one.tried_now for one in nstpipe.run(tmp_path / "pipeline.yaml").failures] == [False]
    monkeypatch.undo()
    assert nstpipe.run(tmp_path / "pipeline.yaml", retry_failed=True).exit_code == 0


def test_a_bug_in_planning_fails_its_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = two_pictures(tmp_path)
    with_masks, opened = plan.with_masks, validate._opened

    def broken_with_masks(found: Any, *others: Any) -> Any:
        assert found.file.path.name != "a.png"
        return with_masks(found, *others)

    def broken_opened(file: Any, *others: Any) -> Any:
        return {"b.png": None}[file.path.name] if file.path.name == "a.png" else opened(file, *others)

    monkeypatch.setattr(plan, "with_masks", broken_with_masks)
    monkeypatch.setattr(validate, "_opened", broken_opened)
    [failure] = api.plan(pipeline).failures
    assert "a bug in nstpipe: AssertionError" in failure.reason
    found = api.validate(pipeline)
    assert (found.usable, len(found.failures)) == (1, 1)
    assert "a bug in nstpipe: KeyError: 'a.png'" in found.failures[0].reason
    assert "KeyError" in found.failures[0].traceback
    result = nstpipe.run(pipeline)
    assert (result.exit_code, len(result.outputs)) == (2, 1)


@pytest.mark.parametrize("error", [ItemError("the encoder broke"), IndexError("tuple index out of range")])
def test_frames_stay_when_encoding_fails_and_another_container_needs_no_painting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    make_video(tmp_path / "in.mp4", frames=3)
    make_picture(tmp_path / "a.png")
    picture = {"name": "picture", "input": "a.png", "output": "out/a.png"}
    pipeline = write_pipeline(tmp_path, {"name": "film", "input": "in.mp4", "output": "out/film.mp4"}, picture)

    def broken(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(encode, "video_sink", broken)
        result = nstpipe.run(pipeline)
    assert (result.exit_code, [output.job for output in result.outputs]) == (2, ["picture"])
    assert str(error.args[0]) in result.failures[0].reason
    painted: list[Event] = []
    write_pipeline(tmp_path, {"name": "film", "input": "in.mp4", "output": "out/film.mkv"}, picture)
    result = nstpipe.run(pipeline, retry_failed=True, on_event=painted.append)
    assert (result.exit_code, [Path(output.output).name for output in result.outputs]) == (0, ["film.mkv"])
    assert not [event for event in painted if isinstance(event, FrameDone)]
    assert len(probe(tmp_path / "out" / "film.mkv").ticks) == 3


def test_numbered_pictures_of_several_sizes_and_depths_become_one_video(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, (width, height) in enumerate([(64, 48), (48, 64), (128, 96)], start=1):
        Image.fromarray(np.full((height, width, 3), 200, np.uint8)).save(tmp_path / "in" / f"f_{number}.png")
    Image.fromarray(np.full((48, 64), 51400, np.uint16)).save(tmp_path / "in" / "f_4.png")
    pipeline = write_pipeline(tmp_path, {"name": "film", "input": "in/f_%d.png", "output": "out/film.mp4", "shots": "none"})
    said = "f_%d.png: its frames change their size, first at frame 1, to 48x64, 128x96; they are fitted into 64x48"
    assert api.validate(pipeline).notices[0].startswith(f"film: {said}")
    assert api.plan(pipeline).notices[0].startswith(f"film: {said}")
    events: list[Event] = []
    result = nstpipe.run(pipeline, on_event=events.append)
    assert (result.exit_code, result.outputs[0].frames) == (0, 4)
    assert len([event for event in events if isinstance(event, Noticed) and said in event.message]) == 1
