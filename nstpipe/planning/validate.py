"""Opens every input and tries the encoders, without planning any work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from nstpipe.config import Job, Pipeline
from nstpipe.errors import ItemError
from nstpipe.events import Emit, ItemFailed
from nstpipe.media.frame import working_size
from nstpipe.media.pictures.files import picture_size, read_picture
from nstpipe.media.video.ffmpeg_frames import check_readable
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe
from nstpipe.media.video.trial import try_output
from nstpipe.planning.inputs import InputFile, find_inputs
from nstpipe.planning.inspect import (
    InspectionProgress,
    _check_picture,
    _check_result,
    _damaged,
    check_output_is_unique,
    masks_of,
    pictures_of,
    rate_of,
)
from nstpipe.planning.outputs import failed
from nstpipe.system.stop import Stop


def check_inputs(pipeline: Pipeline, *, emit: Emit) -> tuple[int, tuple[ItemFailed, ...]]:
    """Open every painting, every input to the end of its head, and every picture to its last line, and try the encoders.

    Nothing is written but for those trials, in a folder that is removed again.

    Args:
        pipeline: with the jobs whose inputs are opened.
        emit: told how far it is.

    Returns:
        How many inputs can be used, and what is wrong with the others.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return _check_inputs(pipeline, Path(folder), InspectionProgress(Stop(), emit))


def _check_inputs(pipeline: Pipeline, trials: Path, watch: InspectionProgress) -> tuple[int, tuple[ItemFailed, ...]]:
    usable = 0
    failures: list[ItemFailed] = []
    taken: dict[Path, InputFile] = {}
    for job in pipeline.jobs:
        unpainted = False
        for path, key in pictures_of(job):
            try:
                _check_picture(path, key)
            except ItemError as error:
                unpainted = True
                failures.append(failed(job, path, error))
        try:
            files = find_inputs(job)
        except ItemError as error:
            failures.append(failed(job, job.input, error))
            continue
        for inputs_done, file in enumerate(files):
            watch(job.name, str(file.path), inputs_done, len(files), 0.0)
            try:
                check_output_is_unique(file, taken)
                video = _opened(file, job, trials)
                for mask in masks_of(file, job, len(video.ticks) if video is not None else 1):
                    for path in mask.files:
                        picture_size(path)
                failures += [_damaged(job, video, video.loss)] if video is not None and video.loss is not None else []
                usable += not unpainted
            except ItemError as error:
                failures.append(failed(job, file.path, error))
    return usable, tuple(failures)


def try_encoding(job: Job, output: Path, video: VideoInfo, size: tuple[int, int], trials: Path) -> None:
    """Try the codec, container and sound of a result, in a folder for trials.

    Raises:
        ItemError: they do not go together.
    """
    copy_audio, keep_metadata = job.audio == "copy", job.metadata == "keep"
    try_output(trials, output, video, size, job.encode, copy_audio=copy_audio, keep_metadata=keep_metadata)


def _opened(file: InputFile, job: Job, trials: Path) -> VideoInfo | None:
    """Open an input, and see that its result can be written; what is found of it, if it is a video."""
    if file.problem:
        raise ItemError(file.problem)
    if not file.is_video:
        height, width, _ = read_picture(file.path)[0].shape
        _check_result(file, (width, height), job)
        return None
    video = probe(file.path, rate_of(job))
    check_readable(video)
    _check_result(file, (video.width, video.height), job)
    try_encoding(job, file.output, video, working_size((video.width, video.height), job.size, even=True), trials)
    return video
