"""A first pipeline.yaml, written from a look at the inputs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from nstpipe.config import load_pipeline
from nstpipe.config.models import LARGEST_SIZE, SMALLEST_SIZE, Job, Style, StyleImage
from nstpipe.errors import ConfigError, ItemError, NstpipeError, UsageError
from nstpipe.media.detect import holds_video
from nstpipe.media.pictures.files import picture_size, read_picture
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES
from nstpipe.media.pictures.metadata import is_full_panorama
from nstpipe.media.video.containers import ANIMATION_SUFFIXES
from nstpipe.media.video.probe import probe
from nstpipe.planning.inputs import find_inputs
from nstpipe.system.files import atomic_write, suggest_path

DEFAULT_SIZE: int = Job.model_fields["size"].default

KEPT_SUFFIXES = (".mp4", ".mov", ".mkv", *ANIMATION_SUFFIXES)
"""Of a video; from anything else an .mkv is made, which takes every kind of sound and subtitle."""

PANORAMAS_LOOKED_FOR = 20
"""Pictures of a folder that are opened to see whether they are panoramas; in a large folder the rest are like them."""


@dataclass(frozen=True)
class Seen:
    """An input that was looked at.

    Attributes:
        path: as it was given.
        is_folder: whether it is a folder of pictures.
        is_moving: whether it is a video or an animation.
        smallest, largest: width and height of the smallest and of the largest picture, in pixels.
        longest: longest side in pixels, of any picture.
        has_panoramas: whether it is a 360° video, or a picture of it is a full 360° panorama.
        pictures: how many pictures a folder holds.
        unreadable: how many of them cannot be read.
        frames: the number of frames of a video.
        frames_a_second: the mean rate of a video.
        seconds: how long a video lasts.
        audio_streams: how many streams of sound a video has.
    """

    path: Path
    is_folder: bool
    is_moving: bool
    smallest: tuple[int, int]
    largest: tuple[int, int]
    longest: int
    has_panoramas: bool = False
    pictures: int = 1
    unreadable: int = 0
    frames: int = 1
    frames_a_second: float = 0.0
    seconds: float = 0.0
    audio_streams: int = 0

    @property
    def span(self) -> tuple[str, ...]:
        """The size of all pictures, or the smallest and the largest size, such as 1920x1080."""
        sizes = (self.smallest, self.largest) if self.smallest != self.largest else (self.largest,)
        return tuple(f"{width}x{height}" for width, height in sizes)

    @property
    def rate(self) -> str:
        """The frames a second, with at most two decimals."""
        return f"{self.frames_a_second:.2f}".rstrip("0").rstrip(".")

    @property
    def described(self) -> str:
        """What it holds, for people."""
        size = " to ".join(self.span)
        if self.is_folder:
            described = f"{self.pictures} {'picture' if self.pictures == 1 else 'pictures'}, {size} pixels"
            described += f", {self.unreadable} of them unreadable" if self.unreadable else ""
            return described + (", with 360° panoramas" if self.has_panoramas else "")
        if not self.is_moving:
            return f"a {'360° panorama' if self.has_panoramas else 'picture'} of {size} pixels"
        streams = self.audio_streams
        sound = f", {streams} streams of sound" if streams > 1 else ", with sound" if streams else ""
        sphere = ", a 360° panorama" if self.has_panoramas else ""
        return f"{size} pixels, {self.frames} frames, {self.rate} a second, {self.seconds:.1f} s{sound}{sphere}"


def look_at(path: Path) -> Seen:
    """Open an input and see what it is.

    Raises:
        UsageError: it does not exist, or holds nothing that can be painted.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist.", suggest_path(path))
    return _folder(path) if path.is_dir() else _file(path)


def _file(path: Path) -> Seen:
    try:
        if not holds_video(path):
            width, height = picture_size(path)
            _, metadata = read_picture(path)
            panorama = is_full_panorama(metadata.xmp)
            return Seen(path, False, False, (width, height), (width, height), max(width, height), panorama)
        video = probe(path)
    except ItemError as error:
        raise UsageError(error.problem, error.next_step) from error
    size = video.width, video.height
    return Seen(
        path,
        is_folder=False,
        is_moving=True,
        smallest=size,
        largest=size,
        longest=max(size),
        has_panoramas=video.is_panorama,
        frames=len(video.ticks),
        frames_a_second=float(video.average_rate),
        seconds=float((video.ticks[-1] - video.ticks[0]) * video.time_base) + 1 / float(video.average_rate),
        audio_streams=video.audio_streams,
    )


def _folder(path: Path) -> Seen:
    # Nothing is written; a job is how the pictures of a folder are asked for.
    job = Job(name="look", input=path, output=path.absolute().parent / ".look", style=Style(images=(StyleImage(path=path),)))
    try:
        pictures = [file.path for file in find_inputs(job)]
    except ItemError as error:
        raise UsageError(f"{path} holds no picture.", "For videos give the files themselves.") from error
    sizes: set[tuple[int, int]] = set()
    panoramas = unreadable = 0
    for index, picture in enumerate(pictures):
        try:
            sizes.add(picture_size(picture))
            if index < PANORAMAS_LOOKED_FOR:
                panoramas += is_full_panorama(read_picture(picture)[1].xmp)
        except NstpipeError:
            unreadable += 1
    if not sizes:
        raise UsageError(f"{path} holds {len(pictures)} files, none of which can be read as a picture.")
    smallest, largest = (choose(sizes, key=lambda size: size[0] * size[1]) for choose in (min, max))
    longest = max(max(size) for size in sizes)
    return Seen(
        path,
        is_folder=True,
        is_moving=False,
        smallest=smallest,
        largest=largest,
        longest=longest,
        has_panoramas=panoramas > 0,
        pictures=len(pictures),
        unreadable=unreadable,
    )


def style_at(path: Path) -> Path:
    """A painting's path, once it is known that it can be read.

    Raises:
        UsageError: it cannot.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist.", suggest_path(path))
    try:
        read_picture(path)
    except ItemError as error:
        raise UsageError(error.problem, error.next_step) from error
    return path


def usable_size(text: str) -> int | str:
    """A size as the command line gives it.

    Raises:
        UsageError: it is none.
    """
    if text == "native":
        return text
    if not re.fullmatch("[0-9]{1,6}", text) or not SMALLEST_SIZE <= int(text) <= LARGEST_SIZE:
        raise UsageError(f"--size: found {text}; should be {SMALLEST_SIZE} to {LARGEST_SIZE} pixels, or native.")
    return int(text)


def default_output(inputs: Sequence[Path], file: Path) -> Path:
    """`out` beside the pipeline, or beside an input folder that this would lie in: results must not become inputs."""
    output = file.absolute().parent / "out"
    for path in inputs:
        folder = path.resolve()
        if folder.is_dir() and folder in (output.resolve(), *output.resolve().parents):
            output = folder.parent / f"{folder.name or 'pictures'}_painted"
    return output


def pipeline_text(inputs: Sequence[Seen], styles: Sequence[Path], output: Path, size: int | str | None, file: Path) -> str:
    """A commented pipeline.yaml with a job for each input and style.

    Args:
        inputs: what there is to paint.
        styles: paintings.
        output: folder of the results.
        size: longest side in pixels or ``native``; None for the default, or less where the inputs are smaller.
        file: where the text will stand; paths are relative to it where they are below it.

    Raises:
        UsageError: a path cannot be written in YAML.
    """
    folder = file.absolute().parent
    longest = max(seen.longest for seen in inputs)
    chosen = size if size is not None else DEFAULT_SIZE if longest >= DEFAULT_SIZE else "native"
    lines = [
        "# What nstpipe does when it is asked to:  nstpipe run " + _shown_name(file.name),
        "# Relative paths are relative to this file. Delete what you do not need: what stands here are the defaults.",
        "version: 1",
        "",
        "defaults:                            # for every job; a job may say otherwise",
        _line("  size", chosen, "longest side of the results in pixels; native keeps the input's own"),
        _line("  color", "style", "whose colors: the style's, or content for the input's own"),
        _line("  optimizer", "{first: 200, next: 30}", "most iterations for a first frame and for each later one"),
        "",
        "jobs:",
    ]
    names: set[str] = set()
    outputs: set[Path] = set()
    for seen in inputs:
        for style in styles:
            name = _unique(_job_name(seen.path, style if len(styles) > 1 else None), names)
            place = _output_of(seen, output, name if len(styles) > 1 else "", outputs)
            lines += _job_lines(name, seen, style, place, folder)
    return "\n".join(lines).rstrip() + "\n"


def _job_lines(name: str, seen: Seen, style: Path, output: Path, folder: Path) -> list[str]:
    lines = [
        f"  - name: {_scalar(name)}",
        f"    input: {_path(seen.path, folder)}",
        f"    # {seen.described}",
        f"    output: {_path(output, folder)}",
        "    style:",
        f"      images: [{_path(style, folder)}]",
        _line("      strength", "1.0", "more is more style; try 0.5 to 3"),
        _line("      scale", "1.0", "size of the brush strokes; try 0.7 to 1.4"),
    ]
    if seen.is_moving:
        lines += [
            _line("    shots", "auto", "split at the cuts, so that each shot starts afresh; or none"),
            _line("    audio", "copy", "or none"),
        ]
    if seen.is_folder:
        lines.append(_line("    exclude", "[]", 'files to leave out, such as "**/private_*"'))
    if not seen.is_moving:
        lines.append(_line("    metadata", "keep", "EXIF, GPS and the like; or strip"))
    if seen.has_panoramas:
        lines.append(_line("    panorama", "auto", "full 360° pictures and videos are painted without a seam"))
    return [*lines, ""]


COMMENT_COLUMN = 37


def _line(key: str, value: object, comment: str) -> str:
    return f"{f'{key}: {value}'.ljust(COMMENT_COLUMN - 1)} # {comment}"


def _job_name(path: Path, style: Path | None) -> str:
    parts = [path.absolute().stem, *([style.stem] if style is not None else [])]
    plain = [re.sub("[^A-Za-z0-9]+", "-", part).strip("-") for part in parts]
    return "_".join(part for part in plain if part) or "job"


def _unique(name: str, taken: set[str]) -> str:
    number, chosen = 2, name
    while chosen in taken:
        chosen, number = f"{name}-{number}", number + 1
    taken.add(chosen)
    return chosen


def _output_of(seen: Seen, output: Path, job: str, taken: set[Path]) -> Path:
    """Where a job's results go: a file for a file, a folder for a folder; each its own."""
    path = seen.path.absolute()
    stem = job or path.stem
    if seen.is_folder:
        suffix, stem = "", job or path.name or "pictures"
    elif seen.is_moving:
        suffix = path.suffix.lower() if path.suffix.lower() in KEPT_SUFFIXES else ".mkv"
    else:
        suffix = path.suffix if path.suffix.lower() in PICTURE_SUFFIXES else ".png"  # else a name would be a folder's
    number, place = 2, output / f"{stem}{suffix}"
    while place in taken or place.resolve() == path.resolve():
        place, number = output / f"{stem}-{number}{suffix}", number + 1
    taken.add(place)
    return place


_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
_WORDS = re.compile("(?i)(y|yes|n|no|true|false|on|off|null)")
"""Which YAML takes for something else than text."""


def _path(path: Path, folder: Path) -> str:
    """A path as YAML text: relative where it lies below the file, with `$` doubled, for `${…}` is the environment's."""
    absolute = Path(os.path.normpath(folder / path.absolute()))
    text = str(absolute)
    if absolute.is_relative_to(folder) and absolute != folder:
        relative = absolute.relative_to(folder).as_posix()
        text = text if relative.startswith("~") else relative
    elif absolute == folder:
        text = "."
    return _scalar(text.replace("$", "$$"))


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and not _WORDS.fullmatch(text):
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{text!a}: has bytes that are no UTF-8, which YAML cannot hold.", "Rename it first.") from error
    quoted = yaml.dump(text, default_style='"', allow_unicode=True, width=10**9)
    return str(quoted).rstrip("\n")


def _shown_name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else "FILE"


def write(text: str, file: Path, *, force: bool) -> None:
    """Write a pipeline that nstpipe itself can read.

    Raises:
        UsageError: the file is there already, and `force` is not given, or an input and an output do not go together.
        OutputError: it cannot be written.
    """
    if file.is_dir():
        raise UsageError(f"-o {file}: is a folder; give the name of a file in it.")
    if file.exists() and not force:
        raise UsageError(f"{file} already exists.", "Give --force to overwrite it, or another name with -o.")
    with atomic_write(file) as partial:
        partial.write_text(text, encoding="utf-8")
        try:
            load_pipeline(partial)
        except ConfigError as error:
            said = "; ".join(f"{problem.key} {problem.message}" for problem in error.problems)
            raise UsageError(f"no pipeline can be made of this: {said}.") from error


def shell_word(text: str) -> str:
    """A text as this system's shell takes it for one word, and a command never for an option."""
    if text.startswith("-"):
        text = f"./{text}"
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)
