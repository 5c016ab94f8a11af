"""Who else is told of a run's events: trackers of experiments, Prometheus, a webhook."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from nstpipe.config import Pipeline
from nstpipe.errors import NstpipeError
from nstpipe.events import Emit, Event, Noticed
from nstpipe.listeners.notify import Notifier
from nstpipe.listeners.prometheus import Exporter
from nstpipe.listeners.tracking import trackers


class Listener(Protocol):
    """Takes a run's events."""

    def __call__(self, event: Event) -> None:
        """Take one event."""

    def finish(self, error: BaseException | None) -> None:
        """The run has ended, with an error or without."""


class Listeners:
    """Passes events on, first to whoever runs the pipeline, then to those whom the pipeline names.

    Those may go wrong, and are then left out with a notice; a run never ends because of them once its work has begun.

    Args:
        pipeline: with its keys `track`, `prometheus` and `notify`.
        run: the run's name.
        on_event: is told first, and of what goes wrong with the others.

    Raises:
        MachineError: a package that the pipeline asks for is missing.
    """

    def __init__(self, pipeline: Pipeline, run: str, on_event: Emit) -> None:
        self._job = pipeline.jobs[0].name
        self._on_event = on_event
        self._listeners: list[Listener] = [*trackers(pipeline, run)]
        if pipeline.prometheus is not None:
            self._listeners.append(Exporter(pipeline, self._notice))
        if pipeline.notify.webhook is not None:
            self._listeners.append(Notifier(pipeline, run, self._notice))

    def __call__(self, event: Event) -> None:
        """Pass an event on.

        Raises:
            MachineError: a tracker cannot begin.
        """
        self._on_event(event)
        for listener in list(self._listeners):
            try:
                listener(event)
            except NstpipeError:
                raise
            except Exception as error:
                self._listeners.remove(listener)
                self._give_up(listener, error)

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for listener in self._listeners:
            try:
                listener.finish(error)
            except Exception as problem:
                self._give_up(listener, problem)

    def _give_up(self, listener: Listener, error: Exception) -> None:
        self._notice(f"{type(listener).__name__.lower()} stopped: {type(error).__name__}: {error}")

    def _notice(self, message: str) -> None:
        self._on_event(Noticed(job=self._job, message=message))
