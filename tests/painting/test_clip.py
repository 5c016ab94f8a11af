"""What goes wrong in the middle of a clip, and what is looked at while it is painted."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, UnidentifiedImageError

from nstpipe.api import plan
from nstpipe.config import load_pipeline
from nstpipe.errors import ItemError, TransientError
from nstpipe.events import Event, TriedAgain
from nstpipe.media.video.probe import probe
from nstpipe.painting import attempts, clip
from nstpipe.painting.attempts import check_unchanged
from nstpipe.painting.clip import _as_item_error
from nstpipe.painting.frames import painted_frames
from nstpipe.painting.task import ClipTask, RunSettings
from nstpipe.planning import input_info
from nstpipe.planning.input_info import InputInfo
from nstpipe.planning.inputs import InputFile
from nstpipe.system.files import FileState, sha256_of, state_of
from nstpipe.system.retry import NO_PRIMITIVE
from nstpipe.system.stop import Stop
from tests.making import make_picture, write_pipeline

FILM = Path("film.mp4")


def test_what_opencv_says_becomes_a_sentence_with_a_next_step() -> None:
    with pytest.raises(cv2.error) as caught:
        cv2.resize(np.zeros((4, 4), np.uint8), (0, 0))
    error = _as_item_error(caught.value, FILM)
    assert isinstance(error, ItemError)
    assert error.problem.startswith("film.mp4: OpenCV cannot work on its frames: ")
    assert "/" not in error.problem, "no place in OpenCV's own code"
    assert error.next_step.startswith("Give another size; ")


def test_what_the_system_or_pillow_says_becomes_a_sentence_with_a_next_step() -> None:
    gone = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "masks/1.png")
    for error, words in (
        (gone, "masks/1.png: Permission denied."),
        (UnidentifiedImageError("no picture"), "film.mp4: no picture."),
    ):
        said = _as_item_error(error, FILM)
        assert said is not None
        assert said.problem == f"film.mp4 could not be worked on: {words}"
        assert "--retry-failed" in said.next_step


def test_want_of_memory_stays_what_may_go_right_the_next_time() -> None:
    assert isinstance(_as_item_error(MemoryError(), FILM), TransientError)


def numbered(folder: Path, count: int) -> InputInfo:
    for number in range(1, count + 1):
        Image.new("RGB", (8, 8)).save(folder / f"frame_{number:03d}.png")
    path = folder / "frame_%03d.png"
    state = state_of(path)
    file = InputFile(path, folder / "out.mp4", is_video=True)
    return InputInfo(file, sha256_of(path), (8, 8), probe(path), stamp=(state.size_bytes, state.modified_ns))


def test_of_numbered_pictures_a_frame_s_own_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = numbered(tmp_path, 9)
    looked_at: list[str] = []

    def state(path: Path) -> FileState:
        looked_at.append(path.name)
        return state_of(path)

    for module in (attempts, input_info):
        monkeypatch.setattr(module, "state_of", state)
    check_unchanged(found, 4)
    assert looked_at == ["frame_005.png"]
    looked_at.clear()
    check_unchanged(found)
    assert looked_at == ["frame_%03d.png"], "all, as before the frames are put together"


@pytest.mark.parametrize("change", ["new content", "gone"])
def test_a_numbered_picture_that_was_changed_is_seen_at_its_frame(tmp_path: Path, change: str) -> None:
    found = numbered(tmp_path, 3)
    path = tmp_path / "frame_002.png"
    if change == "gone":
        path.unlink()
    else:
        later = path.stat().st_mtime_ns + 1_000_000_000
        Image.new("RGB", (8, 8), "red").save(path)
        os.utime(path, ns=(later, later))
    check_unchanged(found, 0)
    with pytest.raises(ItemError, match="while it was worked on"):
        check_unchanged(found, 1)


def test_a_numbered_picture_that_was_only_touched_is_the_same(tmp_path: Path) -> None:
    found = numbered(tmp_path, 3)
    later = (tmp_path / "frame_002.png").stat().st_mtime_ns + 1_000_000_000
    os.utime(tmp_path / "frame_002.png", ns=(later, later))
    check_unchanged(found, 1)


def picture_task(folder: Path) -> ClipTask:
    make_picture(folder / "in.png")
    path = write_pipeline(folder, {"name": "picture", "input": "in.png", "output": "out.png"})
    pipeline, [output] = load_pipeline(path), plan(path).outputs
    return ClipTask(output, output.clips[0], RunSettings.of(pipeline))


def test_onednn_is_left_out_of_the_clip_that_it_had_no_memory_for_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip, "RETRY_WAITS_SECONDS", (0.0,))
    uses_onednn: list[bool] = []

    def paint(*arguments: object) -> Iterator[object]:
        uses_onednn.append(torch._C._get_mkldnn_enabled())
        if len(uses_onednn) == 1:
            raise RuntimeError(NO_PRIMITIVE)
        return painted_frames(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(clip, "painted_frames", paint)
    events: list[Event] = []
    task = picture_task(tmp_path)
    result = clip.run_clip(task, events.append, Stop())
    assert result.failure is None
    assert task.output.path.is_file()
    assert uses_onednn == [True, False]
    assert [event.attempt for event in events if isinstance(event, TriedAgain)] == [1]
    assert torch._C._get_mkldnn_enabled(), "the process is left as it was"
