"""The original frames of a clip with their motion, in the order of painting, computed while other frames are painted."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

from nstpipe.media.frame import Frame, Pixels, Source, in_eight_bits, resized
from nstpipe.motion.flow.method import FlowMethod, for_flow
from nstpipe.motion.motion import Motion, motion_between
from nstpipe.system.threads import lower_priority

BACKWARD_CHUNK_FRAMES = 16
"""Videos are decoded forwards. For a backward pass, this many frames at a time are kept in memory."""

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class FrameWithFlow:
    """A frame to be painted.

    Attributes:
        frame: The frame as it was read.
        resized: The frame at the working size, height x width x 3, in its own depth.
        pixels: The same in uint8.
        motions: For each lag, the motion back to the frame that was painted so many frames before.
        before: The pixels of the frame painted last; None at the beginning, and if no motion is wanted.
    """

    frame: Frame
    resized: Pixels
    pixels: Pixels
    motions: Mapping[int, Motion]
    before: Pixels | None


def frames_with_flow(
    source: Source,
    order: range,
    position: int,
    size: tuple[int, int],
    lags: Sequence[int],
    flow: FlowMethod,
) -> Generator[FrameWithFlow, None, None]:
    """The frames of a clip from one position on.

    Args:
        source: The source of the frames.
        order: The clip's frame indices in the order of painting, rising or falling by one.
        position: The position in `order` to begin with, from 0.
        size: Width and height at which they are painted, in pixels.
        lags: How many frames back motion is wanted. A lag that reaches before the clip's beginning is ignored.
        flow: The method of optical flow.
    """
    longest = max(lags, default=0)
    kept: deque[Pixels] = deque(maxlen=longest)
    before: Pixels | None = None
    begin = max(0, position - longest)
    for here, frame in enumerate(_read(source, order[begin:]), start=begin):
        at_size = resized(frame.pixels, size)
        pixels = in_eight_bits(at_size)
        seen = for_flow(frame.pixels, size) if lags else pixels
        if here >= position:
            motions = {lag: motion_between(kept[-lag], seen, flow, size) for lag in lags if lag <= here}
            yield FrameWithFlow(frame, at_size, pixels, motions, before)
        kept.append(seen)
        before = pixels if longest else None


def _read(source: Source, order: range) -> Iterator[Frame]:
    if order.step == 1:
        yield from source.read(order.start, order.stop)
        return
    for chunk in range(0, len(order), BACKWARD_CHUNK_FRAMES):
        indices = order[chunk : chunk + BACKWARD_CHUNK_FRAMES]
        yield from reversed(list(source.read(indices[-1], indices[0] + 1)))


def prefetch(items: Iterator[Item], *, is_urgent: bool = True) -> Generator[Item, None, None]:
    """The same items, each produced by a thread while the one before it is used. Exceptions of the thread are raised here.

    Closing the iterator ends the thread after its current item.

    Args:
        items: What is produced.
        is_urgent: Whether an item takes about as long as its use. Otherwise the thread has a lower priority.
    """
    made: queue.Queue[_Made[Item]] = queue.Queue(maxsize=1)
    closed = threading.Event()

    def put(value: _Made[Item]) -> None:
        while not closed.is_set():
            with suppress(queue.Full):
                made.put(value, timeout=_POLL_SECONDS)
                return

    def make() -> None:
        if not is_urgent:
            lower_priority()
        try:
            for item in items:
                put(_Made(item=item))
                if closed.is_set():
                    return
            put(_Made(ended=True))
        except BaseException as error:  # whatever it is, it is raised where the items are used
            put(_Made(error=error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()  # in the thread that runs it

    # With the context of the caller: it says which ffmpeg reads, and what asks to stop.
    thread = threading.Thread(target=copy_context().run, args=(make,), daemon=True)
    thread.start()
    try:
        while not (got := made.get()).ended:
            if got.error is not None:
                raise got.error
            yield got.item  # type: ignore[misc]
            del got
    finally:
        closed.set()
        thread.join()


@dataclass(frozen=True, eq=False)
class _Made(Generic[Item]):
    item: Item | None = None
    error: BaseException | None = None
    ended: bool = False


_POLL_SECONDS = 0.1
"""How soon the thread notices that the iterator was closed."""
