"""Runs tasks on a Dask cluster: on as many machines as it has, which share the folders of the run.

This process decides which worker gets which task, and Dask carries it there. What workers say comes back as Dask's events. A
worker that is lost costs the frame under way: its lease is taken back, and the task goes on elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from nstpipe.config import Pipeline
from nstpipe.config.cluster import Cluster
from nstpipe.events import Emit
from nstpipe.running.cluster.backlog import Backlog
from nstpipe.running.cluster.execution import Execution
from nstpipe.running.cluster.reads import Reads
from nstpipe.running.cluster.session import Session
from nstpipe.running.executor import Function, OnKilled, Result, Task
from nstpipe.running.schedule import clip_cost
from nstpipe.system.stop import Stop


class DaskCluster:
    """An executor that uses the workers of a Dask cluster.

    It connects when it is first needed, and stays connected until it is closed.

    Args:
        cluster: The settings of the cluster.
        work: A folder that this process and all workers see at this path.
        workers: The most tasks at the same time, and the workers to start if the cluster is started here; None for as many as
            there are.
        reads: What workers must see, too.
        cost: Returns how long a task takes, in any unit.
    """

    def __init__(
        self,
        cluster: Cluster,
        work: Path,
        workers: int | None = None,
        reads: Reads | None = None,
        cost: Callable[[Any], float] = lambda _: 1.0,
    ) -> None:
        self._cluster = cluster
        self._work = work
        self._most = workers
        self._reads = reads or Reads()
        self._cost = cost
        self._session: Session | None = None

    @classmethod
    def for_pipeline(cls, pipeline: Pipeline, workers: int, *, isolated: bool) -> DaskCluster | None:
        """Return the executor if the pipeline names a cluster."""
        cluster = pipeline.cluster
        if cluster is None:
            return None
        given = None if pipeline.workers == "auto" and not cluster.is_here else workers
        return cls(cluster, pipeline.work, given, Reads.of(pipeline), clip_cost)

    def prepare(self, function: Callable[..., None], *arguments: Any) -> None:
        """Connect, and let the first worker prepare a process; see `Executor.prepare`.

        Raises:
            MachineError: The cluster cannot be reached, or a worker lacks something or does not see a folder of the run.
            OutputError: The work folder cannot be written to.
        """
        self._connected().prepare(function, arguments)

    def settle(self, workers: int) -> None:
        """Do nothing: a cluster has its own number of workers. See `Executor.settle`."""

    def close(self) -> None:
        """Leave the cluster, and end the workers that were started for it."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def slots(self) -> int:
        """Return how many tasks run at the same time, as far as the cluster tells it now; see `prepare` for the errors."""
        return self._connected().slots()

    def _connected(self) -> Session:
        if self._session is None:
            self._session = Session(self._cluster, self._work, self._most, self._reads)
        return self._session

    def execute(
        self,
        function: Function[Task, Result],
        tasks: Iterable[Task],
        *,
        emit: Emit,
        stop: Stop,
        on_killed: OnKilled,
        is_ready: Callable[[Task], bool],
    ) -> Iterator[Result]:
        """Yield the results as the workers finish them; see `Executor.execute`.

        Raises:
            MachineError: The cluster cannot be reached, or has no worker that can be used.
        """
        backlog = Backlog(tasks, self._cost, is_ready)
        if not backlog or stop.should_stop():
            return
        execution = Execution(self._connected(), function, backlog)
        try:
            while True:
                if execution.is_over(stop):
                    return
                execution.assign(stop)
                for waiting in execution.lost(emit):
                    result = execution.after_kill(waiting, None, on_killed)
                    if result is not None:
                        yield result
                message = execution.receive()
                if message is None:
                    execution.look_again()
                    continue
                kind, waiting, value = message
                if kind == "event":
                    emit(value)
                elif kind == "error":
                    raise value
                elif kind == "result":
                    execution.note_result()
                    yield value
                elif kind == "killed":
                    result = execution.after_kill(waiting, value, on_killed)
                    if result is not None:
                        yield result
        finally:
            execution.end()
