"""Whole runs whose work folder is remote: copied at checkpoints, held by one machine at a time, and continued on another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import nstpipe
from nstpipe import api
from nstpipe.cli import exit_code
from nstpipe.errors import BusyError
from nstpipe.events import Event, FrameDone, Noticed
from nstpipe.running.outcome import RunResult
from nstpipe.system.stop import Stop, StopReason
from tests.making import make_video, write_pipeline
from tests.storage.conftest import SECRET_KEY, SESSION_TOKEN, Cloud

FRAMES = 6

SLOWER = {"optimizer": {"first": 3, "next": 40, "tolerance": 0}}
"""Settings with which a frame takes so long that a copy can be made meanwhile."""


@pytest.fixture
def project(cloud: Cloud, tmp_path: Path) -> Path:
    """A folder for pipelines that read a remote film, and have a remote work folder."""
    cloud.put("film.mp4", make_video(tmp_path / "film.mp4", frames=FRAMES, audio=False))
    return tmp_path


def machine(project: Path, name: str, **storage: Any) -> Path:
    """The pipeline.yaml on a machine of its own: in a folder of its own, with a live folder beside it."""
    (project / name).mkdir(exist_ok=True)
    job = {"name": "film", "input": "s3://street/film.mp4", "output": "s3://street/out/film.mp4", **SLOWER}
    settings = {"live": "live", "retries": 0, "checkpoint_seconds": 1, "lock_seconds": 3, **storage}
    return write_pipeline(project / name, job, workers=1, work="s3://street/work", storage=settings)


def run(pipeline: Path, **arguments: Any) -> tuple[RunResult, list[Event]]:
    events: list[Event] = []
    on_event = arguments.pop("on_event", lambda _: None)

    def note(event: Event) -> None:
        events.append(event)
        on_event(event)

    return nstpipe.run(pipeline, on_event=note, **arguments), events


def painted(events: list[Event]) -> int:
    return sum(isinstance(event, FrameDone) for event in events)


def notices(events: list[Event]) -> str:
    return "\n".join(event.message for event in events if isinstance(event, Noticed))


def at_frame(number: int, do: Any) -> Any:
    """A listener that does something once, after so many frames."""
    frames: list[Event] = []

    def listen(event: Event) -> None:
        if isinstance(event, FrameDone):
            frames.append(event)
            if len(frames) == number:
                do()

    return listen


def run_until(pipeline: Path, frames: int) -> None:
    """Run, and stop after so many frames."""
    stop = Stop()
    listen = at_frame(frames, lambda: stop.ask(StopReason.TIME))
    assert run(pipeline, stop=stop, on_event=listen)[0].exit_code == 75


def checkpoint(cloud: Cloud) -> dict[str, Any]:
    """The latest checkpoint; empty if there is none."""
    names = cloud.names("work/checkpoints/0")
    found: dict[str, Any] = json.loads(cloud.get(max(names))) if names else {}
    return found


def frames_in(found: dict[str, Any]) -> int:
    return sum("/frame_" in file["path"] for file in found.get("files", ()))


def check_whole(cloud: Cloud) -> None:
    """See that all contents of the latest checkpoint are there, and no others."""
    named = {file["sha256"] for file in checkpoint(cloud)["files"]}
    assert {name.rpartition("/")[2] for name in cloud.names("work/objects/")} == named


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The result of a run on this machine alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    make_video(folder / "film.mp4", frames=FRAMES, audio=False)
    pipeline = write_pipeline(folder, {"name": "film", "input": "film.mp4", "output": "out.mp4", **SLOWER}, workers=1)
    assert run(pipeline)[0].exit_code == 0
    return (folder / "out.mp4").read_bytes()


def test_another_machine_goes_on_after_the_last_frame(cloud: Cloud, project: Path, undisturbed: bytes) -> None:
    run_until(machine(project, "a"), 3)
    check_whole(cloud)
    other = machine(project, "b")
    [job] = api.status(other).jobs
    assert (job.frames, job.frames_done) == (FRAMES, 3)
    assert [output.is_done for output in api.plan(other).outputs] == [False]
    assert api.clean(other, lambda found: not found).leftovers == ()
    for command in ("status", "report"):
        assert exit_code([command, str(other)]) == 0
    result, events = run(other)
    assert (result.exit_code, painted(events)) == (0, FRAMES - 3)
    assert cloud.get("out/film.mp4") == undisturbed
    assert frames_in(checkpoint(cloud)) == 0
    check_whole(cloud)
    result, events = run(machine(project, "a"))
    assert (result.exit_code, len(result.already_done), painted(events)) == (0, 1, 0)
    everything = b"".join(cloud.get(name) for name in cloud.names("work/")) + b"".join(
        file.read_bytes() for file in project.rglob("*") if file.is_file() and "live" in file.parts
    )
    for secret in (SECRET_KEY, SESSION_TOKEN):
        assert secret.encode() not in everything


def test_killed_and_taken_over_after_the_lock_expires(cloud: Cloud, project: Path, undisturbed: bytes) -> None:
    first = machine(project, "a")
    killed = subprocess.Popen([sys.executable, "-m", "nstpipe", "run", str(first), "--quiet"])
    deadline = time.monotonic() + 60
    while frames_in(checkpoint(cloud)) < 1 and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    copied = frames_in(checkpoint(cloud))
    other = machine(project, "b")
    with pytest.raises(BusyError, match=r"another run works with s3://street/work: process \d+ on ") as busy:
        run(other)
    assert busy.value.exit_code == 75
    holder = api.status(other).holder
    assert holder is not None
    assert holder.process == killed.pid
    result, events = run(other, wait=True)
    assert (result.exit_code, painted(events)) == (0, FRAMES - copied)
    assert "has given no sign of life for" in notices(events)
    assert cloud.get("out/film.mp4") == undisturbed
    # What the first machine has not copied is no part of the story any more, but is kept.
    result, events = run(first)
    assert (result.exit_code, painted(events)) == (0, 0)
    [kept] = (project / "a" / "live").glob("work.set-aside-*")
    assert str(kept) in notices(events)
    assert (kept / "journal.sqlite").exists()
