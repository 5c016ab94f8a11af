"""The command line."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table

from nstpipe.cli.clean import clean
from nstpipe.cli.init import init
from nstpipe.cli.options import (
    AsJson,
    ClusterOption,
    File,
    JobNames,
    Overrides,
    Overwrite,
    ShardOption,
    console_for,
    deadline_of,
    inspection_progress,
    is_unwritable,
    open_closed_streams,
    print_json,
    replace_what_cannot_be_shown,
    with_overwrite,
    write_or_discard,
)
from nstpipe.cli.plan import plan
from nstpipe.cli.preview import preview
from nstpipe.cli.schedule import schedule
from nstpipe.cli.train import train
from nstpipe.cli.ui import ui
from nstpipe.cli.validate import validate
from nstpipe.cli.worker import worker
from nstpipe.errors import (
    EXIT_BUG,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    MachineError,
    NstpipeError,
    OutputError,
    UsageError,
)
from nstpipe.motion.flow.methods import ALLOWED_FLOWS
from nstpipe.system.raw_messages import separate_raw_messages
from nstpipe.system.stop import HANGUP, STOP_SIGNALS, Stop, StopReason
from nstpipe.version import __version__

app = typer.Typer(
    name="nstpipe",
    help="Repaint videos and folders of pictures in the style of a painting.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"nstpipe {__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Repaint videos and folders of pictures in the style of a painting.

    Example: nstpipe run pipeline.yaml
    """


@app.command()
def run(
    context: typer.Context,
    pipeline: File,
    job: JobNames = [],  # noqa: B006  # typer reads the default and never changes it
    set_: Overrides = [],  # noqa: B006
    workers: Annotated[int | None, typer.Option(min=1, help="Number of worker processes; overrides the file.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N; overrides the file.")] = None,
    cluster: ClusterOption = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print failures only.")] = False,
    until: Annotated[str | None, typer.Option(metavar="HH:MM", help="Stop before this time of day.")] = None,
    max_runtime: Annotated[str | None, typer.Option(metavar="TIME", help="Stop within this time, such as 6h or 1h30m.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try items again that failed before.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first item that fails.")] = False,
    overwrite: Overwrite = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until another run on the same work folder ends.")] = False,
    shard: ShardOption = None,
) -> None:
    """Do everything that is not done yet. Safe to run again at any time.

    Example: nstpipe run pipeline.yaml --job street --until 06:30
    """
    stop: Stop = context.obj
    stop.deadline = deadline_of(until, max_runtime, time.time())
    from nstpipe import api
    from nstpipe.events import Event
    from nstpipe.listeners.json_lines import JsonLines
    from nstpipe.listeners.progress import progress

    json_lines = JsonLines(sys.stdout)
    with progress(console_for(as_json), quiet=quiet) as reporter:

        def on_event(event: Event) -> None:
            write_or_discard(lambda: reporter(event), sys.stderr if as_json else sys.stdout)
            if as_json:
                write_or_discard(lambda: json_lines(event), sys.stdout)

        result = api.run(
            pipeline,
            jobs=job,
            overrides=with_overwrite(set_, overwrite=overwrite),
            workers=workers,
            device=device,
            cluster=cluster,
            retry_failed=retry_failed,
            fail_fast=fail_fast,
            wait=wait,
            shard=shard,
            isolated=True,
            stop=stop,
            on_event=on_event,
        )
    if result.stopped in (StopReason.INTERRUPTED, StopReason.TERMINATED):
        raise _Stopped(signal.SIGINT if result.stopped is StopReason.INTERRUPTED else signal.SIGTERM)
    raise typer.Exit(result.exit_code)


app.command()(plan)


@app.command()
def status(
    pipeline: File,
    job: JobNames = [],  # noqa: B006
    set_: Overrides = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Show what is done, running, failed and left, with the time left. Also works during a run.

    Example: nstpipe status pipeline.yaml
    """
    from dataclasses import asdict

    from nstpipe import api
    from nstpipe.planning.eta import as_duration

    found = api.status(pipeline, jobs=job, overrides=set_)
    if as_json:
        print_json(asdict(found))
    state = "running" if found.holder or found.shards else "begun"
    table = Table(Column("job", overflow="fold"), "done", state, "failed", "left", "frames", "time left")
    for line in found.jobs:
        frames = f"{line.frames_done} of {line.frames}" if line.frames or not line.left else "–"
        left = as_duration(line.seconds_left)
        table.add_row(line.job, str(line.done), str(line.running), str(line.failed), str(line.left), frames, left)
    console = console_for(as_json, wide_in_a_pipe=True)
    for notice in found.notices:
        console.print(notice, markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    for look in found.training:
        loss = f", loss of held-out frames {look.loss:.3g}" if look.loss is not None else ""
        said = f"{', '.join(look.jobs)}: the network is in training, {look.step:,} steps done{loss}"
        console.print(f"{said}, {as_duration(look.seconds_left)} left at most", markup=False, highlight=False, soft_wrap=True)
    for path, reason in found.failures.items():
        console.print(f"failed: {path}: {reason}", markup=False, highlight=False, soft_wrap=True)
    if found.holder is not None:
        console.print(f"A run is in progress: {found.holder}.", markup=False, highlight=False, soft_wrap=True)
    elif found.shards:
        for shard, holder in found.shards.items():
            console.print(f"Shard {shard} is at work: {holder}.", markup=False, highlight=False, soft_wrap=True)
    elif found.exit_code is None and not any(line.done + line.running + line.failed for line in found.jobs):
        count = sum(line.left for line in found.jobs)
        outputs = f"A run would make {count} output{'s' if count != 1 else ''}" if count else "No input was found"
        console.print(f"No run has begun yet. {outputs}; `nstpipe plan` shows each one, and why.", highlight=False)
    else:
        last = f"; the last one ended with exit code {found.exit_code}" if found.exit_code is not None else ""
        console.print(f"No run is in progress{last}.", highlight=False)


@app.command()
def report(
    pipeline: File,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Output file; default: report.html in the work folder."),
    ] = None,
    job: JobNames = [],  # noqa: B006
    set_: Overrides = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Write the HTML report of the latest run again, from the journal. Also works during a run.

    Example: nstpipe report pipeline.yaml -o report.html
    """
    from nstpipe import api

    with inspection_progress() as on_event:
        path = api.report(pipeline, jobs=job, overrides=set_, output=output, on_event=on_event)
    if as_json:
        print_json({"report": str(path), "bytes": path.stat().st_size})
    console_for(as_json).print(f"Report: {path}", markup=False, highlight=False, soft_wrap=True)


app.command()(validate)
app.command()(clean)


@app.command()
def metrics(
    original: Annotated[str, typer.Argument(metavar="ORIGINAL", help="Original video, folder or glob.", show_default=False)],
    stylized: Annotated[str, typer.Argument(metavar="STYLISED", help="Stylized result, made by any tool.", show_default=False)],
    lags: Annotated[str, typer.Option(metavar="N,N", help="Distances in frames at which frames are compared.")] = "1,10",
    flow: Annotated[str, typer.Option(help=f"{ALLOWED_FLOWS}.")] = "dis",
    size: Annotated[int, typer.Option(help="Longest side in pixels for the comparison.")] = 512,
    style: Annotated[
        list[Path],
        typer.Option("--style", metavar="PAINTING", help="Also measure the distance to this painting; may be repeated."),
    ] = [],  # noqa: B006
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Plot the figures over time.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    ffmpeg: Annotated[str | None, typer.Option(metavar="PROGRAM", help="bundled, system, or the path of an ffmpeg.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how steady a result is: flicker, drift, and style and content distance. Works on any two videos or folders.

    Example: nstpipe metrics city.mp4 out/city.mp4 --style starry_night.jpg --plot flicker.png
    """
    from nstpipe.commands import metrics_tables as flicker
    from nstpipe.commands.metrics import measure
    from nstpipe.media.video.ffmpeg_program import check as check_ffmpeg
    from nstpipe.media.video.ffmpeg_program import using

    if plot is not None:
        flicker.check(plot)  # before the work, not after it
    with using(ffmpeg, "--ffmpeg"):
        check_ffmpeg()
        found = measure(
            Path(original), Path(stylized), lags=_numbers(lags), flow=flow, size=size, paintings=style, device=device
        )
    if plot is not None:
        flicker.draw(found, plot)
    if as_json:
        print_json(found.as_json())
    console = console_for(as_json)
    for notice in found.notices:
        console.print(notice, markup=False, highlight=False, soft_wrap=True)
    for table in flicker.tables(found):
        console.print(table)


def _numbers(text: str) -> tuple[int, ...]:
    """Read the numbers of an option such as 1,10.

    Raises:
        UsageError: The text has another form.
    """
    if not re.fullmatch(r"[0-9]+(,[0-9]+)*", text.strip()):
        raise UsageError(f"--lags: found {text}; should be whole numbers from 1 on, with commas between them, such as 1,10.")
    return tuple(int(number) for number in text.strip().split(","))


@app.command()
def schema(
    events: Annotated[bool, typer.Option("--events", help="Print the schema of the lines of `nstpipe run --json`.")] = False,
) -> None:
    """Print the JSON Schema of pipeline.yaml for editors, or of the events of a run.

    Example: nstpipe schema > pipeline.schema.json
    """
    from nstpipe.config import json_schema
    from nstpipe.events_schema import events_schema

    sys.stdout.write(json.dumps(events_schema() if events else json_schema(), indent=2) + "\n")


@app.command()
def doctor(
    pipeline: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PIPELINE]",
            help="pipeline.yaml whose ffmpeg and engines are looked at; default: that of the current folder, if there is one.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what this machine has, what is missing, and how to get it.

    Example: nstpipe doctor
    """
    from dataclasses import asdict

    from nstpipe.commands.doctor import examine, ffmpeg_of, pipeline_named_by

    settings = pipeline_named_by(pipeline)
    with ffmpeg_of(settings):
        findings = examine(Path(), settings)
    if as_json:
        for finding in findings:
            print_json(asdict(finding))
    # No table: a path that is cut or folded cannot be copied.
    console, width = console_for(as_json), max(len(finding.topic) for finding in findings)
    for finding in findings:
        for label, said in ((finding.topic, finding.found), ("", finding.remedy)):
            if said:
                console.print(f"{label:<{width}}  {said}", markup=False, highlight=False, soft_wrap=True)
    missing = [finding.topic for finding in findings if finding.is_needed]
    if missing:
        raise MachineError(f"this machine lacks what nstpipe needs: {', '.join(missing)}.", "See above.")


app.command()(init)
app.command()(preview)
app.command()(schedule)
app.command()(train)
app.command()(ui)
app.command()(worker)


class _Stopped(BaseException):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _usage_error_types() -> tuple[type[Exception], ...]:
    """Return the errors that typer raises for a wrong command line: its own in newer releases, click's in older ones."""
    return tuple(
        kind for kind in typer.BadParameter.__mro__ if kind.__name__ in ("UsageError", "ClickException", "TyperException")
    )


def _hint_for(arguments: Sequence[str]) -> str:
    """Return the next step after a wrong command line, such as one with a file in the place of the command."""
    first = Path(arguments[0]) if arguments else Path()
    if first.suffix.lower() in (".yaml", ".yml"):
        return f"Try `nstpipe run {shlex.quote(str(first))}`."
    if first.suffix and first.exists():
        return f"Try `nstpipe init {shlex.quote(str(first))} --style PAINTING.jpg`, which writes a pipeline.yaml for it."
    return "Try `nstpipe --help`."


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    open_closed_streams()
    separate_raw_messages()
    sys.exit(exit_code(arguments))


def exit_code(arguments: Sequence[str] | None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments without the program's name; None for those of this process.

    Returns:
        The exit code; see `nstpipe.errors`.
    """
    replace_what_cannot_be_shown()
    errors = Console(stderr=True)
    stop = Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        # The first one lets the frame in hand be finished, the second ends at once.
        at_once = not stop.is_heeded or stop.reason in (StopReason.INTERRUPTED, StopReason.TERMINATED)
        # Also where it ends at once: a thread may be waiting for ffmpeg.
        stop.reason = stop.reason or (StopReason.INTERRUPTED if number == signal.SIGINT else StopReason.TERMINATED)
        if at_once:
            if number == HANGUP and stop.is_heeded:
                return  # the shell and the system both send one when a terminal is closed
            raise _Stopped(number)
        said = f"nstpipe: finishing {stop.unit}; press again to stop at once."
        write_or_discard(lambda: print(said, file=sys.stderr), sys.stderr)  # a closed terminal takes no text

    # `nohup` has SIGHUP ignored, and it stays so.
    heeded = [number for number in STOP_SIGNALS if number != HANGUP or signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, on_signal) for number in heeded}

    def say(text: str) -> None:
        write_or_discard(lambda: errors.print(text, markup=False, highlight=False, soft_wrap=True), sys.stderr)

    try:
        with stop.in_force():
            code: Any = app(args=arguments, prog_name="nstpipe", standalone_mode=False, obj=stop)
        return int(code or EXIT_DONE)
    except NstpipeError as error:
        say(f"nstpipe: {error}")
        return error.exit_code
    except _usage_error_types() as error:
        format_message = getattr(error, "format_message", error.__str__)
        message = format_message()
        say(f"nstpipe: {message}\n  {_hint_for(sys.argv[1:] if arguments is None else arguments)}")
        return UsageError.exit_code
    except typer.Abort:
        say("\nnstpipe: nothing was written.")
        return EXIT_INTERRUPTED
    except _Stopped as stopped:
        interrupted = stopped.number == signal.SIGINT
        what = "interrupted" if interrupted else "terminated"
        say(f"nstpipe: {what}; finished work is kept, and the same command continues from there.")
        return EXIT_INTERRUPTED if interrupted else EXIT_TERMINATED
    except (BrokenPipeError, SystemExit):
        return EXIT_DONE  # the reader of our output, `head` say, has seen enough; rich and typer then end the process
    except Exception as error:
        if isinstance(error, OSError) and is_unwritable(sys.stdout):
            say(f"nstpipe: standard output cannot be written: {error.strerror}.\n  Free some space there, or write elsewhere.")
            return OutputError.exit_code
        say(traceback.format_exc())
        say(f"nstpipe {__version__}: this is a bug. Please report it with the text above.")
        return EXIT_BUG
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
