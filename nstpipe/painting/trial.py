"""A short trial of the engine on this machine, for plans that no earlier run tells of."""

from __future__ import annotations

import itertools
import platform
import time
from collections.abc import Iterator

import joblib
import numpy as np
import torch

from nstpipe.config import Job, Pipeline
from nstpipe.media.tensors import tensor_of
from nstpipe.painting.engines import engine_settings
from nstpipe.painting.task import RunSettings
from nstpipe.planning.resources import worker_count
from nstpipe.style import ALGORITHM_VERSION
from nstpipe.style.engine import Engine
from nstpipe.style.precision import choose_precision
from nstpipe.style.settings import StylePicture
from nstpipe.system.devices import choose_device

CALIBRATION_SIDE = {"cpu": 192, "cuda": 768}
"""Pixels on each side of the square that is timed: large enough for the work to outweigh what surrounds it."""

WARMING_EVALUATIONS, TIMED_EVALUATIONS = 2, 4

LONGEST_CALIBRATION_SECONDS = 3.0


def trial_key(pipeline: Pipeline, job: Job) -> str:
    """All that the result of a trial depends on."""
    device = choose_device(pipeline.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} {platform.processor()}"
    precision = choose_precision(pipeline.precision, device)
    layers = [*job.content.layers, *job.style.layers, job.style.distance]
    parts = (platform.node(), name, torch.__version__, precision, _threads(pipeline), *layers, job.pooling, ALGORITHM_VERSION)
    return "|".join(map(str, parts))


def seconds_a_pixel(pipeline: Pipeline, job: Job) -> float:
    """Seconds for an iteration and a pixel, from a few iterations on noise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(_threads(pipeline))
    try:
        side = CALIBRATION_SIDE.get(choose_device(pipeline.device).type, CALIBRATION_SIDE["cpu"])
        pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        engine = Engine(
            engine_settings(job, RunSettings.of(pipeline)),
            [StylePicture(pixels, 1.0)],
        )
        content = tensor_of(pixels)
        steps = engine.stylizer(content).stylize(
            content, content, optimizer=job.optimizer.name, most=WARMING_EVALUATIONS + TIMED_EVALUATIONS, tolerance=0.0
        )
        # The quickest: whatever else the machine does can only make one slower.
        seconds = min(_durations(steps))
    finally:
        torch.set_num_threads(threads)
    return seconds / side**2


def _durations(steps: Iterator[object]) -> Iterator[float]:
    """Of the steps after the warming ones; at least of one, and of no more when they take long."""
    began = time.monotonic()
    next(itertools.islice(steps, WARMING_EVALUATIONS - 1, None), None)
    before = time.monotonic()
    for _ in steps:
        now = time.monotonic()
        yield now - before
        if now - began > LONGEST_CALIBRATION_SECONDS:
            return
        before = now


def _threads(pipeline: Pipeline) -> int:
    """That one worker computes with."""
    return max(1, joblib.cpu_count() // worker_count(pipeline)) if worker_count(pipeline) > 1 else torch.get_num_threads()
