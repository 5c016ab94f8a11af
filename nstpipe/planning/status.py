"""Tells the progress of a pipeline from what its runs have recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from nstpipe.config import Job, Pipeline
from nstpipe.errors import ItemError
from nstpipe.events import JobPlanned
from nstpipe.journal.journal import Journal
from nstpipe.journal.layers import shard_folders
from nstpipe.journal.records import Entry, FrameRecord, JobPace, LatestRun, Record
from nstpipe.planning.eta import Forecast
from nstpipe.planning.inputs import InputFile, find_inputs
from nstpipe.planning.looks import known_looks
from nstpipe.planning.partition import SHARD_RUN, Shard
from nstpipe.planning.picks import without_broken_paintings
from nstpipe.system.lock import Holder, holder_of


@dataclass(frozen=True)
class JobProgress:
    """What is recorded of a job's outputs. Its name and its inputs may have changed since.

    Attributes:
        records: The records of outputs that were planned, or that failed before, sorted by path.
        unknown: The inputs that no run has inspected yet.
    """

    records: tuple[Record, ...]
    unknown: tuple[InputFile, ...] = ()

    def frames(self, journal: Journal) -> tuple[FrameRecord, ...]:
        """Return the finished frames of its inputs, sorted by input and frame index."""
        inputs: dict[str, set[str]] = {}
        for record in self.records:
            inputs.setdefault(record.job, set()).add(record.input)
        return tuple(frame for name in inputs for frame in journal.frames(name) if frame.path in inputs[name])


def job_progress(job: Job, known: Mapping[str, Record], spelled: Callable[[Path], str] = str) -> JobProgress:
    """Return what is recorded of a job. This reads only the first bytes of its inputs.

    Args:
        job: The job, as it is now.
        known: All records of the journal, by path.
        spelled: Returns a path as the records spell it.
    """
    try:
        files = find_inputs(job)
    except ItemError:
        # If its inputs are out of reach, the records with its name are all there is.
        return JobProgress(tuple(record for record in known.values() if record.job == job.name))
    # An input that failed before it was planned is recorded by its own path, which may be another job's output.
    failed = {path: record for path, record in known.items() if record.state == "failed" and record.input == path}
    found = [known.get(spelled(file.output)) or failed.get(spelled(file.path)) for file in files]
    of_all = [record for path in {spelled(job.input)} - {spelled(file.path) for file in files} if (record := failed.get(path))]
    records = [*(record for record in found if record is not None), *(record for record in of_all if record.job == job.name)]
    unknown = tuple(file for file, record in zip(files, found, strict=True) if record is None)
    return JobProgress(tuple(sorted(records, key=lambda record: record.path)), unknown)


@dataclass(frozen=True)
class JobStatus:
    """The progress of a job.

    Attributes:
        job: The name of the job.
        done: Outputs that are made.
        running: Outputs that have been begun, and are neither made nor failed.
        failed: Outputs that could not be made.
        left: Outputs that have not been begun.
        frames: Frames of all its outputs, except for videos that no run has inspected yet.
        frames_done: Frames that are stylized.
        seconds_left: Seconds until all is done; None if unknown, or if no run is in progress.
    """

    job: str
    done: int
    running: int
    failed: int
    left: int
    frames: int
    frames_done: int
    seconds_left: float | None


@dataclass(frozen=True)
class TrainingStatus:
    """How far the training of a network is.

    Attributes:
        jobs: The jobs that it is for.
        step: The number of steps that are done.
        loss: The loss of frames that it does not learn from; None if it has not been measured yet.
        seconds_left: The most that is left of its time.
    """

    jobs: tuple[str, ...]
    step: int
    loss: float | None
    seconds_left: float


@dataclass(frozen=True)
class Status:
    """The progress of a pipeline, as its runs have recorded it.

    Attributes:
        holder: The run in progress; None if there is none.
        jobs: The progress of each job, in the order of the pipeline.
        failures: The reason of each failure and its place in the log, by the path of the output.
        exit_code: The exit code of the last run; None if one is in progress, was killed, or there was none.
        clips: The clips that have been begun and are not done, or have failed, by the path of the output.
        training: The networks whose training has begun and is not done.
        shards: The shards that are at work, by their names, such as ``3/40``.
    """

    holder: Holder | None
    jobs: tuple[JobStatus, ...]
    failures: dict[str, str]
    exit_code: int | None
    clips: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    training: tuple[TrainingStatus, ...] = ()
    shards: dict[str, Holder] = field(default_factory=dict)


def pipeline_status(pipeline: Pipeline, elsewhere: Holder | None = None) -> Status:
    """Return the progress of a pipeline, also during a run. This changes nothing, and decodes no input.

    Args:
        pipeline: The pipeline.
        elsewhere: The run that works with a remote work folder on another machine; None if none does.
    """
    holder = holder_of(pipeline.work) or elsewhere
    shards = {Shard.of_folder(folder): holder_of(folder) for folder in shard_folders(pipeline.work)}
    at_work = {shard: by for shard, by in shards.items() if by is not None}
    named = {str(shard): by for shard, by in at_work.items()}
    if not (pipeline.work / "journal.sqlite").exists():
        return Status(holder, tuple(_planned(job) for job in pipeline.jobs), {}, None, shards=named)
    with closing(Journal(pipeline.work, pipeline=pipeline.file, read_only=True)) as journal:
        latest = journal.latest_run()
        begun = [latest] if holder is not None else [journal.latest_run(shard.run_suffix) for shard in at_work]
        running = [run for run in begun if run is not None and run.finished_at is None]
        pipeline = without_broken_paintings(pipeline, journal)
        large = large_jobs(latest)
        known = (
            {record.path: record for record in journal.records()} if set(large) < {job.name for job in pipeline.jobs} else {}
        )
        records: list[Record] = []
        counts: list[JobStatus] = []
        for job in pipeline.jobs:
            if job.name in large:
                begun_records = list(journal.begun(job.name))
                counts.append(counted(large[job.name], begun_records, journal, running))
                records += begun_records
            else:
                progress = job_progress(job, known, journal.spelled)
                counts.append(job_status(job.name, progress, journal, running))
                records += progress.records
        jobs = tuple(counts)
        exit_code = latest.exit_code if latest is not None and holder is None and not at_work else None
        clips, training = _unfinished_clips(records, journal), _training_of(pipeline)
        return Status(holder, jobs, _failures(records), exit_code, clips, training, named)


MANY_OUTPUTS = 50_000
"""The inputs of a job with so many outputs are not listed: it counts as the latest run has planned it."""


def large_jobs(latest: LatestRun | None) -> dict[str, JobPlanned]:
    """Return the very large jobs of a run, by name, as it has planned them. The run of a shard knows its own part."""
    if latest is None or SHARD_RUN.search(latest.name):
        return {}
    return {name: pace.planned for name, pace in latest.jobs.items() if pace.planned.outputs >= MANY_OUTPUTS}


def counted(planned: JobPlanned, begun: Sequence[Record], journal: Journal, running: Sequence[LatestRun]) -> JobStatus:
    """Count the outputs of a very large job without listing its inputs.

    Args:
        planned: The job as the latest run has planned it.
        begun: Its outputs that have been begun and are not finished, or have failed.
        journal: Knows the others.
        running: As in `job_status`.
    """
    tally = journal.tally(planned.job)
    done, frames_done = tally.get("done", (0, 0))
    started, failed = (sum(record.state == state for record in begun) for state in ("started", "failed"))
    tried = sum(record.state == "failed" and record.path != record.input for record in begun)
    return JobStatus(
        job=planned.job,
        done=done,
        running=started,
        failed=failed,
        left=max(0, planned.outputs - done - started - tried),
        frames=planned.frames,
        frames_done=frames_done + sum(min(one.frames, journal.frames_of(one.input, one.job)) for one in begun),
        seconds_left=_seconds_left_of(planned.job, running),
    )


def _training_of(pipeline: Pipeline) -> tuple[TrainingStatus, ...]:
    """Return the trainings that are not done, of jobs of the pipeline."""
    names = {job.name for job in pipeline.jobs}
    return tuple(
        TrainingStatus(look.jobs, look.progress.step, look.progress.loss, look.progress.seconds_left)
        for look in known_looks(pipeline.work)
        if look.progress is not None and not look.is_trained and names.intersection(look.jobs)
    )


def _planned(job: Job) -> JobStatus:
    """Count the inputs of a job that no run has inspected. The frames of its videos are not known yet."""
    try:
        files = find_inputs(job)
    except ItemError:
        files = ()
    frames = sum(not file.is_video for file in files)
    return JobStatus(job.name, done=0, running=0, failed=0, left=len(files), frames=frames, frames_done=0, seconds_left=None)


def _failures(records: Iterable[Record]) -> dict[str, str]:
    return {
        record.path: f"{record.reason} ({record.log})" if record.log else record.reason
        for record in records
        if record.state == "failed"
    }


def _unfinished_clips(records: Iterable[Record], journal: Journal) -> dict[str, tuple[Entry, ...]]:
    return {
        record.path: begun
        for record in records
        if record.state in ("started", "failed")
        if (begun := tuple(clip for clip in journal.clips(record.path) if clip.state in ("started", "failed")))
    }


def job_status(job: str, progress: JobProgress, journal: Journal, running: Sequence[LatestRun] = ()) -> JobStatus:
    """Count what is recorded of a job.

    Args:
        job: The name of the job.
        progress: What is recorded of it.
        journal: Knows the finished frames.
        running: The run in progress, or the runs of shards; none if the time left is not needed.
    """
    states = [record.state for record in progress.records]
    done = [
        record.frames if record.state == "done" else min(record.frames, journal.frames_of(record.input, record.job))
        for record in progress.records
    ]
    return JobStatus(
        job=job,
        done=states.count("done"),
        running=states.count("started"),
        failed=states.count("failed"),
        left=states.count("planned") + len(progress.unknown),
        frames=sum(record.frames for record in progress.records) + sum(not file.is_video for file in progress.unknown),
        frames_done=sum(done),
        seconds_left=_seconds_left_of(job, running),
    )


def _seconds_left_of(job: str, running: Sequence[LatestRun]) -> float | None:
    """Return the seconds until a job is done, which is when the last shard is; None if they are not known."""
    known = (_seconds_left(run.jobs.get(job)) for run in running)
    return max((seconds for seconds in known if seconds is not None), default=None)


def _seconds_left(pace: JobPace | None) -> float | None:
    if pace is None:
        return None
    forecast = Forecast.of(pace.planned)
    forecast.frames_left = max(0, forecast.frames_left - pace.frames)
    forecast.work_left = max(0.0, forecast.work_left - pace.work)
    forecast.seconds_spent, forecast.work_spent = pace.seconds, pace.work
    return forecast.seconds_left()
