"""Whole runs over moving pictures: what stays still, what begins anew, and what is gone on with."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import nstpipe
from benchmarks.scenes import passing, slide
from nstpipe.errors import MachineError
from nstpipe.events import Event, FrameDone
from nstpipe.media import ffmpeg
from nstpipe.media.frame import Pixels, resized
from nstpipe.media.video import VideoSource, probe
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
    command = [ffmpeg.executable(), "-v", "error", "-y", *raw, "-c:v", "ffv1", "-pix_fmt", "bgr0", str(path)]
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in frames), check=True)
    return path


def job(folder: Path, frames: Sequence[Pixels], name: str = "film", **keys: object) -> Path:
    film(folder / f"{name}.mkv", frames)
    return write_pipeline(
        folder,
        {"name": name, "input": f"{name}.mkv", "output": f"out/{name}.mkv", "size": 64, **EXACT, **keys},
        work=f"work_{name}",
    )


def painted(pipeline: Path, name: str = "film") -> list[Pixels]:
    result = nstpipe.run(pipeline)
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
    frames = painted(job(tmp_path, [walk[0]] * 5, optimizer={"first": 60, "next": 10}))
    for before, now in zip(frames[1:], frames[2:], strict=False):
        assert np.abs(before.astype(int) - now.astype(int)).mean() < 1


def test_two_shots_give_what_each_gives_alone(tmp_path: Path, walk: list[Pixels], station: Pixels) -> None:
    other = slide(resized(station, (120, 90)), SIZE, 6, (-2, 1), (40, 20)).frames
    together = painted(job(tmp_path / "both", [*walk, *other]))
    alone = [*painted(job(tmp_path / "one", walk)), *painted(job(tmp_path / "other", other))]
    assert len(together) == 12
    assert all(np.array_equal(one, two) for one, two in zip(together, alone, strict=True))


def test_without_cuts_the_second_shot_would_come_out_otherwise(
    tmp_path: Path, walk: list[Pixels], traffic: list[Pixels]
) -> None:
    # What the test above would see if a shot took something from the one before it.
    continued = painted(job(tmp_path / "both", [*walk[:3], *traffic[3:]], shots="none"))
    alone = painted(job(tmp_path / "alone", traffic[3:]))
    assert not np.array_equal(continued[3], alone[0])


@pytest.mark.parametrize(
    "temporal",
    [{"lags": [1, 3]}, {"passes": 2}, {"passes": 3, "lags": [1, 2]}, {"flow": "farneback"}, {"init": "content"}],
    ids=["lags", "two passes", "three passes with lags", "farneback", "from the content"],
)
def test_going_on_after_a_stop_changes_nothing(tmp_path: Path, traffic: list[Pixels], temporal: dict[str, object]) -> None:
    whole = painted(job(tmp_path / "whole", traffic, temporal=temporal))
    plain = painted(job(tmp_path / "plain", traffic))
    # It does something at all, else nothing is tested here.
    assert not all(np.array_equal(one, two) for one, two in zip(whole, plain, strict=True))
    broken = job(tmp_path / "broken", traffic, temporal=temporal)
    seen: list[int] = []

    def stop_every_fourth(event: Event) -> None:
        if isinstance(event, FrameDone):
            seen.append(event.frame_index)
            if len(seen) % 4 == 0:
                raise Stopped

    for _ in range(10):
        try:
            nstpipe.run(broken, on_event=stop_every_fourth)
            break
        except Stopped:
            continue
    assert all(np.array_equal(one, two) for one, two in zip(painted(broken), whole, strict=True))
    # A stop costs nothing that was finished.
    passes = temporal.get("passes", 1)
    assert len(seen) == 6 * int(str(passes))


def test_passes_alternate_and_the_last_goes_forwards(tmp_path: Path, traffic: list[Pixels]) -> None:
    seen: list[tuple[int, bool]] = []

    def watch(event: Event) -> None:
        if isinstance(event, FrameDone):
            seen.append((event.frame_index, event.is_final))

    nstpipe.run(job(tmp_path, traffic, temporal={"passes": 3}), on_event=watch)
    there, back, last = [(i, False) for i in range(6)], [(i, False) for i in range(5, -1, -1)], [(i, True) for i in range(6)]
    assert seen == [*there, *back, *last]


def test_a_damaged_result_of_an_earlier_pass_is_made_again(tmp_path: Path, traffic: list[Pixels]) -> None:
    pipeline = job(tmp_path, traffic, temporal={"passes": 2})

    def stop(event: Event) -> None:
        if isinstance(event, FrameDone) and event.is_final and event.frame_index == 1:
            raise Stopped

    with pytest.raises(Stopped):
        nstpipe.run(pipeline, on_event=stop)
    earlier = sorted((tmp_path / "work_film").rglob("pass_1/frame_*.png"))
    assert len(earlier) == 6
    # Painted backwards: the third from the end of the folder is frame 2.
    earlier[3].write_bytes(earlier[3].read_bytes()[:200])
    whole = painted(job(tmp_path / "whole", traffic, temporal={"passes": 2}))
    assert all(np.array_equal(one, two) for one, two in zip(painted(pipeline), whole, strict=True))


def test_a_dissolve_leads_to_the_paint_of_what_is_there(tmp_path: Path, walk: list[Pixels], station: Pixels) -> None:
    there = resized(station, SIZE)
    dissolve = [
        (walk[0] * (1 - share) + there * share).round().astype(np.uint8) for share in np.linspace(0, 1, 5, dtype=np.float32)
    ]
    settings = {"optimizer": {"first": 30, "next": 12}, "shots": "none"}
    frames = painted(job(tmp_path / "dissolve", [walk[0], *dissolve, there, there], **settings))
    [alone] = painted(job(tmp_path / "alone", [there], **settings))
    [before] = painted(job(tmp_path / "before", [walk[0]], **settings))

    def apart(one: Pixels, other: Pixels) -> float:
        return float(np.abs(resized(one, (16, 12)).astype(float) - resized(other, (16, 12))).mean())

    # At the end it looks like the picture alone, and nothing of the picture before shines through.
    assert apart(frames[-1], alone) < 0.5 * apart(before, alone)


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
