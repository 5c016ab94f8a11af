"""Signals, deadlines and two runs at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

import nstpipe
from nstpipe.events import Event, FrameDone, OutputDone
from nstpipe.system.stop import Stop, StopReason

from .making import PATIENCE_SECONDS, REPEATED, Night, Row, night_job, row

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


def leave(night: Night, process: subprocess.Popen[str]) -> tuple[int, str]:
    for _ in night.events(process):
        pass
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in err
    return process.returncode, err


CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.parametrize(
    ("number", "signals", "workers"),
    [
        (signal.SIGTERM, 1, 1),
        pytest.param(signal.SIGINT, 2, 1, marks=pytest.mark.faults),
        pytest.param(signal.SIGINT, 1, 1, marks=pytest.mark.faults),
        pytest.param(signal.SIGTERM, 1, 2, marks=pytest.mark.faults),
        pytest.param(signal.SIGINT, 1, 2, marks=pytest.mark.faults),
        pytest.param(signal.SIGTERM, 2, 1, marks=pytest.mark.faults),
        pytest.param(signal.SIGTERM, 2, 2, marks=pytest.mark.faults),
        pytest.param(signal.SIGINT, 2, 2, marks=pytest.mark.faults),
    ],
)
def test_signals(
    tmp_path: Path, request: pytest.FixtureRequest, chance: random.Random, number: signal.Signals, signals: int, workers: int
) -> None:
    whole: Night = request.getfixturevalue("whole" if workers == 1 else "whole_by_two")
    night = night_job(tmp_path, workers)
    seen = row(f"{number.name}, {('once', 'twice')[signals - 1]}, {workers} workers")
    process = night.start()
    for event in night.events(process):
        if event["event"] == "FrameDone":
            break
    time.sleep(chance.uniform(0, 0.3))
    process.send_signal(number)
    if signals == 2:
        time.sleep(chance.uniform(0.02, 0.2))
        process.send_signal(number)
    asked = time.monotonic()
    code, err = leave(night, process)
    took = time.monotonic() - asked
    assert code == CODES[number], err
    assert signals == 2 or "finishing the current frame" in err
    assert "finished work is kept" in err
    assert took < 30, "a frame of this size takes a second, and a worker a moment to end"
    seen.times = 1
    seen.frames_lost = night.frames_lost()
    seen.seconds.append(night.go_on())
    seen.bytes_equal = night.results() == whole.results()
    assert (seen.frames_lost, seen.bytes_equal) == (0, True)


@REPEATED
def test_a_deadline_in_the_middle_of_a_clip(tmp_path: Path, whole: Night, chance: random.Random, times: int) -> None:
    seen = row("deadline in the middle of a clip")
    for number in range(times):
        meet_a_deadline(night_job(tmp_path / str(number)), after_frames=chance.randrange(2, 6), seen=seen, whole=whole)


def meet_a_deadline(night: Night, after_frames: int, seen: Row, whole: Night) -> None:
    stop = Stop()
    done: list[tuple[str, int]] = []

    def watch(event: Event) -> None:
        if isinstance(event, FrameDone):
            done.append((event.path, event.frame_index))
            if len(done) == after_frames:  # half a frame's time is left: nothing more fits
                stop.deadline = time.time() + event.seconds / event.evaluations * 2 / 2

    result = nstpipe.run(night.pipeline, stop=stop, on_event=watch)
    assert (result.exit_code, result.stopped) == (75, StopReason.TIME)
    assert len(done) == after_frames
    assert stop.deadline is not None
    assert time.time() < stop.deadline + 30, "no frame has begun, and a worker takes a moment to end on a busy machine"
    night.frames_announced.update(done)
    seen.times += 1
    seen.seconds.append(night.go_on())
    seen.frames_lost += night.frames_lost()
    seen.bytes_equal = night.results() == whole.results()
    assert (seen.frames_lost, seen.bytes_equal) == (0, True)


@pytest.mark.faults
def test_an_estimate_that_was_wrong_does_not_miss_the_deadline(tmp_path: Path) -> None:
    night = night_job(tmp_path)
    began = time.time()
    slow = ["jobs.*.optimizer.first=100000", "jobs.*.optimizer.tolerance=0"]
    result = nstpipe.run(night.pipeline, overrides=slow, stop=Stop(began + 6))
    assert result.exit_code == 75
    assert result.outputs == ()
    assert time.time() - began < 12


@REPEATED
def test_two_runs_started_at_the_same_moment(tmp_path: Path, whole: Night, times: int) -> None:
    seen = row("two runs at the same moment")
    for number in range(times):
        night = night_job(tmp_path / str(number))
        processes = [night.start(), night.start()]
        ends = [leave(night, process) for process in processes]
        seen.times += 1
        seen.frames_lost += night.frames_lost()
        seen.bytes_equal = night.results() == whole.results()
        assert sorted(code for code, _ in ends) == [0, 75]
        [refused] = [err for code, err in ends if code == 75]
        assert "another run works on" in refused
        assert (seen.frames_lost, seen.bytes_equal) == (0, True)


@pytest.mark.faults
def test_who_waits_goes_on_where_the_first_one_ended(night: Night) -> None:
    made: list[str] = []
    first = night.start()
    for event in night.events(first):
        if event["event"] == "FrameDone":
            break

    def watch(event: Event) -> None:
        made.extend([event.output] if isinstance(event, OutputDone) else [])

    stop = Stop()
    first.send_signal(signal.SIGTERM)
    result = nstpipe.run(night.pipeline, jobs=["picture"], wait=True, stop=stop, on_event=watch)
    assert result.exit_code == 0
    assert [Path(output).name for output in made] == ["picture.png"]
    assert leave(night, first)[0] == 143
