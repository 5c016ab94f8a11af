"""The display of progress for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from nstpipe.listeners.bars import BarProgress
from nstpipe.listeners.lines import LineProgress, QuietProgress
from nstpipe.listeners.listener import Listener, finishing


def display_for(console: Console, *, quiet: bool) -> Listener:
    """Return bars for a terminal and lines for anything else. If quiet, return a display of failures only."""
    if quiet:
        return QuietProgress(console)
    return BarProgress(console) if console.is_terminal else LineProgress(console, with_time=True)


@contextmanager
def progress(console: Console, *, quiet: bool) -> Iterator[Listener]:
    """Give the display that fits a console, and finish it when the block ends."""
    with finishing(display_for(console, quiet=quiet)) as listener:
        yield listener
