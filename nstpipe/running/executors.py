"""The executors that a run can have, and the choice among them."""

from __future__ import annotations

from nstpipe.config import Pipeline
from nstpipe.planning.resources import worker_count
from nstpipe.running.cluster.executor import DaskCluster
from nstpipe.running.executor import Executor
from nstpipe.running.in_process import InProcess
from nstpipe.running.worker_processes import WorkerProcesses

EXECUTORS: tuple[type[Executor], ...] = (DaskCluster, InProcess, WorkerProcesses)
"""Asked in this order; the last one serves every pipeline."""


def executor_for(pipeline: Pipeline, *, isolated: bool) -> Executor:
    """Return the first executor that the settings ask for.

    Args:
        pipeline: The settings of the run.
        isolated: Whether the caller's process must outlive a task that the system kills.
    """
    workers = worker_count(pipeline)
    choices = (kind.for_pipeline(pipeline, workers, isolated=isolated) for kind in EXECUTORS)
    return next(executor for executor in choices if executor is not None)
