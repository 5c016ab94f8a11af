"""Asks a run to end before all is done: because of a signal, the clock or a failure."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum

HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
"""What a terminal sends when it is closed; Windows has none."""

STOP_SIGNALS = tuple(number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number is not None)
"""Signals that ask a run to end after the frame in hand."""


class StopReason(Enum):
    """Why a run ends before all is done; the values are words for people."""

    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    TIME = "the time is up"
    FAILURE = "an item failed, and --fail-fast was given"
    NO_OUTPUT = "results cannot be written"
    NO_CLUSTER = "the scheduler of the cluster is gone"
    LOST_WORK = "another machine has taken over the work folder"


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Raised where work ends because it was asked to. Finished work is kept."""


class Stop:
    """A request to end, which is checked before each step of the work.

    Args:
        deadline: When the work must have ended, in seconds since 1970; None if there is no limit.

    Attributes:
        deadline: The same.
        reason: Why to end; None as long as nobody has asked.
        is_heeded: Whether the work in progress checks the request. At other times a signal may end the process at once.
        unit: What of that work is finished before it ends, in words for people.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.reason: StopReason | None = None
        self.is_heeded = False
        self.unit = "the current frame"

    @contextmanager
    def graceful(self, unit: str = "the current frame") -> Iterator[None]:
        """Mark a block whose work checks the request.

        Args:
            unit: What of the work is finished before it ends, in words for people.
        """
        self.is_heeded, self.unit = True, unit
        try:
            yield
        finally:
            self.is_heeded = False

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Mark a block in which whatever waits for another program ends its wait for this request; see `stop_in_force`."""
        token = _in_force.set(self)
        try:
            yield
        finally:
            _in_force.reset(token)

    def ask(self, reason: StopReason) -> None:
        """Ask to end soon: finish the frame or step under way, and start no other. The first reason stays."""
        if self.reason is None:
            self.reason = reason

    def should_stop(self, within: float = 0.0) -> bool:
        """Return whether to end rather than start something that takes `within` seconds."""
        if self.deadline is not None and time.time() + within >= self.deadline:
            self.ask(StopReason.TIME)
        return self.reason is not None

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed, so that even the frame under way is given up."""
        return self.deadline is not None and time.time() >= self.deadline


_in_force: ContextVar[Stop | None] = ContextVar("stop", default=None)


def stop_in_force() -> Stop | None:
    """Return the request that the work in progress heeds wherever it waits; None if there is none."""
    return _in_force.get()
