"""Runs a worker of a Dask cluster with the settings that painting needs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nstpipe.config.cluster import Cluster, Tls
from nstpipe.errors import EXIT_DONE, EXIT_STOPPED, MachineError
from nstpipe.planning.requirements import check_cluster_packages
from nstpipe.planning.resources import CORES_A_WORKER
from nstpipe.running.cluster.connection import security_of
from nstpipe.system.devices import gpu_names
from nstpipe.system.hardware import THREADS_VARIABLE
from nstpipe.system.threads import core_count

CLOSE_SECONDS = 5.0


@dataclass(frozen=True)
class WorkerOptions:
    """The options of a worker.

    Attributes:
        scheduler: The scheduler's address, or the path of its scheduler file.
        name: The name of the worker; None for one by its machine and process.
        tasks: Clips to paint at the same time; None for one a GPU, or else one for every 8 cores.
        threads: Threads of each clip; None to share the cores.
        nanny: Whether a second process starts the worker again if it is killed.
        wait: Seconds to wait for a scheduler that is not there yet.
        tls: Certificates; None for what Dask's own configuration says.
    """

    scheduler: str
    name: str | None = None
    tasks: int | None = None
    threads: int | None = None
    nanny: bool = True
    wait: float = 300.0
    tls: Tls | None = None


def run_worker(options: WorkerOptions, say: Callable[[str], None]) -> int:
    """Run a worker until its scheduler is gone or a signal ends it, and return the exit code.

    Args:
        options: The options.
        say: Tells people that the worker is there.

    Raises:
        MachineError: A package is missing, or the scheduler cannot be reached.
    """
    check_cluster_packages(Cluster(address=options.scheduler))
    logging.getLogger("distributed").setLevel(os.environ.get("DASK_LOGGING__DISTRIBUTED", "WARNING").upper())
    return asyncio.run(_serve(options, say))


def _settings(options: WorkerOptions, gpus: int) -> tuple[int, dict[str, Any]]:
    """Return how many clips the worker paints at the same time, and how Dask is to start it."""
    cores = core_count()
    tasks = options.tasks or gpus or max(1, cores // CORES_A_WORKER)
    threads = options.threads or int(os.environ.get(THREADS_VARIABLE, 0)) or max(1, cores // tasks)
    settings: dict[str, Any] = {
        "nthreads": tasks,
        "resources": {"GPU": gpus} if gpus else None,
        # What paints is a process of its own, whose memory Dask does not see. Nothing else here takes any.
        "memory_limit": 0,
        "death_timeout": options.wait,
        "security": security_of(options.tls),
    }
    if options.name is not None:
        settings["name"] = options.name
    if Path(options.scheduler).is_file():
        settings["scheduler_file"] = options.scheduler
    os.environ[THREADS_VARIABLE] = str(threads)
    return tasks, settings


async def _serve(options: WorkerOptions, say: Callable[[str], None]) -> int:
    from distributed import Nanny, Worker

    gpus = gpu_names()
    tasks, settings = _settings(options, len(gpus))
    address = () if "scheduler_file" in settings else (options.scheduler,)
    ended_by: list[signal.Signals] = []
    try:
        node: Any = Nanny(*address, **settings) if options.nanny else Worker(*address, **settings)
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()

        def end(number: signal.Signals) -> None:
            ended_by.append(number)
            stopped.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, end, number)
        starting = asyncio.ensure_future(_started(node))
        waiting = asyncio.ensure_future(stopped.wait())
        await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            painted_by = f", {len(gpus)} x {gpus[0]}" if gpus else f", {os.environ[THREADS_VARIABLE]} threads each"
            say(
                f"nstpipe worker: paints {tasks} clip{'s' if tasks != 1 else ''} at a time{painted_by} for {options.scheduler}."
            )
            finished = asyncio.ensure_future(node.finished())
            await asyncio.wait([finished, waiting], return_when=asyncio.FIRST_COMPLETED)
        with suppress(Exception):
            await asyncio.wait_for(node.close(), CLOSE_SECONDS)
    except (OSError, asyncio.TimeoutError, ValueError, RuntimeError) as error:
        raise MachineError(
            f"the scheduler {options.scheduler} cannot be reached: {str(error).rstrip('.')}.",
            "Start it with `dask scheduler`, and look whether its address is right.",
        ) from error
    if ended_by:
        return EXIT_DONE
    say(f"nstpipe worker: the scheduler {options.scheduler} is gone, or has ended this worker.")
    return EXIT_STOPPED


async def _started(node: Any) -> None:
    await node
