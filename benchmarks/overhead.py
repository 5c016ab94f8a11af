"""What a picture and a frame of a video take beside their engine, and how long a run takes to its first iteration.

The engine returns each frame as it is. All else is real: a worker process or two, the journal with its waiting for the disk,
optical flow, warping, metadata, the checks after writing, and the report. Two runs of each kind: everything anew, and again,
when all is done.

Start: `python -m nstpipe run` with the real engine and one iteration, from the command until the first frame is finished.

Run: python benchmarks/overhead.py [--pictures 500] [--frames 300] [--only NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import identity  # noqa: E402 - beside this file, for the workers too

import nstpipe  # noqa: E402
from nstpipe.events import ClipStarted, Event, FrameDone, JobPlanned, OutputDone  # noqa: E402
from nstpipe.media.video import ffmpeg  # noqa: E402
from nstpipe.running import output_maker  # noqa: E402

SAMPLES = HERE.parent / "samples"
SIDE = 384
PICTURE_TARGET_MS, FRAME_TARGET_MS, START_TARGET_SECONDS = 60.0, 15.0, 4.0
LONGEST_SECONDS = 190


@dataclass(frozen=True)
class Case:
    """A run to measure.

    Attributes:
        name: what it is called.
        video: whether it paints the video; otherwise the folder.
        workers: processes.
        job: keys of the job.
    """

    name: str
    video: bool
    workers: int = 1
    job: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case("pictures", video=False),
    Case("pictures, two workers", video=False, workers=2),
    Case("pictures, link: none", video=False, job={"link": "none"}),
    Case("pictures, link: none, two workers", video=False, workers=2, job={"link": "none"}),
    Case("video", video=True),
    Case("video, two workers", video=True, workers=2),
    Case("video, flow from frames of 384 pixels", video=True, job={"input": "small.mp4"}),
    Case("video, no flow", video=True, job={"temporal": {"init": "content", "weight": 0}}),
)

STARTS = ("pictures", "pictures, link: none", "video")
"""The cases whose start is timed."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: of the case.
        items: pictures or frames.
        plan_ms: from the call until the jobs are announced, an item.
        work_ms: from the first clip's start until the last output is done, an item.
        end_ms: from there until the run ends, an item.
        all_ms: the whole run, an item, without the start of the workers.
        processor_ms: what all processes of the run computed, an item, with the start of the workers.
        again_ms: another run, which finds all done, an item.
        start_seconds: from the announced jobs until the first clip has started in its worker.
    """

    name: str
    items: int
    plan_ms: float
    work_ms: float
    end_ms: float
    all_ms: float
    processor_ms: float
    again_ms: float
    start_seconds: float


def make_folder(folder: Path, count: int) -> None:
    """Write JPEGs of 384 pixels with the metadata of the samples: each street in a slow pan, as a car sees it."""
    folder.mkdir()
    streets = sorted((SAMPLES / "streetview").glob("*.jpg"))
    each = -(-count // len(streets))
    number = 0
    for street in streets:
        with Image.open(street) as image:
            exif, icc, xmp = image.info.get("exif"), image.info.get("icc_profile"), image.info.get("xmp")
            whole = image.convert("RGB")
            high = SIDE * 9 // 16
            whole = whole.resize((SIDE + each, round((SIDE + each) * whole.height / whole.width)), Image.Resampling.LANCZOS)
            top = max(0, (whole.height - high) // 2)
            options = {name: value for name, value in (("exif", exif), ("icc_profile", icc), ("xmp", xmp)) if value}
            for step in range(min(each, count - number)):
                part = whole.crop((step, top, step + SIDE, top + high))
                part.save(folder / f"picture_{number:04d}.jpg", quality=92, **options)
                number += 1


def make_video(path: Path, frames: int, size: int | None = None) -> None:
    """Write the sample video several times over, with a tone."""
    sample = SAMPLES / "video" / "city_night.mp4"
    picture = ffmpeg.graphs.input(str(sample), stream_loop=-1).video
    if size is not None:
        picture = picture.filter("scale", size, -2)
    tone = ffmpeg.graphs.input("sine=frequency=440:sample_rate=48000", f="lavfi")
    graph = ffmpeg.graphs.output(
        picture, tone.audio, str(path), **{"frames:v": frames, "shortest": None, "c:a": "aac", "pix_fmt": "yuv420p"}
    )
    with ffmpeg.Process(graph, sample) as process:
        process.finish()


def pipeline_of(case: Case, folder: Path, inputs: Path, **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    named = case.job.get("input", "video.mp4")
    job = {
        "name": "job",
        "style": str(SAMPLES / "styles" / "van_gogh_starry_night.jpg"),
        "size": SIDE,
        "engine": identity.IDENTITY,
        **case.job,
        "input": str(inputs / named if case.video else inputs / "pictures"),
        "output": "out.mp4" if case.video else "out",
        **more,
    }
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "device": "cpu", "workers": case.workers, "jobs": [job]}))
    return path


def processor_seconds() -> float:
    """What this process and its ended children have computed so far."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measured(case: Case, folder: Path, inputs: Path) -> Row:
    """Run a case, check its outputs, and run it again."""
    pipeline = pipeline_of(case, folder, inputs)
    times: dict[str, float] = {}
    frames = outputs = 0

    def watch(event: Event) -> None:
        nonlocal frames, outputs
        now = time.perf_counter()
        if isinstance(event, JobPlanned):
            times["planned"] = now
        elif isinstance(event, ClipStarted):
            times.setdefault("started", now)
        elif isinstance(event, FrameDone):
            frames += 1
        elif isinstance(event, OutputDone):
            outputs += 1
            times["last"] = now

    began, processor_began = time.perf_counter(), processor_seconds()
    result = nstpipe.run(pipeline, isolated=True, on_event=watch)
    ended, processor_ended = time.perf_counter(), processor_seconds()
    assert result.exit_code == 0, result.failures
    check(case, folder, inputs, outputs)
    again_began = time.perf_counter()
    again = nstpipe.run(pipeline, isolated=True)
    again_seconds = time.perf_counter() - again_began
    assert len(again.already_done) == outputs
    assert not again.outputs
    start = times["started"] - times["planned"]
    spent = {
        "plan": times["planned"] - began,
        "work": times["last"] - times["started"],
        "end": ended - times["last"],
        "all": ended - began - start,
        "processor": processor_ended - processor_began,
        "again": again_seconds,
    }
    return Row(
        case.name, frames, **{f"{name}_ms": seconds / frames * 1e3 for name, seconds in spent.items()}, start_seconds=start
    )


def check(case: Case, folder: Path, inputs: Path, outputs: int) -> None:
    """See that the outputs are all there, and look like their inputs."""
    if case.video:
        assert (folder / "out.mp4").exists()
        return
    originals = sorted((inputs / "pictures").glob("*.jpg"))
    assert outputs == len(originals)
    for original in originals[:: max(1, len(originals) // 10)]:
        with Image.open(original) as before, Image.open(folder / "out" / original.name) as after:
            apart = np.abs(np.asarray(before.convert("RGB")).astype(int) - np.asarray(after.convert("RGB")).astype(int))
            assert apart.mean() < 3, (original, apart.mean())
            assert ("exif" in after.info) == ("exif" in before.info)


@dataclass(frozen=True)
class Start:
    """Seconds from the command.

    Attributes:
        what: the input.
        planned: until the jobs are announced.
        started: until the worker begins the first clip.
        first_frame: until its first frame, of one iteration, is finished.
    """

    what: str
    planned: float
    started: float
    first_frame: float


def start_of(what: str, case: Case, folder: Path, inputs: Path) -> Start:
    """Time `nstpipe run` with the real engine until the first frame of one iteration is finished."""
    more = {"engine": "optimizer", "optimizer": {"first": 1, "next": 1}}
    pipeline = pipeline_of(case, folder, inputs, **more)
    command = [sys.executable, "-m", "nstpipe", "run", str(pipeline), "--json"]
    times: dict[str, float] = {}
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            times.setdefault(json.loads(line)["event"], time.perf_counter() - began)
            if "FrameDone" in times:
                process.terminate()
                break
        for _ in process.stdout:
            pass
    return Start(what, times["JobPlanned"], times["ClipStarted"], times["FrameDone"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--only", nargs="*", help="cases, or start")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    output_maker.run_clip = identity.run_identity_clip  # type: ignore[attr-defined]
    rows: list[Row] = []
    starts: list[Start] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:  # on a disk, where the folder for passing files may be memory
        inputs = Path(name)
        make_folder(inputs / "pictures", arguments.pictures)
        make_video(inputs / "video.mp4", arguments.frames)
        make_video(inputs / "small.mp4", arguments.frames, SIDE)
        for number, case in enumerate(CASES):
            if arguments.only is None or case.name in arguments.only:
                rows.append(measured(case, inputs / f"run{number}", inputs))
                print(rows[-1], flush=True)
        if arguments.only is None or "start" in arguments.only:
            for name_of_case in STARTS:
                folder, case = inputs / "start", next(case for case in CASES if case.name == name_of_case)
                starts.append(start_of(case.name, case, folder, inputs))
                shutil.rmtree(folder)
                print(starts[-1], flush=True)
    if arguments.json is not None:
        content = {
            "machine": platform.processor() or platform.machine(),
            "torch": torch.__version__,
            "rows": [asdict(row) for row in rows],
            "starts": [asdict(start) for start in starts],
        }
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
