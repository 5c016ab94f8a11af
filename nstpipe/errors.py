"""Every error that nstpipe raises on purpose, and the exit code that each one ends a command with.

    NstpipeError                1   a bug, when raised as itself
    ├── ItemError               2   one picture or one video cannot be done; the others go on
    │   ├── TransientError      2   the same, but the next try may go right
    │   │   └── KilledError     2   a program was killed
    │   └── BugError            2   the same, because of an exception that no part of nstpipe expects
    ├── UsageError             64   a command or a function was called wrongly
    ├── InputError             65   nothing usable in the inputs
    ├── MachineError           69   something this machine lacks: ffmpeg, a device, weights
    ├── OutputError            73   the output cannot be written
    │   └── DiskFullError      73   the same, for there is no room
    ├── BusyError              75   another run works on the same folder
    └── ConfigError            78   the YAML is wrong

An ``ItemError`` never leaves a run: the clip that meets it turns it into a value (`nstpipe.events.ItemFailed`).
The others end the run at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_SOME_FAILED = 2
EXIT_STOPPED = 75
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class NstpipeError(Exception):
    """The root. `problem` says what is wrong, what was found and what is allowed; `next_step` what to do about it."""

    exit_code = EXIT_BUG

    def __init__(self, problem: str, next_step: str = "") -> None:
        super().__init__(problem, next_step)
        self.problem = problem
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.problem}\n  {self.next_step}" if self.next_step else self.problem


class ItemError(NstpipeError):
    """One picture or video cannot be read, stylized or written."""

    exit_code = EXIT_SOME_FAILED


class TransientError(ItemError):
    """What has nothing to do with the item itself, and may go right at the next try."""


class KilledError(TransientError):
    """A program that was to work on an item was killed."""


class BugError(ItemError):
    """An exception that no part of nstpipe expects, in the work on one item. `trace` is its traceback."""

    def __init__(self, problem: str, next_step: str = "", trace: str = "") -> None:
        super().__init__(problem, next_step)
        self.trace = trace


class UsageError(NstpipeError):
    """A command or function was called wrongly."""

    exit_code = 64


class InputError(NstpipeError):
    """Nothing usable in the inputs."""

    exit_code = 65


class MachineError(NstpipeError):
    """This machine lacks something that the run needs."""

    exit_code = 69


class OutputError(NstpipeError):
    """The output cannot be written."""

    exit_code = 73


class DiskFullError(OutputError):
    """There is no room for a file. Finished work is kept."""


class BusyError(NstpipeError):
    """Another run works on the same folder."""

    exit_code = EXIT_STOPPED


@dataclass(frozen=True)
class Problem:
    """One fault of a YAML file.

    Attributes:
        key: the path of the key, such as ``jobs[0].size``; empty where the file as a whole is meant.
        message: what was found, what is allowed, and the next step.
        line: counted from 1; None where the fault has no place in the file (an option of the command line, say).
    """

    key: str
    message: str
    line: int | None = None


class ConfigError(NstpipeError):
    """The YAML is wrong, or what the command line sets in it (64); all faults that could be found are in `problems`."""

    exit_code = 78

    def __init__(self, file: Path, problems: tuple[Problem, ...]) -> None:
        self.file = file
        self.problems = problems
        if problems and all(problem.key.startswith("--") for problem in problems):
            self.exit_code = UsageError.exit_code
        super().__init__("\n".join(self._describe(problem) for problem in problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[Path, tuple[Problem, ...]]]:
        return type(self), (self.file, self.problems)

    def _describe(self, problem: Problem) -> str:
        if problem.key.startswith("--"):
            return f"{problem.key}: {problem.message}"
        place = f"{self.file}:{problem.line}" if problem.line is not None else f"{self.file}"
        return f"{place}: {problem.key}: {problem.message}" if problem.key else f"{place}: {problem.message}"
