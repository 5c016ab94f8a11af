"""Progress bars for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from nstpipe.events import (
    Event,
    FrameDone,
    FrameProgressed,
    InputsProgressed,
    ItemFailed,
    JobPlanned,
    Noticed,
    RunFinished,
    TrainingProgressed,
    TriedAgain,
)
from nstpipe.listeners.sentences import attempt_line, failure_line, print_summary
from nstpipe.listeners.tally import Tally
from nstpipe.planning.eta import as_duration

NARROW_COLUMNS = 100
"""A terminal with fewer columns gets a shorter bar and no pace."""


class BarProgress:
    """A listener that shows moving bars on a terminal.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tally = Tally()
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

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self._tally.add(event)
        if isinstance(event, InputsProgressed):
            self._show_look(event)
        elif isinstance(event, JobPlanned):
            self._hide_look()
            done = event.frames - event.frames_left
            self._bars[event.job] = self._bar(event.job, done, event.frames, _left(self._tally.seconds_left(event.job)))
            if len(self._bars) == 2:
                self._all = self._bar("all jobs", self._tally.frames_done, self._tally.frames, "")
        elif isinstance(event, FrameProgressed):
            self._update(event.job, event.loss, f"iteration {event.evaluations}/{event.most_evaluations}")
        elif isinstance(event, TrainingProgressed):
            self._show_training(event)
        elif isinstance(event, FrameDone):
            self._update(event.job, event.loss, "")
        elif isinstance(event, ItemFailed):
            self._console.print(failure_line(event), style="red", markup=False)
        elif isinstance(event, Noticed):
            self._console.print(f"{event.job}: {event.message}", markup=False)
        elif isinstance(event, TriedAgain):
            self._console.print(attempt_line(event), markup=False)
        elif isinstance(event, RunFinished):
            self.finish(None)
            print_summary(self._tally, self._console, event)

    def finish(self, error: BaseException | None) -> None:
        """Leave the terminal as it was, with the last state of the bars."""
        self._hide_look()
        self._progress.stop()

    def _show_look(self, event: InputsProgressed) -> None:
        if self._look is None:
            self._look = self._bar("", 0, event.inputs, "")
        self._progress.update(
            self._look,
            description=escape(f"{event.job}: looking at the inputs"),
            total=event.inputs,
            completed=event.inputs_done + event.share,
            left=_left(self._tally.look_seconds_left(event)),
        )

    def _show_training(self, event: TrainingProgressed) -> None:
        if event.job in self._bars:
            iterations, loss = f"training, step {event.step:,}", event.losses.get("held_out", event.losses.get("total"))
            self._progress.update(
                self._bars[event.job],
                iterations=iterations,
                loss=f"loss {loss:.3f}" if loss is not None else "",
                left=f"{as_duration(event.seconds_left)} of it left",
            )

    def _hide_look(self) -> None:
        if self._look is not None:
            self._progress.remove_task(self._look)
            self._look = None

    def _bar(self, name: str, done: int, frames: int, left: str) -> TaskID:
        self._progress.start()  # with the first bar; it does nothing later
        return self._progress.add_task(escape(name), total=frames, completed=done, iterations="", loss="", pace="", left=left)

    def _update(self, job: str, loss: float | None, iterations: str) -> None:
        tally = self._tally.jobs[job]
        pace = tally.seconds_per_frame
        self._progress.update(
            self._bars[job],
            completed=min(tally.frames_done + tally.forecast.frames_under_way, tally.frames),
            pace=f"{pace:.1f} s/frame" if pace is not None else "",
            left=_left(self._tally.seconds_left(job)),
            loss=f"loss {loss:.3f}" if loss is not None else "",
            iterations=iterations,
        )
        if self._all is not None:
            left = _left(self._tally.seconds_left())
            self._progress.update(self._all, total=self._tally.frames, completed=self._tally.frames_begun, left=left)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return "done" if seconds == 0 else f"{as_duration(seconds)} left"
