"""Keeps what C libraries print about damaged files off the terminal. nstpipe reports such a file in its own words."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2

_lock = threading.Lock()
_users = 0
_terminal: int | None = None


def separate_raw_messages() -> None:
    """Give Python's standard error stream a file descriptor of its own, so that `discard_raw_messages` leaves it alone.

    Only a program of nstpipe's own calls this: to others, the descriptors of the process and the filter of warnings belong.
    """
    global _terminal
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        if _terminal is None and sys.stderr is not None and sys.stderr.fileno() == _STDERR:
            own = os.dup(_STDERR)
            sys.stderr = os.fdopen(own, "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors, buffering=1)
            _terminal = os.dup(_STDERR)
    except (OSError, ValueError):
        return  # there is no such stream, so nothing reaches a terminal


@contextmanager
def discard_raw_messages() -> Iterator[None]:
    """Discard what C libraries write to the standard error stream in the time of a call, such as libpng's warnings.

    Threads may overlap: the first one that enters closes the way to the terminal, and the last one that leaves opens it.
    """
    global _users
    if _terminal is None:
        yield
        return
    with _lock:
        if not _users:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, _STDERR)
            os.close(nowhere)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                os.dup2(_terminal, _STDERR)
