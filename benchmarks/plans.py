"""What `nstpipe plan` says a run takes, against what it then takes.

`nstpipe plan` is asked first, in a process of its own, and then `nstpipe run` is timed as a user would: from the start of the
command to its end. Cases of one story share a work folder, so that the later ones know what the earlier ones took. Some run
beside a process that keeps one core busy, during the plan and the run. The ratio is that of the run's seconds to the plan's:
1.0 is right, and 0.67 to 1.5 is what is allowed. A run that fails or leaves a frame out stops the benchmark.

Run: python benchmarks/plans.py [--story NUMBER ...] [--json results.json]
With --json, the results of stories that were run before stay in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

SAMPLES = Path(__file__).parent.parent / "samples"
PAINTING = SAMPLES / "styles" / "van_gogh_starry_night.jpg"
ALLOWED = 1.5

BUSY = "while True: pass"
"""Python for a process that keeps one core busy and does nothing else."""


@dataclass(frozen=True)
class Case:
    """A plan and its run.

    Attributes:
        settings: of the job, beside its input.
        pictures: numbers of the sample pictures that are painted; none for the sample video.
        frames: of the video that are painted: the first one, and the one after the last.
        workers: number of processes.
        is_busy: whether another process keeps one core busy.
    """

    settings: dict[str, Any]
    pictures: tuple[int, ...] = ()
    frames: tuple[int, int] = (0, 0)
    workers: int = 1
    is_busy: bool = False


SHORT, VERY_SHORT = {"optimizer": {"first": 40}}, {"optimizer": {"first": 10, "next": 5}}

STORIES: tuple[dict[str, Case], ...] = (
    {"6 pictures of 64 px, 5 iterations": Case({"size": 64, "optimizer": {"first": 5}}, (1, 2, 3, 4, 5, 6))},
    {"3 pictures of 160 px": Case({"size": 160}, (1, 2, 3))},
    {"1 picture of 1920 px, 3 iterations": Case({"size": 1920, "scales": 1, "optimizer": {"first": 3}}, (4,))},
    {"video, 5 frames of 96 px": Case({"size": 96, **VERY_SHORT}, frames=(0, 5))},
    {
        "2 pictures of 64 px, busy": Case({"size": 64, **VERY_SHORT}, (1, 2), is_busy=True),
        "3 pictures of 96 px, after 2 of 64 px when busy": Case({"size": 96, **VERY_SHORT}, (4, 5, 6)),
    },
    {
        "6 pictures of 128 px, 2 workers": Case({"size": 128, **SHORT}, (1, 2, 3, 4, 5, 6), workers=2),
        "video over a cut, 6 frames of 96 px, 2 workers, after 6 pictures": Case(
            {"size": 96, **VERY_SHORT}, frames=(20, 26), workers=2
        ),
    },
    {
        "2 pictures of 128 px": Case({"size": 128, **SHORT}, (1, 2)),
        "2 pictures of 224 px, after 2 of 128 px": Case({"size": 224, **SHORT}, (4, 5)),
        "2 pictures of 96 px, busy, after 4 when quiet": Case({"size": 96, **VERY_SHORT}, (6, 7), is_busy=True),
    },
    {"video, 4 frames of 64 px, busy": Case({"size": 64, **VERY_SHORT}, frames=(0, 4), is_busy=True)},
)
"""Cases by name. Those of a story share a work folder, so that the later ones know what the earlier ones took."""


@contextmanager
def busy_core(is_busy: bool) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", BUSY]) if is_busy else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def prepared(folder: Path, settings: dict[str, Any], pictures: tuple[int, ...], frames: tuple[int, int], workers: int) -> Path:
    """Write a pipeline.yaml with one job, whose inputs are sample pictures or a part of the sample video."""
    from nstpipe.media.video import ffmpeg

    inputs = folder / f"inputs-{len(list(folder.iterdir()))}"
    inputs.mkdir()
    if pictures:
        source, output = inputs, folder / f"{inputs.name}-out"
        for number in pictures:
            (inputs / f"{number}.jpg").write_bytes(next((SAMPLES / "streetview").glob(f"street_0{number}*")).read_bytes())
    else:
        source, output = inputs / "film.mp4", folder / f"{inputs.name}-out.mp4"
        first, end = frames
        command = [ffmpeg.executable(), "-v", "error", "-i", str(SAMPLES / "video" / "city_night.mp4")]
        command += ["-vf", f"trim=start_frame={first}:end_frame={end},setpts=PTS-STARTPTS", "-an", "-crf", "16", str(source)]
        subprocess.run(command, check=True)
    job = {"name": "job", "input": str(source), "output": str(output), "style": str(PAINTING), "link": "none", **settings}
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "workers": workers, "jobs": [job]}), encoding="utf-8")
    return path


def nstpipe(*arguments: str) -> tuple[list[dict[str, Any]], float]:
    """Run a command and return what it says in JSON, and the seconds that it took.

    Raises:
        RuntimeError: Its exit code is not 0.
    """
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "nstpipe", *arguments, "--json"], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"{arguments}: exit code {done.returncode}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()], seconds


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        planned_seconds: what the plan said is likely.
        at_most_seconds: what it said is the most.
        run_seconds: what the run took.
        ratio: the run's seconds to the plan's.
        source: what the pace was measured in.
        busy_cores: cores that the plan found busy.
        plan_seconds: what the plan itself took.
        likely_iterations: as planned.
        iterations: as taken.
    """

    case: str
    planned_seconds: float
    at_most_seconds: float
    run_seconds: float
    ratio: float
    source: str
    busy_cores: float
    plan_seconds: float
    likely_iterations: float
    iterations: int


def measured(name: str, case: Case, folder: Path) -> Row:
    path = prepared(folder, case.settings, case.pictures, case.frames, case.workers)
    with busy_core(case.is_busy):
        rows, plan_seconds = nstpipe("plan", str(path))
        events, run_seconds = nstpipe("run", str(path))
    frames = [event for event in events if event["event"] == "FrameDone"]
    assert len(frames) == sum(row["frames"] for row in rows), "frames are missing"
    planned = rows[0]["total_seconds"]
    return Row(
        name,
        planned,
        rows[0]["total_seconds_at_most"],
        run_seconds,
        run_seconds / planned,
        rows[0]["pace"],
        rows[0]["busy_cores"],
        plan_seconds,
        sum(row["likely_evaluations"] for row in rows),
        sum(frame["evaluations"] for frame in frames),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--story", type=int, action="append", help="Only this story, counted from 0; repeatable.")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    # What was started must not go on alone: `subprocess.run` ends its process on an exception.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rows: dict[str, dict[str, Any]] = {}
    if arguments.json is not None and arguments.json.exists():
        rows = {row["case"]: row for row in json.loads(arguments.json.read_text(encoding="utf-8"))["rows"]}
    for number in arguments.story or range(len(STORIES)):
        with tempfile.TemporaryDirectory() as folder:
            for name, case in STORIES[number].items():
                row = measured(name, case, Path(folder))
                rows[name] = asdict(row)
                within = "" if 1 / ALLOWED <= row.ratio <= ALLOWED else "  OUTSIDE"
                print(
                    f"{name}: planned {row.planned_seconds:.1f} s, at most {row.at_most_seconds:.1f} s, took "
                    f"{row.run_seconds:.1f} s: {row.ratio:.2f}; {row.likely_iterations:.0f} iterations planned, "
                    f"{row.iterations} taken; by {row.source}, {row.busy_cores:.1f} cores busy; the plan took "
                    f"{row.plan_seconds:.1f} s{within}",
                    flush=True,
                )
                if arguments.json is not None:
                    ordered = [rows[name] for story in STORIES for name in story if name in rows]
                    about = {"machine": platform.machine(), "cores": len(os.sched_getaffinity(0)), "allowed": ALLOWED}
                    arguments.json.write_text(json.dumps({**about, "rows": ordered}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
