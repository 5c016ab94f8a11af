"""`nstpipe validate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from nstpipe.cli.options import (
    AsJson,
    File,
    Overrides,
    Overwrite,
    console_for,
    failure_as_json,
    inspection_progress,
    leave_for,
    print_json,
    with_overwrite,
)
from nstpipe.errors import ConfigError, Problem


def validate(
    pipeline: File,
    set_: Overrides = [],  # noqa: B006  # typer reads the default and never changes it
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Check the file and this machine, and open every input and painting. Paints nothing.

    It lists every problem with the file or this machine in one table.

    Example: nstpipe validate pipeline.yaml
    """
    from nstpipe import api

    with inspection_progress() as on_event:
        found = api.validate(pipeline, overrides=with_overwrite(set_, overwrite=overwrite), on_event=on_event)
    if as_json:
        for problem in found.problems:
            print_json({"file": str(pipeline), **asdict(problem)})
        for error in found.missing:
            print_json({"message": error.problem, "next_step": error.next_step})
        for failure in found.failures:
            print_json(failure_as_json(failure))
    # A program that reads a pipe needs one line for each problem.
    console = console_for(as_json, wide_in_a_pipe=True)
    for notice in found.notices:
        console.print(notice, markup=False, highlight=False, soft_wrap=True)
    if not (found.problems or found.missing or found.failures):
        console.print(
            f"{pipeline} is valid, and all of its {found.usable} inputs can be opened.", highlight=False, soft_wrap=True
        )
        raise typer.Exit
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("where", overflow="fold")
    table.add_column("problem", overflow="fold")
    for problem in found.problems:
        table.add_row(escape(_place(pipeline, problem)), escape(problem.message))
    for error in found.missing:
        table.add_row("this machine", escape(f"{error.problem} {error.next_step}".strip()))
    for failure in found.failures:
        table.add_row(escape(f"job {failure.job}"), escape(f"{failure.reason} {failure.next_step}".strip()))
    console.print(table)
    verdict = f"has {_counted(len(found.problems), 'problem', 'problems')}" if found.problems else "is valid"
    rest = [f"this machine lacks {_counted(len(found.missing), 'thing', 'things')} that a run needs"] if found.missing else []
    rest += [f"{_counted(len(found.failures), 'file', 'files')} it refers to cannot be used"] if found.failures else []
    joined = ", and " if found.problems else ", but "
    console.print(f"{pipeline} {joined.join([verdict, *filter(None, [' and '.join(rest)])])}.", highlight=False, soft_wrap=True)
    if found.problems:
        raise typer.Exit(ConfigError(pipeline, found.problems).exit_code)
    if found.missing:
        raise typer.Exit(found.missing[0].exit_code)
    leave_for(found.usable, len(found.failures), found.unwritable)


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _place(file: Path, problem: Problem) -> str:
    if problem.key.startswith("--"):
        return problem.key
    line = f":{problem.line}" if problem.line is not None else ""
    return f"{file.name}{line}: {problem.key}" if problem.key else f"{file.name}{line}"
