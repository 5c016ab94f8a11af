"""Runs other programs so that none can hang nstpipe: each has a time limit, and ends with everything that it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from nstpipe.errors import MachineError
from nstpipe.system.stop import Stopped, stop_in_force

GRACE_SECONDS = 2.0
"""How long a program has to end by itself after it was asked to."""

STOP_SECONDS = 5.0
"""How long a program may take once the run was asked to stop."""

POLL_SECONDS = 0.1
"""How often the wait for a program looks at the request to stop."""

TAIL_CHARACTERS = 600
"""How much of a program's messages an error quotes: the last lines name the cause."""

OWN_SESSION = os.name != "nt"
"""Programs are started in a session of their own. Ctrl-C in a terminal reaches its whole process group, but nstpipe decides
itself what ends when; and the session is what a program ends with."""


CRASHES = frozenset({"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGTRAP", "SIGSYS"})
"""Signals that a program ends by for its own fault. The next attempt would end in the same way."""


@dataclass(frozen=True)
class Finished:
    """A program that has ended.

    Attributes:
        exit_code: Its exit code; below zero, the number of the signal that ended it.
        stdout: What it wrote to its standard output.
        stderr: What it wrote to its standard error.
    """

    exit_code: int
    stdout: str
    stderr: str

    @property
    def last_words(self) -> str:
        """The end of its messages, or its exit code if there are none."""
        return last_lines(self.stderr or self.stdout) or how_it_ended(self.exit_code)

    @property
    def was_killed(self) -> bool:
        """Whether a signal from outside ended it, so that it may do its work the next time."""
        return was_killed(self.exit_code)


def run_program(
    command: Sequence[str], *, limit_seconds: float, content: str = "", environment: Mapping[str, str] | None = None
) -> Finished:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        limit_seconds: How long it may take.
        content: What it reads from its standard input.
        environment: Its environment variables; None for those of this process.

    Raises:
        MachineError: It cannot be started, or has not ended in time.
        Stopped: The time of the run is up.
    """
    # In files, not in pipes: whatever a program leaves running cannot keep its reader waiting.
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(content.encode())
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, start_new_session=OWN_SESSION
            )
        except OSError as error:
            raise MachineError(f"{command[0]} cannot be started: {error.strerror or error}.") from error
        try:
            exit_code = _wait(process, limit_seconds)
        finally:
            if process.returncode is None:
                end_program(process, grace_seconds=GRACE_SECONDS)
        said = []
        for file in (stdout, stderr):
            file.seek(0)
            said.append(file.read().decode(errors="replace"))
    if exit_code is None:
        words = last_lines(said[1] or said[0])
        raise MachineError(
            f"`{' '.join(command)}` did not end within {limit_seconds:g} s, so nstpipe ended it."
            + (f" It said: {as_sentence(words)}" if words else " It said nothing.")
        )
    return Finished(exit_code, *said)


def _wait(process: subprocess.Popen[bytes], limit_seconds: float) -> int | None:
    """The exit code of a program; None if it has not ended in time.

    Raises:
        Stopped: The time of the run is up.
    """
    began, stop = time.monotonic(), stop_in_force()
    while (seconds := time.monotonic() - began) < limit_seconds:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(min(POLL_SECONDS, limit_seconds - seconds))
        if stop is not None and (stop.is_late or seconds >= STOP_SECONDS) and stop.should_stop():
            raise Stopped
    return None


def end_program(process: subprocess.Popen[Any], *, grace_seconds: float = 0.0) -> None:
    """End a program that runs in a session of its own, with everything that it has started.

    Args:
        process: The program.
        grace_seconds: How long it has to end by itself after it was asked to. With 0 it is not asked.
    """
    family = _family(process) if grace_seconds or not OWN_SESSION else []
    if grace_seconds:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    _signal(process, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    for member in family:
        with suppress(psutil.Error):
            member.kill()
    # A program that waits for a dead disk cannot even be killed.
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)


def _signal(process: subprocess.Popen[Any], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if OWN_SESSION:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def _family(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    """What a program has started and what these have started, as long as it lives."""
    try:
        found: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        return []
    return found


def work_of(process: subprocess.Popen[Any]) -> tuple[float, int]:
    """What a program and everything that it has started have done so far.

    Returns:
        The seconds that they have computed, and the bytes that they have read and written. The bytes are 0 on systems that do
        not count them.
    """
    seconds, count = 0.0, 0
    with suppress(psutil.Error):
        itself = psutil.Process(process.pid)
        for member in (itself, *itself.children(recursive=True)):
            with suppress(psutil.Error):
                seconds += sum(member.cpu_times()[:4])
            with suppress(psutil.Error, AttributeError):
                counters = member.io_counters()
                count += getattr(counters, "read_chars", counters.read_bytes)
                count += getattr(counters, "write_chars", counters.write_bytes)
    return seconds, count


def was_killed(exit_code: int) -> bool:
    """Whether a program ended by a signal from outside, and not by one for its own fault."""
    return exit_code < 0 and not has_crashed(exit_code)


def has_crashed(exit_code: int) -> bool:
    """Whether a program ended by a signal for its own fault."""
    return exit_code < 0 and how_it_ended(exit_code).removeprefix("the signal ") in CRASHES


def how_it_ended(exit_code: int) -> str:
    """An exit code in words: a signal by its name."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"the signal {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"the signal {-exit_code}"


def as_sentence(text: str) -> str:
    """A text with a full stop, unless it ends like a sentence."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def last_lines(text: str) -> str:
    """The end of a program's messages, in whole lines if there are several."""
    lines = text.strip().splitlines()
    while len(lines) > 1 and len("\n".join(lines)) > TAIL_CHARACTERS:
        del lines[0]
    return "\n".join(lines)[-TAIL_CHARACTERS:]
