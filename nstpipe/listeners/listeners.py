"""The listeners that a pipeline can name, and how they all receive the events of a run."""

from __future__ import annotations

from collections.abc import Callable

from nstpipe.config import Pipeline
from nstpipe.errors import NstpipeError
from nstpipe.events import Emit, Event, Noticed
from nstpipe.listeners.listener import Listener
from nstpipe.listeners.notify import Notifier
from nstpipe.listeners.prometheus import Exporter
from nstpipe.listeners.tracking import TensorBoard, WeightsAndBiases

LISTENERS: tuple[Callable[[Pipeline, str, Callable[[str], None]], Listener | None], ...] = (
    TensorBoard.for_pipeline,
    WeightsAndBiases.for_pipeline,
    Exporter.for_pipeline,
    Notifier.for_pipeline,
)
"""Each takes the pipeline, the run's name, and a function that tells the user a sentence. It returns the listener if the
pipeline asks for it, else None."""


class Listeners:
    """Passes events to the caller of a run first, then to the listeners that the pipeline names.

    A listener that fails is dropped with a notice. It does not end a run whose work has begun.

    Args:
        pipeline: The settings, with the keys `track`, `prometheus` and `notify`.
        run: The name of the run.
        on_event: Called with each event, and with the notices about listeners that fail.

    Raises:
        MachineError: A package that a listener needs is missing.
    """

    def __init__(self, pipeline: Pipeline, run: str, on_event: Emit) -> None:
        self._job = pipeline.jobs[0].name
        self._on_event = on_event
        chosen = (choose(pipeline, run, self._notice) for choose in LISTENERS)
        self._listeners = [listener for listener in chosen if listener is not None]

    def __call__(self, event: Event) -> None:
        """Pass an event on.

        Raises:
            MachineError: A tracker cannot begin.
        """
        self._on_event(event)
        for listener in list(self._listeners):
            try:
                listener(event)
            except NstpipeError:
                raise
            except Exception as error:
                self._listeners.remove(listener)
                self._tell_failure(listener, error)

    def finish(self, error: BaseException | None) -> None:
        """Pass the end of the run on to the listeners that the pipeline names."""
        for listener in self._listeners:
            try:
                listener.finish(error)
            except Exception as problem:
                self._tell_failure(listener, problem)

    def _tell_failure(self, listener: Listener, error: Exception) -> None:
        self._notice(f"{type(listener).__name__.lower()} stopped: {type(error).__name__}: {error}")

    def _notice(self, message: str) -> None:
        self._on_event(Noticed(job=self._job, message=message))


def check_packages(pipeline: Pipeline) -> None:
    """Check that the packages are installed that the pipeline's listeners need.

    Raises:
        MachineError: A package is missing.
    """
    for choose in LISTENERS:
        choose(pipeline, "", lambda _: None)
