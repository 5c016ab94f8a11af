"""Finds everything that is wrong with a pipeline, without planning any work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nstpipe.config import Job, Loaded, Pipeline
from nstpipe.errors import ItemError, NstpipeError, OutputError, Problem
from nstpipe.events import Emit, ItemFailed
from nstpipe.journal.database import JOURNAL
from nstpipe.journal.journal import Journal
from nstpipe.media.frame import working_size
from nstpipe.media.losses import Omission
from nstpipe.media.pictures.files import read_picture
from nstpipe.planning.inputs import InputFile, find_inputs, ignored_settings
from nstpipe.planning.inspect import (
    InspectionProgress,
    check_picture,
    check_result,
    damaged,
    masks_of,
    pictures_of,
    size_of_picture,
)
from nstpipe.planning.job_notice import JobNotice
from nstpipe.planning.notices import omission_notices, omissions_of
from nstpipe.planning.outputs import failed
from nstpipe.planning.picks import check_collection
from nstpipe.planning.places import Places
from nstpipe.planning.plan import plan_pipeline
from nstpipe.planning.requirements import requirements_of
from nstpipe.storage.contents import held
from nstpipe.system.files import see_that_it_can_be_made
from nstpipe.system.item_errors import item_errors
from nstpipe.system.stop import Stop

if TYPE_CHECKING:
    from nstpipe.media.video.info import VideoInfo


@dataclass(frozen=True)
class Validation:
    """Everything that is wrong with a pipeline and with the files that it refers to.

    Attributes:
        problems: The problems of the pipeline.yaml.
        failures: Inputs and paintings of the valid jobs that cannot be used.
        usable: The number of inputs that can be used.
        missing: Errors that would end a run at once, such as missing weights, or a work folder that is a file.
        notices: Settings of the jobs that have no effect, what is mended of the inputs, and what the outputs will not hold.
        unwritable: Why the first of the outputs that cannot be written cannot; None if all can.
    """

    problems: tuple[Problem, ...]
    failures: tuple[ItemFailed, ...]
    usable: int
    missing: tuple[NstpipeError, ...] = ()
    notices: tuple[str, ...] = ()
    unwritable: OutputError | None = None


def validate_pipeline(loaded: Loaded, check_listeners: Callable[[Pipeline], object], *, emit: Emit) -> Validation:
    """Check a pipeline and this machine, and open the inputs of the jobs that are valid.

    Nothing is written but trials of the encoders, in a folder that is removed again.

    Args:
        loaded: The valid part of a pipeline.yaml, and the problems of the rest.
        check_listeners: Raises an error if a listener needs a package that is missing.
        emit: Receives the progress.
    """
    pipeline = loaded.pipeline
    if pipeline is None:
        return Validation(loaded.problems, (), 0)
    with ExitStack() as stack:
        trials = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        journal = None
        if (pipeline.work / JOURNAL).exists():
            with suppress(OutputError):  # the check of the work folder says so
                journal = stack.enter_context(closing(Journal(pipeline.work, pipeline=pipeline.file, read_only=True)))
        inputs = _Inputs(pipeline, journal, trials, emit)
        for job in pipeline.jobs:
            inputs.check(job)
    checks: list[Callable[[], object]] = [partial(check_listeners, pipeline)]
    checks += [*requirements_of(pipeline), partial(see_that_it_can_be_made, pipeline.work)]
    missing = {str(error): error for error in _errors_of(checks)}  # several settings may want the same thing
    notices = tuple(map(str, (*ignored_settings(pipeline.jobs), *inputs.notices)))
    failures = tuple(inputs.failures)
    return Validation(loaded.problems, failures, inputs.usable, tuple(missing.values()), notices, inputs.unwritable)


def _errors_of(checks: Iterable[Callable[[], object]]) -> Iterator[NstpipeError]:
    for check in checks:
        try:
            check()
        except NstpipeError as error:
            yield error


class _Inputs:
    """Opens every painting and every input, and encodes a few frames for each video.

    Pictures are decoded as a whole. Of a video, only the header and the first frames are read, unless it is cut short. The test
    encodes are written to a temporary folder.

    Args:
        pipeline: The pipeline with the jobs whose inputs are opened.
        journal: Knows what earlier runs have made; None if there was none.
        trials: The folder for test encodes.
        emit: Receives the progress.

    Attributes:
        usable: The number of inputs that can be used.
        failures: What is wrong with the others.
        notices: What is mended of the inputs, and what the outputs will not hold of them.
        unwritable: Why the first of the outputs that cannot be written cannot; None if all can.
    """

    def __init__(self, pipeline: Pipeline, journal: Journal | None, trials: Path, emit: Emit) -> None:
        self._pipeline = pipeline
        self._journal = journal
        self._trials = trials
        self._emit = emit
        self._watch = InspectionProgress(Stop(), emit)
        self._places = Places(pipeline, journal)
        self.usable = 0
        self.failures: list[ItemFailed] = []
        self.notices: list[JobNotice] = []
        self.unwritable: OutputError | None = None

    def check(self, job: Job) -> None:
        """Open the paintings and the inputs of a job."""
        is_painted = self._check_paintings(job)
        try:
            with item_errors(job.input):
                files = find_inputs(job)
        except ItemError as error:
            self._refuse(job, job.input, error)
            return
        omissions: list[tuple[str, Omission]] = []
        for inputs_done, file in enumerate(files):
            self._watch(job.name, str(file.path), inputs_done, len(files), 0.0)
            try:
                with item_errors(file.path):
                    self._places.check(job, file)
                    with held(file.path):
                        video = _opened(file, job, self._trials)
                    for mask in masks_of(file, job, len(video.ticks) if video is not None else 1):
                        for path in mask.files:
                            size_of_picture(path)
                self.failures += [damaged(job, video, video.loss)] if video is not None and video.loss is not None else []
                mended = video.mended if video is not None else ()
                self.notices += (JobNotice(job.name, f"{file.path.name}: {said}") for said in mended)
                omissions += ((file.path.name, omission) for omission in omissions_of(file, job, video))
                self.usable += is_painted
            except (ItemError, OutputError) as error:
                self._refuse(job, file.path, error)
        self.notices += omission_notices(job.name, omissions)
        self._check_makers(job, files)

    def _refuse(self, job: Job, path: Path, error: ItemError | OutputError) -> None:
        self.failures.append(failed(job, path, error))
        if isinstance(error, OutputError):
            self.unwritable = self.unwritable or error

    def _check_paintings(self, job: Job) -> bool:
        can_be_read = True
        for path, key in pictures_of(job):
            try:
                with item_errors(path):
                    check_picture(path, key)
            except ItemError as error:
                can_be_read = False
                self._refuse(job, path, error)
        if job.style.collection is not None:
            try:
                with item_errors(job.style.collection):
                    paints, notices = check_collection(job, self._pipeline.work)
                can_be_read &= paints
                self.notices += (JobNotice(job.name, notice) for notice in notices)
            except ItemError as error:
                can_be_read = False
                self._refuse(job, job.style.collection, error)
        return can_be_read

    def _check_makers(self, job: Job, files: Iterable[InputFile]) -> None:
        """See that outputs that another pipeline has made need not be made again. Only a plan can tell."""
        refused = {failure.path for failure in self.failures}
        wanted = {str(file.path) for file in files if self._places.belongs_to_another(file.output)} - refused
        if not wanted or self._journal is None:
            return
        plan = plan_pipeline(self._pipeline.with_jobs((job,)), self._journal, stop=Stop(), emit=self._emit)
        found = [failure for failure in plan.failures if failure.path in wanted]
        self.failures += found
        self.usable -= len(found)
        self.unwritable = self.unwritable or plan.unwritable


def _opened(file: InputFile, job: Job, trials: Path) -> VideoInfo | None:
    """Open an input, check that its result can be written, and return what a probe found if it is a video."""
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
