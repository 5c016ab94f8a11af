"""When a run ends before all is done: because of a signal, the clock or a failure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum


class StopReason(Enum):
    """Why a run ends before all is done, in words for people."""

    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    TIME = "the time is up"
    FAILURE = "an item failed, and --fail-fast was given"
    NO_OUTPUT = "results cannot be written"


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Work ends here because it was asked to; what is finished is kept."""


class Stop:
    """Asked by whoever wants a run to end; looked at by whoever is about to begin something.

    Args:
        deadline: seconds since 1970; None for none.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.reason: StopReason | None = None
        self.is_heeded = False

    @contextmanager
    def graceful(self) -> Iterator[None]:
        """While somebody looks at it; at other times there is nothing to finish, and a signal may end all at once."""
        self.is_heeded = True
        try:
            yield
        finally:
            self.is_heeded = False

    def ask(self, reason: StopReason) -> None:
        """End soon: finish the frame in hand, begin nothing new. The first reason stays."""
        if self.reason is None:
            self.reason = reason

    def should_stop(self, within: float = 0.0) -> bool:
        """Whether to end rather than begin something that takes `within` seconds."""
        if self.deadline is not None and time.time() + within >= self.deadline:
            self.ask(StopReason.TIME)
        return self.reason is not None

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed: what is under way is given up."""
        return self.deadline is not None and time.time() >= self.deadline
