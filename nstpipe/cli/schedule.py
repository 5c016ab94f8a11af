"""`nstpipe schedule`."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from nstpipe.cli.options import File, console_for


def schedule(
    pipeline: File,
    begins: Annotated[str, typer.Option("--from", metavar="HH:MM", help="Time at which each run starts.")],
    ends: Annotated[str, typer.Option("--until", metavar="HH:MM", help="Time before which each run ends.")],
    kind: Annotated[
        Literal["systemd", "cron", "windows"] | None,
        typer.Option(help="Scheduler; default: the one of this machine.", show_default=False),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Install the schedule; without this option it is only printed.")
    ] = False,
) -> None:
    """Run a pipeline every night: print or install a systemd timer, a cron line or a Windows task.

    Example: nstpipe schedule pipeline.yaml --from 22:00 --until 06:30 --install
    """
    from nstpipe.commands import schedule as room
    from nstpipe.config import load_pipeline

    load_pipeline(pipeline)  # what is wrong is better said now than in the middle of the night
    wanted, chosen = room.night(pipeline, begins, ends), kind or room.usual_kind()
    if install:
        console_for().print(room.install(wanted, chosen), markup=False, highlight=False, soft_wrap=True)
        return
    sys.stdout.write(room.shown(wanted, chosen))
    console_for(as_json=True).print("\nThis is only printed; --install hands it to the scheduler.", highlight=False)
