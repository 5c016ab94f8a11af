"""`nstpipe clean`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Annotated

import typer
from rich.console import Console

from nstpipe.cli.options import AsJson, File, console_for, print_json, write_or_discard


def clean(
    pipeline: File,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete leftovers from the work folder, such as frames of settings that were changed midway.

    Frames of unfinished work stay. Without a terminal and without --yes, it only lists what could be deleted.

    Example: nstpipe clean pipeline.yaml
    """
    from nstpipe import api
    from nstpipe.listeners.progress import progress
    from nstpipe.system.files import as_megabytes

    console = console_for(as_json)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    shown = ExitStack()

    def agrees(leftovers: tuple[api.Leftover, ...]) -> bool:
        shown.close()  # a bar that moves would wipe the question away
        if not leftovers:
            say("Nothing is left over.")
            return False
        for one in leftovers:
            say(f"{one.path}: {one.what}, {as_megabytes(one.size_bytes)}")
        size = as_megabytes(sum(one.size_bytes for one in leftovers))
        if yes:
            return True
        if as_json or not sys.stdin.isatty():
            say(f"{size} could go; --yes removes them.")
            return False
        return typer.confirm(f"Remove all of this, {size}?")

    with shown:
        reporter = shown.enter_context(progress(Console(stderr=True), quiet=False))
        found = api.clean(pipeline, agrees, lambda event: write_or_discard(lambda: reporter(event), sys.stderr))
    if as_json:
        for leftover in found.leftovers:
            print_json({"path": str(leftover.path), "bytes": leftover.size_bytes, "removed": found.removed})
    if found.removed:
        say("Removed.")
