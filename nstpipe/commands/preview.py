"""Paints one frame of a job at once, alone or in a proof sheet of several settings. The work folder is not touched."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFont
from pydantic import BaseModel

from nstpipe.commands import PREVIEW_ITERATIONS
from nstpipe.config import Job, Pipeline, load_pipeline
from nstpipe.config.document import DocumentError, parse
from nstpipe.config.engines import OPTIMIZER, AutoEngine, LookEngine
from nstpipe.errors import ConfigError, InputError, ItemError, UsageError
from nstpipe.events import Emit, FrameDone
from nstpipe.media.frame import Pixels, Source, in_eight_bits, resized, working_size
from nstpipe.media.pictures.files import PictureSource
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES
from nstpipe.media.pictures.pillow import limit_megapixels
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.ffmpeg_program import check as check_ffmpeg
from nstpipe.media.video.ffmpeg_program import using
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe
from nstpipe.media.video.shapes import shapes_of
from nstpipe.painting.frames import Watch, painted_frames
from nstpipe.painting.start import Pass
from nstpipe.painting.task import ClipTask, RunSettings
from nstpipe.planning.input_info import InputInfo
from nstpipe.planning.inputs import InputFile, find_inputs, matches_parts
from nstpipe.planning.inspect import check_pictures, masks_of, pictures_of
from nstpipe.planning.looks import settings_hash, trained_network
from nstpipe.planning.outputs import Clip, Output
from nstpipe.planning.picks import with_painting_for
from nstpipe.planning.remote_files import work_to_read
from nstpipe.planning.videos import rate_of
from nstpipe.storage.contents import content_sha256, held
from nstpipe.storage.mirror import opened
from nstpipe.style.weights_files import weights_sha256
from nstpipe.system.files import atomic_write
from nstpipe.system.stop import Stop

MOST_CELLS = 100
"""The most cells of a proof sheet. More are a mistake, and would take hours."""

_SAME_FRAME = (
    "name", "input", "output", "include", "exclude", "link", "shots", "encode", "rate", "audio", "metadata", "temporal",
    "optimizer.next",
)  # fmt: skip
"""Keys of a job that do not change a frame painted by itself."""


@dataclass(frozen=True)
class Axis:
    """A setting that a proof sheet varies.

    Attributes:
        key: its path within the job, such as ``style.strength``.
        values: as they would be written in YAML.
    """

    key: str
    values: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """What stands over each value: the key's last name with it; of a path its end, of a mapping the name in it."""
        name = self.key.rpartition(".")[2]
        named = [re.search(r"^{.*\bname: *([\w-]+)", value) for value in self.values]
        shown = [found[1] if found is not None else value for found, value in zip(named, self.values, strict=True)]
        # Two values of the same name, such as an engine with other weights, are told apart by all that they say.
        shown = shown if len(set(shown)) == len(shown) else list(self.values)
        return [f"{name} {value.rpartition('/')[2]}" for value in shown]


@dataclass(frozen=True, eq=False)
class Painted:
    """A frame and what it became.

    Attributes:
        job: whose settings it has.
        path: of the file that it is from.
        frame_index: from 0 in the job.
        before: the frame, height x width x 3, uint8, at the working size.
        after: the stylized frame, of the same shape and type.
        iterations: The number of iterations used. Those at smaller scales count by their pixels.
        max_iterations: The maximum number of iterations that a run would use.
    """

    job: str
    path: Path
    frame_index: int
    before: Pixels
    after: Pixels
    iterations: int
    max_iterations: int


@dataclass(frozen=True)
class _Place:
    """A frame of a job: its file, and its number there."""

    file: InputFile
    video: VideoInfo | None
    frame_index: int


def axis(text: str) -> Axis:
    """From ``strength=0.5,1,2`` to the setting that it names.

    Raises:
        UsageError: it has no such form, or names no setting that changes a frame.
    """
    name, equals, listed = (part.strip() for part in text.partition("="))
    if not equals or not name or not listed:
        raise UsageError(f"--grid: found {text!r}; should be KEY=VALUE,VALUE,… such as strength=0.5,1,2.")
    values = tuple(_values(listed, text))
    if len(values) < 2:
        raise UsageError(f"--grid {text}: has one value; give two or more, separated by commas.")
    return Axis(_key(name), values)


def _values(listed: str, text: str) -> Iterator[str]:
    """What stands between the commas; those within quotes, brackets and braces belong to a value."""
    try:
        parse(f"[{listed}]", key=f"--grid {text}", first_line=None)
    except DocumentError as error:
        message = error.problems[0].message
        raise UsageError(f"--grid {text}: {message}.", "Quote a value that has commas or brackets.") from error
    depth, quote, value = 0, "", ""
    for character in listed:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and not value.strip():
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        if character == "," and not depth and not quote:
            yield value.strip()
            value = ""
        else:
            value += character
    yield value.strip()


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        # An engine is one of several models.
        choices = [get_args(choice)[0] for choice in get_args(field.annotation)] if name == "engine" else [field.annotation]
        kinds = [choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel)]
        yield from dict.fromkeys(key for kind in kinds for key in _keys(kind, f"{prefix}{name}."))


def _key(name: str) -> str:
    """A key's path within a job, from the path or from its end."""
    known = list(_keys(Job))
    usable = [key for key in known if not any(key == same or key.startswith(f"{same}.") for same in _SAME_FRAME)]
    if name in known:
        found = [name]
    else:
        every = [key for key in known if key.endswith(f".{name}")]
        found = [key for key in every if key in usable] or every
    if len(found) > 1:
        raise UsageError(f"--grid {name}: may be {' or '.join(found)}; give the whole path.")
    if not found:
        meant = difflib.get_close_matches(name, [*usable, *(key.rpartition(".")[2] for key in usable)], n=1)
        hint = f"Did you mean {meant[0]}?" if meant else f"Known are {', '.join(usable)}."
        raise UsageError(f"--grid {name}: there is no such key of a job.", hint)
    if found[0] not in usable:
        raise UsageError(
            f"--grid {name}: changes nothing of a frame that is painted by itself.", f"Try {', '.join(usable[:4])}."
        )
    return found[0]


@dataclass(frozen=True)
class Preview:
    """What is to be previewed.

    Attributes:
        pipeline: the pipeline.yaml.
        job: its name; empty for the file's first.
        frame_index: from 0, counted through all files of the job.
        overrides: ``key.path=value``, as for ``--set``.
        iterations: The maximum number of iterations; None for the job's own.
    """

    pipeline: Path
    job: str = ""
    frame_index: int = 0
    overrides: tuple[str, ...] = ()
    iterations: int | None = PREVIEW_ITERATIONS

    def settings(self) -> tuple[Pipeline, Job]:
        """The pipeline, and the job that is meant, with its settings.

        Raises:
            ConfigError: the YAML is wrong.
            UsageError: there is no such job.
        """
        loaded = load_pipeline(self.pipeline, self.overrides)
        by_name = {job.name: job for job in loaded.jobs}
        job = by_name.get(self.job) if self.job else loaded.jobs[0]
        if job is None:
            meant = difflib.get_close_matches(self.job, by_name, n=1)
            hint = f"Did you mean {meant[0]}?" if meant else ""
            raise UsageError(f"--job {self.job}: there is no such job; the file has {', '.join(by_name)}.", hint)
        return loaded, job

    def varied(self, settings: dict[str, str]) -> Preview:
        """The same with other settings, by key of the job."""
        _, job = self.settings()
        also = tuple(f"jobs.{job.name}.{key}={value}" for key, value in settings.items())
        iterations = None if "optimizer.first" in settings else self.iterations
        return replace(self, overrides=(*self.overrides, *also), iterations=iterations)

    def painted(self, emit: Emit, watch: Watch | None = None) -> Painted:
        """The frame, painted.

        Args:
            emit: takes the events.
            watch: sees each iteration; None if nobody looks on. An error that it raises ends the painting.

        Raises:
            ConfigError: the YAML is wrong.
            UsageError: there is no such job or frame.
            InputError: the frame or a painting cannot be used.
            MachineError: weights, device or ffmpeg are missing.
        """
        pipeline, job = self.settings()
        limit_megapixels(pipeline.max_megapixels)
        with ExitStack() as stack:
            stack.enter_context(using(pipeline.ffmpeg, pipeline.place_of("ffmpeg")))
            if pipeline.remotes.addresses:
                stack.enter_context(opened(pipeline.work, pipeline.remotes, pipeline.storage_policy, Stop()))
            check_ffmpeg()
            return self._painted(pipeline, job, emit, watch)

    def _painted(self, pipeline: Pipeline, job: Job, emit: Emit, watch: Watch | None) -> Painted:
        first = min(job.optimizer.first, self.iterations or job.optimizer.first)
        try:
            check_pictures(job)
            place = _place(job, self.frame_index)
            painted_job = _with_engine(with_painting_for(place.file, job, pipeline), pipeline)
            with held(place.file.path, *(path for path, _ in pictures_of(painted_job) if not path.is_dir())):
                return _painted(pipeline, painted_job, place, self.frame_index, first, emit, watch)
        except ItemError as error:
            raise InputError(f"{job.name}: {error.problem}", error.next_step) from error


def _with_engine(job: Job, pipeline: Pipeline) -> Job:
    """Return a job with the network that a run has trained for it; `auto` takes it if it is there, and else the optimizer."""
    engine = job.engine
    if isinstance(engine, AutoEngine):
        engine = LookEngine(name="network")
    if not isinstance(engine, LookEngine) or engine.weights is not None:
        return job
    pictures = {path: content_sha256(path) for path, _ in pictures_of(job)}
    learning = job.model_copy(update={"engine": engine})
    settings = settings_hash(
        learning,
        pictures,
        seed=pipeline.seed,
        weights_sha256=weights_sha256(pipeline.weights),
        precision=pipeline.precision,
    )
    work_to_read(pipeline, Stop())
    path = trained_network(settings, pipeline.work)
    if path is None and isinstance(job.engine, AutoEngine):
        return job.model_copy(update={"engine": OPTIMIZER})
    return job.model_copy(update={"engine": engine.model_copy(update={"weights": path})})


def _place(job: Job, frame_index: int) -> _Place:
    """Where a frame of a job is.

    Raises:
        ItemError: an input cannot be used.
        UsageError: the job has fewer frames.
    """
    frames_before = 0
    files = find_inputs(job)
    for file in files:
        if not file.is_video:
            if frames_before == frame_index:
                return _Place(file, None, 0)
            frames_before += 1
            continue
        if file.problem:
            raise ItemError(file.problem)
        with held(file.path):
            video = probe(file.path, rate_of(job))
            if frame_index < frames_before + len(video.ticks):
                return _Place(file, replace(video, shapes=shapes_of(video)), frame_index - frames_before)
        frames_before += len(video.ticks)
    raise UsageError(f"--frame {frame_index + 1}: {job.name} has {frames_before} frames, counted from 1.")


def _painted(
    pipeline: Pipeline, job: Job, place: _Place, frame_index: int, first: int, emit: Emit, watch: Watch | None
) -> Painted:
    path, video = place.file.path, place.video
    if place.file.problem:
        raise ItemError(place.file.problem)
    source: Source = VideoSource(video) if video is not None else PictureSource(path.parent, [path])
    size = working_size(source.size, job.size, even=video is not None)
    clip = Clip(place.frame_index, place.frame_index + 1, "")
    found = InputInfo(place.file, "", source.size, video, masks=masks_of(place.file, job, source.frame_count))
    output = Output(job, found, size, (clip,), "", "preview")
    shorter = job.model_copy(update={"optimizer": job.optimizer.model_copy(update={"first": first})})
    task = ClipTask(
        replace(output, job=shorter),
        clip,
        RunSettings.of(pipeline),
    )
    spent: list[int] = []
    once = Pass(range(place.frame_index, place.frame_index + 1))

    def listen(event: object) -> None:
        if isinstance(event, FrameDone):
            spent.append(event.evaluations)
        emit(event)  # type: ignore[arg-type]

    [(frame, pixels, _)] = painted_frames(task, source, once, 0, [], listen, watch)
    before = in_eight_bits(resized(frame.pixels, size))
    return Painted(job.name, path, frame_index, before, in_eight_bits(pixels), spent[-1], output.max_iterations(clip, 0))


MARK = "nstpipe preview"
"""Stands in the EXIF of each preview, so that a later one may replace it."""


def check_writable(path: Path, pipeline: Pipeline, file: Path) -> None:
    """See that a preview does not land on, or among, what the pipeline reads and makes, nor on a file of the user's own.

    Raises:
        UsageError: it would.
    """
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise UsageError(f"-o {path}: should end with {', '.join(PICTURE_SUFFIXES[:6])}.")
    place = path.resolve()
    if path.is_dir():
        raise UsageError(f"-o {path}: is a folder; give the name of a picture in it.")
    if place == file.resolve():
        raise UsageError(f"-o {path}: is the pipeline itself.")
    if isinstance(pipeline.weights, Path) and place == pipeline.weights.resolve():
        raise UsageError(f"-o {path}: is the network's weights.", "Give another name.")
    for job in pipeline.jobs:
        for what, used in (
            ("the input", job.input),
            ("the output", job.output),
            ("the start", job.init),
            ("the weights of the flow", job.temporal.flow),
            *((f"engine.{key}", read) for key, read in job.engine.files.items()),
            *(("a painting", image.path) for image in job.style.images),
            ("the collection", job.style.collection),
            *(("a mask", region.mask) for region in job.regions),
            *(("a painting", image.path) for region in job.regions if region.style for image in region.style.images),
        ):
            if not isinstance(used, Path):
                continue
            taken = used.resolve()
            if place == taken:
                raise UsageError(f"-o {path}: is {what} of {job.name}.", "Give another name.")
            if what in ("the input", "the output", "the collection", "a mask") and taken in place.parents:
                raise UsageError(f"-o {path}: lies inside {what} of {job.name}.", "Give a place outside it.")
        if not job.input.exists() and matches_parts(place.parts, job.input.parts):
            raise UsageError(f"-o {path}: would be an input of {job.name}.", "Give another name.")


def save(image: Image.Image, path: Path) -> None:
    """Write a picture that has its name only when it is complete.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_write(path) as partial:
        exif = Image.Exif()
        exif[ExifTags.Base.Software] = MARK
        image.save(partial, quality=95, exif=exif)


def alone(painted: Painted) -> Image.Image:
    """The result and nothing else."""
    return Image.fromarray(painted.after)


def before_and_after(painted: Painted) -> Image.Image:
    """Both side by side, with labels."""
    return _sheet([[painted.before, painted.after]], ["before", "after"], [], "")


@dataclass(frozen=True, eq=False)
class ProofSheet:
    """A frame in several settings.

    Attributes:
        image: all of them, with labels.
        first: the one at the top left.
    """

    image: Image.Image
    first: Painted


def proof_sheet(preview: Preview, axes: Sequence[Axis], emit: Emit, *, with_original: bool = False) -> ProofSheet:
    """Paint a frame once for each combination, and lay the results out with labels.

    Args:
        preview: the frame.
        axes: one or two; the first goes from left to right, the second downwards.
        emit: takes the events.
        with_original: whether the frame as it was stands above.

    Raises:
        UsageError: a value is none of its setting, or there are too many axes or values; for others see
            `Preview.painted`.
    """
    cells = combinations(axes)
    try:
        for settings in cells:
            preview.varied(settings).settings()  # so that a slip in the last value is said before the first picture
    except ConfigError as error:
        said = "; ".join(f"{problem.key}: {problem.message}" for problem in error.problems)
        raise UsageError(re.sub(r"--set jobs\.[^.]+\.", "--grid ", said)) from error
    painted = [preview.varied(settings).painted(emit) for settings in cells]
    columns, rows = axes[0].labels, axes[1].labels if len(axes) == 2 else []
    pictures = [
        [cell.after for cell in painted[first : first + len(columns)]] for first in range(0, len(painted), len(columns))
    ]
    first = painted[0]
    title = f"{first.job}, frame {first.frame_index + 1} ({first.path.name})"
    title += f", {first.iterations} iterations" if first.iterations else ""
    return ProofSheet(_sheet(pictures, columns, rows, title, first.before if with_original else None), first)


def combinations(axes: Sequence[Axis]) -> list[dict[str, str]]:
    """The settings of each cell, row by row.

    Raises:
        UsageError: there are too many axes or values.
    """
    if not 1 <= len(axes) <= 2:
        raise UsageError(f"--grid: found {len(axes)} of them; a sheet of paper has two directions.")
    if len({axis.key for axis in axes}) < len(axes):
        raise UsageError(f"--grid: {axes[0].key} is given twice.")
    across, *down = axes
    orders: list[Any] = [[(axis.key, value) for value in axis.values] for axis in (*down, across)]
    cells = [dict(settings) for settings in itertools.product(*orders)]
    if len(cells) > MOST_CELLS:
        raise UsageError(f"--grid: makes {len(cells)} pictures; at most {MOST_CELLS} are painted.", "Give fewer values.")
    return cells


GAP_PIXELS = 8
SMALLEST_TEXT_PIXELS = 12
PAPER, INK = (255, 255, 255), (34, 34, 34)


def _sheet(
    pictures: Sequence[Sequence[Pixels]],
    columns: Sequence[str],
    rows: Sequence[str],
    title: str,
    original: Pixels | None = None,
) -> Image.Image:
    """Pictures in rows and columns with labels above and beside them, on white."""
    cell_width = max(picture.shape[1] for row in pictures for picture in row)
    cell_height = max(picture.shape[0] for row in pictures for picture in row)
    font = ImageFont.load_default(max(SMALLEST_TEXT_PIXELS, cell_width // 20))
    line = round(font.getbbox("Ag")[3] * 1.4)
    left = max((round(font.getlength(label)) for label in rows), default=0)
    left += 2 * GAP_PIXELS if left else GAP_PIXELS
    top = GAP_PIXELS + (line if title else 0) + (cell_height + line + GAP_PIXELS if original is not None else 0)
    labels = line if columns else 0
    across = max(len(row) for row in pictures)
    width = left + across * (cell_width + GAP_PIXELS)
    height = top + labels + len(pictures) * (cell_height + GAP_PIXELS)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP_PIXELS, GAP_PIXELS // 2), _fitting(title, font, width - 2 * GAP_PIXELS), INK, font)
    if original is not None:
        draw.text((left, GAP_PIXELS + line), "original", INK, font)
        sheet.paste(Image.fromarray(original), (left, GAP_PIXELS + 2 * line))
    for index, label in enumerate(columns):
        draw.text((left + index * (cell_width + GAP_PIXELS), top), _fitting(label, font, cell_width), INK, font)
    for row_index, row in enumerate(pictures):
        y = top + labels + row_index * (cell_height + GAP_PIXELS)
        if rows:
            draw.text((GAP_PIXELS, y + (cell_height - line) // 2), rows[row_index], INK, font)
        for index, picture in enumerate(row):
            sheet.paste(Image.fromarray(np.ascontiguousarray(picture)), (left + index * (cell_width + GAP_PIXELS), y))
    return sheet


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """A text, cut where it would leave its place."""
    shown = text
    while shown and font.getlength(shown) > width:
        text = text[:-1]
        shown = f"{text}…"
        if not text:
            return ""
    return shown
