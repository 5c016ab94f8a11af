"""The display of a training for people."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from nstpipe.events import Event, Noticed, TrainingProgressed, TrainingSaved
from nstpipe.planning.eta import as_duration

LINE_SECONDS = 60.0
"""Seconds between two lines of progress where there is no terminal."""


class TrainingProgress:
    """A listener that shows a bar on a terminal, and lines elsewhere.

    Args:
        console: Where it is shown.
        quiet: Whether only notices are shown.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._line_at: float | None = None

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Noticed):
            self._print(f"{event.job}: {event.message}")
        elif isinstance(event, TrainingProgressed) and not self._quiet:
            self._show(event)
        elif isinstance(event, TrainingSaved) and not self._quiet and not self._console.is_terminal:
            self._print(f"{event.network}: saved after {event.step:,} steps: {event.output}")

    def finish(self, error: BaseException | None) -> None:
        """Leave the terminal as it was, with the last state of the bar."""
        self._bar.stop()

    def _show(self, event: TrainingProgressed) -> None:
        losses = " ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in event.losses.items() if name != "total")
        losses = f"loss {event.losses.get('total', 0.0):.3g} ({losses})"
        left = "done" if event.step == event.steps else f"{as_duration(event.seconds_left)} left"
        if self._console.is_terminal:
            if self._task is None:
                self._bar.start()
                self._task = self._bar.add_task(event.network, total=event.steps, losses="", left="")
            self._bar.update(self._task, completed=event.step, losses=losses, left=left)
            return
        now = time.monotonic()
        if self._line_at is None or now - self._line_at >= LINE_SECONDS or event.step == event.steps:
            self._line_at = now
            self._print(f"{event.network}: step {event.step:,} of {event.steps:,}, {losses}, {left}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
