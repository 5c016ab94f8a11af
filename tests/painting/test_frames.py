"""Frames painted one after another, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from nstpipe.api import plan
from nstpipe.config import load_pipeline
from nstpipe.events import Event, FrameDone
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.probe import probe
from nstpipe.painting.frames import painted_frames
from nstpipe.painting.start import LATER_TOLERANCE, Pass
from nstpipe.painting.task import ClipTask, RunSettings
from nstpipe.style.minimize import TOLERANCE_WINDOW
from tests.making import make_video, write_pipeline


def painted(folder: Path, **keys: object) -> list[FrameDone]:
    """What each frame of a short pan took."""
    folder.mkdir()
    video = make_video(folder / "in.mp4", frames=2, pan_pixels=4)
    path = write_pipeline(folder, {"name": "film", "input": "in.mp4", "output": "out.mp4", "shots": "none", **keys})
    pipeline, [output] = load_pipeline(path), plan(path).outputs
    task = ClipTask(
        output,
        output.clips[0],
        RunSettings.of(pipeline),
    )
    done: list[Event] = []
    frames = list(painted_frames(task, VideoSource(probe(video)), Pass(range(2)), 0, [], done.append))
    found = [event for event in done if isinstance(event, FrameDone)]
    assert len(frames) == len(found) == 2
    return found


@pytest.mark.parametrize(
    ("frame_index", "temporal", "factor"),
    [(0, {}, 1.0), (1, {}, LATER_TOLERANCE), (1, {"init": "content", "weight": 0}, 1.0)],
    ids=["first", "later", "later, from the content"],
)
def test_a_frame_ends_when_its_loss_hardly_falls(
    tmp_path: Path, frame_index: int, temporal: dict[str, object], factor: float
) -> None:
    tolerance, most = 0.03 / factor, 60

    def frame(name: str, evaluations: int, tolerance: float) -> FrameDone:
        """If a later frame is looked at, the first one is the same each time, and too short to end early."""
        first, following = (evaluations, 1) if frame_index == 0 else (2, evaluations)
        optimizer = {"first": first, "next": following, "tolerance": tolerance}
        return painted(tmp_path / name, optimizer=optimizer, temporal=temporal)[frame_index]

    ended = frame("ended", most, tolerance).evaluations
    assert TOLERANCE_WINDOW + 1 < ended < most

    def loss(evaluations: int) -> float:
        return frame(f"after {evaluations}", evaluations, 0.0).loss

    def share_fallen(evaluations: int) -> float:
        before = loss(evaluations - TOLERANCE_WINDOW)
        return (before - loss(evaluations)) / before / TOLERANCE_WINDOW

    assert share_fallen(ended) < factor * tolerance <= share_fallen(ended - 1)
