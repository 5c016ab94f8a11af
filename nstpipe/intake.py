"""All inputs of a pipeline, opened and looked at: what there is to do, and what cannot be done."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import joblib

from nstpipe.clip import RETRY_WAITS_SECONDS, failed, frames_done, is_transient
from nstpipe.config import Job, Pipeline
from nstpipe.errors import ItemError
from nstpipe.events import Emit, InputsProgressed, ItemFailed
from nstpipe.files import free_bytes, is_readable, state_of
from nstpipe.journal import Journal
from nstpipe.media.frame import Pixels, in_eight_bits, working_size
from nstpipe.media.framestore import stored_bytes
from nstpipe.media.inputs import InputFile, find_inputs, left_aside
from nstpipe.media.masks import Mask, mask_of
from nstpipe.media.pictures import check_output, picture_size, read_picture
from nstpipe.media.video import (
    SURVEY_VERSION,
    Loss,
    Survey,
    VideoInfo,
    VideoSource,
    bits_of,
    check_readable,
    probe,
    promised,
    survey,
    surveyed,
    try_output,
)
from nstpipe.motion.flow import flow_method
from nstpipe.motion.shots import DETECTOR_VERSION, shot_starts
from nstpipe.neighbours import with_neighbour
from nstpipe.paint import EARLIER_BITS
from nstpipe.plan import Clip, Found, Output, fingerprint_of, plan_job
from nstpipe.stop import Stop, Stopped
from nstpipe.style.device import choose_device
from nstpipe.style.engine import check_size
from nstpipe.style.weights import weights_sha256


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        outputs: done and not done, in the order of the pipeline.
        failures: inputs that cannot be used.
        bytes_needed: on the disk of the work folder, for frames that wait to be encoded.
        bytes_free: there.
        notices: of the inputs and the journal.
    """

    outputs: tuple[Output, ...]
    failures: tuple[ItemFailed, ...]
    bytes_needed: int = 0
    bytes_free: int = 0
    notices: tuple[str, ...] = ()


CORES_A_WORKER = 8
"""On a CPU one frame's optimisation keeps about so many cores busy; more cores are better spent on more clips."""


LARGEST_RATE_DENOMINATOR = 1001
"""Of the common rates: 30000/1001 and its kin."""


PROGRESS_SECONDS = 0.5
"""Between two events that say how far the look at the inputs is; a shorter look has none."""


class _Watch:
    """Says how far the look at a job's inputs is, and ends it when the time is up."""

    def __init__(self, stop: Stop, emit: Emit) -> None:
        self._stop = stop
        self._emit = emit
        self._said_at = time.monotonic()

    def __call__(self, job: str, path: str, inputs_done: int, inputs: int, share: float) -> None:
        """Called before each input, and at each frame of one that is decoded; the arguments are those of the event.

        Raises:
            Stopped: the run is to end.
        """
        if self._stop.before():
            raise Stopped
        now = time.monotonic()
        if now - self._said_at >= PROGRESS_SECONDS:
            self._said_at = now
            self._emit(InputsProgressed(job=job, path=path, inputs_done=inputs_done, inputs=inputs, share=share))


def plan_pipeline(pipeline: Pipeline, journal: Journal, *, stop: Stop, emit: Emit) -> Plan:
    """Open all inputs, and decide what must be done and why.

    Args:
        pipeline: with the jobs to plan.
        journal: what earlier runs did; what is measured of the inputs is kept there.
        stop: looked at before each input, and while one is decoded.
        emit: told how far it is.

    Raises:
        Stopped: the time is up; what was measured by then is kept.
    """
    watch = _Watch(stop, emit)
    weights = weights_sha256(pipeline.weights)
    outputs: list[Output] = []
    notices = [f"{job.name}: {said}" for job in pipeline.jobs for said in left_aside(job)]
    failures: list[ItemFailed] = []
    taken: dict[Path, InputFile] = {}
    waits = list(RETRY_WAITS_SECONDS)
    for job in pipeline.jobs:
        try:
            check_pictures(job)
            flow_method(job.temporal.flow, pipeline.device)  # that its weights are missing is said before the work begins
            flow = [job.temporal.flow] if isinstance(job.temporal.flow, Path) else []
            pictures = {path: journal.digest(path) for path in (*(path for path, _ in _pictures_of(job)), *flow)}
            files = find_inputs(job)
        except ItemError as error:
            failures.append(failed(job, job.input, error))
            continue
        found: list[Found] = []
        for inputs_done, file in enumerate(files):
            at = partial(watch, job.name, str(file.path), inputs_done, len(files))
            at(0.0)
            try:
                _see_that_it_is_alone(file, taken)
                item = _with_masks(_look_again(file, job, journal, waits, at), job, journal)
                found.append(with_neighbour(found[-1] if found else None, item, job, journal))
            except ItemError as error:
                failures.append(failed(job, file.path, error))
        known = {item.file.output: record for item in found if (record := journal.record_of(item.file.output)) is not None}
        outputs += plan_job(
            job,
            found,
            known,
            seed=pipeline.seed,
            weights_sha256=weights,
            picture_sha256=pictures,
            frames_stored=lambda clip: frames_done(pipeline.work, clip),
            precision=pipeline.precision,
        )
    todo = [output for output in outputs if not output.is_done]
    return Plan(tuple(outputs), tuple(failures), bytes_needed(todo, pipeline), free_bytes(pipeline.work), tuple(notices))


def _pictures_of(job: Job) -> Iterator[tuple[Path, str]]:
    for index, image in enumerate(job.style.images):
        yield image.path, f"style.images[{index}]"
    for number, region in enumerate(job.regions):
        for index, image in enumerate(region.style.images if region.style is not None else ()):
            yield image.path, f"regions[{number}].style.images[{index}]"
        if not region.mask.is_dir():
            yield region.mask, f"regions[{number}].mask"
    if isinstance(job.init, Path):
        yield job.init, "init"


def check_pictures(job: Job) -> None:
    """Read the paintings of a job, and the picture that it starts from if it names one.

    Raises:
        ItemError: one of them cannot be read.
    """
    for path, key in _pictures_of(job):
        _check_picture(path, key)


def _check_picture(path: Path, key: str) -> None:
    try:
        read_picture(path)
    except ItemError as error:
        raise ItemError(f"{key}: {error.problem}", error.next_step or "Give the path of a picture.") from error


def _see_that_it_is_alone(file: InputFile, taken: dict[Path, InputFile]) -> None:
    """Two jobs whose folders overlap would write the same file one after the other, in every run."""
    first = taken.setdefault(file.output, file)
    if first is not file:
        raise ItemError(f"output: {first.path} and {file.path} would both be written to {file.output}.", "Give another place.")


_At = Callable[[float], None]
"""Told of an input which share of it was looked at, 0 to 1."""


def _look_again(file: InputFile, job: Job, journal: Journal, waits: list[float], at: _At) -> Found:
    """Look into a file, again after a while if the disk failed it; `waits` are used up, lest a dead disk cost hours."""
    tried_at_once = False
    while True:
        try:
            return _look(file, job, journal, at)
        except ItemError as error:
            if not is_transient(error):
                raise
            # FFmpeg speaks of input and output also where a file's content is damaged: that is worth no wait.
            if is_readable(file.path):
                if tried_at_once:
                    raise
                tried_at_once = True
            elif waits:
                time.sleep(waits.pop(0))
            else:
                raise


def _look(file: InputFile, job: Job, journal: Journal, at: _At) -> Found:
    if file.problem:
        raise ItemError(file.problem)
    try:
        state = state_of(file.path)  # before its content: what changes from here on is noticed
        stamp = state.size_bytes, state.modified_ns
        sha256 = journal.digest(file.path)
    except OSError as error:
        raise ItemError(f"{file.path} cannot be read: {error.strerror}.") from error
    if not file.is_video:
        size = picture_size(file.path)
        _check_result(file, size, job)
        return Found(file, sha256, size, stamp=stamp)
    video = promised(file.path, rate_of(job))
    check_readable(video)
    _check_result(file, (video.width, video.height), job)

    def decoded(frames: int) -> None:
        # A video is decoded twice, to see what there is and where it is cut.
        at(min(frames / max(len(video.ticks), 1), 1.0) / 2)

    kept = journal.cached(f"survey/{SURVEY_VERSION}", sha256, lambda: survey(video, decoded).as_json())
    whole = surveyed(video, Survey.from_json(kept))
    starts: tuple[int, ...] = (0,)
    if job.shots == "auto":
        found = journal.cached(f"shots/{DETECTOR_VERSION}", sha256, lambda: json.dumps(_shots(whole, at)))
        starts = tuple(json.loads(found))
    return Found(file, sha256, (whole.width, whole.height), whole, starts, stamp)


def _check_result(file: InputFile, size_before: tuple[int, int], job: Job) -> None:
    """See that an input can be painted at the size asked for, and a picture be written at it.

    Raises:
        ItemError: it cannot.
    """
    size = working_size(size_before, job.size, even=file.is_video)
    try:
        check_size(size, (*job.style.layers, *job.content.layers))
    except ItemError as error:
        raise ItemError(f"{file.path}: {error.problem}", error.next_step) from error
    if not file.is_video:
        check_output(file.output, size)


def masks_of(file: InputFile, job: Job, frame_count: int) -> tuple[Mask, ...]:
    """The masks of a job's regions for one of its inputs.

    Raises:
        ItemError: one is missing.
    """
    name = file.output.relative_to(job.output) if job.output in file.output.parents else Path(file.path.name)
    return tuple(
        mask_of(region, f"regions[{index}]", name, frame_count, is_video=file.is_video)
        for index, region in enumerate(job.regions)
    )


def _with_masks(found: Found, job: Job, journal: Journal) -> Found:
    if not job.regions:
        return found
    masks = masks_of(found.file, job, found.frame_count)
    contents = []
    for mask in masks:
        for path in mask.files:
            picture_size(path)
        digests = [journal.digest(path) for path in mask.files]
        contents.append(digests[0] if len(digests) == 1 else fingerprint_of(masks=digests))
    return replace(found, masks=masks, masks_sha256=tuple(contents))


def _shots(video: VideoInfo, at: _At) -> tuple[int, ...]:
    def frames() -> Iterator[Pixels]:
        for frame_index, frame in enumerate(VideoSource(video).read(0, len(video.ticks))):
            at(0.5 + frame_index / len(video.ticks) / 2)
            yield in_eight_bits(frame.pixels)

    return shot_starts(frames(), video.average_rate)


def rate_of(job: Job) -> Fraction:
    """Frames a second of numbered pictures; a decimal such as 29.97 is not held exactly by a float."""
    return Fraction(job.rate).limit_denominator(LARGEST_RATE_DENOMINATOR)


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
        return _check_inputs(pipeline, Path(folder), _Watch(Stop(), emit))


def _check_inputs(pipeline: Pipeline, trials: Path, watch: _Watch) -> tuple[int, tuple[ItemFailed, ...]]:
    usable = 0
    failures: list[ItemFailed] = []
    taken: dict[Path, InputFile] = {}
    for job in pipeline.jobs:
        unpainted = False
        for path, key in _pictures_of(job):
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
                _see_that_it_is_alone(file, taken)
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


def losses_of(output: Output) -> Iterator[ItemFailed]:
    """What is missing from a damaged video whose decodable part is done all the same."""
    video = output.found.video
    if video is not None and video.loss is not None:
        yield _damaged(output.job, video, video.loss)


def _damaged(job: Job, video: VideoInfo, loss: Loss) -> ItemFailed:
    problem = f"{video.path} is damaged: {loss}. What decodes of it, {len(video.ticks)} frames, is done"
    failure = failed(job, video.path, ItemError(f"{problem}.", "Get the whole file."))
    # Nothing is left to try: the output is made all the same.
    return replace(failure, tried_now=False)


def bytes_needed(outputs: Sequence[Output], pipeline: Pipeline) -> int:
    """On the disk of the work folder: as many videos at a time as there are workers wait to be encoded."""
    needed = [sum(clip_bytes(clip, output, pipeline.work) for clip in output.clips) for output in outputs]
    return sum(sorted(needed, reverse=True)[: worker_count(pipeline)])


def clip_bytes(clip: Clip, output: Output, work: Path) -> int:
    """What the frames of a clip that are still to be done will take on the disk of the work folder."""
    if output.found.video is None:
        return 0
    frames, history = clip.frame_count - frames_done(work, clip), max(output.job.temporal.lags)
    all_bits = (_bits_of(output), *[EARLIER_BITS] * (output.passes_of(clip) - 1))
    return sum(stored_bytes(frames, output.size, bits, history) for bits in all_bits)


def _bits_of(output: Output) -> int:
    video = output.found.video
    return 8 if video is None else bits_of(output.job.encode, video, output.path)


def worker_count(pipeline: Pipeline) -> int:
    """Processes that work on clips at the same time."""
    if pipeline.workers != "auto":
        return pipeline.workers
    if choose_device(pipeline.device).type != "cpu":
        return 1  # one process fills a GPU; several would share its memory
    return max(1, int(joblib.cpu_count()) // CORES_A_WORKER)
