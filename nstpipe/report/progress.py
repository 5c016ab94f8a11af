"""Progress for people: bars on a terminal, plain lines elsewhere; and a final table."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from nstpipe.events import (
    ClipStarted,
    Event,
    FrameDone,
    FrameProgressed,
    ItemFailed,
    JobPlanned,
    Noticed,
    OutputDone,
    RunFinished,
    TriedAgain,
)
from nstpipe.report.forecast import Forecast, as_duration

PLAIN_INTERVAL_SECONDS = 10.0
"""Between two lines about the same job where there is no terminal."""


class Reporter(Protocol):
    """Takes a run's events."""

    def __call__(self, event: Event) -> None:
        """Take one event."""

    def __enter__(self) -> Reporter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class _JobTally:
    """What the final table says of a job."""

    def __init__(self, planned: JobPlanned) -> None:
        self.planned = planned
        self.forecast = Forecast.of(planned)
        self.made = 0
        self.failed = 0
        self.frames_done = 0
        self.seconds = 0.0
        self.evaluations = 0
        self.latest: FrameDone | None = None

    def add(self, frame: FrameDone) -> None:
        self.forecast.advance(frame)
        self.frames_done += frame.is_final
        self.seconds += frame.seconds
        self.evaluations += frame.evaluations
        self.latest = frame

    @property
    def seconds_a_frame(self) -> float | None:
        return self.seconds / self.frames_done if self.frames_done else None


class _Tallies:
    """Facts that both displays share."""

    def __init__(self) -> None:
        self.by_job: dict[str, _JobTally] = {}
        self.failures: list[ItemFailed] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, JobPlanned):
            self.by_job[event.job] = _JobTally(event)
            self.by_job[event.job].failed = sum(failure.job == event.job for failure in self.failures)
        elif isinstance(event, FrameDone):
            self.by_job[event.job].add(event)
        elif isinstance(event, OutputDone):
            self.by_job[event.job].made += 1
        elif isinstance(event, ItemFailed):
            self.failures.append(event)
            if event.job in self.by_job:
                self.by_job[event.job].failed += 1

    def pace(self) -> float | None:
        """Seconds a unit of work over all jobs, for those that have none of their own yet."""
        forecasts = [tally.forecast for tally in self.by_job.values()]
        work = sum(forecast.work_spent for forecast in forecasts)
        return sum(forecast.seconds_spent for forecast in forecasts) / work if work else None

    def seconds_left(self) -> float | None:
        left = [tally.forecast.seconds_left(self.pace()) for tally in self.by_job.values()]
        return None if None in left else sum(seconds for seconds in left if seconds is not None)

    def table(self) -> Table:
        table = Table("job", "made", "before", "failed", "frames", "s/frame", "iterations", "loss")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, tally in self.by_job.items():
            pace, latest = tally.seconds_a_frame, tally.latest
            table.add_row(
                name,
                str(tally.made),
                str(tally.planned.outputs_done),
                str(tally.failed),
                str(tally.frames_done),
                f"{pace:.2f}" if pace is not None else "–",
                f"{tally.evaluations / tally.frames_done:.0f}" if tally.frames_done else "–",
                f"{latest.loss:.3f}" if latest is not None else "–",
            )
        return table

    def finish(self, console: Console, finished: RunFinished) -> None:
        if self.by_job:
            console.print(self.table())
        console.print(_closing_line(finished), highlight=False)


def _closing_line(finished: RunFinished) -> str:
    made, before, failed = finished.outputs_made, finished.outputs_already_done, finished.items_failed
    if finished.stopped:
        said = f"{made} made, {before} done before, {failed} failed, {finished.outputs_left} left, for {finished.stopped}"
        return f"{said}. `nstpipe run` goes on from here. Exit code {finished.exit_code}."
    if not made and not failed:
        return f"Nothing to do: all {before} outputs are done already."
    said = f"{made} made, {before} done before, {failed} failed, in {as_duration(finished.seconds)}."
    return f"{said} Exit code {finished.exit_code}." if finished.exit_code else said


def _try_line(tried: TriedAgain) -> str:
    after = f" after {as_duration(tried.wait_seconds)}" if tried.wait_seconds else ""
    return f"{tried.job}: trying again{after} (try {tried.attempt + 1}): {tried.reason}"


def _failure_line(failure: ItemFailed) -> str:
    hint = f" {failure.next_step}" if failure.next_step else ""
    return f"{failure.job}: failed: {failure.reason}{hint}"


class BarProgress:
    """Bars that move, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tallies = _Tallies()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[loss]}"),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> BarProgress:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self._tallies(event)
        if isinstance(event, JobPlanned):
            self._bars[event.job] = self._progress.add_task(
                escape(event.job),
                total=event.frames,
                completed=event.frames - event.frames_left,
                pace="",
                left="" if event.frames_left else "done",
                loss="",
            )
        elif isinstance(event, FrameProgressed):
            self._update(event.job, event.loss, event.evaluations / event.most_evaluations)
        elif isinstance(event, FrameDone):
            self._update(event.job, event.loss, 0.0)
        elif isinstance(event, ItemFailed):
            self._console.print(_failure_line(event), style="red", markup=False)
        elif isinstance(event, Noticed):
            self._console.print(f"{event.job}: {event.message}", markup=False)
        elif isinstance(event, TriedAgain):
            self._console.print(_try_line(event), markup=False)
        elif isinstance(event, RunFinished):
            self._progress.stop()
            self._tallies.finish(self._console, event)

    def _update(self, job: str, loss: float, part_of_a_frame: float) -> None:
        tally = self._tallies.by_job[job]
        done = tally.planned.frames - tally.forecast.frames_left
        pace = tally.seconds_a_frame
        left = tally.forecast.seconds_left(self._tallies.pace())
        self._progress.update(
            self._bars[job],
            completed=min(done + part_of_a_frame, tally.planned.frames),
            pace=f"{pace:.1f} s/frame" if pace is not None else "",
            left="done" if left == 0 else f"{as_duration(left)} left" if left is not None else "",
            loss=f"loss {loss:.3f}",
        )


class LineProgress:
    """Lines without control characters, for logs and cron."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tallies = _Tallies()
        self._said: dict[str, float] = {}

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self._tallies(event)
        if isinstance(event, JobPlanned):
            self._print(
                f"{event.job}: {event.frames_left} of {event.frames} frames to do, {event.outputs_done} of "
                f"{event.outputs} outputs done"
            )
        elif isinstance(event, ClipStarted) and event.next_frame_index > event.first_frame_index:
            self._print(f"{event.job}: {event.path} goes on at frame {event.next_frame_index + 1}")
        elif isinstance(event, FrameDone):
            self._frame(event)
        elif isinstance(event, OutputDone):
            self._print(f"{event.job}: made {event.output} ({event.frames} {'frame' if event.frames == 1 else 'frames'})")
        elif isinstance(event, ItemFailed):
            self._print(_failure_line(event))
        elif isinstance(event, Noticed):
            self._print(f"{event.job}: {event.message}")
        elif isinstance(event, TriedAgain):
            self._print(_try_line(event))
        elif isinstance(event, RunFinished):
            self._tallies.finish(self._console, event)

    def _frame(self, event: FrameDone) -> None:
        now = time.monotonic()
        if not event.is_final or now - self._said.get(event.job, 0.0) < PLAIN_INTERVAL_SECONDS:
            return
        self._said[event.job] = now
        tally = self._tallies.by_job[event.job]
        done = tally.planned.frames - tally.forecast.frames_left
        left = as_duration(tally.forecast.seconds_left(self._tallies.pace()))
        self._print(
            f"{event.job}: {done} of {tally.planned.frames} frames, {tally.seconds_a_frame:.1f} s a frame, "
            f"{left} left, loss {event.loss:.3f}"
        )

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def progress(console: Console, *, quiet: bool) -> Reporter:
    """Bars on a terminal, lines elsewhere, failures only when quiet."""
    if quiet:
        return QuietProgress(console)
    return BarProgress(console) if console.is_terminal else LineProgress(console)


class QuietProgress:
    """Failures, and nothing else."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> QuietProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Show an event if it is a failure."""
        if isinstance(event, ItemFailed):
            self._console.print(_failure_line(event), markup=False, highlight=False, soft_wrap=True)
