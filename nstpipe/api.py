"""What the commands do, for Python.

Each function imports what executes it when it is called: torch takes seconds to load, and most commands need none of it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nstpipe.config import Job, Loaded, Pipeline, load_pipeline, load_right_part
from nstpipe.config.cluster import cluster_of
from nstpipe.config.document import Located
from nstpipe.config.load import validated
from nstpipe.config.models import MOST_WORKERS, Color
from nstpipe.errors import BusyError, InputError, NstpipeError, UsageError
from nstpipe.events import Emit, Event, Noticed
from nstpipe.journal.journal import Journal
from nstpipe.journal.log import RunLog
from nstpipe.media.pictures.pillow import limit_megapixels
from nstpipe.media.video.ffmpeg_program import check as check_ffmpeg
from nstpipe.media.video.ffmpeg_program import using
from nstpipe.planning.estimate import Estimate, Trial, estimate
from nstpipe.planning.leftovers import Cleaning, Leftover, clean_work_folder
from nstpipe.planning.partition import Shard, Share
from nstpipe.planning.picks import jobs_from, with_each_painting
from nstpipe.planning.plan import Plan, plan_pipeline
from nstpipe.planning.planned import NO_OUTPUTS
from nstpipe.planning.remote_files import (
    addresses_shown,
    copying,
    pin_pictures,
    plan_with_addresses,
    remote_files,
    telling_addresses,
    work_at_hand,
    work_holder,
    work_holders_of_shards,
    work_to_read,
)
from nstpipe.planning.requirements import requirements_of_all_jobs, unusable_engines
from nstpipe.planning.resources import worker_count
from nstpipe.planning.shards import LOCK_POLL_SECONDS, partition_for, shard_at_work, whole_folder
from nstpipe.planning.status import JobStatus, Status, pipeline_status
from nstpipe.planning.validate import Validation, validate_pipeline
from nstpipe.running.outcome import Outcome, RunResult
from nstpipe.system.devices import DEVICE_PATTERN, is_cpu
from nstpipe.system.files import check_replaceable
from nstpipe.system.stop import Stop, Stopped

if TYPE_CHECKING:
    from PIL import Image

    from nstpipe.painting.task import LookResult
    from nstpipe.running.executor import Executor
    from nstpipe.storage.live_folder import AtWork
    from nstpipe.training.options import TrainingOptions
    from nstpipe.training.train import Trained


T = TypeVar("T")

REMOTE_LOCK_POLL_SECONDS = 5.0
"""Seconds between two looks at the lock of a remote work folder that another run holds."""


def _ignore(_: Event) -> None:
    return None


def run(
    pipeline: str | Path | Pipeline,
    *,
    jobs: Sequence[str] = (),
    overrides: Sequence[str] = (),
    workers: int | None = None,
    device: str | None = None,
    cluster: str | None = None,
    retry_failed: bool = False,
    fail_fast: bool = False,
    wait: bool = False,
    shard: str | None = None,
    isolated: bool = False,
    stop: Stop | None = None,
    on_event: Emit = _ignore,
) -> RunResult:
    """Do all that is not done yet; what `nstpipe run` does.

    Args:
        pipeline: a pipeline.yaml's path, or a pipeline already loaded.
        jobs: names of the jobs to do; all of them if empty.
        overrides: ``key.path=value``, as for ``--set``.
        workers: processes, instead of the pipeline's own number.
        device: instead of the pipeline's own.
        cluster: instead of the pipeline's own: the address of a Dask scheduler, the path of a scheduler file, or ``local``.
        retry_failed: try again what failed before, though nothing has changed about it.
        fail_fast: stop at the first item that fails.
        wait: for another run that works on the same folder.
        shard: ``NUMBER/TOTAL``, such as ``3/40``: do only this part, beside runs that do the others in the same work folder.
        isolated: let even a single worker be a process of its own, as the command does: if the system kills it, for want of
            memory, say, it costs a frame and not the run. It takes some seconds to start.
        stop: asks it to end, from another thread or a signal handler, or by its deadline.
        on_event: called with each event as it happens.

    Raises:
        BusyError: another run works on the same folder.
        ConfigError: the YAML is wrong.
        InputError: no input at all could be used.
        MachineError: weights, device or ffmpeg are missing, or the cluster cannot be used.
        OutputError: an output or the work folder cannot be written; a DiskFullError if there is not enough room.
        UsageError: there is no job of that name, or no such shard.
    """
    from nstpipe.listeners.listener import finishing
    from nstpipe.listeners.listeners import Listeners
    from nstpipe.painting.in_worker import prepare_engine
    from nstpipe.painting.task import RunSettings
    from nstpipe.running.executors import executor_for

    settings = _loaded(pipeline, jobs, overrides, workers, device, cluster, shard)
    part = _part(settings, shard)
    began, stop = time.monotonic(), stop or Stop()
    name = _name_of_run(datetime.now()) + (part.run_suffix if part is not None else "")
    with ExitStack() as stack:
        stack.enter_context(addresses_shown(settings))
        stack.enter_context(stop.in_force())
        stack.enter_context(_ffmpeg_of(settings))
        listeners = stack.enter_context(finishing(Listeners(settings, name, on_event)))
        for requirement in requirements_of_all_jobs(settings):
            requirement()
        settings = _settled(settings, isolated=isolated)
        unusable = unusable_engines(settings)
        try:
            at_work = _take_work(stack, settings, wait, stop, listeners)
            # Shards share the mirror; who divides the work must know what there is.
            mirror = stack.enter_context(remote_files(settings, stop, refresh=part is not None))
            share = _take_lock(stack, settings, part, wait, stop, listeners, at_work)
        except Stopped:  # while the work was fetched or divided; the next run goes on with it
            return Outcome.of(Plan(NO_OUTPUTS, ()), NO_OUTPUTS, (), (), stop.reason).as_result(time.monotonic() - began)
        folder = part.folder(settings.work) if part is not None else None
        journal = stack.enter_context(closing(Journal(settings.work, pipeline=settings.file, shard=folder)))
        if share is None:
            journal.join_shards()
        else:
            partners = [partner.folder(settings.work) for partner in share.partition.partners_of(share.shard)]
            journal.take_over(share.partition.outputs_of(share.shard), partners)
        if mirror is not None:
            if share is None:
                mirror.be_alone()
                mirror.refresh()
            pin_pictures(settings, mirror)
        executor = executor_for(settings, isolated=isolated)
        stack.callback(executor.close)
        # Where the last run has done everything, there is most likely nothing to do.
        is_prepared = retry_failed or not journal.has_done_all(job.name for job in settings.jobs)
        if is_prepared:
            first = next(job for job in settings.jobs if job.name not in unusable)
            executor.prepare(prepare_engine, first, RunSettings.of(settings))
            settings = _with_slots(settings, executor)
        from nstpipe.running.run import Run  # after the workers are on their way

        log = stack.enter_context(finishing(RunLog(settings.work, name, keep_all=share is not None)))
        told = copying(telling_addresses(listeners, settings), at_work, settings.jobs[0].name)
        run = Run(settings, journal, log, name, stop, told, executor, unusable, mirror, is_prepared=is_prepared, share=share)
        result = run.execute(retry_failed=retry_failed, fail_fast=fail_fast)
        if mirror is None:
            return result
        mirror.empty()
        shown = settings.remotes.shown
        outputs = tuple(done.with_texts(shown) for done in result.outputs)
        return replace(result, outputs=outputs, failures=tuple(failure.with_texts(shown) for failure in result.failures))


def _name_of_run(begun: datetime) -> str:
    """Return a name that no other run has, and that sorts by time: one process may begin several runs in a second."""
    return f"{begun:%Y%m%d-%H%M%S}-{begun.microsecond // 1000:03d}-{os.getpid()}"


def _take_work(stack: ExitStack, pipeline: Pipeline, wait: bool, stop: Stop, on_event: Emit) -> AtWork | None:
    """Take a remote work folder to this machine; return None if it is not remote."""
    waiting = _waiting(pipeline, on_event)

    def take() -> AtWork | None:
        return stack.enter_context(work_at_hand(pipeline, stop))

    return _once_free(take, wait, stop, waiting, REMOTE_LOCK_POLL_SECONDS)


def _take_lock(
    stack: ExitStack, pipeline: Pipeline, shard: Shard | None, wait: bool, stop: Stop, on_event: Emit, at_work: AtWork | None
) -> Share | None:
    """Take the lock of the work folder, or that of a shard; return what the shard makes."""
    waiting = _waiting(pipeline, on_event)

    def take() -> Share | None:
        if shard is None:
            stack.enter_context(whole_folder(pipeline.work))
            return None
        settled = at_work.settled if at_work is not None else None
        return stack.enter_context(shard_at_work(pipeline, shard, stop=stop, emit=on_event, waiting=waiting, settled=settled))

    return _once_free(take, wait, stop, waiting, LOCK_POLL_SECONDS)


def _waiting(pipeline: Pipeline, on_event: Emit) -> Callable[[BusyError], None]:
    """Return what tells of another run that is waited for, once."""
    said = set[str]()

    def waiting(error: BusyError) -> None:
        if error.problem not in said:
            said.add(error.problem)
            on_event(Noticed(job=pipeline.jobs[0].name, message=f"waiting: {error.problem}"))

    return waiting


def _once_free(take: Callable[[], T], wait: bool, stop: Stop, waiting: Callable[[BusyError], None], poll_seconds: float) -> T:
    """Return what taking a lock returns; wait until it is free, if that is wanted."""
    while True:
        try:
            return take()
        except BusyError as error:
            if not wait or stop.should_stop():
                raise
            waiting(error)
            time.sleep(poll_seconds)


def validate(pipeline: str | Path | Pipeline, *, overrides: Sequence[str] = (), on_event: Emit = _ignore) -> Validation:
    """Find everything that is wrong: in the file, on this machine, and with the inputs of those jobs that are valid.

    Args:
        pipeline: the path of a pipeline.yaml, or a pipeline that is already loaded.
        overrides: ``key.path=value``, as for ``--set``.
        on_event: called with each event that says how far the check is.
    """
    from nstpipe.listeners.listeners import check_packages

    if isinstance(pipeline, Pipeline):
        loaded = Loaded(_loaded(pipeline, (), overrides, None, None), ())
    else:
        loaded = load_right_part(Path(pipeline), overrides)
        if loaded.pipeline is not None:
            limit_megapixels(loaded.pipeline.max_megapixels)
            loaded = replace(loaded, pipeline=with_each_painting(loaded.pipeline))
    if loaded.pipeline is None:
        return validate_pipeline(loaded, check_packages, emit=on_event)
    remotes = loaded.pipeline.remotes
    about: tuple[str, ...] = ()
    unreadable: tuple[NstpipeError, ...] = ()
    try:
        about = _told(work_to_read(loaded.pipeline, Stop()))
    except NstpipeError as error:
        unreadable = (error,)
    with _ffmpeg_of(loaded.pipeline), remote_files(loaded.pipeline, Stop()):
        found = validate_pipeline(loaded, check_packages, emit=telling_addresses(on_event, loaded.pipeline))
    found = replace(found, missing=(*unreadable, *found.missing), notices=(*about, *found.notices))
    if not remotes.addresses:
        return found
    failures = tuple(failure.with_texts(remotes.shown) for failure in found.failures)
    return replace(found, failures=failures, notices=tuple(map(remotes.shown, found.notices)))


def plan(
    pipeline: str | Path | Pipeline,
    *,
    jobs: Sequence[str] = (),
    overrides: Sequence[str] = (),
    shard: str | None = None,
    on_event: Emit = _ignore,
) -> Plan:
    """Say what `run` would do, with the reasons. See `run` for arguments and errors."""
    settings = _loaded(pipeline, jobs, overrides, None, None, shard=shard)
    part = _part(settings, shard)
    about = _told(work_to_read(settings, Stop()))
    with (
        _ffmpeg_of(settings),
        closing(Journal(settings.work, pipeline=settings.file, repair=False)) as journal,
        remote_files(settings, Stop()),
    ):
        check_ffmpeg()
        planned = _planned(settings, journal, part, on_event)
        planned = replace(planned, notices=(*about, *journal.notices, *planned.notices))
        return plan_with_addresses(planned, settings)


def estimated(
    pipeline: str | Path | Pipeline,
    *,
    jobs: Sequence[str] = (),
    overrides: Sequence[str] = (),
    workers: int | None = None,
    device: str | None = None,
    cluster: str | None = None,
    calibrate: bool = True,
    shard: str | None = None,
    isolated: bool = False,
    on_event: Emit = _ignore,
) -> Estimate:
    """Say what `run` would do, and how long it would take. See `run` for the other arguments and errors.

    Args:
        pipeline: the path of a pipeline.yaml, or a pipeline that is already loaded.
        jobs: names of the jobs to plan; all of them if empty.
        overrides: ``key.path=value``, as for ``--set``.
        workers: processes, instead of the pipeline's own number.
        device: instead of the pipeline's own.
        cluster: as for `run`.
        calibrate: paint a few small frames where no earlier run says how fast this machine is; this takes some seconds, once.
        shard: as for `run`.
        isolated: as for `run`.
        on_event: called with each event that says how far the look at the inputs is.
    """
    settings = _settled(_loaded(pipeline, jobs, overrides, workers, device, cluster, shard), isolated=isolated)
    part = _part(settings, shard)
    about = _told(work_to_read(settings, Stop()))
    if settings.cluster is not None:
        from nstpipe.running.cluster.now import cluster_now

        now = cluster_now(settings)
        if now is not None:
            about = (*about, f"The cluster {settings.cluster} has {now}.")
            settings = settings.model_copy(update={"workers": max(1, now.slots)})
    for name in settings.devices:
        is_cpu(name)  # a device that is missing is an error before the inputs are read
    with (
        _ffmpeg_of(settings),
        closing(Journal(settings.work, pipeline=settings.file, repair=False)) as journal,
        remote_files(settings, Stop()),
    ):
        check_ffmpeg()
        planned = _planned(settings, journal, part, on_event)
        found = estimate(settings, planned, journal, trial=partial(_trial, isolated=isolated) if calibrate else None)
        planned = replace(planned, notices=(*about, *journal.notices, *planned.notices))
        return replace(found, plan=plan_with_addresses(planned, settings))


def _planned(pipeline: Pipeline, journal: Journal, shard: Shard | None, emit: Emit) -> Plan:
    """Plan a pipeline, or what a shard would make of it."""
    if shard is None:
        return plan_pipeline(pipeline, journal, stop=Stop(), emit=emit)
    with closing(partition_for(pipeline, shard, journal, stop=Stop(), emit=emit)) as partition:
        return plan_pipeline(pipeline, journal, stop=Stop(), emit=emit, share=Share(shard, partition))


def _told(notice: str) -> tuple[str, ...]:
    return (notice,) if notice else ()


def _trial(*, isolated: bool) -> Trial:
    from nstpipe.running.trial import timed

    return Trial(lambda pipeline, job, has_videos: timed(pipeline, job, isolated=isolated, has_videos=has_videos))


def status(pipeline: str | Path | Pipeline, *, jobs: Sequence[str] = (), overrides: Sequence[str] = ()) -> Status:
    """Say how far a pipeline is, also during a run. This changes nothing, and lists inputs without decoding them.

    See `run` for arguments and errors.
    """
    settings = _loaded(pipeline, jobs, overrides, None, None)
    about = _told(work_to_read(settings, Stop()))
    found, shown = pipeline_status(settings, elsewhere=work_holder(settings)), settings.remotes.shown
    failures = {shown(path): shown(reason) for path, reason in found.failures.items()}
    clips = {shown(path): clips for path, clips in found.clips.items()}
    shards = {**found.shards, **work_holders_of_shards(settings)}
    return replace(found, failures=failures, clips=clips, shards=shards, notices=about)


def clean(
    pipeline: str | Path | Pipeline,
    agrees: Callable[[tuple[Leftover, ...]], bool] = lambda _: True,
    on_event: Emit = _ignore,
) -> Cleaning:
    """Delete leftovers from the work folder. See `run` for errors.

    Args:
        pipeline: the path of a pipeline.yaml, or a pipeline that is already loaded.
        agrees: called with what was found; says whether it is to be deleted.
        on_event: called with each event that says how far the look at the inputs is.
    """
    settings = _loaded(pipeline, (), (), None, None)
    # On a machine that has only fetched a remote work folder, nothing is known of the inputs.
    is_elsewhere = settings.remotes.work is not None
    with (
        _ffmpeg_of(settings),
        work_at_hand(settings, Stop(), with_contents=False) as at_work,
        remote_files(settings, Stop(), refresh=is_elsewhere),
    ):
        for message in at_work.take_notices() if at_work is not None else ():
            on_event(Noticed(job=settings.jobs[0].name, message=message))
        return clean_work_folder(settings, agrees, on_event)


def report(
    pipeline: str | Path | Pipeline,
    *,
    jobs: Sequence[str] = (),
    overrides: Sequence[str] = (),
    output: Path | None = None,
    on_event: Emit = _ignore,
) -> Path:
    """Write the report of the latest run again; see `run` for the other arguments and errors.

    Args:
        pipeline: a pipeline.yaml's path, or a pipeline already loaded.
        jobs: names of the jobs to tell of; all of them if empty.
        overrides: ``key.path=value``, as for ``--set``.
        output: where; None for ``report.html`` in the work folder.
        on_event: called with what the user should know of a remote work folder.

    Returns:
        Where it is.

    Raises:
        InputError: no run has begun yet.
        OutputError: it cannot be written.
        UsageError: `output` is a file that is no report.
    """
    from nstpipe.report.page import MARK, REPORT_NAME, write_report

    settings = _loaded(pipeline, jobs, overrides, None, None)
    for message in _told(work_to_read(settings, Stop())):
        on_event(Noticed(job=settings.jobs[0].name, message=message))
    if not (settings.work / "journal.sqlite").exists():
        raise InputError(f"{settings.work} knows of no run yet.", "`nstpipe run` writes a report at its end.")
    path = output if output is not None else settings.work / REPORT_NAME
    if output is not None:
        check_replaceable(output, MARK)
    with (
        _ffmpeg_of(settings),
        closing(Journal(settings.work, pipeline=settings.file, read_only=True)) as journal,
        remote_files(settings, Stop(), refresh=False),
    ):
        write_report(settings, journal, path)
    return path


def _ffmpeg_of(pipeline: Pipeline) -> AbstractContextManager[None]:
    """A block in which the ffmpeg of a pipeline is used, whatever the caller's process uses otherwise."""
    return using(pipeline.ffmpeg, pipeline.place_of("ffmpeg"))


def _part(pipeline: Pipeline, shard: str | None) -> Shard | None:
    """Return the shard that a run is to do; None for all.

    Raises:
        UsageError: There is no such shard, or a cluster divides the work already.
    """
    if shard is not None and pipeline.cluster is not None:
        raise UsageError(
            f"--shard {shard}: a cluster divides the work itself; give either a shard or a cluster.",
            "`--set cluster=null` leaves out the cluster of the file.",
        )
    return Shard.parse(shard) if shard is not None else None


def _with_slots(pipeline: Pipeline, executor: Executor) -> Pipeline:
    """Return a pipeline with as many workers as its executor has, for the estimates."""
    slots = executor.slots()
    return pipeline.model_copy(update={"workers": slots}) if slots is not None else pipeline


def _loaded(
    pipeline: str | Path | Pipeline,
    jobs: Sequence[str],
    overrides: Sequence[str],
    workers: int | None,
    device: str | None,
    cluster: str | None = None,
    shard: str | None = None,
) -> Pipeline:
    if device is not None and not re.match(DEVICE_PATTERN, device):
        raise UsageError(f"--device: found {device or 'nothing'}; should be auto, cpu, cuda or cuda:N.")
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"--workers: found {workers}; should be 1 to {MOST_WORKERS}.")
    given: dict[str, Any] = {name: value for name, value in {"workers": workers, "device": device}.items() if value is not None}
    if isinstance(pipeline, Pipeline):
        if overrides:
            raise UsageError(f"overrides: found {overrides[0]}; a loaded pipeline has its values: override while it is loaded.")
        if cluster is not None:
            given["cluster"] = cluster_of(cluster)
        loaded = pipeline.model_copy(update=given)
        if shard is not None and loaded.remotes.work is not None:
            raise UsageError(
                f"--shard {shard}: each shard of a remote work folder has a live folder of its own; a loaded pipeline has one.",
                "Give the path of the pipeline.yaml.",
            )
    else:
        settings = [*overrides, *(f"{name}={value}" for name, value in given.items())]
        loaded = load_pipeline(Path(pipeline), settings)
        if shard is not None and loaded.remotes.work is not None:
            # Several shards may run on one machine. What stands for remote files lies in the live folder.
            name = Shard.parse(shard).name
            live = json.dumps(str(loaded.remotes.work.folder / "shards" / name)).replace("$", "$$")
            loaded = load_pipeline(Path(pipeline), [*settings, f"storage.live={live}"])
            loaded = loaded.with_remotes(loaded.remotes.of_shard(name))
        if cluster is not None:
            loaded = loaded.model_copy(update={"cluster": cluster_of(cluster)})
    known = [job.name for job in loaded.jobs]
    loaded = with_each_painting(loaded)
    by_name = {name: jobs_from(loaded, name) for name in jobs}
    for name, meant in by_name.items():
        if not meant:
            raise UsageError(f"--job {name}: there is no such job; the file has {', '.join(known)}.")
    limit_megapixels(loaded.max_megapixels)
    chosen = {job.name for meant in by_name.values() for job in meant}
    return loaded.with_jobs(tuple(job for job in loaded.jobs if not jobs or job.name in chosen))


def _settled(pipeline: Pipeline, *, isolated: bool) -> Pipeline:
    """Return the settings with a single worker if that is this process itself, which does not multiply."""
    if isolated or pipeline.cluster is not None or pipeline.workers != "auto" or worker_count(pipeline) > 1:
        return pipeline
    return pipeline.model_copy(update={"workers": 1})


def stylize(
    content: Image.Image,
    style: Image.Image | Sequence[Image.Image],
    *,
    size: int | str = 512,
    strength: float = 1.0,
    scale: float = 1.0,
    color: Color = "style",
    engine: str | Mapping[str, Any] = "optimizer",
    iterations: int = 200,
    init: str = "matched",
    weights: str | Path = "bundled",
    device: str = "auto",
    seed: int = 0,
    on_progress: Callable[[int, float], None] | None = None,
) -> Image.Image:
    """Repaint one picture.

    Args:
        content: what to repaint; any mode, turned upright by its EXIF and converted from its color profile to sRGB. Values of
            the modes I and F may go up to 1 (F alone), 255 or 65535, whichever holds the largest of them.
        style: the painting, or several of equal weight. Its transparent parts are no paint.
        size: longest side of the result in pixels, or ``native``.
        strength: 1.0 is the tuned default; more is more style.
        scale: size of the brush strokes relative to the picture.
        color: whose colors the result has: style, content, or matched (the painting takes the content's first).
        engine: what paints: a name, or a mapping with the engine's own keys, such as
            ``{"name": "adain", "weights": "my.safetensors"}``.
        iterations: of the optimizer, at most; it stops earlier when nothing changes any more.
        init: matched, content, noise or blank.
        weights: bundled, torchvision or a path.
        device: auto, cpu, cuda or cuda:N.
        seed: of the noise.
        on_progress: called with the iterations done and the loss.

    Returns:
        A picture in RGB.

    Raises:
        UsageError: an argument has a value that a pipeline.yaml may not have, or there is no style.
        ItemError: the picture is too small for VGG19 at this size.
        MachineError: weights or device are missing.
    """
    from PIL import Image

    from nstpipe.media.pictures.images import pixels_of_image
    from nstpipe.painting.picture import painted_picture
    from nstpipe.painting.task import RunSettings
    from nstpipe.style.settings import StylePicture

    styles = _checked_pictures(content, style)
    look = {"strength": strength, "scale": scale}
    top = {"weights": str(weights), "device": device, "seed": seed}
    settings, job = _settings_of(look, iterations=iterations, engine=engine, color=color, size=size, init=init, **top)
    pixels, _ = pixels_of_image(content)
    paintings = [StylePicture.of(*pixels_of_image(picture), 1.0) for picture in styles]
    if any(painting.opacity is not None and not painting.opacity.any() for painting in paintings):
        raise UsageError("stylize: style is transparent everywhere, so there is no paint; give another picture.")
    return Image.fromarray(painted_picture(pixels, paintings, job, RunSettings.of(settings), on_progress))


def train(
    options: TrainingOptions,
    *,
    restart: bool = False,
    tensorboard: Path | None = None,
    wandb: str | None = None,
    stop: Stop | None = None,
    on_event: Emit = _ignore,
) -> Trained:
    """Train a network, or continue its training; what `nstpipe train` does.

    Args:
        options: the settings.
        restart: begin anew, though there is a training to continue.
        tensorboard: folder for TensorBoard's curves; None for none.
        wandb: project in Weights & Biases; None for none.
        stop: asks it to end, from another thread or a signal handler, or by its deadline.
        on_event: called with each event as it happens.

    Raises:
        UsageError: the options cannot be used, or are not those of the training to continue.
        InputError: a folder has no pictures that can be read.
        MachineError: weights, device or a package are missing, or the losses are no numbers however often it goes back.
        OutputError: the result cannot be written; a DiskFullError if there is not enough room.
    """
    from nstpipe.config.dump import yaml_of
    from nstpipe.listeners.listener import finishing
    from nstpipe.listeners.tracking import TensorBoard, TrainingTracker, WeightsAndBiases, check_board
    from nstpipe.training.train import train

    settings, name = yaml_of(options.deciding()), _name_of_run(datetime.now())
    with ExitStack() as stack:
        trackers = []
        if tensorboard is not None:
            check_board(TensorBoard, "--tensorboard")
            board = TensorBoard("--tensorboard", tensorboard / name, settings)
            trackers.append(stack.enter_context(finishing(TrainingTracker(board))))
        if wandb is not None:
            check_board(WeightsAndBiases, "--wandb")
            run = WeightsAndBiases("--wandb", wandb, name, options.output.absolute().parent, settings)
            trackers.append(stack.enter_context(finishing(TrainingTracker(run))))

        def emit(event: Event) -> None:
            on_event(event)
            for tracker in list(trackers):
                try:
                    tracker(event)
                except Exception as error:  # curves are no reason to end a training
                    trackers.remove(tracker)
                    on_event(Noticed(job=options.network, message=f"curves stopped: {type(error).__name__}: {error}"))

        return train(options, stop=stop or Stop(), emit=emit, restart=restart)


def train_look(
    pipeline: str | Path | Pipeline,
    output: str | Path,
    *,
    job: str = "",
    overrides: Sequence[str] = (),
    restart: bool = False,
    stop: Stop | None = None,
    on_event: Emit = _ignore,
) -> LookResult:
    """Train a network for the look of a job, on its own frames, or continue; what `nstpipe train pipeline.yaml` does.

    A training that is stopped keeps its state beside the output.

    Args:
        pipeline: the path of a pipeline.yaml, or a pipeline that is already loaded.
        output: file of the network, for `engine.weights`.
        job: name of the job; empty for the only one. Its engine may be another one.
        overrides: ``key.path=value``, as for ``--set``.
        restart: begin anew, though there is a training to continue.
        stop: asks it to end, from another thread or a signal handler, or by its deadline.
        on_event: called with each event as it happens.

    Raises:
        ConfigError: the YAML is wrong.
        InputError: no input of the job can be used, or a painting cannot be read.
        MachineError: weights, device or ffmpeg are missing, or the loss is no number however often the training goes back.
        OutputError: the output cannot be written.
        UsageError: there is no job of that name, or several and no name; or the output is there already.
    """
    from nstpipe.commands.train_look import train_look

    settings = _loaded(pipeline, [job] if job else (), overrides, None, None)
    for message in _told(work_to_read(settings, Stop())):
        on_event(Noticed(job=settings.jobs[0].name, message=message))
    return train_look(settings, Path(output), stop or Stop(), on_event, restart=restart)


def _checked_pictures(content: Image.Image, style: Image.Image | Sequence[Image.Image]) -> list[Image.Image]:
    """Return the paintings that `stylize` was given.

    Raises:
        UsageError: an argument is not a picture, or there is no painting.
    """
    from PIL import Image

    styles = list(style) if isinstance(style, Sequence) else [style]
    for picture in (content, *styles):
        if not isinstance(picture, Image.Image):
            kind = f"{type(picture).__module__}.{type(picture).__name__}".removeprefix("builtins.")
            way = "as PIL.Image.open gives them"
            if hasattr(picture, "__array_interface__"):
                way = "PIL.Image.fromarray makes one of an array"
            raise UsageError(f"stylize: content and style should be pictures of PIL, {way}; found {kind}.")
        if 0 in picture.size:
            width, height = picture.size
            raise UsageError(f"stylize: found a picture of {width}x{height} pixels; content and style need at least one.")
    if not styles:
        raise UsageError("stylize: style is empty; give one picture or more.")
    return [picture for picture in styles if isinstance(picture, Image.Image)]


def _settings_of(
    style: dict[str, Any], *, iterations: int, engine: Any, color: str, size: int | str, init: str, **top: Any
) -> tuple[Pipeline, Job]:
    """Return the arguments of `stylize` as settings, checked like a pipeline.yaml.

    Raises:
        UsageError: an argument has a value that it may not have.
    """
    if init not in ("matched", "content", "noise", "blank"):
        raise UsageError(f"stylize: found init={init!r}; allowed are matched, content, noise and blank.")
    optimizer = {"first": iterations}
    job: dict[str, Any] = {"style": {"images": ["style"], **style}, "optimizer": optimizer, "color": color, "size": size}
    if isinstance(engine, Mapping):
        engine = {key: str(value) if isinstance(value, Path) else value for key, value in engine.items()}
    job |= {"init": init, "engine": engine}
    named = {"name": "stylize", "input": "content", "output": "result", **job}
    pipeline, problems = validated(Located.of({"version": 1, "jobs": [named], **top}), {"folder": Path()})
    if problems or pipeline is None:
        said = (f"{problem.key.rpartition('.')[2]}: {problem.message}" for problem in problems)
        raise UsageError(f"stylize: {'; '.join(said).replace('first:', 'iterations:')}.")
    return pipeline, pipeline.jobs[0]


__all__ = [
    "Cleaning",
    "Estimate",
    "JobStatus",
    "Leftover",
    "Plan",
    "RunResult",
    "Status",
    "Validation",
    "clean",
    "estimated",
    "plan",
    "report",
    "run",
    "status",
    "stylize",
    "train",
    "train_look",
    "validate",
]
