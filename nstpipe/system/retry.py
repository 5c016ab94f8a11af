"""Which failures are transient, and how often they are tried again."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Collection
from typing import TypeVar

from nstpipe.errors import ItemError, KilledError, TransientError

Answer = TypeVar("Answer")

RETRY_WAITS_SECONDS = (1.0, 4.0, 16.0)
"""Seconds to wait before the second, third and fourth attempt after a transient failure."""

KILLS_BORNE = 3
"""How often the programs that do one thing may be killed before it fails. A kill says nothing about the next attempt."""

NO_PRIMITIVE = "could not create a primitive"
"""Message of oneDNN, torch's convolutions on CPUs, when it got no memory for its code. It remembers the failure, and repeats it
for the same convolution as long as the process lives."""


_TRANSIENT = frozenset(
    {errno.EIO, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
)
"""Errors that lie in the state of the system, not in a file."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out. torch's allocator, oneDNN, OpenCV and C++ each say so in their own words."""
    # A library that raised the error is loaded already. Planning need not load it.
    cv2, torch = sys.modules.get("cv2"), sys.modules.get("torch")
    if cv2 is not None and isinstance(error, cv2.error):
        return bool(error.code == cv2.Error.StsNoMem)
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("can't allocate memory" in str(error) or str(error) in (NO_PRIMITIVE, "std::bad_alloc"))
    )


def is_transient(error: BaseException | None, also: Collection[int] = ()) -> bool:
    """Return whether another attempt may succeed, because an error or one of its causes lies in the state of the system.

    Args:
        error: The error, with its causes.
        also: Further error numbers that count as transient.
    """
    if error is None:
        return False
    if isinstance(error, TransientError) or is_out_of_memory(error):
        return True
    if isinstance(error, OSError) and (error.errno in _TRANSIENT or error.errno in also):
        return True
    return is_transient(error.__cause__, also)


def was_killed(error: BaseException | None) -> bool:
    """Return whether an error or one of its causes is that a program was killed."""
    return error is not None and (isinstance(error, KilledError) or was_killed(error.__cause__))


def in_spite_of_kills(do: Callable[[], Answer]) -> Answer:
    """Return what a call returns. It is called again at once if a program that it had started was killed."""
    for _ in range(KILLS_BORNE):
        try:
            return do()
        except ItemError as error:
            if not was_killed(error):
                raise
    return do()
