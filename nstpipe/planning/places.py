"""Sees that outputs go where nothing of the user's own is lost, and where they can be written."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from nstpipe.config import Job, Pipeline
from nstpipe.errors import ItemError, OutputError
from nstpipe.journal.journal import Journal
from nstpipe.journal.records import Record
from nstpipe.media.detect import holds_video, is_moving
from nstpipe.media.pictures.files import is_damaged
from nstpipe.media.signature import SIGNATURE_BYTES
from nstpipe.media.video.containers import ANIMATION_SUFFIXES
from nstpipe.planning.input_tree import InputTree
from nstpipe.planning.inputs import InputFile, find_inputs
from nstpipe.planning.outputs import Output
from nstpipe.planning.planned import PictureFolder
from nstpipe.storage.contents import check_listed, held
from nstpipe.storage.failures import StorageError
from nstpipe.system.files import Resolver, is_numbered, parts_of, see_that_it_can_be_made, stamp_of
from nstpipe.system.retry import is_transient

_WAY_OUT = "Give another name, or move the file away; `overwrite: true` (`--overwrite`) replaces it."

_Identity = tuple[int, int] | Path
"""Device and inode of a file; its path if it does not exist."""

NO_TREES: Mapping[str, InputTree] = {}


class Places:
    """Decides whether outputs may be written where they go.

    Args:
        pipeline: With all its jobs.
        journal: What earlier runs have made; None if there was none.
        trees: The trees of inputs whose files need not be listed, by the name of the job.
    """

    def __init__(self, pipeline: Pipeline, journal: Journal | None, trees: Mapping[str, InputTree] = NO_TREES) -> None:
        self._pipeline = pipeline
        self._journal = journal
        self._trees = trees
        self._taken: dict[tuple[int, int] | str, InputFile] = {}
        self._folders: dict[_Identity, PictureFolder] = {}
        self._used_folders: set[_Identity] = set()
        self._identity_of_folder = functools.cache(_identity_of)
        self._resolved = Resolver()
        self._can_be_made = functools.cache(see_that_it_can_be_made)
        collections = ((job.style.collection, job.name) for job in pipeline.all_jobs)
        self._collections = {folder.resolve(): reader for folder, reader in collections if folder is not None}

    def check(self, job: Job, file: InputFile) -> None:
        """See that an output has a place of its own, where it can be written without any loss.

        Raises:
            OutputError: The place is a folder, cannot be written to, belongs to another output, holds a file that the
                pipeline reads, or one that it did not make.
        """
        place = file.output
        self._check_folder(place)
        in_folder = self._identity_of_folder(place.parent)
        self._used_folders.add(in_folder)
        if (planned := self._folders.get(in_folder)) is not None and place.name in planned.names():
            raise _taken(planned.inputs / place.name, file)
        for part in parts_of(place) or [place]:
            first = self._taken.setdefault(_place_of(part, self._resolved), file)
            if first is not file:
                raise _taken(first.path, file)
            if part.exists():
                self._check_not_read(job, part, place)
        if not self._pipeline.overwrite:
            self._check_made(place)

    def may_be_written(self, job: Job, file: InputFile) -> bool:
        """Return whether an output may be written to its place, as far as no other output goes there. It is not taken."""
        try:
            self._check_folder(file.output)
            for part in parts_of(file.output):
                self._check_not_read(job, part, file.output)
            if not self._pipeline.overwrite:
                self._check_made(file.output)
        except OutputError:
            return False
        return True

    def _check_folder(self, place: Path) -> None:
        try:
            check_listed(place)
        except StorageError as error:
            raise OutputError(f"output: {error.problem}", error.next_step) from None
        if place.is_dir():
            raise OutputError(f"output: {place} is a folder.", "Give another name, or move the folder away.")
        self._check_collections(place)
        self._can_be_made(place.parent)

    def _check_collections(self, place: Path) -> None:
        for folder, reader in self._collections.items():
            if folder in Path(self._resolved(place)).parents:
                raise OutputError(
                    f"output: {place} lies inside {folder}, from which the job {reader} picks its paintings, so results would "
                    "become paintings.",
                    "Give a place outside it.",
                )

    def can_take(self, folder: Path) -> bool:
        """Return whether all outputs in a folder have places of their own, as long as no single one speaks against it."""
        try:
            self._check_collections(folder / "-")
            self._can_be_made(folder)
        except OutputError:
            return False
        return self._identity_of_folder(folder) not in self._used_folders

    @property
    def checked(self) -> int:
        """How many places `check` has taken."""
        return len(self._taken)

    def take(self, planned: PictureFolder, checked_before: int) -> None:
        """Take a folder for outputs that were planned together.

        Args:
            planned: The outputs.
            checked_before: How many places `check` has taken that have to do with others. The later ones are forgotten, as
                there may be a million.
        """
        folder = self._identity_of_folder(planned.outputs)
        self._used_folders.add(folder)
        self._folders[folder] = planned
        while len(self._taken) > checked_before:
            self._taken.popitem()  # the one that came last

    def _check_not_read(self, job: Job, part: Path, place: Path) -> None:
        """See that no job reads a file that is to be replaced. A job may read what this pipeline has made for another one."""
        for reader, what in self._readers_of(part):
            if reader is None or reader == job.name or self._journal is None or not self._journal.has_made(place):
                of_job = f" of the job {reader}" if reader is not None else ""
                raise OutputError(
                    f"output: {part} is {what}{of_job}, which would be lost.", "Give another name. Nothing overwrites it."
                )

    def _readers_of(self, part: Path) -> Iterator[tuple[str | None, str]]:
        """Yield who reads a file, and as what."""
        identity = _identity_of(part)
        yield from self._readers.get(identity, ())
        for job in self._pipeline.all_jobs:
            tree = self._trees.get(job.name)
            # The inode does not tell on which disk it is, nor whether the job paints the file.
            is_listed = tree is not None and isinstance(identity, tuple) and tree.has_inode(identity[1])
            if is_listed and any(_identity_of(path) == identity for _, path in _inputs_of(job)):
                yield job.name, _AN_INPUT

    @functools.cached_property
    def _readers(self) -> dict[_Identity, list[tuple[str | None, str]]]:
        """Who reads each file of the pipeline, and as what, except for the inputs in trees."""
        readers: dict[_Identity, list[tuple[str | None, str]]] = {}
        for reader, what, path in _files_read(self._pipeline, self._trees):
            readers.setdefault(_identity_of(path), []).append((reader, what))
        return readers

    def refusal_of(self, output: Output) -> OutputError | None:
        """Return why an output that is to be made may not replace what another pipeline has made; None if it may."""
        if output.is_done or self._pipeline.overwrite or stamp_of(output.path) is None:
            return None
        record = self._record_of(output.path)
        if record is None:
            return None
        other = self._other_maker(record)
        return OutputError(f"output: {output.path} was made by {other}, another pipeline.", _WAY_OUT) if other else None

    def _check_made(self, place: Path) -> None:
        """See that what stands at a place was written by a run, or is only the damaged rest of that."""
        if stamp_of(place) is None or (self._journal is not None and self._journal.has_made(place)):
            return
        record = self._record_of(place)
        if record is None or not record.was_made:
            raise OutputError(f"output: {place} exists already, and this pipeline did not make it.", _WAY_OUT)
        if _is_worth_keeping(place, record):
            raise OutputError(f"output: {place} was changed by somebody after it was made.", _WAY_OUT)

    def belongs_to_another(self, place: Path) -> bool:
        """Return whether another pipeline, which shares the work folder, has made what stands at a place."""
        record = self._record_of(place)
        return record is not None and stamp_of(place) is not None and self._other_maker(record) is not None

    def _record_of(self, place: Path) -> Record | None:
        return self._journal.record_of(place) if self._journal is not None else None

    def _other_maker(self, record: Record) -> Path | None:
        """Return the other pipeline that has made an output; None if there is none any more, or nobody knows."""
        if not (record.maker and record.was_made and self._pipeline.file is not None):
            return None
        if self._pipeline.remotes.work is not None:  # it knows its pipelines as if it lay beside them
            maker = self._pipeline.file.with_name(Path(record.maker).name)
        else:
            maker = self._pipeline.work / record.maker
        is_other = maker.exists() and not maker.samefile(self._pipeline.file)
        return maker.resolve() if is_other else None


def _taken(first: Path, file: InputFile) -> OutputError:
    problem = f"output: {first} and {file.path} would both be written to {file.output}."
    return OutputError(problem, "Give another place.")


def _identity_of(path: Path) -> _Identity:
    try:
        state = path.stat()
    except OSError:
        return path.resolve()
    return state.st_dev, state.st_ino


def _place_of(path: Path, resolved: Resolver) -> tuple[int, int] | str:
    """Return what tells the place of an output from others. Hard links are places of their own: each is replaced alone."""
    try:
        state = path.stat()
    except OSError:
        return resolved(path)
    return (state.st_dev, state.st_ino) if state.st_nlink == 1 else resolved(path)


def _files_read(pipeline: Pipeline, trees: Collection[str]) -> Iterator[tuple[str | None, str, Path]]:
    """Yield every file that a pipeline reads, with the job that reads it (None for all of them) and what it is there.

    Args:
        pipeline: The pipeline.
        trees: The names of the jobs whose inputs are left out.
    """
    if pipeline.file is not None:
        yield None, "this pipeline", pipeline.file
    if isinstance(pipeline.weights, Path):
        yield None, "the file of the weights", pipeline.weights
    for job in pipeline.all_jobs:
        for what, path in itertools.chain(() if job.name in trees else _inputs_of(job), _files_of(job)):
            for part in parts_of(path):
                yield job.name, what, part


_AN_INPUT = "an input"


def _inputs_of(job: Job) -> Iterator[tuple[str, Path]]:
    with suppress(ItemError):  # whoever looks into the inputs says so
        yield from ((_AN_INPUT, file.path) for file in find_inputs(job))


def _files_of(job: Job) -> Iterator[tuple[str, Path]]:
    yield from (("a painting", image.path) for image in job.style.images)
    for region in job.regions:
        yield from (("a painting", image.path) for image in (region.style.images if region.style is not None else ()))
        masks = region.mask.rglob("*") if region.mask.is_dir() else [region.mask]
        yield from (("a mask", mask) for mask in masks)
    if isinstance(job.init, Path):
        yield "the start", job.init
    if isinstance(job.temporal.flow, Path):
        yield "the file of the flow's weights", job.temporal.flow
    for key, path in job.engine.files.items():
        yield f"the file of engine.{key}", path


def _is_worth_keeping(place: Path, record: Record) -> bool:
    """Return whether a file is more than the rest of a result that a disk has damaged."""
    if is_numbered(place):
        return any(_is_worth_keeping(part, record) for part in parts_of(place))
    with held(place):
        return _is_more_than_a_rest(place, record)


def _is_more_than_a_rest(place: Path, record: Record) -> bool:
    with place.open("rb") as file:
        has_content = bool(file.read(SIGNATURE_BYTES).strip(b"\0"))
    if is_moving(place) is None:
        return has_content  # neither a picture nor a video: what a damaged disk leaves are zeros
    try:
        if holds_video(place):
            return _is_whole_video(place, record.frames)
    except ItemError as error:
        return is_transient(error)  # what cannot be looked at now may be whole
    return not is_damaged(place)


def _is_whole_video(place: Path, frames: int) -> bool:
    from nstpipe.media.video.decode_check import apply_decode_check, decode_check
    from nstpipe.media.video.probe import probe

    video = probe(place)
    found = apply_decode_check(video, decode_check(video))
    has_all = len(found.ticks) >= frames or place.suffix.lower() in ANIMATION_SUFFIXES
    return has_all and found.loss is None and not found.complaint
