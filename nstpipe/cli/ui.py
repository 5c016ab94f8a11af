"""`nstpipe ui`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from nstpipe.cli.options import console_for
from nstpipe.errors import MachineError

PACKAGES = ("starlette", "uvicorn")
"""What the extra nstpipe[ui] brings."""


def ui(
    place: Annotated[
        Path,
        typer.Argument(
            metavar="[FOLDER]",
            help="Folder of your pictures, or a pipeline.yaml; default: the current folder.",
            show_default=False,
        ),
    ] = Path(),
    root: Annotated[
        list[Path],
        typer.Option("--root", metavar="FOLDER", help="Another folder whose files may be used; may be repeated."),
    ] = [],  # noqa: B006  # typer reads the default and never changes it
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="N", help="Port; default: 8420, or a free one if that is taken.", show_default=False
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on. Others than 127.0.0.1 are reached from the network.")
    ] = "127.0.0.1",
    password: Annotated[
        str,
        typer.Option(
            envvar="NSTPIPE_UI_PASSWORD",
            show_default=False,
            help="Password that lets in browsers without the printed address. Better given as NSTPIPE_UI_PASSWORD.",
        ),
    ] = "",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the address in a browser.")] = True,
) -> None:
    """Open nstpipe in a browser: previews, jobs, runs and results, on this machine.

    Example: nstpipe ui holiday
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MachineError(
            f"the window needs {' and '.join(missing)}, which this installation lacks.", "Get them: pip install 'nstpipe[ui]'"
        )
    from nstpipe.window.server import WindowOptions, serve

    console = console_for()
    options = WindowOptions(place, tuple(root), host, port, password, browser)
    serve(options, lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True))
