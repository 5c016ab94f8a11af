"""Times the engine on this machine for an estimate, where no earlier run has."""

from __future__ import annotations

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
from nstpipe.style.engine import MinimizeOptions
from nstpipe.style.engines import make_engine
from nstpipe.style.precision import choose_precision
from nstpipe.style.settings import StylePicture
from nstpipe.system.devices import choose_device

CALIBRATION_SIDE = {"cpu": 192, "cuda": 768}
"""Side of the square picture that is timed, in pixels: so large that the iterations take most of the time."""

WARM_UP_ITERATIONS, TIMED_ITERATIONS = 2, 4

LONGEST_CALIBRATION_SECONDS = 3.0


def trial_key(pipeline: Pipeline, job: Job) -> str:
    """Return a text that changes with everything that the result of a trial depends on."""
    device = choose_device(pipeline.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} {platform.processor()}"
    precision = choose_precision(pipeline.precision, device)
    layers = [*job.content.layers, *job.style.layers, job.style.distance, job.engine.name]
    parts = (platform.node(), name, torch.__version__, precision, _threads(pipeline), *layers, job.pooling, ALGORITHM_VERSION)
    return "|".join(map(str, parts))


def seconds_a_pixel(pipeline: Pipeline, job: Job) -> float:
    """Return the seconds that the engine takes for an iteration and a pixel, from a few iterations on noise.

    For an engine that does not iterate they are the seconds for a frame and a pixel.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(_threads(pipeline))
    try:
        side = CALIBRATION_SIDE.get(choose_device(pipeline.device).type, CALIBRATION_SIDE["cpu"])
        pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        engine = make_engine(engine_settings(job, RunSettings.of(pipeline)), [StylePicture(pixels, 1.0)])
        content = tensor_of(pixels)
        options = MinimizeOptions(WARM_UP_ITERATIONS + TIMED_ITERATIONS, job.optimizer.name)
        stylizer = engine.stylizer(content)
        # The quickest counts: other work on the machine can only make an iteration slower. A network's first frame does not
        # count, because it waits for the painting's activations.
        passes = 1 if job.iterates else 2
        seconds = min(second for _ in range(passes) for second in _durations(stylizer.stylize(content, content, options)))
    finally:
        torch.set_num_threads(threads)
    return seconds / side**2


def _durations(steps: Iterator[object]) -> list[float]:
    """Return the seconds of each step after the first ones, or of the first ones if there are no others.

    Steps that take long are not repeated.
    """
    durations: list[float] = []
    began = before = time.monotonic()
    for _ in steps:
        now = time.monotonic()
        durations.append(now - before)
        before = now
        if len(durations) > WARM_UP_ITERATIONS and now - began > LONGEST_CALIBRATION_SECONDS:
            break
    return durations[WARM_UP_ITERATIONS:] or durations


def _threads(pipeline: Pipeline) -> int:
    """Return the number of threads with which one worker computes."""
    return max(1, joblib.cpu_count() // worker_count(pipeline)) if worker_count(pipeline) > 1 else torch.get_num_threads()
