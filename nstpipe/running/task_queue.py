"""The tasks that a run has not begun yet, taken from an iterator as they are needed, since there may be a million."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic

from nstpipe.running.executor import Task


class TaskQueue(Generic[Task]):
    """Gives the first task that is ready. It holds those that were passed over, and those that run again.

    Args:
        tasks: All tasks, in order.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._coming = iter(tasks)
        self._waiting: deque[Task] = deque()

    def __bool__(self) -> bool:
        """Return whether tasks wait that were passed over, or run again."""
        return bool(self._waiting)

    def take(self, is_ready: Callable[[Task], bool]) -> Task | None:
        """Take and return the first task that is ready; None if none is, and then all are known."""
        for task in self._waiting:
            if is_ready(task):
                self._waiting.remove(task)
                return task
        for task in self._coming:
            if is_ready(task):
                return task
            self._waiting.append(task)
        return None

    def put_back(self, task: Task) -> None:
        """Let a task come next, to run again."""
        self._waiting.appendleft(task)
