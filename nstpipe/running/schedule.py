"""The tasks of a run, and which of them may begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from nstpipe.painting.task import ClipTask, LinkedPicture, RunSettings
from nstpipe.planning.outputs import Output
from nstpipe.system.files import Stamp


class Schedule:
    """The order of tasks. It is told of each result as it comes.

    Args:
        tasks: The clips to stylize.

    Attributes:
        tasks: The same.
    """

    def __init__(self, tasks: Iterable[ClipTask]) -> None:
        self.tasks = tuple(tasks)
        self._untried = {task.output.path for task in self.tasks}
        self._tasks_left = Counter(task.output.path for task in self.tasks)
        self._clips_left = Counter(task.output.path for task in self.tasks)
        self._sharing: dict[str, list[ClipTask]] = {}
        for task in self.tasks:
            if task.output.is_video:
                self._sharing.setdefault(task.clip.fingerprint, []).append(task)

    def is_ready(self, task: ClipTask) -> bool:
        """Return whether a task may begin.

        Clips of several videos may share their stored frames. These are painted for the first clip, and the others find them.
        A linked picture waits for the picture that it continues.
        """
        if task.output.is_video:
            return _is_same(self._sharing[task.clip.fingerprint][0], task)
        return task.linked_picture is None or task.output.linked_output not in self._untried

    def end(self, task: ClipTask) -> None:
        """Note that a task has ended, well or not."""
        self._untried.discard(task.output.path)
        self._tasks_left[task.output.path] -= 1
        if task.output.is_video:
            sharing = self._sharing[task.clip.fingerprint]
            sharing.remove(next(other for other in sharing if _is_same(other, task)))

    def is_ended(self, output: Path) -> bool:
        """Return whether all tasks of an output have ended, well or not."""
        return self._tasks_left[output] <= 0

    def is_complete(self, output: Path) -> bool:
        """Return whether all clips of an output are done."""
        return self._clips_left[output] <= 0

    def completes_output(self, task: ClipTask) -> bool:
        """Note that a clip is done; return whether it was the last one of its output."""
        self._clips_left[task.output.path] -= 1
        return self._clips_left[task.output.path] == 0


def _is_same(one: ClipTask, other: ClipTask) -> bool:
    """Return whether both are the same task. A result may come back from another process with a copy of its task."""
    return (one.output.path, one.clip.first_frame_index) == (other.output.path, other.clip.first_frame_index)


def clip_cost(task: object) -> float:
    """Return about how long a clip takes, in iterations times pixels. Frames that are stored already are counted.

    Other tasks, such as a training, run one at a time; for them it is 1.
    """
    if not isinstance(task, ClipTask):
        return 1.0
    width, height = task.output.size
    return float(task.output.max_iterations(task.clip, 0) * width * height)


def tasks_of(output: Output, settings: RunSettings, outdated: Mapping[Path, Stamp | None]) -> list[ClipTask]:
    """Return a task for each clip of an output that this run makes.

    Args:
        output: The output to make.
        settings: The settings of the run.
        outdated: Outputs that are not done, with the stamps of files that an earlier run left there.
    """
    linked_picture = None
    if output.linked_output is not None and output.input.neighbor is not None:
        linked_picture = LinkedPicture(output.input.neighbor.path, output.linked_output, outdated.get(output.linked_output))
    return [ClipTask(output, clip, settings, linked_picture, outdated.get(output.path)) for clip in output.own_clips]
