"""What a pipeline needs of this machine: its device, its ffmpeg, the weights of VGG19 and those of optical flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.media.video.ffmpeg_program import check as check_ffmpeg
from nstpipe.style.weights_files import read_bundled
from nstpipe.system.devices import is_cpu

FLOWS_WITHOUT_WEIGHTS = ("dis", "farneback")
"""Methods of optical flow that compute without a network."""


def requirements_of(pipeline: Pipeline) -> Iterator[Callable[[], object]]:
    """The checks that a machine must pass before a pipeline can run on it; each raises a MachineError where it does not.

    torch is imported only for weights that are not the bundled ones, for RAFT, and where there might be a GPU.
    """
    yield partial(is_cpu, pipeline.device)
    yield partial(_check_weights, pipeline.weights)
    yield check_ffmpeg
    for flow in dict.fromkeys(job.temporal.flow for job in pipeline.jobs):
        yield partial(check_flow, flow, pipeline.device)


def check_flow(flow: str | Path, device: str) -> None:
    """See that a method of optical flow can be used.

    Args:
        flow: dis, farneback, raft, or the path of a RAFT state dict.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        MachineError: RAFT's weights cannot be loaded.
    """
    if flow in FLOWS_WITHOUT_WEIGHTS:
        return
    from nstpipe.motion.flow.methods import flow_method

    flow_method(flow, device)


def _check_weights(weights: str | Path) -> None:
    if weights == "bundled":
        read_bundled()
        return
    from nstpipe.style.weights import load_weights

    load_weights(weights)
