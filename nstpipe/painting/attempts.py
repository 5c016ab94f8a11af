"""What surrounds the attempts at a clip or an output: whether its input is still the same, and the wait before another attempt.

Imports no torch, because the process that makes the outputs does not paint.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from nstpipe.errors import ItemError
from nstpipe.events import Emit, TriedAgain
from nstpipe.planning.input_info import InputInfo, is_unchanged
from nstpipe.planning.outputs import Clip, Output
from nstpipe.system.files import state_of
from nstpipe.system.stop import Stop


def wait_to_retry(output: Output, clip: Clip | None, reason: str, attempt: int, seconds: float, emit: Emit, stop: Stop) -> None:
    """Wait before the next attempt, unless the run is asked to stop.

    Args:
        output: what is tried again.
        clip: the clip that is tried again; None if it is the making of the file.
        reason: the error.
        attempt: the number of the failed attempt, from 1.
        seconds: how long to wait.
        emit: takes the event.
        stop: ends the wait.
    """
    torch = sys.modules.get("torch")  # a process that does not paint has not loaded it
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    job, path = output.job.name, str(output.input.file.path)
    first = clip.first_frame_index if clip is not None else None
    emit(TriedAgain(job=job, path=path, reason=reason, attempt=attempt, wait_seconds=seconds, first_frame_index=first))
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop.should_stop():
        time.sleep(0.1)


def check_unchanged(found: InputInfo, frame_index: int | None = None) -> None:
    """Check that an input is still what was planned for.

    Args:
        found: the input.
        frame_index: for numbered pictures, the picture in question. The others are checked only if this one is newer than all
            of them were, or is gone.

    Raises:
        ItemError: the input is gone or has changed.
    """
    if frame_index is not None and found.video is not None and found.video.is_sequence and found.stamp is not None:
        with suppress(OSError):
            if state_of(found.video.picture_of(frame_index)).modified_ns <= found.stamp[1]:
                return
    if not is_unchanged(found):
        path = found.file.path
        what, then = ("was changed", "its new content is done then") if path.exists() else ("went away", "put it back first")
        raise ItemError(f"{path} {what} while it was worked on.", f"Run again; {then}.")
