"""What the commands have in common: arguments, options, and where they speak."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import typer
from rich.console import Console

from nstpipe.errors import EXIT_DONE, EXIT_SOME_FAILED, InputError
from nstpipe.events import Emit, ItemFailed


def jobs_in(context: typer.Context) -> list[str]:
    """Names of the jobs, for the shell to complete; none where the file cannot be read."""
    from nstpipe.config import load_pipeline
    from nstpipe.errors import ConfigError

    # While an option still lacks its value, the file is among the words that nobody has asked for yet.
    files = [context.params.get("pipeline"), *context.args, "pipeline.yaml"]
    try:
        return [job.name for job in load_pipeline(Path(next(file for file in files if file))).jobs]
    except ConfigError:
        return []


File = Annotated[Path, typer.Argument(metavar="PIPELINE", help="Path of the pipeline.yaml.", show_default=False)]
JobNames = Annotated[
    list[str],
    typer.Option("--job", metavar="NAME", help="Only this job; may be repeated.", autocompletion=jobs_in),
]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as jobs.street.size=256; may be repeated."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per line on stdout; text for people goes to stderr.")
]

WIDE = 10_000
"""Columns of a table that no terminal folds: whoever reads it from a pipe wants a line for each row."""


def console_for(as_json: bool = False, *, wide_in_a_pipe: bool = False) -> Console:
    """Where a command speaks to people.

    Args:
        as_json: whether stdout belongs to machines, so that people's text goes to stderr.
        wide_in_a_pipe: whether lines are left whole where no terminal is.
    """
    made = Console(stderr=as_json)
    return Console(stderr=as_json, width=WIDE) if wide_in_a_pipe and not made.is_terminal else made


def print_json(value: object) -> None:
    """One line of JSON on stdout."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def failure_as_json(failure: ItemFailed) -> dict[str, str]:
    """What cannot be used, for machines."""
    found = {"job": failure.job, "path": failure.path, "message": failure.reason, "next_step": failure.next_step}
    return {**found, "traceback": failure.traceback} if failure.traceback else found


def write_or_discard(tell: Callable[[], None], stream: TextIO) -> None:
    """Tell somebody of something, or nobody if nobody can hear: a night's work does not end because of a full log.

    Args:
        tell: writes to the stream.
        stream: of this process. Once it cannot be written to, what else goes there is lost without a word.
    """
    try:
        tell()
    except (OSError, SystemExit):  # rich ends the process where a pipe has lost its reader
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextmanager
def inspection_progress(*, quiet: bool = False) -> Iterator[Emit]:
    """Show on stderr how far the look at the inputs is.

    Args:
        quiet: show nothing but failures.

    Yields:
        What is to be called with each event.
    """
    from nstpipe.listeners.progress import progress

    with progress(Console(stderr=True), quiet=quiet) as reporter:
        yield lambda event: write_or_discard(lambda: reporter(event), sys.stderr)


def leave_for(usable: int, failed: int) -> NoReturn:
    """End a command that has looked at inputs with the exit code that says how it went.

    Raises:
        InputError: none can be used.
    """
    if failed and not usable:
        raise InputError("nothing usable in the inputs.")
    raise typer.Exit(EXIT_SOME_FAILED if failed else EXIT_DONE)
