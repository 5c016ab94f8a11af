"""What a cluster has at this moment, for a plan."""

from __future__ import annotations

from dataclasses import dataclass

from nstpipe.config import Pipeline
from nstpipe.running.cluster.connection import Connection
from nstpipe.running.cluster.members import name_of
from nstpipe.running.cluster.worker import describe
from nstpipe.system.files import MOST_NAMED


@dataclass(frozen=True)
class ClusterNow:
    """What a cluster has at this moment.

    Attributes:
        slots: Tasks that it runs at the same time.
        workers: Its workers with what they paint on, in words.
    """

    slots: int
    workers: tuple[str, ...]

    def __str__(self) -> str:
        count = len(self.workers)
        named = "; ".join(self.workers[:MOST_NAMED]) + ("; …" if count > MOST_NAMED else "")
        return f"{count} worker{'s' if count != 1 else ''}{': ' if named else ''}{named}"


def cluster_now(pipeline: Pipeline) -> ClusterNow | None:
    """Ask the scheduler of a pipeline's cluster for its workers. This disturbs no run that uses it.

    Returns:
        None if no scheduler is running yet, because the run starts one.

    Raises:
        MachineError: The scheduler cannot be reached.
    """
    cluster = pipeline.cluster
    if cluster is None or cluster.address is None:
        return None
    connection = Connection(cluster, 0)
    try:
        client, found, slots = connection.client, [], 0
        for address, info in client.scheduler_info()["workers"].items():
            try:
                [said] = client.run(describe, pipeline.device_of_process, info["nthreads"], workers=[address]).values()
            except Exception as error:  # it lacks nstpipe, say; a run says more
                said = 0, f"cannot be used: {error}"
            slots += said[0]
            found.append(f"{name_of(address, info)} ({said[1]})")
        most = slots if pipeline.workers == "auto" else min(slots, pipeline.workers)
        return ClusterNow(most, tuple(found))
    finally:
        connection.close()
