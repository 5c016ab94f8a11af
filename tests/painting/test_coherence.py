"""Whole runs over moving pictures: what stays still, what begins anew, and what is gone on with."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import nstpipe
from benchmarks.scenes import passing, slide
from nstpipe.errors import MachineError
from nstpipe.events import Emit, Event, FrameDone
from nstpipe.media.frame import Pixels, resized
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.probe import probe
from nstpipe.motion.metrics import coherence
from nstpipe.motion.motion import motion_between
from tests.made_once import make_with_ffmpeg
from tests.making import write_pipeline

SIZE = (64, 48)

EXACT = {"encode": {"codec": "ffv1", "pix_fmt": "bgr0"}}
"""Keeps every level, so that results can be compared."""


class Stopped(Exception):  # noqa: N818
    """Stands for whatever ends a process in the middle of its work."""


def film(path: Path, frames: Sequence[Pixels]) -> Path:
    """A video that holds exactly these frames."""
    height, width, _ = frames[0].shape
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", "-"]
    content = b"".join(frame.tobytes() for frame in frames)
    return make_with_ffmpeg(*raw, "-c:v", "ffv1", "-pix_fmt", "bgr0", result=path, content=content)


def job(folder: Path, frames: Sequence[Pixels], name: str = "film", **keys: object) -> Path:
    film(folder / f"{name}.mkv", frames)
    return write_pipeline(
        folder,
        {"name": name, "input": f"{name}.mkv", "output": f"out/{name}.mkv", "size": 64, **EXACT, **keys},
        work=f"work_{name}",
    )


def painted(pipeline: Path, name: str = "film", on_event: Emit = lambda _: None) -> list[Pixels]:
    result = nstpipe.run(pipeline, on_event=on_event)
    assert result.exit_code == 0
    found = probe(pipeline.parent / "out" / f"{name}.mkv")
    return [frame.pixels for frame in VideoSource(found).read(0, len(found.ticks))]


@pytest.fixture(scope="module")
def walk(street: Pixels) -> list[Pixels]:
    return slide(resized(street, (160, 90)), SIZE, 6, (2, 0), (40, 20)).frames


@pytest.fixture(scope="module")
def traffic(street: Pixels, station: Pixels) -> list[Pixels]:
    return passing(resized(street, (160, 90)), resized(station, (30, 24)), SIZE, 6, camera_step=1, step=6, start=(5, 12)).frames


def test_a_still_video_has_a_still_result(tmp_path: Path, walk: list[Pixels]) -> None:
    first, *others = painted(job(tmp_path, [walk[0]] * 4))
    assert len(others) == 3
    assert all(np.array_equal(first, other) for other in others)


def test_two_shots_give_what_each_gives_alone(tmp_path: Path, walk: list[Pixels], station: Pixels) -> None:
    other = slide(resized(station, (120, 90)), SIZE, 6, (-2, 1), (40, 20)).frames
    together = painted(job(tmp_path / "both", [*walk, *other]))
    alone = [*painted(job(tmp_path / "one", walk)), *painted(job(tmp_path / "other", other))]
    assert len(together) == 12
    assert all(np.array_equal(one, two) for one, two in zip(together, alone, strict=True))


def test_where_nothing_is_reliable_a_frame_starts_afresh(tmp_path: Path, walk: list[Pixels], station: Pixels) -> None:
    # A cut that nobody looks for: the frame after it is the one that a clip of its own begins with.
    other = resized(station, SIZE)
    continued = painted(job(tmp_path / "both", [*walk[:2], other], shots="none"))
    [alone] = painted(job(tmp_path / "alone", [other]))
    assert np.array_equal(continued[2], alone)


def test_where_much_is_new_a_frame_gets_more_iterations(tmp_path: Path, walk: list[Pixels], traffic: list[Pixels]) -> None:
    # Two columns of 64 are new in the walk; in the traffic one, and a crescent 7 pixels wide and up to 24 high: 3 and 7 %.
    most: dict[str, list[int]] = {"walk": [], "traffic": []}
    for name, frames in (("walk", walk[:2]), ("traffic", traffic[:2])):
        pipeline = job(tmp_path / name, frames, optimizer={"first": 32, "next": 1})
        nstpipe.run(
            pipeline,
            on_event=lambda event, name=name: (
                most[name].append(event.most_evaluations)  # type: ignore[misc]
                if isinstance(event, FrameDone)
                else None
            ),
        )
    assert most["walk"][0] == most["traffic"][0] == 32
    assert 1 <= most["walk"][1] < most["traffic"][1] < 8


def test_flicker_is_far_less_than_that_of_frames_by_themselves(tmp_path: Path, walk: list[Pixels]) -> None:
    # Four frames that move by whole pixels: what is compared has not been sampled anew.
    frames = walk[:4]
    errors = {}
    for name, temporal in (("together", {}), ("alone", {"init": "content", "weight": 0})):
        pipeline = job(tmp_path / name, frames, temporal=temporal, init="noise", optimizer={"first": 20, "next": 5})
        found = coherence(
            zip(frames, painted(pipeline), strict=True), (1,), lambda _i, _j, one, other, _: motion_between(one, other)
        )
        errors[name] = found.ranges[0].stylized
    assert errors["together"] < errors["alone"] / 10


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, traffic: list[Pixels]) -> list[Pixels]:
    """The traffic, with the settings that a job has by itself."""
    return painted(job(tmp_path_factory.mktemp("plain"), traffic))


@pytest.mark.parametrize(
    "temporal",
    [{"lags": [1, 3], "flow": "farneback"}, {"passes": 3, "lags": [1, 2]}],
    ids=["lags", "passes with lags"],
)
def test_going_on_after_a_stop_changes_nothing(
    tmp_path: Path, traffic: list[Pixels], plain: list[Pixels], temporal: dict[str, object]
) -> None:
    whole = painted(job(tmp_path / "whole", traffic, temporal=temporal))
    # It does something at all, else nothing is tested here.
    assert not all(np.array_equal(one, two) for one, two in zip(whole, plain, strict=True))
    broken = job(tmp_path / "broken", traffic, temporal=temporal)
    seen: list[int] = []

    def stop_every_fifth(event: Event) -> None:
        if isinstance(event, FrameDone):
            seen.append(event.frame_index)
            if len(seen) % 5 == 0:
                raise Stopped

    for _ in range(10):
        try:
            nstpipe.run(broken, on_event=stop_every_fifth)
            break
        except Stopped:
            continue
    assert all(np.array_equal(one, two) for one, two in zip(painted(broken), whole, strict=True))
    # A stop costs nothing that was finished.
    assert len(seen) == 6 * int(str(temporal.get("passes", 1)))


def test_passes_alternate_and_a_damaged_result_of_one_is_made_again(tmp_path: Path, traffic: list[Pixels]) -> None:
    frames = traffic[:4]
    seen: list[tuple[int, bool]] = []
    watch = functools.partial(_note, seen)
    whole = painted(job(tmp_path / "whole", frames, temporal={"passes": 2}), on_event=watch)
    # The last pass goes forwards, and so the one before it backwards.
    assert seen == [(3, False), (2, False), (1, False), (0, False), (0, True), (1, True), (2, True), (3, True)]
    pipeline = job(tmp_path, frames, temporal={"passes": 2})

    def stop(event: Event) -> None:
        if isinstance(event, FrameDone) and event.is_final and event.frame_index == 1:
            raise Stopped

    with pytest.raises(Stopped):
        nstpipe.run(pipeline, on_event=stop)
    earlier = sorted((tmp_path / "work_film").rglob("pass_1/frame_*.npy"))
    assert len(earlier) == 4
    # The second that was painted: frame 2, which the last pass comes to next.
    earlier[1].write_bytes(earlier[1].read_bytes()[:200])
    assert all(np.array_equal(one, two) for one, two in zip(painted(pipeline), whole, strict=True))


def _note(seen: list[tuple[int, bool]], event: Event) -> None:
    if isinstance(event, FrameDone):
        seen.append((event.frame_index, event.is_final))


def test_one_picture_is_not_painted_over_in_passes(tmp_path: Path, walk: list[Pixels]) -> None:
    seen: list[FrameDone] = []
    pipeline = job(tmp_path, walk[:1], temporal={"passes": 4})
    nstpipe.run(pipeline, on_event=lambda event: seen.append(event) if isinstance(event, FrameDone) else None)
    assert [event.is_final for event in seen] == [True]


def test_raft_without_its_weights_is_said_before_the_work(tmp_path: Path, walk: list[Pixels]) -> None:
    pipeline = job(tmp_path, walk, temporal={"flow": "raft.pth"})
    with pytest.raises(MachineError, match=r"raft\.pth does not exist"):
        nstpipe.run(pipeline)
    (tmp_path / "raft.pth").write_bytes(b"no tensors")
    with pytest.raises(MachineError, match="no file of tensors"):
        nstpipe.run(pipeline)
    assert not list((tmp_path / "work_film").rglob("frame_*.png"))
