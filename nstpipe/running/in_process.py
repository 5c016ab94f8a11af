"""Runs tasks one after the other in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nstpipe.config import Pipeline
from nstpipe.events import Emit
from nstpipe.running.executor import Function, OnKilled, Result, Task
from nstpipe.system.stop import Stop

POLL_SECONDS = 0.05
"""Seconds after which a task that waits for its files is looked at again."""


class InProcess:
    """An executor for a single worker that needs no isolation. Each task may use all threads of this process."""

    @classmethod
    def for_pipeline(cls, pipeline: Pipeline, workers: int, *, isolated: bool) -> InProcess | None:
        """Return the executor for a single worker, unless it must be isolated."""
        return cls() if workers == 1 and not isolated else None

    def prepare(self, function: Callable[..., None], *arguments: Any) -> None:
        """Do nothing: here it would only change the order of the work. See `Executor.prepare`."""

    def settle(self, workers: int) -> None:
        """Do nothing: there is one worker, which is this process. See `Executor.settle`."""

    def slots(self) -> int | None:
        """Return None: the settings decide. See `Executor.slots`."""
        return None

    def close(self) -> None:
        """Do nothing. See `Executor.close`."""

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
        """Yield the results in the order of the tasks; see `Executor.execute`.

        In this order no task waits for another one, but one may wait for its files.
        """
        for task in tasks:
            while not stop.should_stop() and not is_ready(task):
                time.sleep(POLL_SECONDS)
            if stop.should_stop():
                return
            yield function(task, emit, stop)
