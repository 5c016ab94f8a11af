"""What runs the clips of a run must do. Each executor has a file beside this one; `executors` lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from nstpipe.config import Pipeline
from nstpipe.events import Emit
from nstpipe.system.stop import Stop

Task = TypeVar("Task")
Result = TypeVar("Result")

Function = Callable[[Task, Emit, Stop], Result]
"""What is done with a task: it may emit events, and should look at the stop often."""


class OnKilled(Protocol):
    """Decides what happens to a task whose process was killed."""

    def __call__(self, task: Any, exit_code: int | None, /) -> Any:
        """Return a result that ends the task, or None to run the task again.

        Args:
            task: The task.
            exit_code: The exit code of the process; None if its machine was lost, or it was hung.
        """


class Executor(Protocol):
    """Runs a function over tasks, on one machine or on several. An executor knows nothing of style."""

    @classmethod
    def for_pipeline(cls, pipeline: Pipeline, workers: int, *, isolated: bool) -> Executor | None:
        """Return the executor if the settings ask for it, else None.

        Args:
            pipeline: The settings of the run.
            workers: How many clips are to be stylized at the same time.
            isolated: Whether the caller's process must outlive a task that the system kills.
        """

    def prepare(self, function: Callable[..., None], *arguments: Any) -> None:
        """Begin to start what the tasks will need, and call a function there before the first task.

        The caller goes on meanwhile, and learns nothing of what becomes of the call.

        Args:
            function: Found in other processes by its name. It should import what takes long, and not its module.
            arguments: What it is called with.
        """

    def settle(self, workers: int) -> None:
        """Learn how many tasks are to run at the same time, before the first one does.

        What there is to do may decide it, which is not known when the executor is made. An executor whose workers are not
        processes on this machine has its own number.

        Args:
            workers: the number of processes.
        """

    def slots(self) -> int | None:
        """Return how many tasks run at the same time, if the executor knows it better than the settings, else None.

        Raises:
            MachineError: What it would have to ask cannot be reached.
        """

    def close(self) -> None:
        """End the workers that `prepare` has started, if they were not needed."""

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
        """Yield one result for each task, in the order in which the tasks end.

        After a stop, no further task begins. Tasks that have not begun give no result.

        Args:
            function: Called once for each task. If it runs in another process, the function is found there by its name, and
                tasks, results and events are pickled.
            tasks: Their order must be one in which each task is ready when all tasks before it are done. They are taken as they
                are needed, since there may be a million.
            emit: Receives the events of all tasks. It is called only in the thread that iterates over the results.
            stop: Checked before each task begins. The function receives a stop that follows this one.
            on_killed: Decides about a task whose process was killed from outside. Executors that run tasks in the caller's
                process never call it.
            is_ready: Says whether a task may begin, given the results that were yielded so far. A task may also become ready by
                itself, because its files are being fetched: while none is ready, the executor asks again until one is.

        Raises:
            MachineError: A worker cannot be started.
            Exception: Whatever the function raises.
        """
