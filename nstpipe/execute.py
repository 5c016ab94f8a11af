"""Run a function over tasks, here or in worker processes. Knows nothing of style."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from queue import Queue
from typing import Any, TypeVar

import joblib

from nstpipe.errors import MachineError
from nstpipe.events import Emit, Event

Task = TypeVar("Task")
Result = TypeVar("Result")


def execute(function: Callable[[Task, Emit], Result], tasks: Sequence[Task], *, workers: int, emit: Emit) -> Iterator[Result]:
    """Results as they come, in any order; events go to `emit` meanwhile.

    Args:
        function: can be sent to another process, and so can tasks, results and events.
        tasks: each is given to one call.
        workers: processes; with 1 all runs in this one, with all its threads.
        emit: called in this process only.

    Raises:
        MachineError: a worker process was killed from outside.
    """
    if workers == 1 or len(tasks) <= 1:
        for task in tasks:
            yield function(task, emit)
        return
    threads = max(1, joblib.cpu_count() // workers)
    with multiprocessing.get_context("spawn").Manager() as manager:
        queue: Queue[Event | None] = manager.Queue()
        listener = threading.Thread(target=_listen, args=(queue, emit), daemon=True)
        listener.start()
        calls = (joblib.delayed(_in_worker)(function, task, queue) for task in tasks)
        try:
            # Each worker would otherwise take every core, and they would stand in each other's way.
            with joblib.parallel_config(backend="loky", inner_max_num_threads=threads):
                yield from joblib.Parallel(n_jobs=workers, return_as="generator_unordered")(calls)
        except BrokenProcessPool as error:
            raise MachineError(
                "a worker process was killed, most likely because memory ran out.",
                "Run again with fewer --workers or a smaller size; what is finished is kept.",
            ) from error
        finally:
            queue.put(None)
            listener.join()


def _in_worker(function: Callable[[Any, Emit], Any], task: Any, queue: Queue[Event | None]) -> Any:
    return function(task, queue.put)


def _listen(queue: Queue[Event | None], emit: Emit) -> None:
    while (event := queue.get()) is not None:
        emit(event)
