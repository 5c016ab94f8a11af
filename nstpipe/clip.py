"""One clip from its source to its sink: the only place where media and style meet."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nstpipe.config.models import Job
from nstpipe.errors import ItemError
from nstpipe.events import ClipStarted, Emit, FrameDone, FrameProgressed, ItemFailed, OutputDone
from nstpipe.files import sha256_of
from nstpipe.media.frame import Frame, Source, resized
from nstpipe.media.framestore import FrameStore
from nstpipe.media.pictures import PictureSink, PictureSource, read_picture
from nstpipe.media.video import VideoInfo, VideoSink, VideoSource
from nstpipe.plan import Clip
from nstpipe.style.engine import Engine, EngineSettings, StylePicture, pixels_of, tensor_of
from nstpipe.style.optimise import Iterate

PROGRESS_INTERVAL_SECONDS = 0.25
"""Between two events of one optimisation; people read no faster."""


@dataclass(frozen=True)
class ClipTask:
    """A clip and what the whole run has in common; can be sent to another process.

    Attributes:
        clip: what to do.
        work: folder of unfinished work.
        device: as in pipeline.yaml.
        precision: likewise.
        weights: likewise.
        seed: likewise.
    """

    clip: Clip
    work: Path
    device: str
    precision: str
    weights: str | Path
    seed: int


def frame_store(work: Path, clip: Clip) -> FrameStore:
    """Where a clip's finished frames wait for the others."""
    return FrameStore(work / "clips" / clip.frames_fingerprint[:20])


def run_clip(task: ClipTask, emit: Emit) -> OutputDone | ItemFailed:
    """Stylise a clip and write its output. What is wrong with the clip itself comes back as a value.

    Raises:
        NstpipeError: something that would stop every clip, such as a missing device or a full output folder.
    """
    clip = task.clip
    began = time.monotonic()
    try:
        if clip.found.video is not None:
            _run_video(task, clip.found.video, emit)
        else:
            _run_picture(task, emit)
        output = clip.found.file.output
        return OutputDone(
            job=clip.job.name,
            path=str(clip.found.file.path),
            output=str(output),
            frames=clip.frame_count,
            seconds=time.monotonic() - began,
            fingerprint=clip.fingerprint,
            sha256=sha256_of(output),
        )
    except ItemError as error:
        return ItemFailed(
            job=clip.job.name, path=str(clip.found.file.path), reason=error.problem, next_step=error.next_step
        )


def _run_video(task: ClipTask, info: VideoInfo, emit: Emit) -> None:
    clip, job = task.clip, task.clip.job
    source, store = VideoSource(info), frame_store(task.work, clip)
    last = store.last()
    first_frame_index = 0 if last is None else last[0] + 1
    state = None if last is None else torch.from_numpy(last[1])
    emit(_started(clip, first_frame_index))
    if first_frame_index < clip.frame_count:
        for frame, image in _stylised(task, source, first_frame_index, state, emit):
            store.save(frame.frame_index, pixels_of(image), image.cpu().numpy())
    with VideoSink(
        clip.found.file.output,
        info,
        clip.size,
        job.encode,
        copy_audio=job.audio == "copy",
        keep_metadata=job.metadata == "keep",
        frame_count=clip.frame_count,
    ) as sink:
        for frame_index, pixels in enumerate(store.frames(0, clip.frame_count)):
            sink.write(pixels, Frame(pixels, frame_index))
        sink.finish()
    store.remove()


def _run_picture(task: ClipTask, emit: Emit) -> None:
    clip = task.clip
    source = PictureSource(clip.found.file.path.parent, [clip.found.file.path])
    sink = PictureSink([clip.found.file.output], keep_metadata=clip.job.metadata == "keep")
    emit(_started(clip, 0))
    for frame, image in _stylised(task, source, 0, None, emit):
        sink.write(pixels_of(image), frame)


def _started(clip: Clip, first_frame_index: int) -> ClipStarted:
    return ClipStarted(
        job=clip.job.name,
        path=str(clip.found.file.path),
        first_frame_index=first_frame_index,
        frames=clip.frame_count,
        reason=clip.reason,
    )


def _stylised(
    task: ClipTask, source: Source, first_frame_index: int, state: Tensor | None, emit: Emit
) -> Iterator[tuple[Frame, Tensor]]:
    """Frames with their stylised pictures, 1 x 3 x height x width, float32, 0 to 1.

    Args:
        task: the clip.
        source: of the frames.
        first_frame_index: to begin with.
        state: the stylised picture before that one; None at the clip's beginning.
        emit: takes the events.
    """
    clip, job = task.clip, task.clip.job
    engine = _engine(engine_settings(task), tuple((image.path, image.weight) for image in job.style.images))
    began = time.monotonic()
    for frame in source.read(first_frame_index, clip.frame_count):
        content = tensor_of(resized(frame.pixels, clip.size))
        is_first = state is None
        if state is None or job.temporal.init == "content":
            start = _first_start(engine, content, job, task.seed)
        else:
            start = state
        most = job.optimizer.first if is_first else job.optimizer.next
        iterate: Iterate | None = None
        shown = time.monotonic()
        optimisation = engine.stylise(
            content, start, optimizer=job.optimizer.name, most=most, tolerance=job.optimizer.tolerance
        )
        for iterate in optimisation:
            if time.monotonic() - shown > PROGRESS_INTERVAL_SECONDS:
                shown = time.monotonic()
                emit(
                    FrameProgressed(
                        job=job.name,
                        path=str(source.path),
                        frame_index=frame.frame_index,
                        evaluations=iterate.evaluations,
                        most_evaluations=most,
                        loss=iterate.loss,
                    )
                )
        assert iterate is not None, "the config allows no optimisation without an iteration"
        # The state stays in float32 and within the range of a picture; what is beyond cannot be shown.
        state = iterate.image.clamp(0, 1).cpu()
        yield frame, state
        width, height = clip.size
        emit(
            FrameDone(
                job=job.name,
                path=str(source.path),
                frame_index=frame.frame_index,
                seconds=time.monotonic() - began,
                evaluations=iterate.evaluations,
                most_evaluations=most,
                pixels=width * height,
                loss=iterate.loss,
                content_loss=iterate.content_loss,
                style_loss=iterate.style_loss,
            )
        )
        began = time.monotonic()


def _first_start(engine: Engine, content: Tensor, job: Job, seed: int) -> Tensor:
    if isinstance(job.init, Path):
        pixels, _ = read_picture(job.init)
        return tensor_of(resized(pixels, (content.shape[3], content.shape[2])))
    return engine.first_start(content, job.init, seed)


def engine_settings(task: ClipTask) -> EngineSettings:
    """What of a task decides the engine."""
    job = task.clip.job
    return EngineSettings(
        weights=task.weights,
        device=task.device,
        precision=task.precision,
        pooling=job.pooling,
        padding=job.padding,
        content_layers=tuple(job.content.layers.items()),
        style_layers=tuple(job.style.layers.items()),
        strength=job.style.strength,
        style_scale=job.style.scale,
        total_variation=job.total_variation,
    )


@functools.lru_cache(maxsize=1)
def _engine(settings: EngineSettings, images: tuple[tuple[Path, float], ...]) -> Engine:
    """The pictures of a job share one engine: its weights are loaded and its style is measured once a process."""
    return Engine(settings, [StylePicture(read_picture(path)[0], weight) for path, weight in images])
