"""Checks what a pipeline needs of this machine: its device, its ffmpeg, the weights of VGG19 and those of optical flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.media.video.ffmpeg_program import check as check_ffmpeg
from nstpipe.motion.flow.methods import FLOW_METHODS, flow_method
from nstpipe.style.weights_files import read_bundled
from nstpipe.system.devices import is_cpu


def requirements_of(pipeline: Pipeline) -> Iterator[Callable[[], object]]:
    """Yield the checks that this machine must pass for a pipeline. Each raises a MachineError if it does not.

    torch is imported only for weights other than the bundled ones, for RAFT, and if there may be a GPU.
    """
    yield partial(is_cpu, pipeline.device)
    yield partial(_check_weights, pipeline.weights)
    yield check_ffmpeg
    for flow in dict.fromkeys(job.temporal.flow for job in pipeline.jobs):
        yield partial(check_flow, flow, pipeline.device)


def check_flow(flow: str | Path, device: str) -> None:
    """Check that a flow method can be used.

    Args:
        flow: The name of a flow method, or the path of a RAFT state dict.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        MachineError: RAFT's weights cannot be loaded.
    """
    entry = FLOW_METHODS.get(str(flow))
    if entry is None or entry.needs_weights:
        flow_method(flow, device)


def _check_weights(weights: str | Path) -> None:
    if weights == "bundled":
        read_bundled()
        return
    from nstpipe.style.weights import load_weights

    load_weights(weights)
