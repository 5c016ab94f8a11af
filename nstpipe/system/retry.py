"""Which failures are transient, and how often they are tried again."""

from __future__ import annotations

import errno
import sys
from collections.abc import Collection

from nstpipe.errors import TransientError

RETRY_WAITS_SECONDS = (1.0, 4.0, 16.0)
"""Seconds to wait before the second, third and fourth attempt after a transient failure."""


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
