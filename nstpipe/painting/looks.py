"""Trains the network of jobs on their own frames, where clips are painted."""

from __future__ import annotations

from contextlib import ExitStack

import torch

from nstpipe.errors import ItemError, MachineError, OutputError
from nstpipe.events import Emit, Noticed
from nstpipe.media.pictures.files import PictureSource
from nstpipe.media.pictures.pillow import limit_megapixels
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.ffmpeg_program import using
from nstpipe.motion.flow.methods import flow_method
from nstpipe.painting.engines import engine_settings, paints_of
from nstpipe.painting.task import LookResult, LookTask
from nstpipe.planning.outputs import Output
from nstpipe.system.files import ensure_folder
from nstpipe.system.memory import ask_for_large_pages
from nstpipe.system.stop import Stop, Stopped
from nstpipe.training.looks import LookOptions, learn_look
from nstpipe.training.material import Shot, TrainingFrame, gathered


def train_look(task: LookTask, emit: Emit, stop: Stop) -> LookResult:
    """Train a network on the frames of jobs, or continue its training. A failure of the training is returned, not raised.

    Raises:
        OutputError: the work folder cannot be written.
    """
    ask_for_large_pages()
    limit_megapixels(task.run.max_megapixels)
    threads = torch.get_num_threads()
    with ExitStack() as until_done:
        if task.threads is not None:
            # Nothing else is computed meanwhile, however many workers there will be.
            torch.set_num_threads(task.threads)
            until_done.callback(torch.set_num_threads, threads)
        until_done.enter_context(using(task.run.ffmpeg))
        until_done.enter_context(stop.in_force())
        until_done.enter_context(stop.graceful("the current step of the training"))
        try:
            return _trained(task, emit, stop)
        except Stopped:
            return LookResult(task)
        except OutputError:
            raise
        except (ItemError, MachineError) as error:
            return LookResult(task, failure=error.problem, next_step=error.next_step)


def _trained(task: LookTask, emit: Emit, stop: Stop) -> LookResult:
    job = task.outputs[0].job
    ensure_folder(task.path.parent)
    styles, regions = paints_of(job)
    learned = learn_look(
        _material(task, emit, stop),
        styles,
        regions,
        LookOptions(
            settings=engine_settings(job, task.run),
            identity=task.identity,
            output=task.path,
            minutes=task.minutes,
            tolerance=task.tolerance,
            seed=task.run.seed,
            job=job.name,
            most_steps=task.most_steps,
        ),
        stop=stop,
        emit=emit,
    )
    return LookResult(task, step=learned.step, seconds=learned.seconds, loss=learned.loss, is_done=learned.is_done)


def _material(task: LookTask, emit: Emit, stop: Stop) -> list[TrainingFrame]:
    job = task.outputs[0].job
    has_motion = job.temporal.weight > 0 and any(output.is_video for output in task.outputs)
    return gathered(
        [shot for output in task.outputs for shot in _shots(output)],
        flow=flow_method(job.temporal.flow, task.run.device) if has_motion else None,
        needs_first=job.color != "style",
        stop=stop,
        tell=lambda message: emit(Noticed(job=job.name, message=message)),
    )


def _shots(output: Output) -> list[Shot]:
    found = output.input
    source = VideoSource(found.video) if found.video is not None else PictureSource(found.file.path.parent, [found.file.path])
    return [Shot(source, clip.first_frame_index, clip.end_frame_index, output.size, found.masks) for clip in output.clips]
