"""Finds the files that a job's input names, and the paths of their outputs."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nstpipe.config.models import Job
from nstpipe.errors import ItemError
from nstpipe.media.detect import holds_video, is_hidden, is_moving, natural_key
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES
from nstpipe.media.video.containers import ANIMATION_SUFFIXES, VIDEO_CODECS_BY_SUFFIX, VIDEO_SUFFIXES
from nstpipe.system.files import is_numbered, suggest_path


@dataclass(frozen=True)
class InputFile:
    """One file to be stylized.

    Attributes:
        path: The file, or the pattern of numbered pictures.
        output: The path of its result.
        is_video: Whether it moves: a video, an animation or numbered pictures.
        problem: Why it cannot be read; empty if no problem is known.
    """

    path: Path
    output: Path
    is_video: bool
    problem: str = ""


def find_inputs(job: Job) -> tuple[InputFile, ...]:
    """Return the files that a job's input names, in natural order.

    Raises:
        ItemError: There are none, or they do not fit the job's output.
    """
    if job.input.is_dir():
        files = _of_folder(job)
    elif _is_single(job.input):
        files = (_single(job),)
    elif glob.has_magic(str(job.input)):
        files = _by_glob(job)
    else:
        raise ItemError(f"input: {job.input} does not exist.", suggest_path(job.input))
    for file in files:
        if file.output.resolve() == file.path.resolve():
            raise ItemError(f"output: {file.output} is the input itself, which would be lost.", "Give another place.")
    return files


@dataclass(frozen=True)
class IgnoredSetting:
    """A setting that has no effect.

    Attributes:
        job: The name of its job.
        message: What is ignored, and why.
    """

    job: str
    message: str

    def __str__(self) -> str:
        return f"{self.job}: {self.message}"


def ignored_settings(jobs: Iterable[Job]) -> tuple[IgnoredSetting, ...]:
    """Find the settings of `input`, `include` and `exclude` that have no effect, in each job."""
    return tuple(IgnoredSetting(job.name, message) for job in jobs for message in _ignored_by(job))


def _ignored_by(job: Job) -> Iterator[str]:
    if _is_single(job.input):
        if job.include is not None or job.exclude:
            yield f"include and exclude select files of a folder or a glob; {job.input.name} is a single file"
    elif not job.input.is_dir() and glob.has_magic(str(job.input)) and "**" not in job.input.parts:
        found = _matching(job.input)
        folders = [path for path in found if path.is_dir() and path not in (job.output, *job.output.parents)]
        if folders and any(map(_has_known_suffix, found)):
            several = f"{len(folders)} folders, such as" if len(folders) > 1 else "a folder,"
            yield (
                f"{job.input} matches files and {several} {folders[0].name}; only the files are used. "
                "If a glob matches nothing but folders, the pictures in them are used"
            )


def _is_single(path: Path) -> bool:
    return path.is_file() or is_numbered(path)


def _is_video_output(path: Path) -> bool:
    return path.suffix.lower() in (*VIDEO_CODECS_BY_SUFFIX, *ANIMATION_SUFFIXES) or is_numbered(path)


def _single(job: Job) -> InputFile:
    is_video = is_numbered(job.input) or holds_video(job.input)
    if is_video and not _is_video_output(job.output):
        allowed = ", ".join((*VIDEO_CODECS_BY_SUFFIX, *ANIMATION_SUFFIXES))
        raise ItemError(
            f"output: {job.output} should be a video, for {job.input.name} is one; allowed: {allowed}, "
            "or numbered pictures such as frame_%05d.png."
        )
    suffix = job.output.suffix.lower()
    if not is_video and suffix in VIDEO_CODECS_BY_SUFFIX:
        raise ItemError(f"output: {job.output} should be a picture or a folder, for {job.input.name} is a picture.")
    if not is_video and (suffix not in PICTURE_SUFFIXES or job.output.is_dir()):
        return InputFile(job.input, job.output / job.input.name, is_video=False)
    return InputFile(job.input, job.output, is_video)


def _of_folder(job: Job) -> tuple[InputFile, ...]:
    if job.output.suffix.lower() in VIDEO_CODECS_BY_SUFFIX:
        raise ItemError(f"output: {job.output} should be a folder, for the input is one.")
    folder = job.input.resolve()
    if folder in (job.output.resolve(), *job.output.resolve().parents):
        raise ItemError(
            f"output: {job.output} lies inside the input {job.input}, so results would become inputs.",
            "Give a place outside it.",
        )
    files = [_mirrored(path, job, job.input) for path in _in_folder(job)]
    unreadable = [InputFile(path, job.output, False, problem) for path, problem in _closed_folders(job.input)]
    return (*_without_collisions(files), *unreadable)


def _mirrored(path: Path, job: Job, root: Path) -> InputFile:
    """Return a file of a folder tree, with its path in the output's tree."""
    output, is_video = job.output / path.relative_to(root), holds_video(path)
    suffixes = (*VIDEO_CODECS_BY_SUFFIX, *ANIMATION_SUFFIXES)
    if is_video and output.suffix.lower() not in suffixes:
        output = output.with_suffix(".mp4")
    return InputFile(path, output, is_video, _problem(path, root))


def _problem(path: Path, root: Path) -> str:
    if not _is_text(path):
        shown = str(path).encode(errors="backslashreplace").decode()
        return f"{shown} has a name that is no UTF-8, so that nothing can be recorded of it. Rename it."
    target = path.resolve()
    if path.is_symlink() and not path.exists():
        return f"{path} is a link to {target}, which does not exist."
    if root.resolve() not in target.parents:
        return f"{path} is a link that leaves {root}: it leads to {target}."
    return "" if os.access(path, os.R_OK) else f"{path} cannot be read: permission denied."


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _closed_folders(root: Path) -> list[tuple[Path, str]]:
    errors: list[OSError] = []
    for _ in os.walk(root, onerror=errors.append):
        pass
    closed = [(Path(str(error.filename)), error.strerror) for error in errors]
    # A disk's own folders, such as .Trashes, belong to nobody's pictures.
    return [(folder, f"{folder} cannot be looked into: {why}.") for folder, why in closed if not is_hidden(folder, root)]


def _without_collisions(files: Sequence[InputFile]) -> tuple[InputFile, ...]:
    by_output: dict[Path, InputFile] = {}
    for file in files:
        if file.output in by_output:
            both = f"{by_output[file.output].path} and {file.path}"
            raise ItemError(f"output: {both} would both be written to {file.output}.", "Rename one, or split the job.")
        by_output[file.output] = file
    return tuple(files)


def _in_folder(job: Job) -> list[Path]:
    patterns = job.include or ("**/*",)
    found = {path for pattern in patterns for path in _matches(job.input, pattern, "include")}
    chosen = {path for path in found if path.is_file() or (path.is_symlink() and not path.exists())}
    excluded = {path for pattern in job.exclude for path in _matches(job.input, pattern, "exclude")}
    kept = [path for path in chosen if excluded.isdisjoint((path, *path.parents)) and not is_hidden(path, job.input)]
    if job.include is None:
        kept = [path for path in kept if _is_picture(path)]
    if not kept:
        what = ", ".join(patterns) if job.include else ", ".join(PICTURE_SUFFIXES)
        raise ItemError(f"input: {job.input} holds no picture that matches {what}.", _instead_of_no_picture(job))
    return _sorted(kept, job.input)


def _instead_of_no_picture(job: Job) -> str:
    """Say what to give instead of a folder without pictures: a glob, if there are videos in it."""
    folder = job.input
    videos = [path for path in _matches(folder, "**/*", "input") if path.is_file() and not is_hidden(path, folder)]
    videos = _sorted([path for path in videos if _is_video(path)], folder)
    if not videos:
        return "Look at include and exclude." if job.include or job.exclude else "Give a folder with pictures, or a video."
    suffixes = {path.suffix for path in videos}
    pattern = f"*{next(iter(suffixes))}" if len(suffixes) == 1 else "*"
    depth = "" if all(path.parent == folder for path in videos) else "**/"
    held = f"{len(videos)} videos, such as {videos[0].name}" if len(videos) > 1 else f"a video, {videos[0].name}"
    return f"It holds {held}. To paint videos, write a glob: `input: {folder / (depth + pattern)}`."


def _is_video(path: Path) -> bool:
    moving = is_moving(path)
    return path.suffix.lower() in VIDEO_SUFFIXES if moving is None else moving


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES or is_moving(path) is False


def _matches(folder: Path, pattern: str, key: str) -> list[Path]:
    if ".." in Path(pattern).parts:
        raise ItemError(f"{key}: {pattern} should stay within {folder}.")
    try:
        # Python before 3.13 takes `folder/**` for the folders alone.
        return [*folder.glob(pattern), *(folder.glob(f"{pattern}/*") if pattern.endswith("**") else ())]
    except (ValueError, NotImplementedError) as error:
        raise ItemError(f"{key}: {pattern} is no pattern for the files of {folder}: {error}.") from error


def _sorted(paths: Sequence[Path], folder: Path) -> list[Path]:
    names = {path: path.relative_to(folder).as_posix() for path in paths}
    # The name itself decides between `1` and `01`, or the order would change from run to run.
    return sorted(paths, key=lambda path: (natural_key(names[path]), names[path]))


def _by_glob(job: Job) -> tuple[InputFile, ...]:
    """Return the files of a glob, or the pictures in its folders. The output mirrors the tree below the first wildcard."""
    parts = job.input.parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    found = _matching(job.input)
    files = [path for path in found if _has_known_suffix(path)]
    of_folders = not files
    if of_folders:
        files = [path for folder in found if folder.is_dir() for path in _pictures_below(folder)]
    if job.include is not None:
        files = [path for path in files if _is_among(path, root, job.include)]
    files = [path for path in dict.fromkeys(files) if not _is_among(path, root, job.exclude)]
    if not files:
        raise ItemError(f"input: no video or picture matches {job.input}.", f"Look into {root}, and at include and exclude.")
    if job.output.suffix.lower() in VIDEO_CODECS_BY_SUFFIX:
        raise ItemError(f"output: {job.output} should be a folder, for the input is a glob.")
    inputs = _without_collisions([_mirrored(path, job, root) for path in _sorted(files, root)])
    whole, wanted = root.resolve(), parts[fixed:]
    for file in inputs:
        output = file.output.resolve()
        below = output.relative_to(whole).parts if whole in output.parents else ()
        least = 1 if of_folders else len(below)
        if below and any(matches_parts(below[:depth], wanted) for depth in range(least, len(below) + 1)):
            raise ItemError(
                f"output: {file.output} matches the input {job.input}, so results would become inputs.",
                "Give a place outside it, or a narrower pattern.",
            )
    return inputs


def _matching(pattern: Path) -> list[Path]:
    # Path.glob would take hidden files too.
    return [Path(path) for path in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207


def _has_known_suffix(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES + VIDEO_SUFFIXES


def _pictures_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not is_hidden(path, folder) and _is_picture(path):
            yield path


def _is_among(path: Path, root: Path, patterns: Sequence[str]) -> bool:
    """Return whether a file, or a folder above it, matches one of several globs below a root folder."""
    parts = path.relative_to(root).parts
    return any(matches_parts(parts[:depth], Path(one).parts) for one in patterns for depth in range(1, len(parts) + 1))


def matches_parts(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Return whether a relative path matches a glob. `**` matches any number of folders."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(matches_parts(parts[skipped:], patterns[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatch(parts[0], patterns[0]) and matches_parts(parts[1:], patterns[1:])
