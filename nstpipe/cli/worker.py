"""`nstpipe worker`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nstpipe.cli.options import console_for
from nstpipe.errors import UsageError


def worker(
    scheduler: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS",
            help="Address of the scheduler, such as tcp://scheduler:8786, or path of its scheduler file.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the worker in reports; default: made from its address.", show_default=False),
    ] = None,
    tasks: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Clips to paint at the same time; default: one a GPU, or one for 8 cores."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads of each clip; default: equal shares.")
    ] = None,
    nanny: Annotated[bool, typer.Option("--nanny/--no-nanny", help="Start the worker again if it is killed.")] = True,
    wait: Annotated[float, typer.Option(metavar="SECONDS", help="Time to wait for a scheduler that is not there.")] = 300.0,
    tls_ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate of the authority, in PEM.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate of this worker, in PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Private key of the certificate, in PEM.")] = None,
) -> None:
    """Paint for a run that uses a Dask cluster, until the scheduler ends. Needs nstpipe[cluster].

    Example: nstpipe worker tcp://scheduler:8786
    """
    from nstpipe.commands.worker import WorkerOptions, run_worker
    from nstpipe.config.cluster import Tls

    files = (tls_ca, tls_cert, tls_key)
    if any(files) and not all(files):
        raise UsageError("--tls-ca, --tls-cert and --tls-key belong together; give all three or none.")
    tls = Tls(ca=tls_ca, cert=tls_cert, key=tls_key) if tls_ca and tls_cert and tls_key else None
    console = console_for(as_json=True)
    options = WorkerOptions(scheduler, name, tasks, threads, nanny, wait, tls)
    raise typer.Exit(run_worker(options, lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)))
