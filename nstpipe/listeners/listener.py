"""What a listener must do. Each listener has a file beside this one; `listeners` lists those that a pipeline can name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from nstpipe.events import Event


class Listener(Protocol):
    """Receives the events of a run. A listener decides nothing."""

    def __call__(self, event: Event) -> None:
        """Receive one event. The `JobPlanned` of a job comes before the events of its clips and frames."""

    def finish(self, error: BaseException | None) -> None:
        """Receive the end of the run, after the last event.

        Args:
            error: The exception that ended the run; None if there was none.
        """


AnyListener = TypeVar("AnyListener", bound=Listener)


@contextmanager
def finishing(listener: AnyListener) -> Iterator[AnyListener]:
    """Tell a listener of the end when a block ends, with the error if it ends with one."""
    try:
        yield listener
    except BaseException as error:
        listener.finish(error)
        raise
    listener.finish(None)
