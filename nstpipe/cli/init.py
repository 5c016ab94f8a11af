"""`nstpipe init`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from nstpipe.cli.options import console_for
from nstpipe.errors import UsageError

Answer = TypeVar("Answer")


def init(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="INPUT", help="Videos, pictures, and folders of pictures.", show_default=False),
    ] = None,
    style: Annotated[
        list[Path],
        typer.Option("--style", metavar="PICTURE", help="A painting; may be repeated for one job each.", show_default=False),
    ] = [],  # noqa: B006  # typer reads the default and never changes it
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FOLDER", help="Folder for the results; default: out, beside the file.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="PIXELS", help="Longest side of the results, or native; default: 512, or less for small inputs."),
    ] = None,
    file: Annotated[Path, typer.Option("--file", "-o", metavar="FILE", help="File to write.")] = Path("pipeline.yaml"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; use the defaults.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Inspect your inputs and write a commented pipeline.yaml for them. Asks for what is not given.

    Example: nstpipe init holiday.mp4 streetview --style starry_night.jpg
    """
    if file.exists() and not force:
        raise UsageError(f"{file} already exists.", "Give --force to overwrite it, or another name with -o.")
    console = console_for()
    asks = not yes and sys.stdin.isatty()
    from nstpipe.commands import scaffold as begin

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    seen = _given_or_asked(inputs or (), "A video, a picture or a folder of pictures", begin.look_at, say, asks=asks)
    if not seen:
        raise UsageError("no input is given.", "Such as: nstpipe init holiday.mp4 --style starry_night.jpg")
    for one in seen:
        say(f"{one.path}: {one.described}.")
    styles = _given_or_asked(style, "A picture of the painting whose style they get", begin.style_at, say, asks=asks)
    if not styles:
        raise UsageError("no --style is given.", "Give a painting, such as --style starry_night.jpg.")
    place = output if output is not None else begin.default_output([one.path for one in seen], file)
    chosen = begin.usable_size(size) if size is not None else None
    if asks and output is None:
        place = _path(typer.prompt("Folder of the results", default=str(_near(place))))
    if asks and size is None:
        longest = max(one.longest for one in seen)
        default = str(begin.DEFAULT_SIZE) if longest >= begin.DEFAULT_SIZE else "native"
        chosen = _asked(f"Longest side of the results in pixels (the input has {longest})", begin.usable_size, say, default)
    begin.write(begin.pipeline_text(seen, styles, place, chosen, file), file, force=force)
    shown = begin.shell_word(str(file))
    say(f"\nWrote {file}. Look at it, then run:")
    say(f"  nstpipe preview {shown}     one frame, at once")
    say(f"  nstpipe plan {shown}        what a run would do, and how long it would take")
    say(f"  nstpipe run {shown}         everything; safe to run again at any time")


def _given_or_asked(
    given: Sequence[Path], question: str, look: Callable[[Path], Answer], say: Callable[[str], None], *, asks: bool
) -> list[Answer]:
    """What the command line names, or what an answer names if it names nothing and there is somebody to ask."""
    if given or not asks:
        return [look(path) for path in given]
    return [_asked(question, lambda text: look(_path(text)), say)]


def _asked(question: str, read: Callable[[str], Answer], say: Callable[[str], None], default: str | None = None) -> Answer:
    """Ask until the answer is valid."""
    while True:
        try:
            return read(typer.prompt(question, default=default))
        except UsageError as error:
            say(str(error))


def _path(text: str) -> Path:
    """Read a path as people type it or drop it into a terminal: with a ~, or in quotes."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return Path(text).expanduser()


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
