"""A night's work in small, its processes, and what is left of it after a fault."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

import nstpipe
from nstpipe.events import Event, FrameDone, OutputDone, RunFinished
from tests.making import make_picture, make_video, write_pipeline

REPOSITORY = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 120


@dataclass
class Row:
    """One line of the table."""

    fault: str
    times: int = 0
    frames_lost: int = 0
    bytes_equal: bool | None = None
    seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        going = f"{max(self.seconds):.1f}" if self.seconds else "–"
        equal = {None: "–", True: "yes", False: "no"}[self.bytes_equal]
        return f"{self.fault:<44}{self.times:>6}{self.frames_lost:>13}{equal:>13}{going:>15}"


ROWS: list[Row] = []

REPEATED = pytest.mark.parametrize(
    "times", [1, pytest.param(5, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])], ids=["short", "full"]
)
"""How often a fault is tried, each time at another random moment."""


def row(fault: str) -> Row:
    ROWS.append(Row(fault))
    return ROWS[-1]


@dataclass
class Night:
    """A pipeline of two films and a picture, and the processes that run it."""

    folder: Path
    pipeline: Path
    workers: int
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    frames_announced: set[tuple[str, int]] = field(default_factory=set)
    frames_repeated: int = 0

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "nstpipe", "run", str(self.pipeline), "--json", "--workers", str(self.workers)]
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
        )
        self.processes.append(process)
        return process

    def events(self, process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
        """What a process says, as it says it; frames that it calls done are remembered."""
        assert process.stdout is not None
        for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                return  # it was killed in the middle of a line
            if event["event"] == "FrameDone":
                self._remember(event["path"], event["frame_index"])
            yield event

    def _remember(self, path: str, frame_index: int) -> None:
        self.frames_repeated += (path, frame_index) in self.frames_announced
        self.frames_announced.add((path, frame_index))

    def go_on(self) -> float:
        """Run to the end in this process, which has all libraries already; the seconds until it was going.

        What lies on the disk decides how a run goes on, not which process runs it.
        """
        began = time.monotonic()
        going: list[float] = []

        def watch(event: Event) -> None:
            if isinstance(event, FrameDone):
                self._remember(event.path, event.frame_index)
            if isinstance(event, (FrameDone, OutputDone, RunFinished)):
                going.append(time.monotonic() - began)

        result = nstpipe.run(self.pipeline, workers=self.workers, on_event=watch)
        assert result.exit_code == 0, result.failures
        return going[0]

    def finish(self, *options: str) -> float:
        """Run to the end in processes of its own, undisturbed; the seconds until it was going."""
        began = time.monotonic()
        going = None
        process = self.start(*options)
        for event in self.events(process):
            if going is None and event["event"] in ("FrameDone", "OutputDone", "RunFinished"):
                going = time.monotonic() - began
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, err
        assert going is not None
        return going

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def results(self) -> dict[str, str]:
        """Checksums of all results, and of whatever else lies beside them."""
        out = self.folder / "out"
        files = [path for path in sorted(out.rglob("*")) if path.is_file()]
        return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def frames_kept(self) -> int:
        """Frames that are stored, or are in a result that has its name."""
        stored = len(list((self.folder / "work" / "clips").glob("*/frame_*.npy")))
        made = sum(FRAMES[name] for name in FRAMES if (self.folder / "out" / name).exists())
        encoded_and_stored = 0
        if stored:  # a film that has its name may not have been cleared away yet
            for clip in (self.folder / "work" / "clips").iterdir():
                count = len(list(clip.glob("frame_*.npy")))
                encoded_and_stored += count if count in made_counts(self.folder) else 0
        return stored + made - encoded_and_stored

    def frames_lost(self) -> int:
        """Frames that were called done, and are no longer there or were painted again."""
        return max(0, len(self.frames_announced) - self.frames_kept()) + self.frames_repeated


FRAMES = {"films/a.mp4": 7, "films/b.mp4": 5, "picture.png": 1}


def made_counts(folder: Path) -> list[int]:
    return [count for name, count in FRAMES.items() if (folder / "out" / name).exists()]


def night_job(folder: Path, workers: int = 1, **top: Any) -> Night:
    # Frames larger than a pipe holds, so that ffmpeg is there as long as frames are being painted.
    make_video(folder / "in" / "a.mp4", frames=FRAMES["films/a.mp4"], size="320x240")
    make_video(folder / "in" / "b.mp4", frames=FRAMES["films/b.mp4"], audio=False)
    make_picture(folder / "in" / "picture.png")
    pipeline = write_pipeline(
        folder,
        {"name": "films", "input": "in/*.mp4", "output": "out/films"},
        {"name": "picture", "input": "in/picture.png", "output": "out/picture.png"},
        **{"work": "work", **top},
    )
    return Night(folder, pipeline, workers)


def children_named(parent: int, word: str) -> list[psutil.Process]:
    """Processes below a process whose command holds a word."""
    found = []
    try:
        children = psutil.Process(parent).children(recursive=True)
    except psutil.Error:
        return []
    for child in children:
        with suppress(psutil.Error):  # it has just ended
            found += [child] if word in " ".join(child.cmdline()) else []
    return found


def flip_a_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0x20
    path.write_bytes(content)
