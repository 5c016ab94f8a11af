"""SIGKILL, at random moments: the next run goes on, and ends with the bytes of a night without a fault."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from nstpipe.journal.journal import Journal

from .making import PATIENCE_SECONDS, Night, children_named, night_job, row

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")

FULL_TIMES = 25

FRAME_SECONDS = 0.05
"""About what a frame takes: a process that was there when one ended is still there a moment within the next one."""


def run_and_kill(night: Night, chance: random.Random, latest_seconds: float) -> float | None:
    """One run, killed after some time of work; how long it took to be going, None if it never was."""
    began = time.monotonic()
    process = night.start()
    going = None
    for event in night.events(process):
        if event["event"] in ("FrameDone", "OutputDone", "RunFinished"):
            going = time.monotonic() - began
            break
    time.sleep(chance.uniform(0, latest_seconds))
    process.kill()
    for _ in night.events(process):
        pass
    process.communicate(timeout=PATIENCE_SECONDS)
    return going


@pytest.mark.parametrize(
    "times", [1, pytest.param(FULL_TIMES, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])], ids=["short", "full"]
)
def test_the_parent_killed(night: Night, whole: Night, chance: random.Random, times: int) -> None:
    seen = row("SIGKILL of the parent")
    for _ in range(times):
        going = run_and_kill(night, chance, latest_seconds=10 * FRAME_SECONDS)
        seen.times += 1
        seen.seconds += [going] if going is not None else []
        seen.frames_lost += night.frames_lost()
    seen.seconds.append(night.finish())
    seen.bytes_equal = night.results() == whole.results()
    assert (seen.frames_lost, seen.bytes_equal) == (0, True)
    assert list((night.folder / "work" / "clips").iterdir()) == []


def while_it_runs(
    night: Night, chance: random.Random, times: int, choose: Callable[[subprocess.Popen[str]], list[psutil.Process]]
) -> tuple[int, list[float]]:
    """One run; after each frame, some time later, one of the chosen processes is killed, so many times.

    Returns:
        How many were killed, and the seconds from each kill until a clip was begun again.
    """
    process = night.start()
    killed_at: list[float] = []
    seconds: list[float] = []
    for event in night.events(process):
        if event["event"] == "ClipStarted" and len(killed_at) > len(seconds):
            seconds.append(time.monotonic() - killed_at[-1])
        if event["event"] != "FrameDone" or len(killed_at) >= times or len(killed_at) > len(seconds):
            continue
        time.sleep(chance.uniform(0, FRAME_SECONDS))
        chosen = choose(process)
        if chosen:
            chance.choice(chosen).kill()
            killed_at.append(time.monotonic())
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    return len(killed_at), seconds


def killed_night_after_night(
    folder: Path, whole: Night, chance: random.Random, times: int, workers: int, fault: str, name: str
) -> None:
    """Nights in which processes of that name are killed, until there were so many kills; each ends like an undisturbed one."""
    seen = row(fault)
    rounds = 0
    while seen.times < times:
        rounds += 1
        # On a quick machine a process may be gone before the chosen moment; then another night is tried.
        assert rounds <= 10 * times, f"no {name} was there to be killed"
        night = night_job(folder / str(rounds), workers)
        killed, seconds = while_it_runs(night, chance, times - seen.times, lambda process: children_named(process.pid, name))
        seen.times += killed
        seen.seconds += seconds
        seen.frames_lost += night.frames_lost()
        seen.bytes_equal = night.results() == whole.results()
        assert (seen.frames_lost, seen.bytes_equal) == (0, True)


FULL = [pytest.mark.faults, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("workers", "times"),
    [(1, 1), pytest.param(1, FULL_TIMES, marks=FULL), pytest.param(2, FULL_TIMES, marks=FULL)],
    ids=["short", "full, one", "full, two"],
)
def test_workers_killed(
    tmp_path: Path, request: pytest.FixtureRequest, chance: random.Random, workers: int, times: int
) -> None:
    whole: Night = request.getfixturevalue("whole" if workers == 1 else "whole_by_two")
    killed_night_after_night(
        tmp_path, whole, chance, times, workers, f"SIGKILL of a worker, of {workers}", "nstpipe.running.worker"
    )


@pytest.mark.parametrize(
    "times", [1, pytest.param(FULL_TIMES, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])], ids=["short", "full"]
)
def test_ffmpeg_killed(tmp_path: Path, whole: Night, chance: random.Random, times: int) -> None:
    killed_night_after_night(tmp_path, whole, chance, times, 1, "SIGKILL of ffmpeg", "ffmpeg")


@pytest.mark.faults
@pytest.mark.parametrize("workers", [1, 2])
def test_a_clip_that_always_kills_its_worker_is_quarantined(tmp_path: Path, workers: int) -> None:
    seen = row(f"a worker killed three times by one clip, {workers}")
    night = night_job(tmp_path, workers)
    process = night.start()
    failures = []
    for event in night.events(process):
        if event["event"] in ("ClipStarted", "FrameProgressed", "TriedAgain") and event["path"].endswith("a.mp4"):
            doomed_end = time.monotonic() + 10
            while time.monotonic() < doomed_end and not (
                doomed := [
                    child.ppid()
                    for child in children_named(process.pid, "a.mp4")
                    if any("ffmpeg" in part for part in child.cmdline()[:1])
                ]
            ):
                time.sleep(0.02)
            for worker in doomed:
                os.kill(worker, signal.SIGKILL)
        if event["event"] == "ItemFailed":
            failures.append(event)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2, err
    [failure] = failures
    assert "a.mp4" in failure["path"]
    assert "was killed (exit code -9)" in failure["reason"]
    assert "3 times in a row" in failure["reason"]
    assert set(night.results()) == {"films/b.mp4", "picture.png"}
    seen.times, seen.frames_lost = 3, night.frames_repeated
    with closing(Journal(night.folder / "work", read_only=True)) as journal:
        [clip] = journal.clips(str(night.folder / "out" / "films" / "a.mp4"))
    assert (clip.state, clip.attempts) == ("failed", 3)
    assert clip.reason == failure["reason"]
    assert clip.log.startswith("logs/")
