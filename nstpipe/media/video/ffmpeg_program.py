"""Chooses the ffmpeg program, and asks it for its version and what it was built with."""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from nstpipe.errors import MachineError
from nstpipe.system.programs import Finished, run_program

ENVIRONMENT_VARIABLE = "NSTPIPE_FFMPEG"
"""The environment variable that names another ffmpeg: `bundled`, `system` or a path."""

BUNDLED = "bundled"
SYSTEM = "system"

OLDEST_VERSION = (4, 2)
"""The oldest ffmpeg that nstpipe is tested with."""

ATTEMPTS = 3
"""How often ffmpeg is asked if it is killed before it has answered."""

ANSWER_SECONDS = 20.0
"""How long ffmpeg may take to tell its version or its encoders. It takes less than a tenth of a second."""


@dataclass(frozen=True)
class FfmpegChoice:
    """Which ffmpeg is wanted.

    Attributes:
        program: `bundled`, `system` or a path; None if nobody has named one.
        named_by: What names it, in words.
    """

    program: str | Path | None = None
    named_by: str = ""


@dataclass(frozen=True)
class FfmpegProgram:
    """The ffmpeg that is used.

    Attributes:
        path: The program.
        reason: Why it is this one, in words.
    """

    path: str
    reason: str


_NO_CHOICE = FfmpegChoice()

_choice: ContextVar[FfmpegChoice] = ContextVar("ffmpeg", default=_NO_CHOICE)


@contextmanager
def using(program: str | Path | None, named_by: str = "the key ffmpeg") -> Iterator[None]:
    """Mark a block in which a certain ffmpeg is used. The choice of the block around it holds again afterwards.

    Args:
        program: `bundled`, `system` or a path; None leaves the choice to the environment variable.
        named_by: What names it, for messages: a place in a pipeline.yaml, or an option.
    """
    token = _choice.set(FfmpegChoice(program, named_by if program is not None else ""))
    try:
        yield
    finally:
        _choice.reset(token)


def _wanted() -> FfmpegChoice:
    choice = _choice.get()
    if choice.program is None and os.environ.get(ENVIRONMENT_VARIABLE):
        return FfmpegChoice(os.environ[ENVIRONMENT_VARIABLE], f"the environment variable {ENVIRONMENT_VARIABLE}")
    return choice


def program() -> FfmpegProgram:
    """Return the ffmpeg that is used.

    It is the one that the pipeline.yaml names, else the one that the environment variable names, else the one of the package
    imageio-ffmpeg, with which nstpipe is tested. Where that package has no program for the machine, it is the system's.

    Raises:
        MachineError: There is none.
    """
    choice = _wanted()
    by = f", named by {choice.named_by}" if choice.named_by else ", the default"
    if choice.program in (None, BUNDLED):
        if (found := _bundled()) is not None:
            return FfmpegProgram(found.path, f"{found.reason}{by}")
        if (path := _system()) is not None:
            return FfmpegProgram(path, f"the system's: imageio-ffmpeg has no program here{by}")
        raise MachineError(
            "ffmpeg was not found, neither in the package imageio-ffmpeg nor on the PATH.",
            "Install ffmpeg with the system's package manager, or `pip install --force-reinstall imageio-ffmpeg`.",
        )
    if choice.program == SYSTEM:
        if (path := _system()) is not None:
            return FfmpegProgram(path, f"the system's{by}")
        raise MachineError(
            f"{choice.named_by}: found {SYSTEM}, but there is no ffmpeg on the PATH.", f"Install one, or give {BUNDLED}."
        )
    return FfmpegProgram(_named(choice), f"named by {choice.named_by}")


def _named(choice: FfmpegChoice) -> str:
    """The path of a program that is named by its path, or by its name on the PATH.

    Raises:
        MachineError: There is no such program.
    """
    name = str(choice.program)
    found = shutil.which(name)
    if found is not None:
        return found
    path = Path(name)
    if path.is_dir():
        problem = "is a folder"
    elif path.exists():
        problem = "cannot be executed"
    else:
        problem = "does not exist"
    raise MachineError(f"{choice.named_by}: {name} {problem}.", f"Give the path of an ffmpeg program, {BUNDLED} or {SYSTEM}.")


def executable() -> str:
    """Return the path of the ffmpeg program; see `program`."""
    return program().path


@functools.cache
def _bundled() -> FfmpegProgram | None:
    try:
        import imageio_ffmpeg

        path = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None
    if Path(imageio_ffmpeg.__file__).parent in Path(path).parents:
        return FfmpegProgram(path, "bundled with imageio-ffmpeg")
    if os.environ.get("IMAGEIO_FFMPEG_EXE"):
        return FfmpegProgram(path, "named by the environment variable IMAGEIO_FFMPEG_EXE of imageio-ffmpeg")
    return None  # imageio-ffmpeg has looked for the system's


def _system() -> str | None:
    return shutil.which("ffmpeg")


def environment() -> Mapping[str, str]:
    """The environment variables that ffmpeg runs with.

    A statically linked ffmpeg, such as those of imageio-ffmpeg 0.4 to 0.6, crashes when it loads the character sets of the
    system's C library, which is another one than its own. It does so for any transport stream that names its service.
    """
    return {"GCONV_PATH": "", **os.environ}


def check() -> None:
    """Check that the ffmpeg that somebody has named is one that nstpipe can use. The default one is not looked at.

    Raises:
        MachineError: It is missing, is another program, does not answer, or is too old.
    """
    if _wanted().program is None:
        return
    numbers = version_numbers()
    if numbers is not None and numbers < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise MachineError(
            f"{_wanted().named_by}: {executable()} is ffmpeg {version()}; nstpipe needs {oldest} or newer.", f"Give {BUNDLED}."
        )


def version() -> str:
    """The version of the program, in its own words.

    Raises:
        MachineError: There is no program, or it is not an ffmpeg.
    """
    said = _answer("-version")
    match = re.match(r"ffmpeg version (\S+)", said)
    if match is None:
        first_line = said.strip().partition("\n")[0][:80]
        raise MachineError(
            _place()
            + f"{executable()} is not ffmpeg: asked for its version, it said "
            + (f"{first_line!r}." if first_line else "nothing."),
            f"Give the path of an ffmpeg program, {BUNDLED} or {SYSTEM}.",
        )
    return match[1]


def version_numbers() -> tuple[int, ...] | None:
    """The version as numbers, such as (5, 1, 9); None for a build between two versions, which is taken for the newest."""
    match = re.match(r"n?(\d+(?:\.\d+)+)", version())
    return tuple(int(number) for number in match[1].split(".")) if match is not None else None


def named_version() -> str:
    """The version of the program, if it is not the bundled one; empty if it is."""
    found = _bundled()
    return "" if found is not None and found.path == executable() else version()


def is_at_least(*numbers: int) -> bool:
    """Whether the program has this version or a newer one."""
    found = version_numbers()
    return found is None or found >= numbers


def encoders() -> frozenset[str]:
    """The names of the encoders that the program was built with."""
    return frozenset(_names(_answer("-encoders")))


def decoders() -> frozenset[str]:
    """The names of the decoders that the program was built with."""
    return frozenset(_names(_answer("-decoders")))


def filters() -> frozenset[str]:
    """The names of the filters that the program was built with."""
    lines = _answer("-filters").splitlines()
    return frozenset(line.split()[1] for line in lines if "->" in line and len(line.split()) > 2)


def _names(listing: str) -> Iterator[str]:
    for line in listing.splitlines():
        words = line.split()
        if line.startswith(" ") and len(words) > 1:
            yield words[1]


def described() -> str:
    """The program in a few words, for messages about what it lacks."""
    return f"ffmpeg {version()} ({executable()})"


def how_to_get() -> str:
    """The next step for somebody whose ffmpeg lacks something."""
    if "bundled" in program().reason:
        return "Name an ffmpeg that has it, with `ffmpeg: PATH` in the pipeline.yaml."
    return "Use the ffmpeg that nstpipe is tested with: `ffmpeg: bundled` in the pipeline.yaml."


def _place() -> str:
    named_by = _wanted().named_by
    return f"{named_by}: " if named_by else ""


def _answer(question: str) -> str:
    path = executable()
    try:
        changed = Path(path).stat().st_mtime_ns
    except OSError:
        changed = 0
    try:
        finished = _asked(path, changed, question)
    except MachineError as error:
        raise MachineError(_place() + error.problem, f"Give the path of an ffmpeg program, {BUNDLED} or {SYSTEM}.") from error
    if finished.exit_code != 0:
        raise MachineError(
            _place() + f"{path} is not a usable ffmpeg: `{question}` failed: {finished.last_words}",
            f"Give the path of an ffmpeg program, {BUNDLED} or {SYSTEM}.",
        )
    return finished.stdout


@functools.cache
def _asked(path: str, changed: int, question: str) -> Finished:
    """The answer of a program. `changed` is when its file was changed, in nanoseconds since 1970."""
    command = [path, "-hide_banner", question] if question != "-version" else [path, question]
    for _ in range(ATTEMPTS):
        finished = run_program(command, limit_seconds=ANSWER_SECONDS, environment=environment())
        if not finished.was_killed:
            break
    return finished
