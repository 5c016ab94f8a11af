"""Runs the ffmpeg program so that it can neither hang nor fail unnoticed."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import ffmpeg as graphs

from nstpipe.errors import ItemError, KilledError, MachineError, TransientError
from nstpipe.media.video.ffmpeg_program import decoders as decoders
from nstpipe.media.video.ffmpeg_program import encoders as encoders
from nstpipe.media.video.ffmpeg_program import environment, executable, how_to_get, is_at_least
from nstpipe.media.video.ffmpeg_program import filters as filters
from nstpipe.media.video.ffmpeg_program import version as version
from nstpipe.system.programs import (
    GRACE_SECONDS,
    OWN_SESSION,
    STOP_SECONDS,
    as_sentence,
    end_program,
    has_crashed,
    how_it_ended,
    last_lines,
    was_killed,
    work_of,
)
from nstpipe.system.stop import Stop, Stopped, stop_in_force

PIPE_BYTES = 1 << 20
"""The size of pipes on Linux. With the default of 64 KB, two processes would wait for each other a hundred times a frame."""

_EXITED_BY_SIGNAL = 255
"""ffmpeg's exit code after a signal that it handles."""

_RECEIVED_SIGNAL = "received signal"
"""What ffmpeg then says."""

_CONSEQUENCES = (
    "Last message repeated",
    "Could not open encoder before EOF",
    "Error sending frames to consumers",
    "Nothing was written into output file",
    "Task finished with error code",
    "Terminating thread with return code",
)
"""Messages that follow the line with the cause, and would crowd it out."""

IO_ERROR = os.strerror(errno.EIO)
"""What ffmpeg says if a disk failed."""

_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")


def local(path: Path) -> str:
    """A path in a form that ffmpeg takes for a file whatever its characters, and never for an option or a protocol."""
    return f"file:{path.absolute()}"


LOCAL_ONLY: dict[str, Any] = {"protocol_whitelist": "file,pipe"}
"""An option of inputs: a playlist or a crafted file cannot reach the network."""


def each_at_its_time() -> dict[str, Any]:
    """The option of outputs with which no picture is repeated or dropped to keep a rate; ffmpeg 5.1 has renamed it."""
    return {"fps_mode" if is_at_least(5, 1) else "vsync": "passthrough"}


TIMEOUT_VARIABLE = "NSTPIPE_FFMPEG_TIMEOUT"
"""The environment variable that sets for how many seconds ffmpeg may do nothing; see `SILENT_SECONDS`."""

SILENT_SECONDS = 60.0
"""For how long ffmpeg may do nothing, neither compute nor read nor write, while nstpipe waits for it."""

BUSY_SECONDS = 1800.0
"""For how long ffmpeg may compute while nothing comes of it."""

POLL_SECONDS = 0.1
"""How often the wait for ffmpeg looks at the request to stop."""

MEASURE_SECONDS = 1.0
"""How often the wait for ffmpeg looks at what ffmpeg does, once nothing has come from it."""

IDLE_SHARE = 0.01
"""A program that computes for a smaller share of the time does nothing; a script that only waits computes a little too."""

PROGRESS_BYTES = 1_000_000
"""Reading and writing so many bytes by itself is progress of ffmpeg."""


def silent_seconds() -> float:
    """For how many seconds ffmpeg may do nothing."""
    try:
        return max(0.1, float(os.environ[TIMEOUT_VARIABLE]))
    except (KeyError, ValueError):
        return SILENT_SECONDS


class _Watch:
    """Ends ffmpeg if nstpipe waits for it in vain, or if the run is asked to stop in the meantime.

    A thread looks at the process as long as somebody waits for it. Where the process is ended, the wait ends too, because its
    pipes close.

    Args:
        process: The running ffmpeg.
        stop: The request to stop; None if there is none.
    """

    def __init__(self, process: subprocess.Popen[bytes], stop: Stop | None) -> None:
        self._process = process
        self._stop = stop
        self._waiting = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.moved_bytes = 0
        self.verdict = ""
        self.stopped = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark a block that waits for the process."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, daemon=True)
            self._thread.start()
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        wait = _Wait()
        while not self._over.wait(POLL_SECONDS):
            if not self._waiting or self._process.returncode is not None:
                wait = _Wait()
            elif self._stop is not None and self._stop.is_late:
                self._stop.should_stop()  # which notes the reason
                self._end(stopped=True)
                return
            elif wait.moved_bytes != self.moved_bytes:
                wait = _Wait(self.moved_bytes)
            elif wait.is_to_be_measured:
                wait.measure(self._process)
                asked = self._stop is not None and self._stop.reason is not None
                silent = min(silent_seconds(), STOP_SECONDS) if asked else silent_seconds()
                # Once the run was asked to stop, ffmpeg may still finish what it computes, for a while.
                self.verdict = wait.verdict(silent, 10 * STOP_SECONDS if asked else BUSY_SECONDS)
                if self.verdict:
                    self._end(stopped=asked)
                    return

    def _end(self, *, stopped: bool) -> None:
        self.stopped = stopped
        end_program(self._process, grace_seconds=GRACE_SECONDS)


class _Wait:
    """A wait for ffmpeg in which nothing has come from it or gone to it.

    Args:
        moved_bytes: What had gone through its pipes when the wait began.
    """

    def __init__(self, moved_bytes: int = -1) -> None:
        self.moved_bytes = moved_bytes
        self._measured_at = self._silent_since = self._busy_since = time.monotonic()
        self._seconds: float | None = None
        self._bytes = 0

    @property
    def is_to_be_measured(self) -> bool:
        """Whether it is time to look at what the process does."""
        return time.monotonic() - self._measured_at >= min(MEASURE_SECONDS, silent_seconds() / 4)

    def measure(self, process: subprocess.Popen[bytes]) -> None:
        """Look at what the process has computed, read and written since the last look."""
        now, (seconds, count) = time.monotonic(), work_of(process)
        if self._seconds is None:
            self._seconds, self._bytes = seconds, count
        elif abs(count - self._bytes) >= PROGRESS_BYTES:
            self._silent_since = self._busy_since = now
            self._seconds, self._bytes = seconds, count
        elif abs(seconds - self._seconds) >= IDLE_SHARE * max(now - self._silent_since, 1.0):
            self._silent_since, self._seconds = now, seconds
        self._measured_at = now

    def verdict(self, silent_seconds: float, busy_seconds: float) -> str:
        """What the process has failed to do for too long; empty if it may go on."""
        now = time.monotonic()
        if now - self._silent_since >= silent_seconds:
            return f"did nothing for {silent_seconds:g} s"
        if now - self._busy_since >= busy_seconds:
            return f"computed for {busy_seconds:g} s without any result"
        return ""


class _Pipe(io.RawIOBase):
    """A pipe of ffmpeg whose reads and writes are watched, so that they cannot wait forever."""

    def __init__(self, process: Process, pipe: IO[bytes]) -> None:
        self._owner = process
        self._pipe = pipe

    def readable(self) -> bool:
        return self._pipe.readable()

    def writable(self) -> bool:
        return self._pipe.writable()

    def readinto(self, room: Any) -> int:
        with self._owner.watch.waiting():
            count: int = self._pipe.readinto(room)  # type: ignore[attr-defined]
        self._owner.watch.moved_bytes += count
        if not count:
            self._owner.raise_if_given_up()
        return count

    def write(self, content: Any) -> int:
        try:
            with self._owner.watch.waiting():
                count = self._pipe.write(content)
        except BrokenPipeError:
            self._owner.raise_if_given_up()
            raise
        self._owner.watch.moved_bytes += count
        return count

    def close(self) -> None:
        if not self.closed:
            self._pipe.close()
        super().close()


def _widen(pipe: IO[bytes]) -> None:
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # the system limits how much memory a user's pipes may take
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def was_ended_from_outside(exit_code: int, said: str) -> bool:
    """Whether a signal from outside has ended an ffmpeg. It handles some signals, and then says so."""
    return was_killed(exit_code) or (exit_code == _EXITED_BY_SIGNAL and _RECEIVED_SIGNAL in said)


class UnresponsiveError(ItemError):
    """ffmpeg did nothing for too long, and was ended."""


class Process:
    """A running ffmpeg. Its messages go to a file, and Ctrl-C in the terminal does not reach it.

    Args:
        graph: The output node of an ffmpeg-python graph.
        source: The file that the process works on, for error messages.
        stdin: Whether the caller writes to it.
        stdout: Whether the caller reads from it.
        loglevel: ffmpeg's name of the lowest level of messages.
    """

    def __init__(
        self, graph: Any, source: Path, *, stdin: bool = False, stdout: bool = False, loglevel: str = "warning"
    ) -> None:
        command: Sequence[str] = graphs.compile(
            graph.global_args("-hide_banner", "-loglevel", loglevel, *(() if stdin else ("-nostdin",))),
            cmd=executable(),
            overwrite_output=True,
        )
        stop = stop_in_force()
        if stop is not None and stop.is_late and stop.should_stop():
            raise Stopped
        self.source = source
        # A pipe that nobody reads would fill and block the process. A file does not.
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
                stderr=self._messages,
                bufsize=0,  # the pipes below have buffers
                env=environment(),
                start_new_session=OWN_SESSION,
            )
        except OSError as error:
            self._messages.close()
            raise MachineError(f"{command[0]} cannot be started: {error.strerror or error}.", how_to_get()) from error
        self.watch = _Watch(self._process, stop)
        self._stdin: io.BufferedWriter | None = None
        self._stdout: io.BufferedReader | None = None
        if self._process.stdin is not None:
            _widen(self._process.stdin)
            self._stdin = io.BufferedWriter(_Pipe(self, self._process.stdin))
        if self._process.stdout is not None:
            _widen(self._process.stdout)
            self._stdout = io.BufferedReader(_Pipe(self, self._process.stdout))

    @property
    def stdin(self) -> io.BufferedWriter:
        """The pipe that the process reads from."""
        assert self._stdin is not None
        return self._stdin

    @property
    def stdout(self) -> io.BufferedReader:
        """The pipe that the process writes to."""
        assert self._stdout is not None
        return self._stdout

    def messages(self) -> str:
        """The last messages of the process, in whole lines if there are several."""
        self._messages.seek(0)
        said = _ADDRESS.sub("", self._messages.read().decode(errors="replace"))
        return last_lines("\n".join(line for line in said.splitlines() if not any(words in line for words in _CONSEQUENCES)))

    def finish(self, *, may_fail: bool = False) -> None:
        """Wait for the process to end.

        Args:
            may_fail: Whether a failure that the file causes is no error here. A process that was killed has still not said all.

        Raises:
            ItemError: The process failed; the error quotes its last messages. A KilledError if it was killed.
            Stopped: The run was asked to stop, and the process did not end in time.
        """
        if self._stdin is not None:
            try:
                self._stdin.close()
            except BrokenPipeError:
                pass  # the process has ended already, and its exit code tells how
        with self.watch.waiting():
            code = self._process.wait()
        self.raise_if_given_up()
        ended = how_it_ended(code)
        if has_crashed(code):
            if may_fail:
                return
            said = self.messages()
            problem = f"{self.source}: ffmpeg crashed ({ended})." + (f" It said: {as_sentence(said)}" if said else "")
            raise ItemError(problem, how_to_get())
        if was_ended_from_outside(code, self.messages()):
            raise KilledError(self.failure(f"a signal from outside (exit code {code})").problem)
        if code != 0 and (not may_fail or IO_ERROR in self.messages()):
            raise self.failure(ended)

    def raise_if_given_up(self) -> None:
        """Raise what the wait for the process has ended with, if nstpipe itself has ended the process.

        Raises:
            ItemError: The process did nothing for too long; the error quotes its last messages.
            Stopped: The run was asked to stop.
        """
        if self.watch.stopped:
            raise Stopped
        if self.watch.verdict:
            said = self.messages()
            raise UnresponsiveError(
                f"{self.source}: ffmpeg {self.watch.verdict}, so nstpipe ended it."
                + (f" It said: {as_sentence(said)}" if said else " It said nothing."),
                how_to_get(),
            )

    def failure(self, what: str) -> ItemError:
        """The error to raise if the process ends unexpectedly. It is a TransientError if a disk failed."""
        said = self.messages()
        kind = TransientError if IO_ERROR in said else ItemError
        return kind(f"{self.source}: ffmpeg ended with {what}" + (f". It said: {said}" if said else "."))

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.watch.close()
        if self._process.poll() is None:
            end_program(self._process)
        for pipe in (self._stdin, self._stdout):
            if pipe is not None:
                with suppress(BrokenPipeError, ItemError, Stopped):
                    pipe.close()
        self._messages.close()
