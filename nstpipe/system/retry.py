"""Which failures are transient, and how often they are tried again."""

from __future__ import annotations

import errno
import sys
from collections.abc import Collection

from nstpipe.errors import TransientError

RETRY_WAITS_SECONDS = (1.0, 4.0, 16.0)
"""Before the second, third and fourth try of what may go right the next time."""


NO_PRIMITIVE = "could not create a primitive"
"""What oneDNN, which convolves for torch on CPUs, says where it got no memory for its code. It remembers that, and says so
again whenever the same convolution is wanted in this process."""


_TRANSIENT = frozenset(
    {errno.EIO, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
)
"""Errors of the system that have to do with its state, not with the file."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was wanting: torch's allocator, oneDNN, OpenCV and C++ each say so in their own words."""
    # What a library raised, it was loaded for; who only plans need not load it.
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
    """Whether the same may go right the next time: it, or what it came from, is an error of the system's state.

    Args:
        error: with its causes.
        also: numbers of the system's errors that count too.
    """
    if error is None:
        return False
    if isinstance(error, TransientError) or is_out_of_memory(error):
        return True
    if isinstance(error, OSError) and (error.errno in _TRANSIENT or error.errno in also):
        return True
    return is_transient(error.__cause__, also)
