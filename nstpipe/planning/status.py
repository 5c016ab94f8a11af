"""How far a pipeline is: what its runs have recorded of the outputs that it names now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from nstpipe.config import Job, Pipeline
from nstpipe.errors import ItemError
from nstpipe.journal.clips import Entry
from nstpipe.journal.journal import Journal
from nstpipe.journal.records import FrameRecord, JobPace, LatestRun, Record
from nstpipe.planning.eta import Forecast
from nstpipe.planning.inputs import InputFile, find_inputs
from nstpipe.system.lock import Holder, holder_of


@dataclass(frozen=True)
class JobProgress:
    """What is known of a job's outputs. The job may have had another name, and other inputs, when it was written down.

    Attributes:
        records: of the outputs that were planned or could not be, by path.
        unknown: inputs that no run has looked at yet.
    """

    records: tuple[Record, ...]
    unknown: tuple[InputFile, ...] = ()

    def frames(self, journal: Journal) -> tuple[FrameRecord, ...]:
        """The finished frames of its inputs, by input and frame index."""
        inputs: dict[str, set[str]] = {}
        for record in self.records:
            inputs.setdefault(record.job, set()).add(record.input)
        return tuple(frame for name in inputs for frame in journal.frames(name) if frame.path in inputs[name])


def job_progress(job: Job, known: Mapping[str, Record]) -> JobProgress:
    """How far a job is; opens no input beyond its first bytes.

    Args:
        job: of the pipeline as it is now.
        known: all records of the journal, by path.
    """
    try:
        files = find_inputs(job)
    except ItemError:
        # Where its inputs are out of reach, what was written down under its name has to do.
        return JobProgress(tuple(record for record in known.values() if record.job == job.name))
    # What failed before it could be planned is known by its input, which may be another job's output.
    failed = {path: record for path, record in known.items() if record.state == "failed" and record.input == path}
    found = [known.get(str(file.output)) or failed.get(str(file.path)) for file in files]
    of_all = [record for path in {str(job.input)} - {str(file.path) for file in files} if (record := failed.get(path))]
    records = [*(record for record in found if record is not None), *(record for record in of_all if record.job == job.name)]
    unknown = tuple(file for file, record in zip(files, found, strict=True) if record is None)
    return JobProgress(tuple(sorted(records, key=lambda record: record.path)), unknown)


@dataclass(frozen=True)
class JobStatus:
    """How far a job is.

    Attributes:
        job: its name.
        done: outputs that are made.
        running: outputs that have been begun and are neither made nor failed.
        failed: outputs that could not be made.
        left: outputs that have not been begun.
        frames: of all its outputs, but for videos that no run has looked at yet.
        frames_done: of these, those that are stylized.
        seconds_left: until all is done; None where it is not known, or no run goes on.
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
class Status:
    """How far a pipeline is, as far as its runs have written it down.

    Attributes:
        holder: the run that goes on; None if there is none.
        jobs: in the order of the pipeline.
        failures: reason and place in the log, by path of the output.
        exit_code: of the last run; None if one goes on, was killed, or there was none.
        clips: those that have been begun and are not done, or have failed, by path of the output.
    """

    holder: Holder | None
    jobs: tuple[JobStatus, ...]
    failures: dict[str, str]
    exit_code: int | None
    clips: dict[str, tuple[Entry, ...]] = field(default_factory=dict)


def pipeline_status(pipeline: Pipeline) -> Status:
    """Say how far a pipeline is, also during a run. This changes nothing, and lists inputs without decoding them."""
    holder = holder_of(pipeline.work)
    if not (pipeline.work / "journal.sqlite").exists():
        nothing = tuple(JobStatus(job.name, 0, 0, 0, 0, 0, 0, None) for job in pipeline.jobs)
        return Status(holder, nothing, {}, None)
    with closing(Journal(pipeline.work, read_only=True)) as journal:
        latest = journal.latest_run()
        running = latest if holder is not None and latest is not None and latest.finished_at is None else None
        known = {record.path: record for record in journal.records()}
        progress = {job.name: job_progress(job, known) for job in pipeline.jobs}
        jobs = tuple(_job_status(name, of_job, journal, running) for name, of_job in progress.items())
        records = [record for of_job in progress.values() for record in of_job.records]
        exit_code = latest.exit_code if latest is not None and holder is None else None
        return Status(holder, jobs, _failures(records), exit_code, _unfinished_clips(records, journal))


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


def _job_status(job: str, progress: JobProgress, journal: Journal, running: LatestRun | None) -> JobStatus:
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
        seconds_left=_seconds_left(running.jobs.get(job)) if running is not None else None,
    )


def _seconds_left(pace: JobPace | None) -> float | None:
    if pace is None:
        return None
    frames_left, work_left = pace.planned.frames_left - pace.frames, pace.planned.work_left - pace.work
    forecast = Forecast(pace.planned.frames, frames_left, work_left, pace.planned.workers, pace.seconds, pace.work)
    left = forecast.seconds_left()
    return None if left is None else max(0.0, left)
