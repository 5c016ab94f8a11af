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
    InputsProgressed,
    ItemFailed,
    JobPlanned,
    Noticed,
    OutputDone,
    RunFinished,
    TriedAgain,
)
from nstpipe.planning.eta import Forecast, as_duration

PLAIN_INTERVAL_SECONDS = 60.0
"""Between two lines of progress where there is no terminal: a night of them is still read."""

NARROW_COLUMNS = 100
"""A narrower terminal gets a shorter bar, and no pace."""


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
        self._looks: dict[str, tuple[float, float]] = {}
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

    def look_seconds_left(self, event: InputsProgressed) -> float | None:
        """Until a job's inputs have been looked at, by the pace since that was first told of; None while it has none."""
        done = event.inputs_done + event.share
        began_at, done_before = self._looks.setdefault(event.job, (event.at, done))
        if done == done_before:
            return None
        return (event.inputs - done) * (event.at - began_at) / (done - done_before)

    def pace(self) -> float | None:
        """Seconds a unit of work over all jobs, for those that have none of their own yet."""
        forecasts = [tally.forecast for tally in self.by_job.values()]
        work = sum(forecast.work_spent for forecast in forecasts)
        return sum(forecast.seconds_spent for forecast in forecasts) / work if work else None

    def seconds_left(self) -> float | None:
        left = [tally.forecast.seconds_left(self.pace()) for tally in self.by_job.values()]
        return None if None in left else sum(seconds for seconds in left if seconds is not None)

    def frames_done(self) -> int:
        return sum(tally.planned.frames - tally.forecast.frames_left for tally in self.by_job.values())

    def frames(self) -> int:
        return sum(tally.planned.frames for tally in self.by_job.values())

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
                f"{latest.loss:.3f}" if latest is not None and latest.loss is not None else "–",
            )
        return table

    def finish(self, console: Console, finished: RunFinished) -> None:
        if self.by_job:
            console.print(self.table())
        console.print(_closing_line(finished, is_planned=bool(self.by_job)), highlight=False, soft_wrap=True)
        if finished.report:
            console.print(f"Report: {finished.report}", markup=False, highlight=False, soft_wrap=True)


def _closing_line(finished: RunFinished, *, is_planned: bool) -> str:
    made, before, failed = finished.outputs_made, finished.outputs_already_done, finished.items_failed
    if finished.stopped:
        said = f"{made} made, {before} done before, {failed} failed, {finished.outputs_left} left, for {finished.stopped}"
        if not is_planned:
            said = f"Ended while the inputs were looked at, for {finished.stopped}"
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
        narrow = console.width < NARROW_COLUMNS
        texts = ("iterations", "loss", *(() if narrow else ("pace",)), "left")
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(10 if narrow else 24),
            MofNCompleteColumn(),
            *(TextColumn(f"{{task.fields[{name}]}}") for name in texts),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}
        self._all: TaskID | None = None
        self._look: TaskID | None = None
        self._under_way: dict[tuple[str, str, int], float] = {}

    def __enter__(self) -> BarProgress:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._hide_look()
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self._tallies(event)
        if isinstance(event, InputsProgressed):
            self._show_look(event)
        elif isinstance(event, JobPlanned):
            self._hide_look()
            done = event.frames - event.frames_left
            self._bars[event.job] = self._bar(event.job, done, event.frames, "" if event.frames_left else "done")
            if len(self._bars) == 2:
                self._all = self._bar("all jobs", self._tallies.frames_done(), self._tallies.frames(), "")
        elif isinstance(event, FrameProgressed):
            self._under_way[event.job, event.path, event.frame_index] = event.evaluations / event.most_evaluations
            self._update(event.job, event.loss, f"iteration {event.evaluations}/{event.most_evaluations}")
        elif isinstance(event, FrameDone):
            self._under_way.pop((event.job, event.path, event.frame_index), None)
            self._update(event.job, event.loss, "")
        elif isinstance(event, ItemFailed):
            self._forget(event.path)
            self._console.print(_failure_line(event), style="red", markup=False)
        elif isinstance(event, Noticed):
            self._console.print(f"{event.job}: {event.message}", markup=False)
        elif isinstance(event, TriedAgain):
            self._forget(event.path)
            self._console.print(_try_line(event), markup=False)
        elif isinstance(event, RunFinished):
            self._hide_look()
            self._progress.stop()
            self._tallies.finish(self._console, event)

    def _show_look(self, event: InputsProgressed) -> None:
        if self._look is None:
            self._look = self._bar("", 0, event.inputs, "")
        self._progress.update(
            self._look,
            description=escape(f"{event.job}: looking at the inputs"),
            total=event.inputs,
            atomic_write=event.inputs_done + event.share,
            left=_left(self._tallies.look_seconds_left(event)),
        )

    def _hide_look(self) -> None:
        if self._look is not None:
            self._progress.remove_task(self._look)
            self._look = None

    def _bar(self, name: str, done: int, frames: int, left: str) -> TaskID:
        return self._progress.add_task(
            escape(name), total=frames, atomic_write=done, iterations="", loss="", pace="", left=left
        )

    def _forget(self, path: str) -> None:
        """What was under way of a file begins again, or never."""
        self._under_way = {key: share for key, share in self._under_way.items() if key[1] != path}

    def _update(self, job: str, loss: float | None, iterations: str) -> None:
        tally, pace = self._tallies.by_job[job], self._tallies.pace()
        done = tally.planned.frames - tally.forecast.frames_left
        # Workers have several frames of a job under way at the same time.
        parts = sum(share for (owner, _, _), share in self._under_way.items() if owner == job)
        self._progress.update(
            self._bars[job],
            atomic_write=min(done + parts, tally.planned.frames),
            pace=f"{tally.seconds_a_frame:.1f} s/frame" if tally.seconds_a_frame is not None else "",
            left=_left(tally.forecast.seconds_left(pace)),
            loss=f"loss {loss:.3f}" if loss is not None else "",
            iterations=iterations,
        )
        if self._all is not None:
            all_done = self._tallies.frames_done() + sum(self._under_way.values())
            left = _left(self._tallies.seconds_left())
            self._progress.update(self._all, total=self._tallies.frames(), atomic_write=all_done, left=left)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return "done" if seconds == 0 else f"{as_duration(seconds)} left"


class LineProgress:
    """Lines without control characters, for logs and cron."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tallies = _Tallies()
        self._said_at = time.monotonic()
        self._has_said = False

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self._tallies(event)
        if isinstance(event, InputsProgressed):
            self._tell_look(event)
        elif isinstance(event, JobPlanned):
            self._print(
                f"{event.job}: {event.frames_left} of {event.frames} frames to do, {event.outputs_done} of "
                f"{event.outputs} outputs done"
            )
        elif isinstance(event, ClipStarted) and event.next_frame_index > event.first_frame_index:
            self._print(f"{event.job}: {event.path} goes on at frame {event.next_frame_index + 1}")
        elif isinstance(event, FrameDone):
            self._tell(event, at_once=not self._has_said)
        elif isinstance(event, FrameProgressed):
            self._tell(event)
        elif isinstance(event, OutputDone) and event.frames > 1:  # a folder's pictures are counted with the frames
            self._print(f"{event.job}: made {event.output} ({event.frames} frames)")
        elif isinstance(event, ItemFailed):
            self._print(_failure_line(event))
        elif isinstance(event, Noticed):
            self._print(f"{event.job}: {event.message}")
        elif isinstance(event, TriedAgain):
            self._print(_try_line(event))
        elif isinstance(event, RunFinished):
            self._tallies.finish(self._console, event)

    def _is_due(self) -> bool:
        """Whether a line of progress is due; if so, the next one is a while later."""
        now = time.monotonic()
        if now - self._said_at < PLAIN_INTERVAL_SECONDS:
            return False
        self._said_at = now
        return True

    def _tell_look(self, event: InputsProgressed) -> None:
        left = self._tallies.look_seconds_left(event)
        if self._is_due():
            after = f", {as_duration(left)} left" if left is not None else ""
            self._print(f"{event.job}: looking at the inputs, {event.inputs_done} of {event.inputs} done{after}")

    def _tell(self, event: FrameDone | FrameProgressed, *, at_once: bool = False) -> None:
        if not self._is_due() and not at_once:
            return
        self._said_at, self._has_said = time.monotonic(), True
        tally, pace = self._tallies.by_job[event.job], self._tallies.pace()
        done = tally.planned.frames - tally.forecast.frames_left
        facts = [f"{done} of {tally.planned.frames} frames"]
        if isinstance(event, FrameProgressed):
            facts.append(f"iteration {event.evaluations} of {event.most_evaluations} of the next")
        if tally.seconds_a_frame is not None:
            facts.append(f"{tally.seconds_a_frame:.1f} s a frame")
        left = tally.forecast.seconds_left(pace)
        facts += [f"{as_duration(left)} left"] if left is not None else []
        if event.loss is not None:
            facts += [f"loss {event.loss:.3f}", f"{tally.evaluations} iterations in all"]
        line = f"{event.job}: {', '.join(facts)}"
        if len(self._tallies.by_job) > 1:
            left = self._tallies.seconds_left()
            line += f"; all jobs: {self._tallies.frames_done()} of {self._tallies.frames()} frames"
            line += f", {as_duration(left)} left" if left is not None else ""
        self._print(line)

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
