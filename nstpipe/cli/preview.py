"""`nstpipe preview`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn

from nstpipe.cli.options import File, Overrides, console_for, jobs_in
from nstpipe.commands import PREVIEW_ITERATIONS
from nstpipe.errors import UsageError
from nstpipe.system.files import check_replaceable

if TYPE_CHECKING:
    from nstpipe.commands.preview import Painted
    from nstpipe.events import Emit, Event


def preview(
    pipeline: File,
    job: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Job whose settings are used; default: the first job of the file.", autocompletion=jobs_in
        ),
    ] = "",
    frame: Annotated[int, typer.Option(min=1, metavar="N", help="Frame or picture of the job's input, counted from 1.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Output file; default: preview_JOB_N.png in the current folder."),
    ] = None,
    set_: Overrides = [],  # noqa: B006  # typer reads the default and never changes it
    grid: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE,…",
            help="Paint the frame once for each value and make a proof sheet; give it twice for rows and columns. "
            "KEY is a job's key or the end of one: strength means style.strength.",
        ),
    ] = [],  # noqa: B006
    before_after: Annotated[bool, typer.Option("--before-after", help="Put the original beside the result.")] = False,
    iterations: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help=f"Maximum number of iterations; default: {PREVIEW_ITERATIONS}, or fewer if the job has fewer.",
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Run as many iterations as the job itself.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N; overrides the file.")] = None,
) -> None:
    """Paint one frame with a job's settings, at once. The work folder and the results are not touched.

    A preview stops after fewer iterations than a run, which is enough to judge the look. --full runs all of them.

    Example: nstpipe preview pipeline.yaml --job street --grid strength=0.5,1,2 --grid scale=0.7,1,1.4
    """
    if full and iterations is not None:
        raise UsageError("--full and --iterations: give one of them.")
    began = time.monotonic()
    from nstpipe.commands import preview as room

    axes = [room.axis(text) for text in grid]
    overrides = (*set_, *([f"device={device}"] if device else []))
    most = None if full else iterations or PREVIEW_ITERATIONS
    wanted = room.Preview(pipeline, job, frame - 1, overrides, most)
    settings, chosen = wanted.settings()
    path = output if output is not None else Path(f"preview_{chosen.name}_{frame}{'_grid' if axes else ''}.png")
    room.check_writable(path, settings, pipeline)
    if output is not None:
        check_replaceable(path, room.MARK)
    cells = len(room.combinations(axes)) if axes else 1
    with _shown(cells) as emit:
        if axes:
            sheet = room.proof_sheet(wanted, axes, emit, with_original=before_after)
            image, painted = sheet.image, sheet.first
        else:
            painted = wanted.painted(emit)
            image = room.before_and_after(painted) if before_after else room.alone(painted)
    room.save(image, path)
    said = f"{path}: {cells} picture{'s' if cells > 1 else ''} of frame {frame} {_summary(painted, time.monotonic() - began)}"
    console_for().print(said, markup=False, highlight=False, soft_wrap=True)


def _summary(painted: Painted, seconds: float) -> str:
    """Say which job and input a picture is of, its size, and what it took."""
    height, width = painted.after.shape[:2]
    took = f"{painted.iterations} of {painted.max_iterations} iterations, " if painted.iterations else ""
    return f"of {painted.job} ({painted.path.name}), {width}x{height}, {took}{seconds:.0f} s."


@contextmanager
def _shown(cells: int) -> Iterator[Emit]:
    """Show a bar on stderr if it is a terminal."""
    from nstpipe.events import FrameDone, FrameProgressed

    columns = (TextColumn("painting"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    console = console_for(as_json=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=cells)
        done = 0

        def emit(event: Event) -> None:
            nonlocal done
            if isinstance(event, FrameDone):
                done += 1
                bar.update(task, completed=done)
            elif isinstance(event, FrameProgressed):
                bar.update(task, completed=done + event.evaluations / event.most_evaluations)

        yield emit
