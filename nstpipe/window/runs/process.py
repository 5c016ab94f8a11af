"""The process of a run: starts it so that it outlives the server, and asks it to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nstpipe.errors import EXIT_DONE, EXIT_SOME_FAILED, EXIT_STOPPED, OutputError, UsageError
from nstpipe.system.files import atomic_write, ensure_folder
from nstpipe.system.lock import Holder, holder_of

START_SECONDS = 8.0
"""How long a run that was started may take until it holds the lock. If it ends before, it says why."""

SIGNAL_SECONDS = 0.3
"""Time between two signals. A second one ends a run at once, so that it must not come as one with the first."""

OUTPUT_NAME = "window-run.log"
"""The file in the work folder that takes what a run prints that was started here."""

REQUEST_NAME = "window-stop.json"
"""The file in the work folder that keeps the latest request to stop, so that a server that starts later knows of it."""


@dataclass(frozen=True)
class StopRequest:
    """A request to stop that was made on the page.

    Attributes:
        process: The number of the run's process.
        process_started: When that process started, in seconds since 1970.
        run: The name of the run; empty if it was not known yet.
        at_once: Whether it was to stop in the middle of a frame.
    """

    process: int
    process_started: float
    run: str
    at_once: bool

    def is_of(self, holder: Holder) -> bool:
        """Return whether it was made to this run."""
        return (self.process, self.process_started) == (holder.process, holder.process_started)


def stop_request(work: Path) -> StopRequest | None:
    """Return the latest request to stop; None if there was none."""
    try:
        return StopRequest(**json.loads((work / REQUEST_NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def is_here(holder: Holder) -> bool:
    """Return whether a run is on this machine, and so can be asked to stop."""
    return holder.host == socket.gethostname()


def ask_to_stop(work: Path, run: str, *, at_once: bool) -> None:
    """Ask the run to stop: after the frame in hand, or at once. To ask for a pause twice is to ask once.

    Args:
        work: The work folder.
        run: The name of the run in progress.
        at_once: Whether it is to stop in the middle of a frame.

    Raises:
        UsageError: No run is under way, or it is on another machine.
        OutputError: The work folder cannot be written to.
    """
    holder = holder_of(work)
    if holder is None:
        raise UsageError("No run is under way.", "It has ended by itself.")
    if not is_here(holder):
        raise UsageError(f"The run is on {holder.host}.", "Stop it there.")
    before = stop_request(work)
    asked = 0 if before is None or not before.is_of(holder) else 2 if before.at_once else 1
    wanted = 2 if at_once else 1
    if wanted > asked:
        request = StopRequest(holder.process, holder.process_started, run, at_once)
        with suppress(OutputError), atomic_write(work / REQUEST_NAME) as partial:  # a full disk stops nobody from stopping
            partial.write_text(json.dumps(asdict(request)), encoding="utf-8")
    with suppress(ProcessLookupError):
        for number in range(asked, wanted):
            if number:
                time.sleep(SIGNAL_SECONDS)
            if holder_of(work) != holder:
                return
            os.kill(holder.process, signal.SIGTERM)


def start_run(pipeline: Path, work: Path, arguments: Sequence[str]) -> None:
    """Start the process, and wait until it holds the lock or has ended.

    Args:
        pipeline: The pipeline.yaml.
        work: Its work folder.
        arguments: The options of `nstpipe run`.

    Raises:
        UsageError: It has ended at once; the message is what it said.
        OutputError: The work folder cannot be written to.
    """
    ensure_folder(work)
    output = work / OUTPUT_NAME
    command = [sys.executable, "-m", "nstpipe", "run", str(pipeline), *arguments]
    own_group: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=pipeline.parent, **own_group
        )
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            if process.returncode in (EXIT_DONE, EXIT_SOME_FAILED, EXIT_STOPPED):
                return
            raise UsageError(*_reason(output, process.returncode))
        if holder_of(work) is not None:
            break
        time.sleep(0.1)
    _reap(process)


def _reason(output: Path, exit_code: int) -> tuple[str, str]:
    """Return why a run has ended at once, as it said it, and the next step."""
    said = ""
    with suppress(OSError):
        said = output.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
    if said:
        return said, ""
    next_step = "Look whether the disk is full, or start it in a terminal to see more."
    return f"The run ended at once with exit code {exit_code}, and could not say why.", next_step


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Take note of the end of a run that this server has started, so that it does not stay a zombie."""
    threading.Thread(target=process.wait, daemon=True).start()
