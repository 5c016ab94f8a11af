"""Times this machine for an estimate: a short run of small frames in a temporary folder, with a job's own settings.

It reads, paints and stores frames as a run does, in as many worker processes, so that nothing of a run is left out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from nstpipe.config import Job, Pipeline
from nstpipe.config.engines import LookEngine
from nstpipe.errors import OutputError
from nstpipe.events import Emit, Event, FrameDone
from nstpipe.journal.journal import Journal
from nstpipe.journal.records import FrameKind, FrameTime
from nstpipe.painting.task import ClipTask, RunSettings
from nstpipe.planning.pace import Timed
from nstpipe.planning.plan import plan_pipeline
from nstpipe.planning.resources import worker_count
from nstpipe.running.executors import executor_for
from nstpipe.running.schedule import tasks_of
from nstpipe.system.devices import is_cpu
from nstpipe.system.files import atomic_write, ensure_folder
from nstpipe.system.load import LoadMeter
from nstpipe.system.stop import Stop

SIDES = {"cpu": (64, 160), "cuda": (256, 1024)}
"""Sides of the square frames that are timed, in pixels. Two sizes tell the fixed cost of a pass from that of its pixels."""

ITERATIONS = {"cpu": (1, 4), "cuda": (2, 60)}
"""Numbers of iterations of the frames. Two of them tell what a frame costs beside its iterations. A GPU's first frames are
captured as a graph from 50 on."""

FRAMES = 2
"""Frames of each size and number of iterations: a first and a later one of a video."""

LONGEST_SECONDS = 8.0
"""On a slow or busy machine no further frame begins so long after the first one is done. Both sizes come first with few
iterations."""

PAN_PIXELS = 2


def timed(pipeline: Pipeline, job: Job, *, isolated: bool, has_videos: bool) -> Timed:
    """Paint small frames of noise with a job's settings, and return what they took.

    Args:
        pipeline: The settings of the run.
        job: The job.
        isolated: Whether the run will have a process for a single worker, too.
        has_videos: Whether frames of a video are timed, with their flow, or pictures.

    Returns:
        No frames, if they could not be painted.
    """
    try:
        return _timed(pipeline, job, isolated=isolated, has_videos=has_videos)
    except (OSError, OutputError):  # the temporary folder is full, say, which must not cost the plan
        return Timed((), 0.0, 0.0)


def _timed(pipeline: Pipeline, job: Job, *, isolated: bool, has_videos: bool) -> Timed:
    if pipeline.cluster is not None:
        # Workers of a cluster see neither the temporary folder nor its inputs, so this machine is timed in their place.
        pipeline = pipeline.model_copy(update={"cluster": None, "workers": "auto", "device": pipeline.devices[0]})
    kind = "cpu" if is_cpu(pipeline.devices[0]) else "cuda"
    frames: list[FrameDone] = []
    stop = Stop()

    def collect(event: Event) -> None:
        if isinstance(event, FrameDone):
            # The start of the workers does not count. On a busy machine it alone may take longer.
            stop.deadline = stop.deadline or time.time() + LONGEST_SECONDS
            frames.append(event)

    with tempfile.TemporaryDirectory(prefix="nstpipe-trial-") as name:
        folder = Path(name)
        jobs = tuple(
            _small_job(job, folder, side, iterations, copy, is_video=has_videos)
            for iterations in ITERATIONS[kind]
            for side in SIDES[kind]
            for copy in range(worker_count(pipeline))
        )
        small = pipeline.model_copy(update={"jobs": jobs, "work": folder / "work"})
        with closing(Journal(small.work)) as journal:
            plan = plan_pipeline(small, journal, stop=Stop(), emit=_ignore)
        settings = RunSettings.of(small)
        tasks = [task for output in plan.outputs for task in tasks_of(output, settings, {})]
        executor = executor_for(pipeline, isolated=isolated)
        meter, began = LoadMeter(), time.time()
        for _ in executor.execute(
            _paint,
            tasks,
            emit=collect,
            stop=stop,
            on_killed=lambda task, _: "killed",
            is_ready=lambda _: True,
        ):
            pass
        load = meter.read()
    start = min((frame.at - frame.seconds for frame in frames), default=began) - began
    return Timed(tuple(_times(frames, is_video=has_videos)), max(0.0, start), load.share)


def _ignore(_: Event) -> None:
    return None


def _paint(task: ClipTask, emit: Emit, stop: Stop) -> str:
    """Paint a clip in a worker process, and return why it failed, if so. torch is loaded only there."""
    from nstpipe.painting.clip import run_clip

    engine = task.output.job.engine
    if isinstance(engine, LookEngine) and engine.weights is not None and not engine.weights.exists():
        _write_untrained(engine.weights)
    failure = run_clip(task, emit, stop).failure
    return failure.reason if failure is not None else ""


def _write_untrained(path: Path) -> None:
    """Write a network that has learned nothing: it takes as long as one that has."""
    from nstpipe.style.networks.looks import saved_look
    from nstpipe.style.networks.transformation import made

    ensure_folder(path.parent)
    with atomic_write(path) as partial:
        partial.write_bytes(saved_look(made(seed=0), {}))


def _times(frames: Iterable[FrameDone], *, is_video: bool) -> Iterator[FrameTime]:
    for frame in frames:
        kind: FrameKind = "picture" if not is_video else "first" if frame.frame_index == frame.first_frame_index else "later"
        yield FrameTime(
            kind, frame.pixels, frame.evaluations, frame.most_evaluations, frame.seconds, frame.optimising_seconds, 0.0
        )


def _small_job(job: Job, folder: Path, side: int, iterations: int, copy: int, *, is_video: bool) -> Job:
    """Return a job with a few square frames of noise that pass by, and as few iterations."""
    name = f"trial-{side}-{iterations}-{copy}"
    inputs = folder / name
    inputs.mkdir()
    noise = np.random.default_rng(copy).integers(0, 256, (side // 8, side // 4, 3), dtype=np.uint8)
    wide = Image.fromarray(noise).resize((2 * side, side), Image.Resampling.BICUBIC)
    for number in range(FRAMES):
        left = number * PAN_PIXELS
        wide.crop((left, 0, left + side, side)).save(inputs / f"frame_{number:05d}.png", compress_level=1)
    outputs = folder / f"{name}-out"
    refines = job.engine.refinement > 0
    return job.model_copy(
        update={
            "name": name,
            "input": inputs / "frame_%05d.png" if is_video else inputs,
            "output": outputs / "frame_%05d.png" if is_video else outputs,
            "include": None,
            "exclude": (),
            "regions": (),
            "size": side,
            "shots": "none",
            "link": "none",
            "scales": 1,
            "optimizer": job.optimizer.model_copy(update={"first": iterations, "next": iterations, "tolerance": 0.0}),
            "engine": job.engine.model_copy(update={"refine": iterations}) if refines else job.engine,
            "temporal": job.temporal.model_copy(update={"passes": 1}),
        }
    )
