"""What it costs that nothing is lost: the share of a real run that goes into journal, log, waiting frames and states.

A part of the sample video is painted with its own settings, in this process, by one worker. All that writes for safety's sake
is timed where it is called, with its waiting for the disk (fsync). Frames that wait to be encoded would have to go
somewhere anyhow; they are counted all the same.

Run: python benchmarks/safety.py [--frames 24] [--size 320] [--device auto] [--json benchmarks/results/safety.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

import nstpipe
from nstpipe.journal.frames import FrameStore
from nstpipe.journal.journal import Journal
from nstpipe.journal.log import RunLog
from nstpipe.media.video import ffmpeg

SAMPLES = Path(__file__).parent.parent / "samples"
TARGET_SHARE = 0.02


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        calls: how often it was written.
        seconds: that this took.
        share: of the whole run's seconds.
    """

    what: str
    calls: int
    seconds: float
    share: float


class Clock:
    """Adds up the seconds within functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def watch(self, owner: Any, name: str, what: Callable[..., str]) -> None:
        function = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                said = what(*arguments)
                self.seconds[said] += time.perf_counter() - began
                self.calls[said] += 1

        setattr(owner, name, timed)


def part_of_sample(folder: Path, frames: int) -> Path:
    """The first frames of the sample video."""
    path = folder / "part.mp4"
    sample = SAMPLES / "video" / "city_night.mp4"
    cut = ffmpeg.Process(ffmpeg.graphs.output(ffmpeg.graphs.input(str(sample)).video, str(path), vframes=frames), sample)
    with cut:
        cut.finish()
    return path


def pipeline_in(folder: Path, arguments: argparse.Namespace) -> Path:
    job = {
        "name": "part",
        "input": str(part_of_sample(folder, arguments.frames)),
        "output": str(folder / "out.mp4"),
        "style": str(SAMPLES / "styles" / "van_gogh_starry_night.jpg"),
        "size": arguments.size,
        "shots": "none",
    }
    path = folder / "pipeline.yaml"
    top = {"version": 1, "device": arguments.device, "workers": 1, "work": str(folder / "work"), "jobs": [job]}
    path.write_text(yaml.safe_dump(top))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    clock = Clock()
    for name in ("record_plan", "record_start", "record_frame", "record_clip", "record_done", "begin_run", "end_run"):
        clock.watch(Journal, name, lambda *_: "journal")
    clock.watch(RunLog, "__call__", lambda *_: "log")
    clock.watch(FrameStore, "save", lambda *_: "frames that wait, and states to go on from")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:  # on a disk, where the folder for passing files may be memory
        result = nstpipe.run(pipeline_in(Path(name), arguments))
    assert result.exit_code == 0
    assert clock.calls["frames that wait, and states to go on from"] == arguments.frames
    rows = [Row(what, clock.calls[what], seconds, seconds / result.seconds) for what, seconds in clock.seconds.items()]
    total = sum(row.seconds for row in rows)
    rows.append(Row("together", sum(row.calls for row in rows), total, total / result.seconds))
    print(f"{arguments.frames} frames, {arguments.size} pixels, {result.seconds:.1f} s in all, {torch.__version__}")
    print("| what is written | times | seconds | share of the run |\n| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row.what} | {row.calls} | {row.seconds:.3f} | {row.share:.2%} |")
    print("within the target" if rows[-1].share < TARGET_SHARE else f"above the target of {TARGET_SHARE:.0%}")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": platform.processor() or platform.machine(),
            "frames": arguments.frames,
            "size": arguments.size,
            "seconds": result.seconds,
            "rows": [asdict(row) for row in rows],
        }
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
