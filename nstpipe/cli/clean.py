"""`nstpipe clean`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from nstpipe.cli.options import AsJson, File, console_for, inspection_progress, print_json


def clean(
    pipeline: File,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete leftovers from the work folder, such as frames and networks of settings that were changed midway.

    Frames of unfinished work stay. Without a terminal and without --yes, it only lists what could be deleted.

    Example: nstpipe clean pipeline.yaml
    """
    from nstpipe import api
    from nstpipe.system.files import as_megabytes

    console = console_for(as_json)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    shown = ExitStack()

    def agrees(leftovers: tuple[api.Leftover, ...]) -> bool:
        shown.close()  # a moving bar would overwrite the question
        if not leftovers:
            say("Nothing to delete.")
            return False
        for one in leftovers:
            say(f"{one.path}: {one.what}, {as_megabytes(one.size_bytes)}")
        size = as_megabytes(sum(one.size_bytes for one in leftovers))
        if yes:
            return True
        if as_json or not sys.stdin.isatty():
            say(f"{size} can be deleted; --yes deletes them.")
            return False
        return typer.confirm(f"Delete all of this, {size}?")

    with shown:
        found = api.clean(pipeline, agrees, shown.enter_context(inspection_progress()))
    if as_json:
        for leftover in found.leftovers:
            print_json({"path": str(leftover.path), "bytes": leftover.size_bytes, "removed": found.removed})
    if found.removed:
        say("Deleted.")
