"""Finds everything that is wrong with a pipeline, without planning any work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nstpipe.config import Job, Loaded, Pipeline
from nstpipe.errors import ItemError, NstpipeError, Problem
from nstpipe.events import Emit, ItemFailed
from nstpipe.media.frame import working_size
from nstpipe.media.pictures.files import picture_size, read_picture
from nstpipe.planning.inputs import InputFile, find_inputs, ignored_settings
from nstpipe.planning.inspect import (
    InspectionProgress,
    check_output_is_unique,
    check_picture,
    check_result,
    damaged,
    masks_of,
    pictures_of,
)
from nstpipe.planning.outputs import failed
from nstpipe.planning.requirements import requirements_of
from nstpipe.system.files import see_that_it_can_be_made
from nstpipe.system.item_errors import item_errors
from nstpipe.system.stop import Stop

if TYPE_CHECKING:
    from nstpipe.media.video.info import VideoInfo


@dataclass(frozen=True)
class Validation:
    """Everything that is wrong with a pipeline and with what it reads.

    Attributes:
        problems: of the file.
        failures: inputs and paintings that cannot be used, of the jobs that are valid.
        usable: the number of inputs that can be used.
        missing: what a run would end with at once, such as missing weights or a work folder that is a file.
        notices: settings of the jobs that have no effect, and what is mended of the inputs.
    """

    problems: tuple[Problem, ...]
    failures: tuple[ItemFailed, ...]
    usable: int
    missing: tuple[NstpipeError, ...] = ()
    notices: tuple[str, ...] = ()


def validate_pipeline(loaded: Loaded, check_listeners: Callable[[Pipeline], object], *, emit: Emit) -> Validation:
    """Check a pipeline and this machine, and open the inputs of the jobs that are valid.

    Args:
        loaded: the valid part of a pipeline.yaml, and the problems of the rest.
        check_listeners: raises an error if a package is missing for those that listen to a run.
        emit: told how far the check is.
    """
    pipeline = loaded.pipeline
    if pipeline is None:
        return Validation(loaded.problems, (), 0)
    usable, failures, mended = check_inputs(pipeline, emit=emit)
    checks: list[Callable[[], object]] = [partial(check_listeners, pipeline)]
    checks += [*requirements_of(pipeline), *_places_of(pipeline)]
    missing = {str(error): error for error in _errors_of(checks)}  # several settings may want the same thing
    notices = (*map(str, ignored_settings(pipeline.jobs)), *mended)
    return Validation(loaded.problems, failures, usable, tuple(missing.values()), notices)


def _places_of(pipeline: Pipeline) -> Iterator[Callable[[], object]]:
    folders = (pipeline.work, *(job.output if job.input.is_dir() else job.output.parent for job in pipeline.jobs))
    for folder in dict.fromkeys(folders):
        yield partial(see_that_it_can_be_made, folder)


def _errors_of(checks: Iterable[Callable[[], object]]) -> Iterator[NstpipeError]:
    for check in checks:
        try:
            check()
        except NstpipeError as error:
            yield error


def check_inputs(pipeline: Pipeline, *, emit: Emit) -> tuple[int, tuple[ItemFailed, ...], tuple[str, ...]]:
    """Open every painting, every input to the end of its head, and every picture to its last line, and try the encoders.

    Nothing is written but for those trials, in a folder that is removed again.

    Args:
        pipeline: with the jobs whose inputs are opened.
        emit: told how far it is.

    Returns:
        How many inputs can be used, what is wrong with the others, and what is mended of their times and frames.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return _check_inputs(pipeline, Path(folder), InspectionProgress(Stop(), emit))


def _check_inputs(
    pipeline: Pipeline, trials: Path, watch: InspectionProgress
) -> tuple[int, tuple[ItemFailed, ...], tuple[str, ...]]:
    usable = 0
    failures: list[ItemFailed] = []
    mended: list[str] = []
    taken: dict[Path, InputFile] = {}
    for job in pipeline.jobs:
        unpainted = False
        for path, key in pictures_of(job):
            try:
                with item_errors(path):
                    check_picture(path, key)
            except ItemError as error:
                unpainted = True
                failures.append(failed(job, path, error))
        try:
            with item_errors(job.input):
                files = find_inputs(job)
        except ItemError as error:
            failures.append(failed(job, job.input, error))
            continue
        for inputs_done, file in enumerate(files):
            watch(job.name, str(file.path), inputs_done, len(files), 0.0)
            try:
                with item_errors(file.path):
                    check_output_is_unique(file, taken)
                    video = _opened(file, job, trials)
                    for mask in masks_of(file, job, len(video.ticks) if video is not None else 1):
                        for path in mask.files:
                            picture_size(path)
                failures += [damaged(job, video, video.loss)] if video is not None and video.loss is not None else []
                usable += not unpainted
                mended += [f"{job.name}: {file.path.name}: {said}" for said in (video.mended if video is not None else ())]
            except ItemError as error:
                failures.append(failed(job, file.path, error))
    return usable, tuple(failures), tuple(mended)


def _opened(file: InputFile, job: Job, trials: Path) -> VideoInfo | None:
    """Open an input, and see that its result can be written; what is found of it, if it is a video."""
    if file.problem:
        raise ItemError(file.problem)
    if not file.is_video:
        height, width, _ = read_picture(file.path)[0].shape
        check_result(file, (width, height), job)
        return None
    from nstpipe.media.video.ffmpeg_frames import check_readable
    from nstpipe.media.video.probe import probe
    from nstpipe.media.video.shapes import shapes_of
    from nstpipe.planning.videos import rate_of, try_encoding

    video = probe(file.path, rate_of(job))
    video = replace(video, shapes=shapes_of(video))
    check_readable(video)
    check_result(file, (video.width, video.height), job)
    try_encoding(job, file.output, video, working_size((video.width, video.height), job.size, even=True), trials)
    return video
