"""What the commands do, for Python: check, plan, run, and stylise one picture."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import get_args

import joblib
import numpy as np
from PIL import Image, ImageOps

from nstpipe.clip import ClipTask, failed, finish_output, frames_done, run_clip
from nstpipe.config import Job, Pipeline, load_pipeline
from nstpipe.config.models import Color, Optimizer, Style
from nstpipe.errors import EXIT_DONE, EXIT_SOME_FAILED, InputError, ItemError, UsageError
from nstpipe.events import Emit, Event, ItemFailed, JobPlanned, Noticed, OutputDone, RunFinished
from nstpipe.execute import execute
from nstpipe.files import ensure_writable
from nstpipe.journal import Journal
from nstpipe.media.frame import in_eight_bits, resized, working_size
from nstpipe.media.inputs import InputFile, find_inputs
from nstpipe.media.pictures import limit_megapixels, picture_size, read_picture
from nstpipe.media.video import (
    SURVEY_VERSION,
    Loss,
    Survey,
    VideoInfo,
    VideoSource,
    left_behind,
    probe,
    survey,
    surveyed,
    try_output,
)
from nstpipe.motion.shots import DETECTOR_VERSION, shot_starts
from nstpipe.plan import Found, Output, plan_job
from nstpipe.style.device import choose_device
from nstpipe.style.engine import Engine, EngineSettings, StylePicture, pixels_of, tensor_of
from nstpipe.style.weights import load_weights, weights_sha256

LARGEST_RATE_DENOMINATOR = 1001
"""Of the common rates: 30000/1001 and its kin."""

CORES_A_WORKER = 8
"""On a CPU one frame's optimisation keeps about so many cores busy; more cores are better spent on more clips."""


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Attributes:
        exit_code: 0 all done, 2 finished but some inputs failed.
        outputs: made in this run.
        already_done: outputs that an earlier run had finished.
        failures: pictures and videos that could not be done, with the reasons.
        seconds: that the run took.
    """

    exit_code: int
    outputs: tuple[OutputDone, ...]
    already_done: tuple[Path, ...]
    failures: tuple[ItemFailed, ...]
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        outputs: done and not done, in the order of the pipeline.
        failures: inputs that cannot be used.
    """

    outputs: tuple[Output, ...]
    failures: tuple[ItemFailed, ...]


def _ignore(_: Event) -> None:
    return None


def run(
    pipeline: str | Path | Pipeline,
    *,
    jobs: Sequence[str] = (),
    overrides: Sequence[str] = (),
    workers: int | None = None,
    device: str | None = None,
    on_event: Emit = _ignore,
) -> RunResult:
    """Do all that is not done yet; what `nstpipe run` does.

    Args:
        pipeline: a pipeline.yaml's path, or a pipeline already loaded.
        jobs: names of the jobs to do; all of them if empty.
        overrides: ``key.path=value``, as for ``--set``.
        workers: processes, instead of the pipeline's own number.
        device: instead of the pipeline's own.
        on_event: called with each event as it happens.

    Raises:
        ConfigError: the YAML is wrong.
        InputError: no input at all could be used.
        MachineError: weights, device or ffmpeg are missing.
        OutputError: an output or the work folder cannot be written.
        UsageError: there is no job of that name.
    """
    began = time.monotonic()
    settings = _loaded(pipeline, jobs, overrides, workers, device)
    choose_device(settings.device)
    load_weights(settings.weights)
    with closing(Journal(settings.work)) as journal:
        plan = _plan(settings, journal)
        for failure in plan.failures:
            on_event(failure)
        if not plan.outputs:
            raise InputError("nothing usable in the inputs.", "See the reasons above.")
        for folder in {output.path.parent for output in plan.outputs if not output.is_done}:
            ensure_writable(folder)
        failures = list(plan.failures)
        failures += _encode_failures(settings, plan, on_event)
        unusable = {(failure.job, failure.path) for failure in failures}
        # What decodes of a damaged video is done; that something is missing is said all the same, in every run.
        losses = [loss for output in plan.outputs for loss in _losses(output, unusable)]
        for loss in losses:
            on_event(loss)
        failures += losses
        todo = [
            output
            for output in plan.outputs
            if not output.is_done and (output.job.name, str(output.found.file.path)) not in unusable
        ]
        for job in settings.jobs:
            on_event(_job_planned(job, plan, todo, settings.work))
        for output in todo:
            for notice in _notices(output):
                on_event(notice)
        outputs: list[OutputDone] = []
        for result in _made(settings, todo, on_event):
            if isinstance(result, OutputDone):
                journal.record(Path(result.output), result.job, result.fingerprint, result.sha256, result.frames)
                outputs.append(result)
            else:
                failures.append(result)
            on_event(result)
    already_done = tuple(output.path for output in plan.outputs if output.is_done)
    if failures and not outputs and not already_done:
        raise InputError("nothing could be made of the inputs.", "See the reasons above.")
    finished = RunFinished(
        exit_code=EXIT_SOME_FAILED if failures else EXIT_DONE,
        outputs_made=len(outputs),
        outputs_already_done=len(already_done),
        items_failed=len(failures),
        seconds=time.monotonic() - began,
    )
    on_event(finished)
    return RunResult(finished.exit_code, tuple(outputs), already_done, tuple(failures), finished.seconds)


def _made(pipeline: Pipeline, todo: Sequence[Output], emit: Emit) -> Iterator[OutputDone | ItemFailed]:
    """Stylise the clips of all outputs; each output is finished as soon as its last clip is."""
    tasks = [
        ClipTask(
            output,
            clip,
            pipeline.work,
            pipeline.device,
            pipeline.precision,
            pipeline.weights,
            pipeline.seed,
            pipeline.max_megapixels,
        )
        for output in todo
        for clip in output.clips
    ]
    clips_left = {output.path: len(output.clips) for output in todo}
    failed_outputs: set[Path] = set()
    for result in execute(run_clip, tasks, workers=_workers(pipeline), emit=emit):
        output = result.task.output
        clips_left[output.path] -= 1
        if result.failure is not None and output.path not in failed_outputs:
            failed_outputs.add(output.path)
            yield result.failure
        if clips_left[output.path] == 0 and output.path not in failed_outputs:
            yield finish_output(output, pipeline.work)


def check(pipeline: str | Path | Pipeline, *, overrides: Sequence[str] = ()) -> tuple[int, tuple[ItemFailed, ...]]:
    """Open every input to the end of its head, and every picture to its last line; write nothing.

    Args:
        pipeline: a pipeline.yaml's path, or a pipeline already loaded.
        overrides: ``key.path=value``, as for ``--set``.

    Returns:
        How many inputs can be used, and what is wrong with the others.

    Raises:
        ConfigError: the YAML is wrong.
    """
    usable = 0
    failures: list[ItemFailed] = []
    for job in _loaded(pipeline, (), overrides, None, None).jobs:
        try:
            for path, key in _pictures_of(job):
                _check_picture(path, key)
            files = find_inputs(job)
        except ItemError as error:
            failures.append(failed(job, job.input, error))
            continue
        for file in files:
            try:
                video = _opened(file, job)
                failures += [_damaged(job, video, video.loss)] if video is not None and video.loss is not None else []
                usable += 1
            except ItemError as error:
                failures.append(failed(job, file.path, error))
    return usable, tuple(failures)


def _opened(file: InputFile, job: Job) -> VideoInfo | None:
    if file.problem:
        raise ItemError(file.problem)
    if file.is_video:
        return probe(file.path, _rate_of(job))
    read_picture(file.path)
    return None


def plan(pipeline: str | Path | Pipeline, *, jobs: Sequence[str] = (), overrides: Sequence[str] = ()) -> Plan:
    """What `run` would do, with the reasons; see `run` for arguments and errors."""
    settings = _loaded(pipeline, jobs, overrides, None, None)
    with closing(Journal(settings.work)) as journal:
        return _plan(settings, journal)


def _loaded(
    pipeline: str | Path | Pipeline, jobs: Sequence[str], overrides: Sequence[str], workers: int | None, device: str | None
) -> Pipeline:
    if isinstance(pipeline, Pipeline):
        loaded = pipeline
    else:
        extra = [*([f"workers={workers}"] if workers is not None else []), *([f"device={device}"] if device else [])]
        loaded = load_pipeline(Path(pipeline), [*overrides, *extra])
    known = [job.name for job in loaded.jobs]
    for name in jobs:
        if name not in known:
            raise UsageError(f"--job {name}: there is no such job; the file has {', '.join(known)}.")
    limit_megapixels(loaded.max_megapixels)
    chosen = tuple(job for job in loaded.jobs if not jobs or job.name in jobs)
    return loaded.model_copy(update={"jobs": chosen})


def _plan(pipeline: Pipeline, journal: Journal) -> Plan:
    weights = weights_sha256(pipeline.weights)
    outputs: list[Output] = []
    failures: list[ItemFailed] = []
    taken: dict[Path, InputFile] = {}
    for job in pipeline.jobs:
        try:
            for path, key in _pictures_of(job):
                _check_picture(path, key)
            pictures = {path: journal.digest(path) for path, _ in _pictures_of(job)}
            files = find_inputs(job)
        except ItemError as error:
            failures.append(failed(job, job.input, error))
            continue
        found: list[Found] = []
        for file in files:
            try:
                _see_that_it_is_alone(file, taken)
                found.append(_look(file, job, journal))
            except ItemError as error:
                failures.append(failed(job, file.path, error))
        finished = {file.output: record for file in files if (record := journal.finished(file.output)) is not None}
        outputs += plan_job(job, found, finished, seed=pipeline.seed, weights_sha256=weights, picture_sha256=pictures)
    return Plan(tuple(outputs), tuple(failures))


def _pictures_of(job: Job) -> Iterator[tuple[Path, str]]:
    for index, image in enumerate(job.style.images):
        yield image.path, f"style.images[{index}]"
    if isinstance(job.init, Path):
        yield job.init, "init"


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


def _look(file: InputFile, job: Job, journal: Journal) -> Found:
    if file.problem:
        raise ItemError(file.problem)
    try:
        sha256 = journal.digest(file.path)
    except OSError as error:
        raise ItemError(f"{file.path} cannot be read: {error.strerror}.") from error
    if not file.is_video:
        return Found(file, sha256, picture_size(file.path))
    video = probe(file.path, _rate_of(job))
    kept = journal.cached(f"survey/{SURVEY_VERSION}", sha256, lambda: survey(video).as_json())
    video = surveyed(video, Survey.from_json(kept))
    starts: tuple[int, ...] = (0,)
    if job.shots == "auto":
        found = journal.cached(f"shots/{DETECTOR_VERSION}", sha256, lambda: json.dumps(_shots(video)))
        starts = tuple(json.loads(found))
    return Found(file, sha256, (video.width, video.height), video, starts)


def _shots(video: VideoInfo) -> tuple[int, ...]:
    frames = VideoSource(video).read(0, len(video.ticks))
    return shot_starts((in_eight_bits(frame.pixels) for frame in frames), video.average_rate)


def _rate_of(job: Job) -> Fraction:
    """Of numbered pictures; a decimal such as 29.97 is not held exactly by a float."""
    return Fraction(job.rate).limit_denominator(LARGEST_RATE_DENOMINATOR)


def _encode_failures(pipeline: Pipeline, plan: Plan, on_event: Emit) -> list[ItemFailed]:
    """Try the codec, container and sound of each video that will be encoded."""
    failures = []
    for output in plan.outputs:
        if output.is_done or output.found.video is None:
            continue
        job = output.job
        try:
            try_output(
                pipeline.work,
                output.path,
                output.found.video,
                output.size,
                job.encode,
                copy_audio=job.audio == "copy",
                keep_metadata=job.metadata == "keep",
            )
        except ItemError as error:
            failure = failed(job, output.found.file.path, error)
            on_event(failure)
            failures.append(failure)
    return failures


def _job_planned(job: Job, plan: Plan, todo: Sequence[Output], work: Path) -> JobPlanned:
    outputs = [output for output in plan.outputs if output.job.name == job.name]
    frames_left = work_left = 0
    for output in todo:
        if output.job.name != job.name:
            continue
        for clip in output.clips:
            done = frames_done(work, output, clip)
            frames_left += clip.frame_count - done
            work_left += output.most_evaluations(clip, done) * output.size[0] * output.size[1]
    return JobPlanned(
        job=job.name,
        outputs=len(outputs),
        outputs_done=sum(output.is_done for output in outputs),
        frames=sum(output.found.frame_count for output in outputs),
        frames_left=frames_left,
        work_left=work_left,
    )


def _losses(output: Output, unusable: set[tuple[str, str]]) -> Iterator[ItemFailed]:
    video = output.found.video
    if video is not None and video.loss is not None and (output.job.name, str(video.path)) not in unusable:
        yield _damaged(output.job, video, video.loss)


def _damaged(job: Job, video: VideoInfo, loss: Loss) -> ItemFailed:
    problem = f"{video.path} is damaged: {loss}. What decodes of it, {len(video.ticks)} frames, is done"
    return failed(job, video.path, ItemError(f"{problem}.", "Get the whole file."))


def _notices(output: Output) -> Iterator[Noticed]:
    video = output.found.video
    if video is not None:
        yield from (Noticed(job=output.job.name, message=message) for message in _video_notices(output, video))
    if len(output.clips) > 1:
        at = ", ".join(str(clip.first_frame_index) for clip in output.clips[1:])
        yield Noticed(
            job=output.job.name, message=f"{output.found.file.path.name} has {len(output.clips)} shots; cuts at frame {at}"
        )


def _video_notices(output: Output, video: VideoInfo) -> Iterator[str]:
    name = video.path.name
    if not video.matrix_is_tagged:
        matrix = {"bt709": "BT.709", "smpte170m": "BT.601"}.get(video.matrix, video.matrix)
        yield f"{name} does not say its colour matrix; {matrix} is taken, as players do at its size"
    if video.interlaced:
        yield f"{name} is interlaced; each frame becomes one whole picture (bwdif)"
    if video.hdr is not None:
        yield f"{name} is in {video.hdr}; it is brought to the range of a standard picture in BT.709"
    if video.complaint:
        yield f"{name} has errors, though no frame is missing; some may look damaged. The decoder said: {video.complaint}"
    for sentence in left_behind(video, output.path, copy_audio=output.job.audio == "copy"):
        yield f"{name}: {sentence}"


def _workers(pipeline: Pipeline) -> int:
    if pipeline.workers != "auto":
        return pipeline.workers
    if choose_device(pipeline.device).type != "cpu":
        return 1  # one process fills a GPU; several would share its memory
    return max(1, int(joblib.cpu_count()) // CORES_A_WORKER)


def stylize(
    content: Image.Image,
    style: Image.Image | Sequence[Image.Image],
    *,
    size: int | str = 512,
    strength: float = 1.0,
    scale: float = 1.0,
    color: Color = "style",
    iterations: int = 200,
    init: str = "matched",
    weights: str | Path = "bundled",
    device: str = "auto",
    seed: int = 0,
    on_progress: Callable[[int, float], None] | None = None,
) -> Image.Image:
    """Repaint one picture.

    Args:
        content: what to repaint; any mode, turned upright by its EXIF.
        style: the painting, or several of equal weight.
        size: longest side of the result in pixels, or ``native``.
        strength: 1.0 is the tuned default; more is more style.
        scale: size of the brush strokes relative to the picture.
        color: whose colours the result has: style, content, or matched (the painting takes the content's first).
        iterations: at most; it stops earlier when nothing changes any more.
        init: matched, content, noise or blank.
        weights: bundled, torchvision or a path.
        device: auto, cpu, cuda or cuda:N.
        seed: of the noise.
        on_progress: called with the iterations done and the loss.

    Returns:
        A picture in RGB.

    Raises:
        UsageError: `init`, `size` or the list of styles is unusable.
        ItemError: the picture is too small for VGG19 at this size.
        MachineError: weights or device are missing.
    """
    styles = [style] if isinstance(style, Image.Image) else list(style)
    if not styles:
        raise UsageError("stylize: style is empty; give one picture or more.")
    if init not in ("matched", "content", "noise", "blank"):
        raise UsageError(f"stylize: found init={init!r}; allowed are matched, content, noise and blank.")
    if color not in get_args(Color):
        raise UsageError(f"stylize: found color={color!r}; allowed are {', '.join(get_args(Color))}.")
    if size != "native" and not isinstance(size, int):
        raise UsageError(f"stylize: found size={size!r}; allowed are a number of pixels and 'native'.")
    style_defaults, optimizer = Style.model_fields["layers"].default, Optimizer(first=iterations)
    engine = Engine(
        EngineSettings(
            weights=weights,
            device=device,
            precision="auto",
            pooling="max",
            padding="replicate",
            content_layers=(("relu4_2", 1.0),),
            style_layers=tuple(style_defaults.items()),
            strength=strength,
            style_scale=scale,
            total_variation=1.0,
            color=color,
        ),
        [StylePicture(np.asarray(picture.convert("RGB")), 1.0) for picture in styles],
    )
    pixels = np.asarray(ImageOps.exif_transpose(content).convert("RGB"))
    pixels = resized(pixels, working_size((pixels.shape[1], pixels.shape[0]), size))
    original = tensor_of(pixels)
    look = engine.look(original)
    seen = look.seen(original)
    start = look.first_start(seen, init, seed)
    result = start
    for iterate in look.stylise(seen, start, optimizer=optimizer.name, most=optimizer.first, tolerance=optimizer.tolerance):
        result = iterate.image
        if on_progress is not None:
            on_progress(iterate.evaluations, iterate.loss)
    return Image.fromarray(pixels_of(look.shown(result.cpu(), original)))


__all__ = ["Plan", "RunResult", "check", "plan", "run", "stylize"]
