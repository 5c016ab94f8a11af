"""Writes outputs beside the painting of further clips."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context

from nstpipe.events import Emit, Event, ItemFailed, OutputDone
from nstpipe.journal.placing import Placing
from nstpipe.painting.encode import finish_output
from nstpipe.planning.outputs import Output
from nstpipe.system.stop import Stop, StopReason
from nstpipe.system.threads import lower_priority

POLL_SECONDS = 0.1
"""How often events are passed on while the last outputs are written."""


class Finishing:
    """A thread that writes one output after the other. What comes of them is taken by the thread that has made this object.

    Args:
        emit: Takes the events, in the thread that asks for what has ended.
        stop: Ends the writing.
    """

    def __init__(self, emit: Emit, stop: Stop) -> None:
        self._emit = emit
        self._stop = stop
        # ffmpeg inherits the priority. Otherwise its threads would keep those of the next clip's painting waiting.
        self._pool = ThreadPoolExecutor(1, "encode", initializer=lower_priority)
        self._begun: deque[tuple[Output, Future[OutputDone | ItemFailed]]] = deque()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def __enter__(self) -> Finishing:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the thread. If it is an error that ends the work, the output in hand is not waited for."""
        if kind is not None:
            self._stop.ask(StopReason.INTERRUPTED)
        self._pool.shutdown(cancel_futures=True)

    def begin(self, output: Output, placing: Placing) -> None:
        """Write an output when all begun before are written; see `finish_output`."""
        # With the context of the caller: it says which ffmpeg writes.
        future = self._pool.submit(copy_context().run, finish_output, output, placing, self._events.put, self._stop)
        self._begun.append((output, future))

    def ended(self, *, wait_for_all: bool = False) -> Iterator[tuple[Output, Future[OutputDone | ItemFailed]]]:
        """Yield the outputs that have been written, or could not be, in the order in which they were begun.

        Args:
            wait_for_all: Whether to wait until none is left.
        """
        while self._begun:
            output, future = self._begun[0]
            if wait_for_all:
                wait([future], timeout=POLL_SECONDS)
            while not self._events.empty():
                self._emit(self._events.get())
            if future.done():
                self._begun.popleft()
                yield output, future
            elif not wait_for_all:
                return
