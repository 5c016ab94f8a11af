"""The workers of a cluster as this process knows them, and what each of them has to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nstpipe.running.cluster.backlog import Waiting
from nstpipe.running.cluster.leases import Lease
from nstpipe.running.cluster.worker import WorkerReport


@dataclass
class ClusterWorker:
    """A worker of the cluster that can be used.

    Attributes:
        address: How Dask knows it.
        name: How people know it.
        report: What it has.
        slots: The tasks that it runs at the same time.
        has_gpu_resource: Whether Dask counts its GPUs.
        attempts: The attempts that it has, begun or not.
        silent_seconds: Seconds without a sign of life to the scheduler.
        sign: The last sign of life.
        is_silent: Whether it counts as lost until the next sign of life.
    """

    address: str
    name: str
    report: WorkerReport
    slots: int
    has_gpu_resource: bool
    attempts: list[Attempt] = field(default_factory=list)
    silent_seconds: float = 0.0
    sign: float = 0.0
    is_silent: bool = False


@dataclass(eq=False)
class Attempt:
    """Tasks that a worker has.

    Attributes:
        number: Of this attempt.
        worker: The worker.
        todo: The tasks without a result. The first one is under way once the attempt has begun.
        lease: The right to go on.
        future: Dask's own.
        has_begun: Whether the worker has begun.
    """

    number: int
    worker: ClusterWorker
    todo: list[Waiting]
    lease: Lease
    future: Any
    has_begun: bool = False


def name_of(address: str, info: Mapping[str, Any]) -> str:
    """Return how people know a worker. Dask names it by its address if it was given no name."""
    name = str(info["name"])
    return name if name == address else f"{name} at {address}"
