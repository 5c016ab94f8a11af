"""Checks what a pipeline needs of this machine: its device, its ffmpeg, and the weights of VGG19, optical flow and engines."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from nstpipe.config import Job, Pipeline
from nstpipe.config.cluster import Cluster
from nstpipe.config.engines import LookEngine, NetworkEngine
from nstpipe.errors import MachineError
from nstpipe.media.video.ffmpeg_program import check as check_ffmpeg
from nstpipe.motion.flow.methods import FLOW_METHODS, flow_method
from nstpipe.style.weights_files import read_bundled
from nstpipe.system.devices import is_cpu
from nstpipe.system.files import check_is_no_special_file


def requirements_of(pipeline: Pipeline) -> Iterator[Callable[[], object]]:
    """Yield the checks that this machine must pass for a pipeline. Each raises a MachineError if it does not.

    torch is imported only for weights other than the bundled ones, for RAFT, for networks, and if there may be a GPU.
    """
    yield from requirements_of_all_jobs(pipeline)
    # Jobs may share an engine. A network that has learned one look has as many styles as its job has regions.
    engines = {(job.engine, len(job.regions)): job for job in reversed(pipeline.jobs)}
    for job in reversed(engines.values()):
        yield partial(_check_engine, job, pipeline)


def requirements_of_all_jobs(pipeline: Pipeline) -> Iterator[Callable[[], object]]:
    """Yield those of the checks without which no job can be done. The network of an engine concerns its own job only."""
    if pipeline.cluster is not None:
        yield partial(check_cluster_packages, pipeline.cluster)
    for device in pipeline.devices:
        yield partial(is_cpu, device)
    yield partial(_check_weights, pipeline.weights)
    yield check_ffmpeg
    for flow in dict.fromkeys(job.temporal.flow for job in pipeline.jobs):
        yield partial(check_flow, flow, pipeline.devices[0])


def check_cluster_packages(cluster: Cluster) -> None:
    """Check that the packages for a cluster are there.

    Raises:
        MachineError: One is missing.
    """
    wanted = ["distributed", *(["dask_jobqueue"] if cluster.kind not in (None, "local") else [])]
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise MachineError(
            f"cluster: needs {' and '.join(missing)}, which this installation lacks.", "Get it: pip install 'nstpipe[cluster]'"
        )


def unusable_engines(pipeline: Pipeline) -> dict[str, MachineError]:
    """Load the networks of all jobs, and return why those of some jobs cannot be loaded, by the name of the job.

    Raises:
        MachineError: Those of all jobs cannot be loaded. It is the error of the first job.
    """
    unusable: dict[str, MachineError] = {}
    for job in pipeline.jobs:
        try:
            _check_engine(job, pipeline)
        except MachineError as error:
            unusable[job.name] = error
    raise_if_none_is_usable(pipeline, unusable)
    return unusable


def raise_if_none_is_usable(pipeline: Pipeline, unusable: Mapping[str, MachineError]) -> None:
    """Raise the error of the first job if the engine of no job can be used.

    Args:
        pipeline: The pipeline.
        unusable: Why the engines of some jobs cannot be used, by the name of the job.

    Raises:
        MachineError: No job can be done.
    """
    if pipeline.jobs and all(job.name in unusable for job in pipeline.jobs):
        raise unusable[pipeline.jobs[0].name]


def check_engine_files(pipeline: Pipeline, job: Job) -> None:
    """Check that the files of a job's engine are there.

    Args:
        pipeline: Knows where the keys are.
        job: The job.

    Raises:
        MachineError: One of them cannot be read.
    """
    for key, path in job.engine.files.items():
        try:
            check_is_no_special_file(path)
            with path.open("rb"):
                pass
        except OSError as error:
            what = f"pipeline.yaml --job {job.name}" if isinstance(job.engine, LookEngine) else job.engine.name
            made = f"`nstpipe train {what} -o {path.name}` makes one"
            raise MachineError(
                f"{pipeline.place_in_job(job, f'engine.{key}')}: {path} cannot be read: {error.strerror}.",
                f"Give the path of trained weights; {made}.",
            ) from error


def _check_engine(job: Job, pipeline: Pipeline) -> None:
    if isinstance(job.engine, NetworkEngine):
        _check_network(job.engine, pipeline, job)
    elif isinstance(job.engine, LookEngine) and job.engine.weights is not None:
        _check_look(job.engine.weights, pipeline, job)


def _check_look(weights: Path, pipeline: Pipeline, job: Job) -> None:
    from nstpipe.style.networks.looks import load_look

    try:
        load_look(weights, sum(region.style is not None for region in job.regions))
    except MachineError as error:
        raise _at_its_place(error, pipeline, job) from error


def _check_network(engine: NetworkEngine, pipeline: Pipeline, job: Job) -> None:
    from nstpipe.style.networks.load import load_network

    try:
        load_network(engine, pipeline.weights)
    except MachineError as error:
        raise _at_its_place(error, pipeline, job) from error


def _at_its_place(error: MachineError, pipeline: Pipeline, job: Job) -> MachineError:
    """Return an error whose message begins with a key of the job, with the place of that key instead."""
    key, colon, said = error.problem.partition(": ")
    return MachineError(f"{pipeline.place_in_job(job, key)}{colon}{said}", error.next_step)


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
