"""Finds the ffmpeg program, and runs it so that it can neither hang nor fail unnoticed."""

from __future__ import annotations

import errno
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import ffmpeg as graphs

from nstpipe.errors import ItemError, MachineError, TransientError

STDERR_TAIL_CHARACTERS = 600
"""How much of ffmpeg's messages an error quotes: the last lines name the cause."""

PIPE_BYTES = 1 << 20
"""The size of pipes on Linux. With the default of 64 KB, two processes would wait for each other a hundred times a frame."""

EXITED_BY_SIGNAL = 255
"""ffmpeg's exit code after a signal that it handles."""

_CONSEQUENCES = (
    "Last message repeated",
    "Could not open encoder before EOF",
    "Error sending frames to consumers",
    "Nothing was written into output file",
    "Task finished with error code",
    "Terminating thread with return code",
)
"""Messages that follow the line with the cause, and would crowd it out."""

_IO_ERROR = os.strerror(errno.EIO)

_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")


ENVIRONMENT_VARIABLE = "NSTPIPE_FFMPEG"
"""The environment variable that names another ffmpeg: `bundled`, `system` or a path."""

BUNDLED = "bundled"
SYSTEM = "system"


@functools.cache
def executable() -> str:
    """Return the path of the ffmpeg program.

    It is the one of the package imageio-ffmpeg, with which nstpipe is tested, unless the environment variable names another.
    Where that package has no program for the machine, it is the system's.

    Raises:
        MachineError: There is none.
    """
    wanted = os.environ.get(ENVIRONMENT_VARIABLE) or BUNDLED
    found = {BUNDLED: _bundled, SYSTEM: _system}.get(wanted, lambda: shutil.which(wanted))()
    if found is None and wanted == BUNDLED:
        found = _system()
    if found is None:
        raise MachineError(
            f"ffmpeg was not found: {ENVIRONMENT_VARIABLE} is {wanted!r}."
            if wanted != BUNDLED
            else "ffmpeg was not found, neither in the package imageio-ffmpeg nor on the PATH.",
            "Install ffmpeg with the system's package manager, or `pip install --force-reinstall imageio-ffmpeg`.",
        )
    return found


def _bundled() -> str | None:
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def _system() -> str | None:
    return shutil.which("ffmpeg")


@functools.cache
def version() -> str:
    """The version of the program."""
    first_line = subprocess.run([executable(), "-version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    return first_line.removeprefix("ffmpeg version ").split(" ")[0]


@functools.cache
def encoders() -> frozenset[str]:
    """The names of the encoders that the program was built with."""
    listing = subprocess.run([executable(), "-hide_banner", "-encoders"], capture_output=True, text=True, check=True).stdout
    return frozenset(line.split()[1] for line in listing.splitlines() if line.startswith(" ") and len(line.split()) > 1)


@functools.cache
def filters() -> frozenset[str]:
    """The names of the filters that the program was built with."""
    listing = subprocess.run([executable(), "-hide_banner", "-filters"], capture_output=True, text=True, check=True).stdout
    return frozenset(line.split()[1] for line in listing.splitlines() if "->" in line and len(line.split()) > 2)


def local(path: Path) -> str:
    """A path in a form that ffmpeg takes for a file whatever its characters, and never for an option or a protocol."""
    return f"file:{path.absolute()}"


LOCAL_ONLY: dict[str, Any] = {"protocol_whitelist": "file,pipe"}
"""An option of inputs: a playlist or a crafted file cannot reach the network."""


def _widen(pipe: IO[bytes]) -> None:
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # the system limits how much memory a user's pipes may take
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


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
        self.source = source
        # A pipe that nobody reads would fill and block the process. A file does not.
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
            stderr=self._messages,
            # Ctrl-C reaches all processes of a terminal, but nstpipe decides itself what ends when.
            start_new_session=os.name != "nt",
        )
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _widen(pipe)

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe that the process reads from."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe that the process writes to."""
        assert self._process.stdout is not None
        return self._process.stdout

    def messages(self) -> str:
        """The last messages of the process, in whole lines if there are several."""
        self._messages.seek(0)
        said = _ADDRESS.sub("", self._messages.read().decode(errors="replace"))
        lines = [line for line in said.strip().splitlines() if not any(words in line for words in _CONSEQUENCES)]
        while len(lines) > 1 and len("\n".join(lines)) > STDERR_TAIL_CHARACTERS:
            del lines[0]
        return "\n".join(lines)[-STDERR_TAIL_CHARACTERS:]

    def finish(self) -> None:
        """Wait for the process to end.

        Raises:
            ItemError: The process failed; the error quotes its last messages. A TransientError if it was killed.
        """
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass  # the process has ended already, and its exit code tells how
        code = self._process.wait()
        if code < 0 or (code == EXITED_BY_SIGNAL and "received signal" in self.messages()):
            raise TransientError(self.failure(f"a signal from outside (exit code {code})").problem)
        if code != 0:
            raise self.failure(f"exit code {code}")

    def failure(self, what: str) -> ItemError:
        """The error to raise if the process ends unexpectedly. It is a TransientError if a disk failed."""
        said = self.messages()
        kind = TransientError if _IO_ERROR in said else ItemError
        return kind(f"{self.source}: ffmpeg ended with {what}" + (f". It said: {said}" if said else "."))

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
        self._messages.close()
