"""How far the runs of a pipeline are: read from the journal, the lock and the log, as `nstpipe status` does.

The page so shows the same thing whoever has started the run, and after the server was closed in between.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.requests import Request

from nstpipe.config import Pipeline, load_pipeline
from nstpipe.events import Event, FrameDone, ItemFailed, Noticed, OutputDone, RunFinished, TrainingProgressed, TriedAgain
from nstpipe.journal.database import JOURNAL
from nstpipe.journal.journal import Journal
from nstpipe.journal.log import log_path, logged_events
from nstpipe.journal.records import LatestRun
from nstpipe.planning.looks import LookProgress, remembered_looks
from nstpipe.planning.status import JobStatus, pipeline_status
from nstpipe.system.files import Stamp, stamp_of
from nstpipe.system.lock import Holder, holder_of
from nstpipe.window.pages import Window, window_of
from nstpipe.window.runs.process import StopRequest, is_here, stop_request

LOOK_SECONDS = 1.0
"""Shortest time between two looks at the journal. All open pages share one look."""

LONGEST_SHARE = 0.2
"""To count, which takes long where there are many files, takes this share of the time at most."""

COUNT_PATIENCE_SECONDS = 0.4
"""A page waits so long for the counts. Then it is shown with those before, or without them, and the counts come later."""

MOST_POINTS = 300
"""The most frames in the curves of loss and flicker; the newest ones."""

MOST_FAILURES = 100
"""The most failures that are listed."""

LOG_BYTES = 400_000
"""So much of the end of a log is read."""


@dataclass(frozen=True)
class Counts:
    """What is counted of a pipeline. It takes long where there are very many files.

    Attributes:
        jobs: The progress of each job.
        failures: The failed outputs: job, path, reason and next step.
        more_failures: The number of further failures.
    """

    jobs: tuple[JobStatus, ...] = ()
    failures: tuple[tuple[str, str, str, str], ...] = ()
    more_failures: int = 0


@dataclass(frozen=True)
class Training:
    """The training of a network that jobs of the latest run need.

    Attributes:
        jobs: The jobs that it paints.
        state: ``running``, ``waiting`` or ``done``.
        progress: How far it is; None before its first step.
    """

    jobs: tuple[str, ...]
    state: str
    progress: LookProgress | None


@dataclass(frozen=True)
class View:
    """How far the runs of a pipeline are, as the page shows it.

    Attributes:
        counts: What is counted; None as long as nothing is.
        holder: The run in progress; None if there is none.
        exit_code: The exit code of the last run; None if one is in progress, was killed, or there was none.
        is_ours: Whether the run can be asked to stop from here: it is on this machine.
        newest: The newest events, newest first: time and sentence.
        losses: The losses of the newest frames, oldest first.
        flickers: Their flicker in levels of 255, where it was measured.
        frames: The newest finished frames, newest first: what stands below and its number in the log.
        last_run: The name of the latest run; empty if there was none.
        asked: The latest request to stop that was made here; None if none was.
        trainings: The trainings of the networks of the latest run's jobs.
        lost: A run that goes on although its work folder was deleted, so that nothing is known of it; None if there is none.
    """

    counts: Counts | None
    holder: Holder | None
    exit_code: int | None
    is_ours: bool
    newest: tuple[tuple[str, str], ...]
    losses: tuple[float, ...]
    flickers: tuple[float, ...]
    frames: tuple[FrameDone, ...]
    last_run: str
    asked: StopRequest | None = None
    trainings: tuple[Training, ...] = ()
    lost: Holder | None = None

    @property
    def jobs(self) -> tuple[JobStatus, ...]:
        """The progress of each job."""
        return self.counts.jobs if self.counts is not None else ()

    @property
    def share(self) -> float:
        """The finished share of all frames, 0 to 1."""
        frames = sum(job.frames for job in self.jobs)
        return sum(job.frames_done for job in self.jobs) / frames if frames else 0.0

    @property
    def seconds_left(self) -> float | None:
        """The longest time that a job has left; None if that of an unfinished job is not known."""
        seconds = [job.seconds_left for job in self.jobs if job.left or job.running]
        return max((one for one in seconds if one is not None), default=None) if None not in seconds else None


def counts_of(pipeline: Pipeline) -> Counts:
    """Count what is done, as `nstpipe status` does."""
    jobs = pipeline_status(pipeline).jobs
    if not (pipeline.work / JOURNAL).exists():
        return Counts(jobs)
    with closing(Journal(pipeline.work, pipeline=pipeline.file, read_only=True)) as journal:
        failures = [
            (record.job, record.input, record.reason, record.next_step)
            for record in journal.records(finished=False)
            if record.state == "failed"
        ]
    return Counts(jobs, tuple(failures[:MOST_FAILURES]), max(0, len(failures) - MOST_FAILURES))


def view_of(pipeline: Pipeline, counts: Counts | None) -> View:
    """Look at the lock, the latest run and the end of its log."""
    holder, name, exit_code, latest = holder_of(pipeline.work), "", None, None
    if (pipeline.work / JOURNAL).exists():
        with closing(Journal(pipeline.work, pipeline=pipeline.file, read_only=True)) as journal:
            latest = journal.latest_run()
        if latest is not None:
            name, exit_code = latest.name, latest.exit_code if holder is None else None
    events = list(_last_events(log_path(pipeline.work, name))) if name else []
    frames = [event for event in events if isinstance(event, FrameDone) and event.is_final][-MOST_POINTS:]
    folder = pipeline.file.parent if pipeline.file is not None else Path()
    said = [line for event in events if (line := _sentence(event, folder))]
    return View(
        counts=counts,
        holder=holder,
        exit_code=exit_code,
        is_ours=holder is not None and is_here(holder),
        newest=tuple(reversed(said[-12:])),
        losses=tuple(frame.loss for frame in frames if frame.loss is not None),
        flickers=tuple(255 * frame.warping_error**0.5 for frame in frames if frame.warping_error is not None),
        frames=tuple(reversed(frames[-4:])),
        last_run=name,
        asked=stop_request(pipeline.work),
        trainings=tuple(_trainings(pipeline.work, latest, events, is_running=holder is not None)) if latest is not None else (),
    )


def _trainings(work: Path, run: LatestRun, events: Sequence[Event], *, is_running: bool) -> Iterator[Training]:
    """Yield the trainings of a run: what is noted beside each network, with the newest event if the log's end has one."""
    wanted = {job.planned.network for job in run.jobs.values()}
    for look in remembered_looks(work):
        if look.path.name not in wanted:
            continue
        newest = next((one for one in reversed(events) if isinstance(one, TrainingProgressed) and one.job in look.jobs), None)
        progress = look.progress
        if newest is not None:
            progress = (progress or LookProgress(0, None, newest.seconds_left)).after(newest)
        if look.is_trained:
            yield Training(look.jobs, "done", progress)
        elif is_running or look.is_begun:
            is_next = is_running and (newest is not None or not look.is_begun)
            yield Training(look.jobs, "running" if is_next else "waiting", progress)


def _last_events(path: Path) -> Iterator[Event]:
    """Yield the events at the end of a log."""
    try:
        if path.stat().st_size <= LOG_BYTES:
            yield from logged_events(path)
            return
    except OSError:
        return
    with tempfile.TemporaryDirectory() as folder, path.open("rb") as file:
        file.seek(-LOG_BYTES, os.SEEK_END)
        end = Path(folder) / path.name
        end.write_bytes(file.read().partition(b"\n")[2])
        yield from logged_events(end)


def _below(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def _sentence(event: Event, folder: Path) -> tuple[str, str] | None:
    at = time.strftime("%H:%M:%S", time.localtime(event.at))
    if isinstance(event, OutputDone):
        return at, f"✓ {_below(Path(event.output), folder)}"
    if isinstance(event, FrameDone) and event.is_final:
        return at, f"{Path(event.path).name} · {event.frame_index + 1} · {event.seconds:.1f} s"
    if isinstance(event, ItemFailed):
        return at, f"✗ {Path(event.path).name}: {event.reason.replace(f'{folder}{os.sep}', '')}"
    if isinstance(event, TriedAgain):
        return at, f"↻ {Path(event.path).name}: {event.reason.replace(f'{folder}{os.sep}', '')}"
    if isinstance(event, Noticed):
        return at, event.message.replace(f"{folder}{os.sep}", "")
    if isinstance(event, RunFinished):
        return at, f"■ {event.outputs_made} ✓, {event.items_failed} ✗, {event.outputs_left} …"
    return None


class Looks:
    """Looks at a pipeline for all open pages: one look serves them all.

    To count very many files takes long, and goes on while the rest is shown; it is repeated so rarely that it takes a small
    share of the time.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._looked_at = -LOOK_SECONDS
        self._view: View | None = None
        self._one_at_a_time = asyncio.Lock()
        self._pipeline: Pipeline | None = None
        self._stamp: Stamp | None = None
        self._counts: Counts | None = None
        self._count_again_at = 0.0
        self._counting: asyncio.Task[Counts] | None = None
        self._last_holder: Holder | None = None

    async def now(self) -> View:
        """Return a view that is not older than a moment.

        Raises:
            NstpipeError: The pipeline or its journal cannot be read.
        """
        async with self._one_at_a_time:
            if self._view is None or time.monotonic() - self._looked_at >= LOOK_SECONDS:
                pipeline = await asyncio.to_thread(self._loaded)
                await self._count(pipeline)
                view = await asyncio.to_thread(view_of, pipeline, self._counts)
                self._last_holder = view.holder or self._last_holder
                is_lost = not view.last_run and self._last_holder is not None and self._last_holder.is_alive()
                self._view = replace(view, lost=self._last_holder) if is_lost and view.holder is None else view
                self._looked_at = time.monotonic()
            return self._view

    async def _count(self, pipeline: Pipeline) -> None:
        if self._counting is None and time.monotonic() >= self._count_again_at:
            self._counting = asyncio.create_task(self._counted(pipeline))
        if self._counting is not None:
            await asyncio.wait({self._counting}, timeout=COUNT_PATIENCE_SECONDS)
            if self._counting.done():
                done, self._counting = self._counting, None
                self._counts = done.result()

    async def _counted(self, pipeline: Pipeline) -> Counts:
        began = time.monotonic()
        try:
            return await asyncio.to_thread(counts_of, pipeline)
        finally:
            ended = time.monotonic()
            self._count_again_at = ended + (ended - began) / LONGEST_SHARE

    def forget(self) -> None:
        """Look again at once."""
        self._view = None
        self._count_again_at = 0.0

    def _loaded(self) -> Pipeline:
        stamp = stamp_of(self._window.pipeline)
        if self._pipeline is None or stamp != self._stamp:
            self._pipeline, self._stamp = load_pipeline(self._window.pipeline), stamp
            self._counts = None
        return self._pipeline


def looks_of(request: Request) -> Looks:
    """Return what looks at the window's pipeline."""
    if not hasattr(request.app.state, "looks"):
        request.app.state.looks = Looks(window_of(request))
    looks: Looks = request.app.state.looks
    return looks
