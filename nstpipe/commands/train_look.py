"""Trains a network for the look of a job, to keep."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from nstpipe.config import Job, Pipeline
from nstpipe.config.engines import LookEngine
from nstpipe.errors import InputError, MachineError, OutputError, UsageError
from nstpipe.events import Emit
from nstpipe.journal.journal import Journal
from nstpipe.media.video.ffmpeg_program import check as check_ffmpeg
from nstpipe.media.video.ffmpeg_program import using
from nstpipe.painting.looks import train_look as train
from nstpipe.painting.task import LookResult, RunSettings
from nstpipe.planning.plan import plan_pipeline
from nstpipe.planning.remote_files import addresses_shown, pin_pictures, remote_files, telling_addresses
from nstpipe.running.looks import look_task
from nstpipe.running.staging import files_of
from nstpipe.storage.contents import held
from nstpipe.style.networks.files import read_tensors
from nstpipe.system.files import ensure_folder
from nstpipe.system.stop import Stop
from nstpipe.training.state import state_path


def train_look(pipeline: Pipeline, output: Path, stop: Stop, emit: Emit, *, restart: bool) -> LookResult:
    """Train a network, or continue its training; see `nstpipe.api.train_look`."""
    job = _job_of(pipeline)
    _check_output(output, restart=restart)
    learning = pipeline.with_jobs((_learning(job),))
    emit = telling_addresses(emit, pipeline)
    with (
        addresses_shown(pipeline),
        using(pipeline.ffmpeg, pipeline.place_of("ffmpeg")),
        remote_files(pipeline, stop) as mirror,
    ):
        check_ffmpeg()
        if mirror is not None:
            pin_pictures(pipeline, mirror)
        with closing(Journal(pipeline.work, pipeline=pipeline.file, repair=False)) as journal:
            plan = plan_pipeline(learning, journal, stop=stop, emit=emit)
        if not plan.outputs:
            first = plan.failures[0]
            raise InputError(f"{job.name}: {first.reason}", first.next_step)
        [look] = plan.looks
        if restart:
            state_path(output).unlink(missing_ok=True)
        ensure_folder(output.absolute().parent)
        task = replace(look_task(look, plan, RunSettings.of(pipeline), workers=1), path=output)
        with held(*dict.fromkeys(path for output in task.outputs for path in files_of(output))):
            result = train(task, emit, stop)
    if result.failure:
        raise MachineError(result.failure, result.next_step)
    return result


def _job_of(pipeline: Pipeline) -> Job:
    if len(pipeline.jobs) > 1:
        names = ", ".join(job.name for job in pipeline.jobs)
        raise UsageError(f"--job: the file has {len(pipeline.jobs)} jobs; give the name of one: {names}.")
    return pipeline.jobs[0]


def _learning(job: Job) -> Job:
    """Return a job whose engine is a network that is not trained yet."""
    engine = job.engine if isinstance(job.engine, LookEngine) else LookEngine(name="network")
    return job.model_copy(update={"engine": engine.model_copy(update={"weights": None})})


def _check_output(output: Path, *, restart: bool) -> None:
    """Check that no file is replaced but one that a training made, and that one only if it is begun anew.

    Raises:
        UsageError: there is a file.
        OutputError: it is a folder.
    """
    if output.is_dir():
        raise OutputError(f"{output} is a folder.", "Give the path of a file, such as starry.safetensors.")
    if not output.exists():
        return
    try:
        is_own = bool(read_tensors("--output", output).metadata)
    except MachineError:
        is_own = False
    if not is_own:
        raise UsageError(f"--output: {output} is there already, and no training has made it.", "Give another path.")
    if not restart:
        raise UsageError(f"--output: {output} is trained already.", "Give another path, or --restart to replace it.")
