"""Decides what happens to a clip whose process was killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nstpipe.errors import ItemError
from nstpipe.events import Event, FrameDone, TriedAgain
from nstpipe.painting.task import ClipResult, ClipTask
from nstpipe.planning.outputs import failed
from nstpipe.planning.resources import frames_done

KILLS_TOLERATED = 2
"""Kills of a clip in a row, without a finished frame between them. A clip that is killed a third time fails; otherwise it would
be killed all night."""


class Kills:
    """Counts how often the process of each clip was killed since its last finished frame."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], int] = {}

    def observe(self, event: Event) -> None:
        """Forget the kills of a clip that has finished a frame."""
        if isinstance(event, FrameDone):
            self._counts.pop((event.job, event.path, event.first_frame_index), None)

    def after(self, task: ClipTask, exit_code: int | None) -> TriedAgain | ClipResult:
        """Count a kill, and return the event of another attempt or, after too many kills, the failed result.

        Args:
            task: The clip whose process was killed.
            exit_code: The exit code of the process; negative for a signal; None if it was lost with its machine, or hung.
        """
        job, path, first = task.output.job.name, str(task.output.input.file.path), task.clip.first_frame_index
        kills = self._counts.get((job, path, first), 0) + 1
        self._counts[job, path, first] = kills
        reason = f"its worker process was killed (exit code {exit_code}), most likely because memory ran out"
        if exit_code is None:
            reason = "its worker was lost, or gave no sign of life"
        if kills <= KILLS_TOLERATED:
            return TriedAgain(job=job, path=path, reason=reason, attempt=kills, wait_seconds=0.0, first_frame_index=first)
        stored = frames_done(task.run.work, task.clip)
        error = ItemError(
            f"{path}, frame {first + stored + 1}: {reason}; {kills} times in a row.",
            "Give a smaller size or fewer --workers, then --retry-failed.",
        )
        return ClipResult(task, replace(failed(task.output.job, Path(path), error, task.output), attempts=kills))
