"""Keeps the surprises of one item from ending the work on the others."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nstpipe.errors import BugError, ItemError, NstpipeError, TransientError
from nstpipe.system.retry import is_out_of_memory
from nstpipe.system.stop import Stopped


@contextmanager
def item_errors(path: Path) -> Iterator[None]:
    """Turn any exception of the work on one item into an ItemError, so that it does not end the work on the others.

    Args:
        path: The item.

    Raises:
        ItemError: The block raised an exception that is no error of nstpipe's own. It is a BugError unless the system failed.
    """
    try:
        yield
    except (NstpipeError, Stopped):
        raise
    except Exception as error:
        raise as_item_error(error, path) from error


def as_item_error(error: Exception, path: Path) -> ItemError:
    """Return an exception that is no error of nstpipe's own as an error of the item that was worked on."""
    if is_out_of_memory(error):
        return TransientError(
            f"{path}: the memory did not suffice.", "Give a smaller size, fewer --workers, or another --device."
        )
    if isinstance(error, OSError):
        return ItemError(
            f"{path} could not be worked on: {error.filename or path}: {error.strerror or error}.",
            "See that it can be read and written, then run again with --retry-failed.",
        )
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" (in {Path(place[0].filename).name}, line {place[0].lineno})" if place else ""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    trace = "".join(traceback.format_exception(error))
    return BugError(f"{path}: a bug in nstpipe: {said}{where}.", "Please report it; --json prints its traceback.", trace)
