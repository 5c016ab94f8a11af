"""Faults of a Dask cluster on loopback, with scheduler and workers as processes: no frame is lost, the bytes stay the same."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import psutil
import pytest

from tests.making import make_video, write_pipeline

from .making import PATIENCE_SECONDS, REPOSITORY, Night, children_named, night_job, row

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL"),
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs nstpipe[cluster]"),
]

FULL = [pytest.mark.faults, pytest.mark.timeout(1800)]

KILLS = 20

THREADS = max(1, joblib.cpu_count() // 2)
"""As many as two workers on one machine have: other threads round otherwise."""


@dataclass
class Machines:
    """A scheduler and its workers."""

    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    def start(self, workers: int, *options: str) -> None:
        scheduler = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        self._start("scheduler", *scheduler, "--scheduler-file", str(self.file))
        wait_for(self.file.exists)
        for number in range(1, workers + 1):
            self.start_worker(f"w{number}", *options)

    def start_worker(self, name: str, *options: str, environment: dict[str, str] | None = None) -> None:
        command = ["-m", "nstpipe", "worker", str(self.file), "--name", name, "--tasks", "1", "--threads", str(THREADS)]
        self._start(name, *command, *options, environment=environment)

    def _start(self, name: str, *command: str, environment: dict[str, str] | None = None) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [sys.executable, *command], stdout=log, stderr=log, cwd=REPOSITORY, env={**os.environ, **(environment or {})}
        )

    def painting(self) -> list[psutil.Process]:
        """Processes that paint now, or wait for the next clip."""
        return [
            child
            for name, process in self.processes.items()
            if name != "scheduler"
            for child in children_named(process.pid, "nstpipe.running.worker")
        ]

    def serving(self) -> list[psutil.Process]:
        """Dask's own processes of workers that a nanny starts again."""
        return [
            child
            for name, process in self.processes.items()
            if name != "scheduler"
            for child in children_named(process.pid, "multiprocessing.spawn")
        ]

    def end(self) -> None:
        for process in self.processes.values():
            with suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.1)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    made = Machines(tmp_path)
    yield made
    made.end()


def cluster_night(folder: Path, machines: Machines, **cluster: Any) -> Night:
    return night_job(folder / "night", 2, cluster={"address": str(machines.file), **cluster})


def finished(process: subprocess.Popen[str]) -> int:
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in err, err
    return process.returncode


def test_a_worker_and_then_the_scheduler_killed(
    tmp_path: Path, machines: Machines, whole_by_two: Night, chance: random.Random
) -> None:
    """One worker costs one frame; without a scheduler the run ends in time, and everything is kept."""
    seen = row("SIGKILL of a cluster's worker, then of the scheduler")
    machines.start(2, "--no-nanny")
    night = cluster_night(tmp_path, machines)
    process = night.start()
    by_worker: dict[str, str] = {}
    painted_by: set[str] = set()
    killed = ""
    for event in night.events(process):
        if event["event"] == "ClipStarted":
            by_worker[event["path"]] = event["worker"]
            painted_by.add(event["worker"])
            if killed and event["worker"] != killed:
                machines.processes["scheduler"].kill()
        if event["event"] == "FrameDone" and not killed:
            killed = by_worker[event["path"]]
            machines.processes[killed].kill()
        if event["event"] == "TriedAgain":
            assert "its worker was lost" in event["reason"]
        if event["event"] == "RunFinished":
            assert event["stopped"] == "the scheduler of the cluster is gone"
    assert finished(process) == 75
    assert painted_by == {"w1", "w2"}
    wait_for(lambda: not machines.painting())
    assert not (night.folder / "work" / "cluster").exists()
    night.finish("--set", "cluster=null")
    seen.times, seen.frames_lost, seen.bytes_equal = 2, night.frames_lost(), night.results() == whole_by_two.results()
    assert (seen.frames_lost, seen.bytes_equal) == (0, True)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_twenty_kills_in_one_job(tmp_path: Path, machines: Machines, chance: random.Random) -> None:
    seen = row(f"{KILLS} random kills in one job of a cluster")
    films = {"name": "films", "input": "in/*.mp4", "output": "out/films"}
    nights = []
    for name, top in (("plain", {}), ("killed", {"cluster": str(machines.file)})):
        folder = tmp_path / name
        for number in range(3):
            make_video(folder / "in" / f"{number}.mp4", frames=40, size="160x120")
        nights.append(Night(folder, write_pipeline(folder, films, work="work", **top), 2))
    whole, night = nights
    whole.finish()
    machines.start(3)
    wait_for(lambda: len(machines.serving()) == 3)
    process = night.start()
    for event in night.events(process):
        if event["event"] == "FrameDone" and seen.times < KILLS:
            time.sleep(chance.uniform(0, 0.1))
            chosen = [*machines.serving(), *machines.painting()]
            if chosen:
                with suppress(psutil.Error):
                    chance.choice(chosen).kill()
                    seen.times += 1
        assert event["event"] != "ItemFailed", event
    assert finished(process) == 0
    assert seen.times == KILLS
    seen.frames_lost, seen.bytes_equal = night.frames_repeated, night.results() == whole.results()
    assert (seen.frames_lost, seen.bytes_equal) == (0, True)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["a hung painting process", "SIGSTOP of a worker", "SIGSTOP of the scheduler"])
def test_what_hangs(tmp_path: Path, machines: Machines, whole_by_two: Night, kind: str) -> None:
    """What hangs is given up, and may come back: SIGCONT finds that its lease is gone."""
    seen = row(f"{kind}, then SIGCONT")
    machines.start(2, "--no-nanny")
    night = cluster_night(tmp_path, machines, lost_after=8, hung_after=20)
    process = night.start()
    stopped: list[psutil.Process] = []
    stopped_at = 0.0
    for event in night.events(process):
        if event["event"] == "FrameDone" and not stopped:
            if kind == "a hung painting process":
                stopped = machines.painting()[:1]
            elif kind == "SIGSTOP of a worker":
                worker = machines.painting()[0].parent()
                assert worker is not None
                stopped = [worker, *worker.children(recursive=True)]
            else:
                stopped = [psutil.Process(machines.processes["scheduler"].pid)]
            for one in stopped:
                one.suspend()
            stopped_at = time.monotonic()
            if kind == "SIGSTOP of the scheduler":
                time.sleep(5)  # shorter than `lost_after`: nothing is given up
                stopped[0].resume()
        if event["event"] == "TriedAgain":
            seen.seconds.append(time.monotonic() - stopped_at)
            assert kind != "SIGSTOP of the scheduler"
            if kind == "SIGSTOP of a worker":
                for one in stopped:
                    one.resume()
    assert finished(process) == 0
    seen.times = 1
    seen.frames_lost, seen.bytes_equal = night.frames_lost(), night.results() == whole_by_two.results()
    assert (seen.frames_lost, seen.bytes_equal) == (0, True)
    assert bool(seen.seconds) == (kind != "SIGSTOP of the scheduler")


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_the_parent_of_a_cluster_killed(tmp_path: Path, machines: Machines, whole_by_two: Night) -> None:
    """Workers end by themselves when nobody gives them leases any more, at the latest when the next run begins."""
    seen = row("SIGKILL of the parent of a cluster")
    machines.start(2, "--no-nanny")
    night = cluster_night(tmp_path, machines, lost_after=6)
    for _ in range(3):
        process = night.start()
        for event in night.events(process):
            if event["event"] == "FrameDone":
                break
        process.kill()
        for _ in night.events(process):
            pass
        process.communicate()
        seen.times += 1
    going = night.start()
    for _ in night.events(going):
        pass
    assert finished(going) == 0
    seen.bytes_equal = night.results() == whole_by_two.results()
    assert seen.bytes_equal
    assert not list((night.folder / "work" / "clips").iterdir())


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk_on_one_worker(tmp_path: Path, machines: Machines, whole_by_two: Night) -> None:
    """A worker's own disk, for what is temporary, takes no part in the work."""
    seen = row("full disk of one worker of a cluster")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with suppress(OSError):
            (small / "full").write_bytes(bytes(1 << 20))
        machines.start(1, "--no-nanny")
        machines.start_worker("w2", "--no-nanny", environment={"TMPDIR": str(small)})
        night = cluster_night(tmp_path, machines)
        process = night.start()
        for _ in night.events(process):
            pass
        assert finished(process) == 0
    finally:
        machines.end()
        subprocess.run(["umount", str(small)], check=True)
    seen.times, seen.frames_lost, seen.bytes_equal = 1, night.frames_lost(), night.results() == whole_by_two.results()
    assert (seen.frames_lost, seen.bytes_equal) == (0, True)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_clip_that_kills_three_workers_is_quarantined(tmp_path: Path, machines: Machines) -> None:
    night = cluster_night(tmp_path, machines)
    machines.start(2)
    process = night.start()
    failures = []
    for event in night.events(process):
        if event["event"] in ("ClipStarted", "FrameProgressed", "TriedAgain") and event["path"].endswith("a.mp4"):
            end = time.monotonic() + 10
            while time.monotonic() < end:
                doomed = [
                    painter
                    for painter in machines.painting()
                    if any("a.mp4" in " ".join(child.cmdline()) for child in children_named(painter.pid, "ffmpeg"))
                ]
                for painter in doomed:
                    os.kill(painter.pid, signal.SIGKILL)
                if doomed:
                    break
                time.sleep(0.02)
        if event["event"] == "ItemFailed":
            failures.append(event)
    assert finished(process) == 2
    [failure] = failures
    assert "a.mp4" in failure["path"]
    assert "3 times in a row" in failure["reason"]
    assert set(night.results()) == {"films/b.mp4", "picture.png"}
