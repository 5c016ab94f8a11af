"""File signatures: the first bytes by which a format is recognized."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

SIGNATURE_BYTES = 12
"""The number of bytes at the beginning of a file that signatures look at."""

Signature = tuple[tuple[int, bytes], ...]
"""Pairs of an offset and the bytes that stand there. A file matches if all of its pairs do."""


def starts_with(content: bytes) -> Signature:
    """The signature of a file that begins with these bytes."""
    return ((0, content),)


def head_of(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        OSError: It cannot be read, or it is a folder or a special file, at which a reader may wait forever.
    """
    # Without O_NONBLOCK, to open a named pipe is to wait for whoever writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        return os.read(descriptor, SIGNATURE_BYTES)
    finally:
        os.close(descriptor)


def matches(head: bytes, signatures: Iterable[Signature]) -> bool:
    """Whether the beginning of a file matches one of several signatures."""
    return any(all(head[offset : offset + len(content)] == content for offset, content in one) for one in signatures)
