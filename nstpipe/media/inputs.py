"""From a job's input to the sources it names and the outputs they will have."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nstpipe.config.models import PICTURE_SUFFIXES, VIDEO_CODECS_BY_SUFFIX, VIDEO_SUFFIXES, Job
from nstpipe.errors import ItemError


@dataclass(frozen=True)
class InputFile:
    """One file to be stylised.

    Attributes:
        path: the file.
        output: where its result goes.
        is_video: else a picture.
    """

    path: Path
    output: Path
    is_video: bool


def natural_key(text: str) -> tuple[tuple[int, str], ...]:
    """Sorts ``frame_9`` before ``frame_10``."""
    parts = re.split(r"(\d+)", text.casefold())
    # What was split at has odd places; asking for digits would take a superscript for a number.
    return tuple((int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts))


def find_inputs(job: Job) -> tuple[InputFile, ...]:
    """The files that a job's input names, in natural order.

    Raises:
        ItemError: there are none, or they do not fit the job's output.
    """
    if job.input.is_dir():
        if job.output.suffix.lower() in VIDEO_CODECS_BY_SUFFIX:
            raise ItemError(f"output: {job.output} should be a folder, for the input is one.")
        files = _in_folder(job)
        return tuple(InputFile(path, job.output / path.relative_to(job.input), is_video=False) for path in files)
    if job.input.is_file():
        return (_single(job),)
    if not glob.has_magic(str(job.input)):
        near = sorted(path.name for path in job.input.parent.glob("*")) if job.input.parent.is_dir() else []
        beside = f"In that folder are: {', '.join(near[:8])}" if near else f"The folder {job.input.parent} is missing or empty"
        raise ItemError(f"input: {job.input} does not exist.", f"{beside}.")
    return _by_glob(job)


def _single(job: Job) -> InputFile:
    suffix = job.input.suffix.lower()
    is_video = suffix not in PICTURE_SUFFIXES
    output_suffix = job.output.suffix.lower()
    if is_video and output_suffix not in VIDEO_CODECS_BY_SUFFIX:
        allowed = ", ".join(VIDEO_CODECS_BY_SUFFIX)
        raise ItemError(f"output: {job.output} should be a video, for {job.input.name} is one; allowed: {allowed}.")
    if not is_video and output_suffix in VIDEO_CODECS_BY_SUFFIX:
        raise ItemError(f"output: {job.output} should be a picture or a folder, for {job.input.name} is a picture.")
    if not is_video and output_suffix not in PICTURE_SUFFIXES:
        return InputFile(job.input, job.output / job.input.name, is_video=False)
    return InputFile(job.input, job.output, is_video)


def _in_folder(job: Job) -> list[Path]:
    patterns = job.include or ("**/*",)
    chosen = {path for pattern in patterns for path in _matches(job.input, pattern, "include") if path.is_file()}
    excluded = {path for pattern in job.exclude for path in _matches(job.input, pattern, "exclude")}
    kept = [path for path in chosen if excluded.isdisjoint((path, *path.parents)) and not _is_hidden(path, job.input)]
    if job.include is None:
        kept = [path for path in kept if path.suffix.lower() in PICTURE_SUFFIXES]
    if not kept:
        what = ", ".join(patterns) if job.include else ", ".join(PICTURE_SUFFIXES)
        raise ItemError(f"input: {job.input} holds no picture that matches {what}.", "Look at include and exclude.")
    return _sorted(kept, job.input)


def _matches(folder: Path, pattern: str, key: str) -> list[Path]:
    if ".." in Path(pattern).parts:
        raise ItemError(f"{key}: {pattern} should stay within {folder}.")
    try:
        # Python before 3.13 takes `folder/**` for the folders alone.
        return [*folder.glob(pattern), *(folder.glob(f"{pattern}/*") if pattern.endswith("**") else ())]
    except (ValueError, NotImplementedError) as error:
        raise ItemError(f"{key}: {pattern} is no pattern for the files of {folder}: {error}.") from error


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _sorted(paths: Sequence[Path], folder: Path) -> list[Path]:
    names = {path: path.relative_to(folder).as_posix() for path in paths}
    # The name itself decides between `1` and `01`, or the order would change from run to run.
    return sorted(paths, key=lambda path: (natural_key(names[path]), names[path]))


def _by_glob(job: Job) -> tuple[InputFile, ...]:
    """Files of a glob; the part before the first wildcard is what the output mirrors."""
    parts = job.input.parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    # Path.glob would take hidden files too.
    found = [Path(path) for path in glob.glob(str(job.input), recursive=True)]  # noqa: PTH207
    files = [path for path in found if path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES + VIDEO_SUFFIXES]
    if not files:
        raise ItemError(f"input: no video or picture matches {job.input}.", f"Look into {root}.")
    if job.output.suffix.lower() in VIDEO_CODECS_BY_SUFFIX:
        raise ItemError(f"output: {job.output} should be a folder, for the input is a glob.")
    inputs: dict[Path, InputFile] = {}
    for path in _sorted(files, root):
        output = job.output / path.relative_to(root)
        is_video = path.suffix.lower() in VIDEO_SUFFIXES
        if is_video and output.suffix.lower() not in VIDEO_CODECS_BY_SUFFIX:
            output = output.with_suffix(".mp4")
        if output in inputs:
            both = f"{inputs[output].path} and {path}"
            raise ItemError(f"output: {both} would both be written to {output}.", "Rename one, or split the job.")
        inputs[output] = InputFile(path, output, is_video)
    return tuple(inputs.values())
