"""Shards: runs that share a work folder, and what becomes of their work."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import nstpipe
import nstpipe.api
from nstpipe.cli import exit_code
from nstpipe.config import load_pipeline
from nstpipe.errors import BusyError, InputError, UsageError
from nstpipe.events import Event, FrameDone, ItemFailed, Noticed, OutputDone
from nstpipe.journal.layers import shard_folders
from nstpipe.planning.partition import Partition, Shard
from nstpipe.running.outcome import RunResult
from tests.made_once import make_with_ffmpeg
from tests.making import make_picture, write_pipeline


class Killed(Exception):  # noqa: N818
    """Stands for whatever ends a process in the middle of its work."""


def make_cut_video(path: Path) -> Path:
    """A video of two shots of ten frames each, which differ by much more than a cut needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, second = "testsrc2=size=64x48:rate=25:duration=0.4", "mandelbrot=size=64x48:rate=25"
    joined = "[0:v]trim=end_frame=10[a];[1:v]negate,trim=end_frame=10[b];[a][b]concat=n=2"
    sources = ["-f", "lavfi", "-i", first, "-f", "lavfi", "-i", second]
    return make_with_ffmpeg(*sources, "-filter_complex", joined, "-c:v", "libx264", "-pix_fmt", "yuv420p", result=path)


def street(folder: Path, pictures: int = 5, **keys: object) -> Path:
    for number in range(pictures):
        make_picture(folder / "in" / f"{number}.png", seed=number)
    return write_pipeline(folder, {"name": "street", "input": "in", "output": "out", "link": "none", **keys})


def run(pipeline: Path, shard: str | None, **options: object) -> tuple[RunResult, list[Event]]:
    events: list[Event] = []
    return nstpipe.run(pipeline, shard=shard, on_event=events.append, **options), events  # type: ignore[arg-type]


def names(result: RunResult) -> set[str]:
    return {Path(done.output).name for done in result.outputs}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def painted(events: list[Event]) -> Counter[tuple[str, int]]:
    return Counter((event.path, event.frame_index) for event in events if isinstance(event, FrameDone))


@pytest.mark.parametrize("text", ["", "3", "4/3", "0/3", "-1/3", "1/0", "a/b", "1/3/5", "1/10001"])
def test_what_is_no_shard_is_a_wrong_usage(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="--shard: found") as raised:
        nstpipe.api.plan(street(tmp_path, pictures=1), shard=text)
    assert ("JOB_COMPLETION_INDEX" in raised.value.next_step) == (text == "0/3")


def test_shards_make_what_one_run_makes(tmp_path: Path) -> None:
    """Linked pictures, a video with a cut, and a picture that cannot be read; more shards than there is work for."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pipelines = []
    for folder in (whole, parts):
        make_cut_video(folder / "film.mp4")
        for number in range(2):
            make_picture(folder / "in" / f"linked_{number}.png", seed=7)  # the same picture twice is linked
        make_picture(folder / "in" / "other.png", seed=3, size=(54, 72))
        (folder / "in" / "broken.png").write_bytes(b"no picture")
        film = {"name": "film", "input": "film.mp4", "output": "out/film.mp4", "optimizer": {"first": 1, "next": 1}}
        pipelines.append(write_pipeline(folder, {"name": "street", "input": "in", "output": "out"}, film))
    assert nstpipe.run(pipelines[0]).exit_code == 2
    events: list[Event] = []
    results = []
    planned = [{output.path.name for output in nstpipe.api.plan(pipelines[1], shard=f"{n}/6").outputs} for n in range(1, 7)]
    for number in range(1, 7):
        try:
            result, of_shard = run(pipelines[1], f"{number}/6")
        except InputError:  # of the shard that has the broken picture and nothing else
            continue
        results.append(result)
        events += of_shard
        # Linked pictures stay together, and a plan tells the truth about what a run would make.
        assert names(result) <= planned[number - 1]
        assert ("linked_0.png" in names(result)) == ("linked_1.png" in names(result))
    assert max(painted(events).values()) == 1
    assert sum(painted(events).values()) == 3 + 20
    assert sum("film.mp4" in of_shard for of_shard in planned) == 2
    assert [name for result in results for name in names(result) if name == "film.mp4"] == ["film.mp4"]
    status = nstpipe.api.status(pipelines[1])
    assert [(job.done, job.failed, job.left, job.frames_done) for job in status.jobs] == [(3, 1, 0, 3), (1, 0, 0, 20)]
    assert contents(parts / "out") == contents(whole / "out")
    result, again = run(pipelines[1], None)
    assert (result.exit_code, result.outputs, len(result.already_done)) == (2, (), 4)
    assert not painted(again)
    assert [Path(event.path).name for event in again if isinstance(event, ItemFailed)] == ["broken.png"]
    assert not any((folder / "journal.sqlite").exists() for folder in shard_folders(parts / ".nstpipe"))
    assert not list((parts / ".nstpipe" / "clips").iterdir())  # those of the shared video are needed no more
    assert nstpipe.api.report(pipelines[1]).exists()


def test_each_failure_is_told_by_one_shard_and_tried_again_by_it(tmp_path: Path) -> None:
    pipeline = street(tmp_path, pictures=4)
    (tmp_path / "in" / "2.png").write_bytes(b"no picture")
    told = {}
    for number in (1, 2):
        result, events = run(pipeline, f"{number}/2")
        told[number] = [event for event in events if isinstance(event, ItemFailed)]
        assert result.exit_code == (2 if told[number] else 0)
    [(owner, [failure])] = [(number, found) for number, found in told.items() if found]
    assert Path(failure.path).name == "2.png"
    make_picture(tmp_path / "in" / "2.png", seed=2)
    for number in (1, 2):
        result, _ = run(pipeline, f"{number}/2", retry_failed=True)
        assert (result.exit_code, names(result)) == (0, {"2.png"} if number == owner else set())
    assert run(pipeline, None)[0].outputs == ()


def test_nothing_is_painted_again_after_a_kill_or_with_another_number_of_shards(tmp_path: Path) -> None:
    make_cut_video(tmp_path / "film.mp4")
    keys = {"optimizer": {"first": 1, "next": 1}, "link": "none"}
    film = {"name": "film", "input": "film.mp4", "output": "out/film.mp4", **keys}
    make_picture(tmp_path / "in" / "a.png")
    pipeline = write_pipeline(tmp_path, film, {"name": "street", "input": "in", "output": "out", **keys})
    seen: list[Event] = []

    def die(event: Event) -> None:
        seen.append(event)
        if isinstance(event, FrameDone) and event.frame_index % 10 == 4:
            raise Killed

    for _ in range(2):  # the second time it goes on behind the frame at which it died, and ends
        try:
            nstpipe.run(pipeline, shard="1/3", on_event=die)
        except Killed:
            assert len(painted(seen)) == 5
            [status] = [job for job in nstpipe.api.status(pipeline).jobs if job.job == "film"]
            assert (status.running, status.frames_done) == (1, 5)
    assert sum(painted(seen).values()) == 10
    # The first of two shards takes over what is left; the plan of the second knows it before any of them has begun.
    assert {output.path.name for output in nstpipe.api.plan(pipeline, shard="2/2").outputs} <= {"film.mp4", "a.png"}
    for shard in ("1/2", "2/2"):
        seen += run(pipeline, shard)[1]
    assert max(painted(seen).values()) == 1
    assert sum(painted(seen).values()) == 21
    assert nstpipe.api.status(pipeline).jobs[0].done == 1
    result, events = run(pipeline, None)
    assert (result.exit_code, result.outputs, painted(events)) == (0, (), Counter())


def test_who_may_work_beside_a_shard(tmp_path: Path) -> None:
    """The other shards of the same division may. The same one, one of another division, and runs without shards may not."""
    pipeline = street(tmp_path, pictures=2)
    said: list[str] = []

    def others(event: Event) -> None:
        if not isinstance(event, OutputDone):
            return
        for shard in ("1/2", "1/3", None):
            with pytest.raises(BusyError) as raised:
                nstpipe.run(pipeline, shard=shard)
            said.append(raised.value.problem)
        with pytest.raises(BusyError):
            nstpipe.api.clean(pipeline)
        status = nstpipe.api.status(pipeline)
        assert list(status.shards) == ["1/2"]
        assert (status.holder, status.exit_code, status.jobs[0].done) == (None, None, 1)
        make_picture(tmp_path / "in" / "new.png", seed=8)
        result, events = run(pipeline, "2/2")
        assert len(result.outputs) == 1
        assert ["1 input has come since" in event.message for event in events if isinstance(event, Noticed)] == [True]

    assert nstpipe.run(pipeline, shard="1/2", on_event=others).exit_code == 0
    assert f"shard 1/2 works on {tmp_path / '.nstpipe'}: process {os.getpid()}" in said[1]
    assert said[1] == said[2]
    # Nobody is at work now, so the picture that has come meanwhile gets a shard. What is made stays.
    results = [run(pipeline, shard)[0] for shard in ("1/2", "2/2")]
    assert [name for result in results for name in names(result)] == ["new.png"]

    def beside(event: Event) -> None:
        if isinstance(event, OutputDone):
            with pytest.raises(BusyError, match=r"(another run|a run without shards) works on"):
                nstpipe.run(pipeline, shard="1/2")

    make_picture(tmp_path / "in" / "last.png", seed=9)
    assert names(nstpipe.run(pipeline, on_event=beside)) == {"last.png"}


def test_a_partition_is_balanced_by_the_work(tmp_path: Path) -> None:
    """Four small pictures take as long as one with four times their pixels."""
    pipeline = street(tmp_path, pictures=4, size="native")
    make_picture(tmp_path / "in" / "large.png", size=(144, 108))
    assert run(pipeline, "2/2")[0].exit_code == 0
    partition = Partition.read(load_pipeline(pipeline))
    assert partition is not None
    first, second = ({path.name for path in partition.outputs_of(Shard(2, number))} for number in (1, 2))
    assert {frozenset(first), frozenset(second)} == {frozenset({"large.png"}), frozenset(f"{n}.png" for n in range(4))}


@pytest.mark.parametrize("damaged", ["journal of the shard", "partition"])
def test_what_a_disk_damages_is_mended(tmp_path: Path, damaged: str) -> None:
    pipeline = street(tmp_path, pictures=2)
    run(pipeline, "1/2")
    folder = tmp_path / ".nstpipe" / "shards"
    path = folder / "1-of-2" / "journal.sqlite" if "journal" in damaged else folder / "partition.sqlite"
    path.write_bytes(b"\0" * 5000)
    assert nstpipe.api.status(pipeline).jobs[0].done == (0 if "journal" in damaged else 1)
    results = [run(pipeline, shard)[0] for shard in ("1/2", "2/2", None)]
    assert sum(len(result.outputs) for result in results) == 1


def test_a_shard_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    """A real process, killed for real. Its lock and its open transaction are no hindrance."""
    pipeline = street(tmp_path, pictures=6, optimizer={"first": 40, "next": 2})
    command = [sys.executable, "-m", "nstpipe", "run", str(pipeline), "--shard", "1/2", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"OutputDone"' in line:
                os.kill(process.pid, signal.SIGKILL)
                break
    made = contents(tmp_path / "out")
    status = nstpipe.api.status(pipeline)
    assert status.jobs[0].done in (len(made), len(made) - 1)
    assert not status.shards
    results = [run(pipeline, shard)[0] for shard in ("2/2", "1/2")]
    assert [result.exit_code for result in results] == [0, 0]
    assert len(results[0].outputs) == 3
    assert made.items() <= contents(tmp_path / "out").items()
    assert exit_code(["run", str(pipeline), "--quiet"]) == 0
    assert len(contents(tmp_path / "out")) == 6
