"""What the commands share: arguments, options and output."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import typer
from rich.console import Console

from nstpipe.commands.schedule import time_of_day
from nstpipe.errors import EXIT_DONE, EXIT_SOME_FAILED, InputError, OutputError, UsageError
from nstpipe.events import Emit, ItemFailed


def jobs_in(context: typer.Context) -> list[str]:
    """Return the names of the jobs, for completion by the shell; none if the file cannot be read."""
    from nstpipe.config import load_pipeline
    from nstpipe.errors import ConfigError

    # While an option still lacks its value, the file is among the arguments that are not parsed yet.
    files = [*(text for text in context.args if not text.startswith("-")), context.params.get("pipeline")]
    try:
        return [job.name for job in load_pipeline(Path(next(file for file in files if file))).jobs]
    except ConfigError:
        return []


def default_file() -> Path:
    """Return the pipeline.yaml that a command takes if none is given: that of the current folder, which need not exist."""
    from nstpipe.system.files import PIPELINE_NAMES

    return next((path for path in map(Path, PIPELINE_NAMES) if path.exists()), Path(PIPELINE_NAMES[0]))


File = Annotated[
    Path,
    typer.Argument(
        metavar="[PIPELINE]",
        help="Path of the pipeline.yaml; default: pipeline.yaml of the current folder.",
        default_factory=default_file,
        show_default=False,
    ),
]
JobNames = Annotated[
    list[str],
    typer.Option("--job", metavar="NAME", help="Only this job; may be repeated.", autocompletion=jobs_in),
]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as jobs.street.size=256; may be repeated."),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Let outputs replace files that this pipeline did not make; never its own inputs."),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Dask scheduler whose workers paint: tcp://HOST:PORT, a scheduler file, or `local`; overrides the file.",
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per line on stdout; text for people goes to stderr.")
]

_NEAREST = {"\u2013": "-", "\u2014": "-", "\u2026": ".", "\u2192": ">", "\u00d7": "x", "\u2019": "'"}
"""What stands for a character of nstpipe's own texts that a terminal cannot show."""


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_NEAREST.get(character, "?") for character in error.object[error.start : error.end]), error.end


codecs.register_error("nstpipe-nearest", _nearest)


def replace_what_cannot_be_shown() -> None:
    """Let the standard streams replace a character that their encoding does not have, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="nstpipe-nearest")


WIDE = 10_000
"""The width of a table in a pipe, in columns, so that each row is one line."""


ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only part I of N, beside other runs that do the other parts in the same work folder, as in a SLURM array.",
    ),
]


def with_overwrite(overrides: list[str], *, overwrite: bool) -> list[str]:
    """Return what a command overrides, with the key that `--overwrite` stands for."""
    return [*overrides, "overwrite=true"] if overwrite else overrides


def console_for(as_json: bool = False, *, wide_in_a_pipe: bool = False) -> Console:
    """Return the console for text that people read.

    Args:
        as_json: Whether stdout is for JSON, so that text goes to stderr.
        wide_in_a_pipe: Whether lines are not folded if the output is not a terminal.
    """
    made = Console(stderr=as_json)
    return Console(stderr=as_json, width=WIDE) if wide_in_a_pipe and not made.is_terminal else made


def print_json(value: object) -> None:
    """Print one line of JSON on stdout."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def failure_as_json(failure: ItemFailed) -> dict[str, str]:
    """Return the fields of a failure that `--json` prints."""
    found = {"job": failure.job, "path": failure.path, "message": failure.reason, "next_step": failure.next_step}
    return {**found, "traceback": failure.traceback} if failure.traceback else found


def write_or_discard(tell: Callable[[], None], stream: TextIO) -> None:
    """Write output, or discard it if the stream cannot be written to. A run must not end because of a full log.

    Args:
        tell: Writes to the stream.
        stream: A stream of this process. After the first error, everything written to it is discarded.
    """
    try:
        tell()
    except (OSError, SystemExit):  # rich ends the process if the reader of a pipe is gone
        _discard(stream)


def is_unwritable(stream: TextIO) -> bool:
    """Return whether a stream of this process cannot be written to. If so, what else goes there is discarded."""
    try:
        stream.write("\n")
        stream.flush()
    except OSError:
        _discard(stream)
        return True
    return False


def _discard(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def open_closed_streams() -> None:
    """Open a standard stream that the caller has closed, as ``>&-`` does, so that what is written there is discarded.

    Otherwise the next file that is opened gets its number, and a library that writes to standard output writes into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


@contextmanager
def inspection_progress(*, quiet: bool = False) -> Iterator[Emit]:
    """Show the progress of the inspection of inputs on stderr.

    Args:
        quiet: Show failures only.

    Yields:
        A function to call with each event.
    """
    from nstpipe.listeners.progress import progress

    with progress(Console(stderr=True), quiet=quiet) as reporter:
        yield lambda event: write_or_discard(lambda: reporter(event), sys.stderr)


def leave_for(usable: int, failed: int, unwritable: OutputError | None) -> NoReturn:
    """End a command that has inspected inputs with the fitting exit code.

    Args:
        usable: The number of inputs that can be used.
        failed: The number of inputs that cannot.
        unwritable: Why an output cannot be written.

    Raises:
        InputError: No input can be used.
        OutputError: No input can be used, and the output of one cannot be written.
    """
    if failed and not usable:
        raise unwritable or InputError("nothing usable in the inputs.")
    raise typer.Exit(EXIT_SOME_FAILED if failed else EXIT_DONE)


def deadline_of(until: str | None, max_runtime: str | None, now: float) -> float | None:
    """Return the time at which a run must have ended, in seconds since 1970; None if there is no limit.

    Args:
        until: A time of day. The next one counts, today or tomorrow.
        max_runtime: Hours, minutes and seconds, such as 1h30m.
        now: The current time, in seconds since 1970.

    Raises:
        UsageError: One of them is not a valid time.
    """
    ends = []
    if until is not None:
        hour, minute = time_of_day("--until", until)
        today = datetime.fromtimestamp(now).replace(hour=hour, minute=minute, second=0, microsecond=0)
        # Where clocks are put back there are two such times in one night (fold); `timestamp` knows how long each night is.
        times = [(today + timedelta(days=days)).replace(fold=fold).timestamp() for days in (0, 1) for fold in (0, 1)]
        ends.append(min(end for end in times if end > now))
    if max_runtime is not None:
        match = re.fullmatch(r"(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?", max_runtime)
        if match is None or not any(match.groups()):
            raise UsageError(f"--max-runtime: found {max_runtime}; should be a time such as 6h, 90m, 1h30m or 45s.")
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        ends.append(now + 3600 * hours + 60 * minutes + seconds)
    return min(ends, default=None)
