"""Finds the files that a job's input names, and the paths of their outputs."""

from __future__ import annotations

import fnmatch
import functools
import glob
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from nstpipe.config.models import Job
from nstpipe.errors import ItemError
from nstpipe.media.clutter import GEOREFERENCE_SUFFIXES, clutter_among, clutter_of, names_clutter
from nstpipe.media.detect import holds_raw, holds_video, is_hidden, is_moving, natural_key
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES, UNREAD_SUFFIXES
from nstpipe.media.pictures.raw import RAW_SUFFIXES
from nstpipe.media.video.containers import ANIMATION_SUFFIXES, VIDEO_CODECS_BY_SUFFIX, VIDEO_SUFFIXES
from nstpipe.planning.job_notice import JobNotice
from nstpipe.planning.linked_folders import linked_folders
from nstpipe.storage.contents import check_listed, is_remote, unsafe_below
from nstpipe.system.files import Resolver, SpecialFileError, check_is_no_special_file, is_numbered, suggest_path

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
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


_Listed = dict[tuple[str, Path, Path, tuple[str, ...] | None, tuple[str, ...]], Any]

_listed: ContextVar[_Listed | None] = ContextVar("listed", default=None)


@contextmanager
def listed_once() -> Iterator[None]:
    """Mark a block in which the files of each job are listed once, however often they are asked for."""
    token = _listed.set({}) if _listed.get() is None else None
    try:
        yield
    finally:
        if token is not None:
            _listed.reset(token)


def _once(kind: str, job: Job, find: Callable[[Job], _Found]) -> _Found:
    """Return what was found for a job before in the block of `listed_once`, or find it."""
    known = _listed.get()
    if known is None:
        return find(job)
    include = tuple(job.include) if job.include is not None else None
    key = (kind, job.input, job.output, include, tuple(job.exclude))
    if key not in known:
        known[key] = find(job)
    found: _Found = known[key]
    return found


def find_inputs(job: Job) -> tuple[InputFile, ...]:
    """Return the files that a job's input names, in natural order.

    Raises:
        ItemError: There are none, or they do not fit the job's output.
    """
    return _once("inputs", job, _find_inputs)


def _find_inputs(job: Job) -> tuple[InputFile, ...]:
    check_listed(job.input)
    if job.input.is_dir():
        files = _of_folder(job)
    elif _is_single(job.input):
        files = (_single(job),)
    elif glob.has_magic(str(job.input)):
        files = _by_glob(job)
    else:
        try:
            check_is_no_special_file(job.input)
        except SpecialFileError as error:
            raise ItemError(f"input: {job.input} cannot be read: {error.strerror}.", "Give a file or a folder.") from error
        raise ItemError(f"input: {job.input} does not exist.", suggest_path(job.input))
    _check_outputs(files, Resolver())
    return files


def _check_outputs(files: Iterable[InputFile], resolved: Resolver) -> None:
    for file in files:
        if resolved(file.output) == resolved(file.path):
            raise ItemError(f"output: {file.output} is the input itself, which would be lost.", "Give another place.")


def name_in_job(file: InputFile, job: Job) -> Path:
    """Return the path of an input within its job, which is that of its result in the output's tree."""
    return file.output.relative_to(job.output) if job.output in file.output.parents else Path(file.path.name)


def is_output_folder(job: Job) -> bool:
    """Return whether a job's output is a folder of results, rather than a single one. The input need not exist."""
    if not _is_single(job.input) and (job.input.is_dir() or glob.has_magic(str(job.input))):
        return True
    suffixes = (*VIDEO_CODECS_BY_SUFFIX, *ANIMATION_SUFFIXES, *PICTURE_SUFFIXES)
    return job.output.is_dir() or not (job.output.suffix.lower() in suffixes or is_numbered(job.output))


def ignored_settings(jobs: Iterable[Job]) -> tuple[JobNotice, ...]:
    """Find what `input`, `include` and `exclude` name without effect, and what they pass over, in each of several jobs."""
    return tuple(JobNotice(job.name, message) for job in jobs for message in _ignored_by(job))


def _ignored_by(job: Job) -> Iterator[str]:
    with suppress(ItemError):  # it is reported where the inputs are looked for
        yield from _passed_over_by(job)
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
    yield from _unfollowed_by(job)


def _unfollowed_by(job: Job) -> Iterator[str]:
    """Say which links to folders are not followed within the folders that a job names."""

    def known() -> Iterator[Path]:
        with suppress(ItemError):  # which is told elsewhere
            yield from (file.path for file in find_inputs(job))
        if job.input.is_dir():
            yield from (path for pattern in job.exclude for path in _matches(job.input, pattern, "exclude"))

    if job.input.is_dir():
        yield from linked_folders(job.input, known)
    elif glob.has_magic(str(job.input)) and not any(map(_has_known_suffix, found := _matching(job.input))):
        for folder in found:
            yield from linked_folders(folder, known) if folder.is_dir() else ()


def _passed_over_by(job: Job) -> Iterator[str]:
    """Sentences of the files among a job's inputs that are not painted, and of those that are not copied."""
    if job.input.is_dir():
        selection, root = _in_folder(job), job.input
    elif not _is_single(job.input) and glob.has_magic(str(job.input)):
        selection, root = _among_matches(job), _root_of(job.input)
    else:
        return
    yield from _sentences_of(selection.described(root), set(selection.passed_over), selection.georeferences())


def _sentences_of(described: str, kinds: Collection[tuple[str, str]], beside: Sequence[Path]) -> Iterator[str]:
    """Sentences of what is not painted, and of what is not copied.

    Args:
        described: The files that are not painted, in words.
        kinds: Their kinds.
        beside: The files that are not copied.
    """
    if kinds:
        hint = (
            "" if set(kinds) <= {_RAW_IN_WORDS, _UNREAD_IN_WORDS} else ". To paint such a file, name it in include: **/*.part"
        )
        yield f"not painted: {described}{hint}"
    if beside:
        what = f"{len(beside)} files, such as {beside[0].name}," if len(beside) > 1 else beside[0].name
        verb, place = ("are", "place") if len(beside) > 1 else ("is", "places")
        yield f"{what} {verb} not copied: a world file or a raster's side file {place} the original's pixels on the map"


@dataclass(frozen=True)
class _Selection:
    """What of the files below a folder is painted.

    Attributes:
        chosen: The files that are.
        passed_over: Files that are none of a user's pictures, by their kind in words, for one and for several.
    """

    chosen: tuple[Path, ...]
    passed_over: Mapping[tuple[str, str], tuple[Path, ...]]

    @classmethod
    def of(cls, paths: Iterable[Path], root: Path, named: Collection[Path]) -> _Selection:
        """Divide files into those that are painted and the others.

        Args:
            paths: The files that were found.
            root: The folder that they are below.
            named: Those that a pattern asks for by the name of their kind; all of them are painted.
        """
        chosen: list[Path] = []
        others: dict[tuple[str, str], list[Path]] = {}
        for path in paths:
            kind = None if named and path in named else clutter_among(_below(path, root).split(os.sep))  # noqa: PTH206
            if kind is not None:
                others.setdefault((kind.one, kind.several), []).append(path)
            elif not (named and path in named) and holds_raw(path):
                others.setdefault(_RAW_IN_WORDS, []).append(path)
            else:
                chosen.append(path)
        return cls(tuple(chosen), {kind: tuple(_sorted(found, root)) for kind, found in others.items()})

    def and_unread(self, paths: Iterable[Path], root: Path) -> _Selection:
        """The selection, with those of other files that are pictures in formats which nstpipe does not read."""
        unread = [
            path for path in paths if path.suffix.lower() in UNREAD_SUFFIXES and clutter_of(path.relative_to(root)) is None
        ]
        if not unread:
            return self
        return replace(self, passed_over={**self.passed_over, _UNREAD_IN_WORDS: tuple(_sorted(unread, root))})

    def described(self, root: Path) -> str:
        """What is passed over, in words."""
        parts = []
        for (one, several), paths in self.passed_over.items():
            name = paths[0].relative_to(root)
            parts.append(f"{len(paths)} {several}, such as {name}" if len(paths) > 1 else f"1 {one}, {name}")
        return "; ".join(parts)

    def georeferences(self) -> list[Path]:
        """The files that tie a chosen picture beside them to the ground."""
        found = []
        for folder, names in itertools.groupby(sorted(map(str, self.chosen)), key=os.path.dirname):
            chosen = [os.path.basename(name) for name in names]  # noqa: PTH119 - as text, which is quicker
            beside: list[str] = []
            with suppress(OSError):
                beside = sorted(name for name in os.listdir(folder) if name.lower().endswith(GEOREFERENCE_SUFFIXES))  # noqa: PTH208
            stems = {stem for name in chosen for stem in (os.path.splitext(name)[0], name)} if beside else ()  # noqa: PTH122
            for name in beside:
                suffix = next(end for end in GEOREFERENCE_SUFFIXES if name.lower().endswith(end))
                if name[: -len(suffix)] in stems:
                    found.append(Path(folder, name))
        return found


_RAW_IN_WORDS = ("camera's raw file to develop first", "cameras' raw files to develop first")


_UNREAD_IN_WORDS = ("picture in a format to convert first", "pictures in formats to convert first")


def _asks_by_name(pattern: str) -> bool:
    """Whether a pattern names files that are otherwise passed over."""
    return names_clutter(pattern) or Path(pattern).suffix.lower() in RAW_SUFFIXES


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


def check_is_for_folder(job: Job) -> None:
    """Check that the output of a job whose input is a folder is another folder, outside the input.

    Raises:
        ItemError: It is not.
    """
    if job.output.suffix.lower() in VIDEO_CODECS_BY_SUFFIX:
        raise ItemError(f"output: {job.output} should be a folder, for the input is one.")
    folder = job.input.resolve()
    if folder in (job.output.resolve(), *job.output.resolve().parents):
        raise ItemError(
            f"output: {job.output} lies inside the input {job.input}, so results would become inputs.",
            "Give a place outside it.",
        )


def _of_folder(job: Job) -> tuple[InputFile, ...]:
    check_is_for_folder(job)
    selection = _in_folder(job)
    if not selection.chosen:
        what = ", ".join(job.include or PICTURE_SUFFIXES)
        others = f" Passed over: {selection.described(job.input)}." if selection.passed_over else ""
        raise ItemError(f"input: {job.input} holds no picture that matches {what}.{others}", _instead_of_no_picture(job))
    resolved = Resolver()
    files = [_mirrored(path, job, job.input, resolved) for path in _sorted(selection.chosen, job.input)]
    unreadable = [InputFile(path, job.output, False, problem) for path, problem in _closed_folders(job.input)]
    return (*_without_collisions(files), *unreadable, *_unnamed(job, job.input))


def _unnamed(job: Job, root: Path) -> list[InputFile]:
    """Return the remote files of a folder that cannot have their names here."""
    return [InputFile(path, job.output / path.name, False, problem) for path, problem in unsafe_below(root)]


def _below(path: Path, root: Path) -> str:
    """Return a path relative to a folder above it, as text."""
    text, begin = str(path), str(root) + os.sep
    return text[len(begin) :] if text.startswith(begin) else str(path.relative_to(root))


def _mirrored(path: Path, job: Job, root: Path, resolved: Resolver) -> InputFile:
    """Return a file of a folder tree, with its path in the output's tree."""
    output, is_video = job.output / _below(path, root), holds_video(path)
    suffixes = (*VIDEO_CODECS_BY_SUFFIX, *ANIMATION_SUFFIXES)
    if is_video and output.suffix.lower() not in suffixes:
        output = output.with_suffix(".mp4")
    return InputFile(path, output, is_video, _problem(path, root, resolved))


def _problem(path: Path, root: Path, resolved: Resolver) -> str:
    if not _is_text(path):
        shown = str(path).encode(errors="backslashreplace").decode()
        return f"{shown} has a name that is no UTF-8, so that nothing can be recorded of it. Rename it."
    target = resolved(path)
    if path.is_symlink() and not path.exists():
        return f"{path} is a link to {target}, which does not exist."
    if not target.startswith(f"{resolved.folder(root)}{os.sep}"):
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
    by_output: dict[str, InputFile] = {}
    for file in files:
        first = by_output.setdefault(str(file.output), file)
        if first is not file:
            both = f"{first.path} and {file.path}"
            raise ItemError(f"output: {both} would both be written to {file.output}.", "Rename one, or split the job.")
    return tuple(files)


def _in_folder(job: Job) -> _Selection:
    return _once("selection", job, _selected_in_folder)


_EVERYTHING: tuple[Any, ...] = (None, ("**/*",), ["**/*"])
"""Values of `include` with which no glob is needed."""


def _selected_in_folder(job: Job) -> _Selection:
    if job.include in _EVERYTHING:
        named, chosen = set[Path](), list(_files_below(job.input))
    else:
        matches = {pattern: _matches(job.input, pattern, "include") for pattern in job.include or ()}
        named = {path for pattern, paths in matches.items() if _asks_by_name(pattern) for path in paths}
        found = {path for paths in matches.values() for path in paths}
        chosen = [path for path in found if path.is_file() or (path.is_symlink() and not path.exists())]
    excluded = {path for pattern in job.exclude for path in _matches(job.input, pattern, "exclude")}
    kept = [path for path in chosen if not f"{os.sep}{_below(path, job.input)}".count(f"{os.sep}.")]
    if excluded:
        kept = [path for path in kept if excluded.isdisjoint((path, *path.parents))]
    return _selected_of(kept, named, job)


def _selected_of(kept: Sequence[Path], named: Collection[Path], job: Job) -> _Selection:
    if job.include is not None:
        return _Selection.of(kept, job.input, named)
    pictures = [path for path in kept if _is_picture(path)]
    return _Selection.of(pictures, job.input, named).and_unread(set(kept).difference(pictures), job.input)


def can_list_by_folder(job: Job) -> bool:
    """Return whether the inputs of a job can be listed by folder, and their outputs are on this machine too."""
    return job.input.is_dir() and not any(map(is_remote, (job.input, job.output)))


class FolderListing:
    """Lists the inputs of a job one folder at a time, so that a million need not be in memory.

    There must be no symbolic link below the job's input, and each folder there can be listed.

    Args:
        job: The job, whose input is a folder.

    Attributes:
        has_found: Whether there was an input in one of the folders so far.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._resolved = Resolver()
        self._told: dict[Path, _Selection] = {}
        self.has_found = False

    def inputs_in(self, folder: Path) -> tuple[InputFile, ...]:
        """Return the inputs that lie in a folder, without those in folders in it, in natural order.

        Raises:
            ItemError: Two of them would have the same output, or one would replace itself.
        """
        selection = self._selection_in(folder)
        if selection.passed_over or selection.georeferences():
            self._told[folder] = selection
        chosen = _sorted(selection.chosen, self._job.input)
        files = _without_collisions([_mirrored(path, self._job, self._job.input, self._resolved) for path in chosen])
        _check_outputs(files, self._resolved)
        self.has_found = self.has_found or bool(files)
        return files

    def order(self, file: InputFile) -> str:
        """Return what sorts an input among the inputs and folders of the job; see `order_of`."""
        return _order_below(file.path, self._job.input)

    def pictures_in(self, folder: Path) -> Iterator[tuple[Path, Path]]:
        """Yield the files in a folder that are pictures by their names, each with its output. Their contents may differ."""
        for path in self._selection_in(folder).chosen if self._by_glob else _visible_in(folder):
            if path.suffix.lower() in PICTURE_SUFFIXES:
                yield path, self._job.output / _below(path, self._job.input)

    def tells_of(self, folder: Path) -> bool:
        """Return whether there is something in a folder, listed before, that `ignored` tells of."""
        return folder in self._told

    def ignored(self) -> tuple[JobNotice, ...]:
        """Return what `ignored_settings` does of the job, as far as its folders have been listed."""
        passed_over: dict[tuple[str, str], list[Path]] = {}
        for selection in self._told.values():
            for kind, paths in selection.passed_over.items():
                passed_over.setdefault(kind, []).extend(paths)
        root = self._job.input
        merged = _Selection((), {kind: tuple(_sorted(paths, root)) for kind, paths in passed_over.items()})
        beside = sorted(path for selection in self._told.values() for path in selection.georeferences())
        said = _sentences_of(merged.described(root), set(passed_over), beside)
        return tuple(JobNotice(self._job.name, message) for message in said)

    @property
    def _by_glob(self) -> bool:
        return self._job.include not in _EVERYTHING or bool(self._job.exclude)

    def _selection_in(self, folder: Path) -> _Selection:
        if self._by_glob:
            return self._by_folder.get(folder, _Selection((), {}))
        return _selected_of(list(_visible_in(folder)), (), self._job)

    @functools.cached_property
    def _by_folder(self) -> dict[Path, _Selection]:
        """What is selected in each folder. A glob is for the whole tree."""
        whole = _in_folder(self._job)
        chosen: dict[Path, list[Path]] = {}
        for path in whole.chosen:
            chosen.setdefault(path.parent, []).append(path)
        passed_over: dict[Path, dict[tuple[str, str], list[Path]]] = {}
        for kind, paths in whole.passed_over.items():
            for path in paths:
                passed_over.setdefault(path.parent, {}).setdefault(kind, []).append(path)
        return {
            folder: _Selection(
                tuple(chosen.get(folder, ())),
                {kind: tuple(paths) for kind, paths in passed_over.get(folder, {}).items()},
            )
            for folder in {*chosen, *passed_over}
        }


def _visible_in(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder, without those that file managers hide."""
    with os.scandir(folder) as entries:
        yield from (Path(entry.path) for entry in entries if entry.name[0] != "." and entry.is_file())


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield what ``**/*`` matches below a folder, but no folder: files, and links that lead nowhere."""
    with suppress(OSError), os.scandir(folder) as entries:
        folders = []
        for entry in entries:
            if entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):  # noqa: PTH110
                yield Path(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
        for inside in folders:
            yield from _files_below(inside)


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
    return path.suffix.lower() in (*PICTURE_SUFFIXES, *RAW_SUFFIXES) or is_moving(path) is False


def _matches(folder: Path, pattern: str, key: str) -> list[Path]:
    if ".." in Path(pattern).parts:
        raise ItemError(f"{key}: {pattern} should stay within {folder}.")
    try:
        # Python before 3.13 takes `folder/**` for the folders alone.
        return [*folder.glob(pattern), *(folder.glob(f"{pattern}/*") if pattern.endswith("**") else ())]
    except (ValueError, NotImplementedError) as error:
        raise ItemError(f"{key}: {pattern} is no pattern for the files of {folder}: {error}.") from error


def order_of(name: str) -> str:
    """Return what sorts a file by its path below the job's input, with slashes, or a folder by its path and a slash."""
    return natural_key(name)


def _order_below(path: Path, folder: Path) -> str:
    name = _below(path, folder).replace(os.sep, "/")
    # The name itself decides between `1` and `01`, or the order would change from run to run.
    return f"{order_of(name)}\0\0{name}"


def _sorted(paths: Sequence[Path], folder: Path) -> list[Path]:
    return sorted(paths, key=lambda path: _order_below(path, folder))


def _root_of(pattern: Path) -> Path:
    """The part of a glob before its first wildcard, which is what the output mirrors."""
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts))


def _among_matches(job: Job) -> _Selection:
    """What of a glob's files is painted, or of the pictures in its folders if it matches no file."""
    root = _root_of(job.input)
    found = _matching(job.input)
    files = [path for path in found if _has_known_suffix(path)]
    if not files:
        files = [path for folder in found if folder.is_dir() for path in _pictures_below(folder)]
    files += [path for path in found if path.suffix.lower() in RAW_SUFFIXES and path.is_file()]
    patterns = [*(job.include or ()), str(Path(*job.input.parts[len(root.parts) :]))]
    named = {path for path in files if _is_among(path, root, [one for one in patterns if _asks_by_name(one)])}
    if job.include is not None:
        files = [path for path in files if _is_among(path, root, job.include)]
    selection = _Selection.of([path for path in dict.fromkeys(files) if not _is_among(path, root, job.exclude)], root, named)
    if job.include is not None:
        return selection
    return selection.and_unread((path for path in found if path.is_file() and not _is_among(path, root, job.exclude)), root)


def _by_glob(job: Job) -> tuple[InputFile, ...]:
    """Return the files of a glob, or the pictures in its folders. The output mirrors the tree below the first wildcard."""
    root = _root_of(job.input)
    parts, fixed = job.input.parts, len(root.parts)
    of_folders = not any(map(_has_known_suffix, _matching(job.input)))
    selection = _among_matches(job)
    files = selection.chosen
    if not files:
        others = f" Passed over: {selection.described(root)}." if selection.passed_over else ""
        problem = f"input: no video or picture matches {job.input}.{others}"
        raise ItemError(problem, f"Look into {root}, and at include and exclude.")
    if job.output.suffix.lower() in VIDEO_CODECS_BY_SUFFIX:
        raise ItemError(f"output: {job.output} should be a folder, for the input is a glob.")
    resolved = Resolver()
    inputs = _without_collisions([_mirrored(path, job, root, resolved) for path in _sorted(files, root)])
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
    return (*inputs, *_unnamed(job, root))


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
