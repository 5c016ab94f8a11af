"""Prepares a run: chooses the outputs to make, and says what will be done before the work begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nstpipe.config import Job, Pipeline
from nstpipe.errors import ItemError, OutputError
from nstpipe.events import ItemFailed, JobPlanned, Noticed
from nstpipe.journal.journal import Journal
from nstpipe.media.video.info import QUARTER_TURN, VideoInfo
from nstpipe.planning.estimate import Estimate, JobTotals, estimate, pace_setups
from nstpipe.planning.inspect import missing_frames_of
from nstpipe.planning.notices import omission_notices
from nstpipe.planning.outputs import Output, failed
from nstpipe.planning.plan import Plan
from nstpipe.planning.planned import JobCount, PlannedOutputs
from nstpipe.planning.videos import try_encoding
from nstpipe.planning.workers import remember_workers
from nstpipe.running.recorder import Recorder
from nstpipe.running.stored_frames import check_room
from nstpipe.storage.contents import held
from nstpipe.system.files import ensure_writable
from nstpipe.system.item_errors import item_errors


def choose_outputs(plan: Plan, pipeline: Pipeline, recorder: Recorder, *, retry_failed: bool) -> PlannedOutputs:
    """Return the outputs to make, and record as failed those that are known to fail.

    Args:
        plan: All outputs of the run.
        pipeline: The settings of the run.
        recorder: Takes the failures.
        retry_failed: Whether to try inputs again that failed before and have not changed since.

    Raises:
        OutputError: None is done, and none can be written, because of their folders.
    """
    wanted = _writable(plan, recorder)
    refused: set[str] = set()
    if not retry_failed:
        for output in wanted.single():
            if output.failed_before is not None:
                recorder.fail(_failed_before(output))
                refused.add(str(output.path))
        wanted = wanted.left(refused)
    unencodable: set[str] = set()
    for output in wanted.single():
        failure = _encode_failure(pipeline, output)
        if failure is not None:
            recorder.fail(failure)
            unencodable.add(str(output.path))
    return wanted.left(unencodable)


def _writable(plan: Plan, recorder: Recorder) -> PlannedOutputs:
    """Return the outputs that are not done and whose folders can be written to; record the others as failed.

    Raises:
        OutputError: None is done, and none can be written.
    """
    wanted = plan.outputs.left()
    problems = {folder: _problem_of(folder) for folder in dict.fromkeys(wanted.folders())}
    first = next(iter(problems.values()), None)
    if first is None and not any(problems.values()):
        return wanted
    if len(wanted) == len(plan.outputs) and first is not None and None not in problems.values():
        raise first
    unwritable: set[str] = set()
    for output in wanted:
        problem = problems[output.path.parent]
        if problem is not None:
            recorder.fail(failed(output.job, output.input.file.path, problem, output), output, try_again_unasked=True)
            unwritable.add(str(output.path))
    return wanted.left(unwritable)


def _problem_of(folder: Path) -> OutputError | None:
    """Return why a folder cannot be written to; None if it can. It is created if it is missing."""
    try:
        ensure_writable(folder)
    except OutputError as error:
        return error
    return None


def announce(plan: Plan, todo: PlannedOutputs, pipeline: Pipeline, journal: Journal, recorder: Recorder) -> Pipeline:
    """Record and tell what the run will do, and how long it will take if earlier runs tell it.

    Returns:
        The settings with the number of workers, which is chosen for what there is to do.

    Raises:
        DiskFullError: The stored frames do not fit on the disk.
    """
    tried = todo.tried_again()  # if some are, they cost something
    likely = estimate(pipeline, replace(plan, outputs=tried), journal, trial=None, load=None)
    settled = likely.pipeline
    check_room(todo.single(), settled)
    remember_workers(settled, todo, journal)
    jobs = [_job_planned(job, plan, likely) for job in pipeline.jobs]
    recorder.plan(todo, jobs, likely.workers, pace_setups(settled) if todo else {})
    # Every run says that frames of a damaged video are missing, although those that decode are done.
    to_do = {output.path for output in todo.single()}
    for output in plan.outputs.single():
        if output.is_done or output.path in to_do:
            for failure in missing_frames_of(output):
                recorder.fail(failure)
    for output in todo.single():
        for notice in _notices_of(output):
            recorder.emit(notice)
    for name, omissions in todo.omissions_left().items():
        for told in omission_notices(name, omissions):
            recorder.emit(Noticed(job=told.job, message=told.message))
    return settled


def _failed_before(output: Output) -> ItemFailed:
    """Return the failure of an output that failed in an earlier run and is not tried again."""
    record = output.failed_before
    assert record is not None
    return ItemFailed(
        job=output.job.name,
        path=str(output.input.file.path),
        reason=record.reason,
        next_step="It failed so before, and nothing has changed since; --retry-failed tries it again.",
        output=str(output.path),
        attempts=record.attempts,
        tried_now=False,
    )


def _encode_failure(pipeline: Pipeline, output: Output) -> ItemFailed | None:
    """Try the codec, container and sound of a video that will be encoded; return the failure, or None if it can be."""
    if output.input.video is None:
        return None
    try:
        with item_errors(output.input.file.path), held(output.input.file.path):
            try_encoding(output.job, output.path, output.input.video, output.size, pipeline.work)
    except ItemError as error:
        return failed(output.job, output.input.file.path, error, output)
    return None


def _job_planned(job: Job, plan: Plan, likely: Estimate) -> JobPlanned:
    """Return the event that says how much work a job is.

    Args:
        job: The job.
        plan: All outputs of the run.
        likely: What the outputs take that the run will make.
    """
    count = plan.outputs.counts().get(job.name, JobCount())
    look = plan.look_of(job)
    left = likely.totals.jobs.get(job.name) or JobTotals(iterates=job.iterates)
    return JobPlanned(
        job=job.name,
        outputs=count.outputs,
        outputs_done=count.done,
        frames=count.frames,
        frames_left=left.frames,
        work_left=left.max_work,
        workers=max(1, min(likely.workers, left.clips)),
        likely_share=left.likely_work / left.max_work if left.max_work else 1.0,
        seconds_likely=left.seconds,
        engine=(plan.outputs.job_of(job.name) or job).engine.name,
        engine_reason=next((chosen.message for chosen in plan.engines if chosen.job == job.name), ""),
        network=look.path.name if look is not None else "",
    )


def _notices_of(output: Output) -> Iterator[Noticed]:
    """Yield what the user should know about an input before the work begins."""
    video = output.input.video
    if video is not None:
        yield from (Noticed(job=output.job.name, message=message) for message in _video_notices(output, video))
    if len(cuts := output.input.shot_starts[1:]):
        message = f"{output.input.file.path.name} has {len(cuts) + 1} shots; cuts at frame {', '.join(map(str, cuts))}"
        yield Noticed(job=output.job.name, message=message)


def _video_notices(output: Output, video: VideoInfo) -> Iterator[str]:
    name = video.path.name
    if not video.color.matrix_is_tagged:
        matrix = {"bt709": "BT.709", "smpte170m": "BT.601"}.get(video.color.matrix, video.color.matrix)
        yield f"{name} does not say its color matrix; {matrix} is taken, as players do at its size"
    if video.rotation % QUARTER_TURN:
        yield f"{name} is to be shown turned by {video.rotation}°; only quarter turns are applied, so it stays as it is stored"
    if video.interlaced:
        yield f"{name} is interlaced; each frame becomes one whole picture (bwdif)"
    yield from output.input.mended
    if video.complaint:
        yield f"{name} has errors, though no frame is missing; some may look damaged. The decoder said: {video.complaint}"
