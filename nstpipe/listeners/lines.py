"""Progress as lines of text, for logs and cron."""

from __future__ import annotations

import time
from datetime import datetime

from rich.console import Console

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
    TrainingProgressed,
    TriedAgain,
)
from nstpipe.listeners.sentences import attempt_line, failure_line, print_summary
from nstpipe.listeners.tally import Tally
from nstpipe.planning.eta import as_duration

PLAIN_INTERVAL_SECONDS = 60.0
"""Seconds between two lines of progress. A person can still read the lines of a whole night."""


class LineProgress:
    """A listener that prints lines without control characters, for logs and cron.

    Args:
        console: Where to print.
        with_time: Whether each line begins with the time at which it is printed, with its offset from UTC.
    """

    def __init__(self, console: Console, *, with_time: bool = False) -> None:
        self._console = console
        self._with_time = with_time
        self._tally = Tally()
        self._said_at = time.monotonic()
        self._has_said = False

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self._tally.add(event)
        if isinstance(event, InputsProgressed):
            self._tell_look(event)
        elif isinstance(event, JobPlanned):
            left = self._tally.seconds_left(event.job)
            self._print(
                f"{event.job}: {event.frames_left} of {event.frames} frames to do, {event.outputs_done} of "
                f"{event.outputs} outputs done" + (f", about {as_duration(left)}" if left else "")
            )
        elif isinstance(event, ClipStarted) and event.next_frame_index > event.first_frame_index:
            self._print(f"{event.job}: {event.path} continues at frame {event.next_frame_index + 1}")
        elif isinstance(event, FrameDone):
            self._tell(event, at_once=not self._has_said)
        elif isinstance(event, FrameProgressed):
            self._tell(event)
        elif isinstance(event, TrainingProgressed):
            self._tell_training(event)
        elif isinstance(event, OutputDone) and event.frames > 1:  # a folder's pictures are counted with the frames
            self._print(f"{event.job}: made {event.output} ({event.frames} frames)")
        elif isinstance(event, ItemFailed):
            self._print(failure_line(event))
        elif isinstance(event, Noticed):
            self._print(f"{event.job}: {event.message}")
        elif isinstance(event, TriedAgain):
            self._print(attempt_line(event))
        elif isinstance(event, RunFinished):
            print_summary(self._tally, self._console, event)

    def finish(self, error: BaseException | None) -> None:
        """Do nothing: every line is printed already."""

    def _is_due(self) -> bool:
        """Return whether a line of progress is due. If so, the next one is due an interval later."""
        now = time.monotonic()
        if now - self._said_at < PLAIN_INTERVAL_SECONDS:
            return False
        self._said_at = now
        return True

    def _tell_look(self, event: InputsProgressed) -> None:
        left = self._tally.look_seconds_left(event)
        if self._is_due():
            after = f", {as_duration(left)} left" if left is not None else ""
            self._print(f"{event.job}: looking at the inputs, {event.inputs_done} of {event.inputs} done{after}")

    def _tell_training(self, event: TrainingProgressed) -> None:
        if self._is_due():
            loss = event.losses.get("held_out", event.losses.get("total"))
            after = f", loss {loss:.3f}" if loss is not None else ""
            left = as_duration(event.seconds_left)
            self._print(f"{event.job}: the network is in training, step {event.step:,}{after}, {left} left")

    def _tell(self, event: FrameDone | FrameProgressed, *, at_once: bool = False) -> None:
        if not self._is_due() and not at_once:
            return
        self._said_at, self._has_said = time.monotonic(), True
        tally = self._tally.jobs[event.job]
        facts = [f"{tally.frames_done} of {tally.frames} frames"]
        if isinstance(event, FrameProgressed):
            facts.append(f"iteration {event.evaluations} of {event.most_evaluations} of the next")
        if tally.seconds_per_frame is not None:
            facts.append(f"{tally.seconds_per_frame:.1f} s a frame")
        left = self._tally.seconds_left(event.job)
        facts += [f"{as_duration(left)} left"] if left is not None else []
        if event.loss is not None:
            facts.append(f"loss {event.loss:.3f}")
        if tally.iterations:
            facts.append(f"{tally.iterations} iterations in all")
        line = f"{event.job}: {', '.join(facts)}"
        if len(self._tally.planned) > 1:
            left = self._tally.seconds_left()
            line += f"; all jobs: {self._tally.frames_done} of {self._tally.frames} frames"
            line += f", {as_duration(left)} left" if left is not None else ""
        self._print(line)

    def _print(self, line: str) -> None:
        if self._with_time:
            line = f"{datetime.now().astimezone().isoformat(timespec='seconds')} {line}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class QuietProgress:
    """A listener that prints failures and nothing else.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, event: Event) -> None:
        """Print an event if it is a failure."""
        if isinstance(event, ItemFailed):
            self._console.print(failure_line(event), markup=False, highlight=False, soft_wrap=True)

    def finish(self, error: BaseException | None) -> None:
        """Do nothing: every failure is printed already."""
