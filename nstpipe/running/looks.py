"""Trains the networks of a run before the frames that need them are painted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from nstpipe.config import Pipeline
from nstpipe.config.engines import LookEngine
from nstpipe.errors import BusyError, NstpipeError, OutputError
from nstpipe.events import Event, ItemFailed, Noticed, TrainingProgressed
from nstpipe.painting.in_worker import train_look
from nstpipe.painting.task import LookResult, LookTask, RunSettings
from nstpipe.planning.eta import as_duration
from nstpipe.planning.looks import Look, LookProgress, remember
from nstpipe.planning.outputs import Output
from nstpipe.planning.plan import Plan
from nstpipe.planning.planned import PlannedOutputs
from nstpipe.planning.resources import worker_count
from nstpipe.planning.shards import LOCK_POLL_SECONDS
from nstpipe.running.executor import Executor
from nstpipe.running.recorder import Recorder
from nstpipe.running.staging import files_of
from nstpipe.storage.contents import held
from nstpipe.storage.failures import StorageError
from nstpipe.storage.mirror import Mirror
from nstpipe.system.files import ensure_folder
from nstpipe.system.lock import locked
from nstpipe.system.stop import Stop, Stopped
from nstpipe.training.material import MOST_FRAMES, spread


def train_looks(
    pipeline: Pipeline,
    plan: Plan,
    todo: PlannedOutputs,
    *,
    recorder: Recorder,
    stop: Stop,
    executor: Executor,
    mirror: Mirror | None,
) -> PlannedOutputs:
    """Train the networks that outputs need, one after another, with all cores. What is stopped goes on in the next run.

    Args:
        pipeline: The settings of the run.
        plan: All outputs of the run, and the networks.
        todo: The outputs to make.
        recorder: Records what happens. The outputs of a training that fails are recorded as failed.
        stop: Asks the run to end.
        executor: Runs the trainings.
        mirror: The remote files; None if there are none.

    Returns:
        The outputs whose network is there, or that need none.
    """
    wanted = set(todo.counts())
    ready = set(wanted)
    for look in plan.looks:
        if look.is_trained or not wanted.intersection(look.jobs) or stop.should_stop():
            continue
        with _alone(look, recorder, stop):
            if look.is_trained:  # by another shard
                continue
            task = look_task(look, plan, RunSettings.of(pipeline), worker_count(pipeline))
            with _held(task, mirror) as problem:
                result = problem if problem or stop.should_stop() else _trained(look, task, recorder, stop, executor)
        if result is not None and result.is_done:
            minutes = result.seconds / 60
            said = f"the network is trained: {result.step:,} steps in {minutes:.1f} minutes"
            loss = f", loss of held-out frames {result.loss:.3g}" if result.loss is not None else ""
            recorder.emit(Noticed(job=look.jobs[0], message=f"{said}{loss}"))
            continue
        of_it = ready.intersection(look.jobs)
        ready -= of_it
        if result is not None and result.failure:
            for output in todo.of_jobs(of_it):
                recorder.fail(_failed(output, result), output)
    return todo if ready == wanted else todo.of_jobs(ready)


@contextmanager
def _alone(look: Look, recorder: Recorder, stop: Stop) -> Iterator[None]:
    """Wait until no other shard trains a network, or the run is asked to end."""
    with ExitStack() as stack:
        said = False
        while not stop.should_stop():
            try:
                stack.enter_context(locked(look.path.parent))
                break
            except BusyError as error:
                if not said:
                    recorder.emit(Noticed(job=look.jobs[0], message=f"waiting for the network: {error.problem}"))
                said = True
                time.sleep(LOCK_POLL_SECONDS)
        yield


@contextmanager
def _held(task: LookTask, mirror: Mirror | None) -> Iterator[LookResult | None]:
    """Keep the remote files that a training reads in a block; yield its failure if they cannot be fetched."""
    read = dict.fromkeys(path for output in task.outputs for path in files_of(output))
    files = [path for path in read if mirror.covers(path)] if mirror is not None else []
    if mirror is None or not files:
        yield None
        return
    try:
        mirror.hold(*files)
    except Stopped:
        yield LookResult(task)
        return
    except NstpipeError as error:
        yield LookResult(task, failure=error.problem, next_step=error.next_step)
        return
    try:
        yield None
    finally:
        mirror.release(*files)


def _trained(look: Look, task: LookTask, recorder: Recorder, stop: Stop, executor: Executor) -> LookResult | None:
    """Train a network; None if the training did not begin, or was killed again and again."""
    ensure_folder(look.path.parent)
    remember(look)
    begun = "continues" if look.is_begun else "begins"
    said = f"the training of the network {begun}; it takes {as_duration(look.seconds_left)} at most"
    recorder.emit(Noticed(job=look.jobs[0], message=said))
    kills = 0

    def on_killed(task: LookTask, exit_code: int | None, /) -> LookResult | None:
        nonlocal kills
        kills += 1
        if kills == 1:
            return None  # it goes on from its last state
        return LookResult(
            task, failure=f"the training of the network was killed twice (exit code {exit_code}).", next_step=MEMORY_ADVICE
        )

    progress, noted_at = look.progress or LookProgress(0, None, look.seconds_left), 0.0

    def note() -> None:
        with suppress(OutputError):  # the training goes on without
            remember(replace(look, progress=progress))

    def emit(event: Event) -> None:
        nonlocal progress, noted_at
        recorder.emit(event)
        if isinstance(event, TrainingProgressed):
            progress = progress.after(event)
            if time.monotonic() - noted_at > NOTED_SECONDS:
                noted_at = time.monotonic()
                note()

    try:
        with held(*(output.input.file.path for output in task.outputs)):
            results = executor.execute(train_look, [task], emit=emit, stop=stop, on_killed=on_killed, is_ready=lambda _: True)
            return next(iter(list(results)), None)
    except StorageError as error:
        return LookResult(task, failure=error.problem, next_step=error.next_step)
    finally:
        if progress.step:
            note()


NOTED_SECONDS = 5.0
"""Time between two notes beside the network of how far its training is, which plans, `nstpipe status`, reports and the
page of a run read."""

MEMORY_ADVICE = "It takes about 2 GB of memory; close other programs, or take another engine."


def look_task(look: Look, plan: Plan, run: RunSettings, workers: int) -> LookTask:
    """Return the task of a training.

    Args:
        look: The network.
        plan: Knows the outputs whose originals it learns from.
        run: The settings of the run.
        workers: How many processes will paint at the same time; each has its share of the cores.
    """
    material = plan.material or plan.outputs
    counts = [clip.frame_count for output in material if output.job.name in look.jobs for clip in output.clips]
    # Of very many inputs, those that it learns from are enough.
    chosen = {number for number, _ in spread(counts, MOST_FRAMES)}
    clips = (output for output in material if output.job.name in look.jobs for _ in output.clips)
    outputs = tuple({output.path: output for number, output in enumerate(clips) if number in chosen}.values())
    engine = outputs[0].job.engine
    assert isinstance(engine, LookEngine)
    threads = None
    if workers > 1:
        import joblib

        threads = joblib.cpu_count()
    return LookTask(outputs, run, look.identity, look.path, engine.train_minutes, engine.tolerance, threads)


def _failed(output: Output, result: LookResult) -> ItemFailed:
    return ItemFailed(
        job=output.job.name,
        path=str(output.input.file.path),
        reason=f"its network cannot be trained: {result.failure}",
        next_step=result.next_step,
        output=str(output.path),
    )
