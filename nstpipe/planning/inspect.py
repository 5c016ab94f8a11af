"""Opens each input, and finds out what it holds."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nstpipe.config import Job
from nstpipe.errors import ItemError
from nstpipe.events import Emit, InputsProgressed, ItemFailed
from nstpipe.journal.journal import Journal
from nstpipe.media.frame import working_size
from nstpipe.media.losses import Omission
from nstpipe.media.pictures.files import check_output, picture_size, read_picture
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES
from nstpipe.media.pictures.masks import Mask, mask_of
from nstpipe.planning.fingerprints import fingerprint_of
from nstpipe.planning.input_info import InputInfo, omissions_kind, picture_kind
from nstpipe.planning.inputs import InputFile, name_in_job
from nstpipe.planning.notices import omissions_of
from nstpipe.planning.outputs import Output, failed
from nstpipe.storage.contents import check_listed, held, is_remote, remembered
from nstpipe.style.layers import check_network_size, check_size
from nstpipe.system.files import is_readable, state_of
from nstpipe.system.retry import in_spite_of_kills, is_transient
from nstpipe.system.stop import Stop, Stopped
from nstpipe.version import __version__

if TYPE_CHECKING:
    from nstpipe.media.video.info import MissingFrames, VideoInfo

PROGRESS_SECONDS = 0.5
"""Seconds between two progress events. A shorter inspection emits none."""


class InspectionProgress:
    """Reports the progress of inspecting a job's inputs, and ends the inspection when the time is up."""

    def __init__(self, stop: Stop, emit: Emit) -> None:
        self._stop = stop
        self._emit = emit
        self._said_at = time.monotonic()

    def check_stop(self) -> None:
        """End the inspection if the run is to end.

        Raises:
            Stopped: The run is to end.
        """
        if self._stop.should_stop():
            raise Stopped

    def __call__(self, job: str, path: str, inputs_done: int, inputs: int, share: float) -> None:
        """Report progress. It is called before each input, and at each decoded frame, with the event's fields as arguments.

        Raises:
            Stopped: The run must end.
        """
        self.check_stop()
        now = time.monotonic()
        if now - self._said_at >= PROGRESS_SECONDS:
            self._said_at = now
            self._emit(InputsProgressed(job=job, path=path, inputs_done=inputs_done, inputs=inputs, share=share))


def pictures_of(job: Job) -> Iterator[tuple[Path, str]]:
    """Yield the paintings, masks and start picture that a job names, each with its key, but no painting of a collection."""
    for index, image in enumerate(job.style.images if job.style.collection is None else ()):
        yield image.path, f"style.images[{index}]"
    for number, region in enumerate(job.regions):
        for index, image in enumerate(region.style.images if region.style is not None else ()):
            yield image.path, f"regions[{number}].style.images[{index}]"
        if not region.mask.is_dir():
            yield region.mask, f"regions[{number}].mask"
    if isinstance(job.init, Path):
        yield job.init, "init"


def check_pictures(job: Job) -> None:
    """Check that the paintings of a job can be read, and the pictures of its masks and its `init`.

    Raises:
        ItemError: One of them cannot be read.
    """
    for path, key in pictures_of(job):
        check_picture(path, key)


def check_picture(path: Path, key: str) -> None:
    """Check that a picture which a job names can be read.

    Args:
        path: The path of the picture.
        key: The key that names it, for the message.

    Raises:
        ItemError: It cannot be read, or it is a painting without paint.
    """
    if path.is_dir():
        inside = sorted(file for file in path.glob("*") if file.suffix.lower() in PICTURE_SUFFIXES)
        example = f", such as {inside[0]}" if inside else ""
        several = f"; for several, list each as `{key.partition('.images')[0]}.images`" if ".images" in key else ""
        several += ", or pick one for each input with `style: {collection: …}`" if key.startswith("style.") else ""
        raise ItemError(f"{key}: {path} is a folder.", f"Give one picture{example}{several}.")
    try:
        check_listed(path)
        with held(path):
            _, metadata = read_picture(path)
    except ItemError as error:
        raise ItemError(f"{key}: {error.problem}", error.next_step or "Give the path of a picture.") from error
    if "style.images" in key and metadata.alpha is not None and not metadata.alpha.any():
        raise ItemError(f"{key}: {path} is transparent everywhere, so there is no paint.", "Give another painting.")


_At = Callable[[float], None]
"""Called with the share of an input that has been inspected, 0 to 1."""


def inspect_with_retry(file: InputFile, job: Job, journal: Journal, waits: list[float], at: _At) -> InputInfo:
    """Inspect a file, and try again after a wait if the disk failed. `waits` is used up, so that a dead disk costs no hours."""
    tried_at_once = False
    while True:
        try:
            return in_spite_of_kills(functools.partial(_inspect, file, job, journal, at))
        except ItemError as error:
            if not is_transient(error):
                raise
            # FFmpeg reports an input/output error for damaged content too, which no wait repairs.
            if is_readable(file.path):
                if tried_at_once:
                    raise
                tried_at_once = True
            elif waits:
                time.sleep(waits.pop(0))
            else:
                raise


def _inspect(file: InputFile, job: Job, journal: Journal, at: _At) -> InputInfo:
    if file.problem:
        raise ItemError(file.problem)
    try:
        state = state_of(file.path)  # before its content: what changes from here on is noticed
        stamp = state.size_bytes, state.modified_ns
        if not file.is_video:
            found = journal.inspected(
                picture_kind(), file.path, stamp, lambda sha256: json.dumps([sha256, *size_of_picture(file.path)])
            )
            picture_sha256, width, height = json.loads(found)
            check_result(file, (width, height), job)
            return InputInfo(file, picture_sha256, (width, height), stamp=stamp)
        sha256 = journal.digest(file.path)
    except OSError as error:
        raise ItemError(f"{error.filename or file.path} cannot be read: {error.strerror}.") from error
    whole, starts = _remembered_video(file, job, journal, sha256, at)
    omissions = _remembered_omissions(file, job, whole)
    return InputInfo(file, sha256, (whole.width, whole.height), whole, starts, stamp, omissions=omissions)


def _remembered_omissions(file: InputFile, job: Job, video: VideoInfo) -> tuple[Omission, ...]:
    """Return what the result of a video will not hold of it. That of a remote video is remembered."""
    if not is_remote(file.path):
        return omissions_of(file, job, video)
    deciding = fingerprint_of(output=file.output.suffix, encode=job.encode.model_dump(mode="json"), audio=job.audio)
    name = f"omissions/{__version__}/{job.metadata}/{deciding}"
    found = remembered(file.path, name, lambda: json.dumps([asdict(one) for one in omissions_of(file, job, video)]))
    return tuple(Omission(**one) for one in json.loads(found))


def size_of_picture(path: Path) -> tuple[int, int]:
    """Return the width and height of a picture in pixels, upright. That of a remote one is remembered.

    Raises:
        ItemError: It is none that can be read.
    """
    if not is_remote(path):
        return picture_size(path)
    width, height = json.loads(remembered(path, "size", lambda: json.dumps(picture_size(path))))
    return width, height


def _remembered_video(file: InputFile, job: Job, journal: Journal, sha256: str, at: _At) -> tuple[VideoInfo, tuple[int, ...]]:
    """Return what a video holds, and the frames that begin a shot. Those of a remote video are remembered."""
    if not is_remote(file.path):
        return _video_of(file, job, journal, sha256, at)
    from pydantic import TypeAdapter

    from nstpipe.media.video.ffmpeg_program import named_version
    from nstpipe.media.video.info import VideoInfo

    as_json = TypeAdapter(tuple[VideoInfo, tuple[int, ...]])
    name = f"video/{__version__}/{named_version()}/{job.rate}/{job.shots}"
    known = remembered(file.path, name, lambda: as_json.dump_json(_video_of(file, job, journal, sha256, at)).decode())
    video, starts = as_json.validate_json(known)
    check_result(file, (video.width, video.height), job)
    return replace(video, path=file.path), starts


def _video_of(file: InputFile, job: Job, journal: Journal, sha256: str, at: _At) -> tuple[VideoInfo, tuple[int, ...]]:
    from nstpipe.media.video.ffmpeg_frames import check_readable
    from nstpipe.planning.videos import decoded, open_video, rate_of, shaped, shots_of  # pictures need no PyAV

    video = open_video(file.path, rate_of(job))
    check_result(file, (video.width, video.height), job)
    # A video is decoded twice, to see what there is and where it is cut, and its key frames once more.
    whole = decoded(video, sha256, journal, lambda share: at(share / 2))
    whole = shaped(whole, sha256, journal, lambda _: at(0.5))
    check_readable(whole)
    return whole, shots_of(whole, sha256, journal, lambda share: at(0.5 + share / 2)) if job.shots == "auto" else (0,)


def with_omissions(picture: InputInfo, job: Job, journal: Journal) -> InputInfo:
    """Add what the result of a picture will not hold of it. The journal keeps it."""
    file = picture.file

    def compute() -> str:
        with held(file.path):
            return json.dumps([asdict(one) for one in omissions_of(file, job, None)])

    found = journal.cached(omissions_kind(file.output, job), picture.sha256, compute)
    return replace(picture, omissions=tuple(Omission(**one) for one in json.loads(found)))


def check_result(file: InputFile, size_before: tuple[int, int], job: Job) -> None:
    """Check that an input can be painted at the job's size, and that a picture's format can hold that size.

    Raises:
        ItemError: It cannot.
    """
    size = working_size(size_before, job.size, even=file.is_video)
    has_loss = job.engine.learns or "style.layers" not in job.engine.unread_keys
    layers = (*job.style.layers, *job.content.layers) if has_loss else None
    suffix = None if file.is_video else file.output.suffix
    if _fits(size, job.engine.last_layer, layers, suffix):
        return
    try:
        if job.engine.last_layer is not None:
            check_network_size(size, job.engine.last_layer)
        if layers is not None:
            check_size(size, layers)
    except ItemError as error:
        raise ItemError(f"{file.path}: {error.problem}", error.next_step) from error
    if not file.is_video:
        check_output(file.output, size)


@functools.lru_cache(maxsize=1024)
def _fits(size: tuple[int, int], last_layer: str | None, layers: tuple[str, ...] | None, suffix: str | None) -> bool:
    """Return whether `check_result` finds nothing wrong with a size. Most pictures of a folder have the same."""
    try:
        if last_layer is not None:
            check_network_size(size, last_layer)
        if layers is not None:
            check_size(size, layers)
        if suffix is not None:
            check_output(Path(f"picture{suffix}"), size)
    except ItemError:
        return False
    return True


def masks_of(file: InputFile, job: Job, frame_count: int) -> tuple[Mask, ...]:
    """Return the masks of a job's regions for one of its inputs.

    Raises:
        ItemError: A mask is missing.
    """
    name = name_in_job(file, job)
    for region in job.regions:
        check_listed(region.mask)
    return tuple(
        mask_of(region.mask, f"regions[{index}]", name, frame_count, is_video=file.is_video)
        for index, region in enumerate(job.regions)
    )


def with_masks(found: InputInfo, job: Job, journal: Journal) -> InputInfo:
    """Return the input with the masks of its regions, and the hashes of their contents."""
    if not job.regions:
        return found
    masks = masks_of(found.file, job, found.frame_count)
    contents = []
    for mask in masks:
        for path in mask.files:
            size_of_picture(path)
        digests = [journal.digest(path) for path in mask.files]
        contents.append(digests[0] if len(digests) == 1 else fingerprint_of(masks=digests))
    return replace(found, masks=masks, masks_sha256=tuple(contents))


def missing_frames_of(output: Output) -> Iterator[ItemFailed]:
    """Yield a failure for the missing frames of a damaged video. The frames that decode are painted."""
    video = output.input.video
    if video is not None and video.loss is not None:
        yield damaged(output.job, video, video.loss)


def damaged(job: Job, video: VideoInfo, loss: MissingFrames) -> ItemFailed:
    """Return a failure for the frames that are missing from a damaged video. The rest of it is painted."""
    problem = f"{video.path} is damaged: {loss}. What decodes of it, {len(video.ticks)} frames, is done"
    failure = failed(job, video.path, ItemError(f"{problem}.", "Get the whole file."))
    # Nothing is left to try: the output is made all the same.
    return replace(failure, tried_now=False)
