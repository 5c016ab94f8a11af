"""The tasks of a run, and which of them may begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from nstpipe.painting.task import ClipTask, LinkedPicture, RunSettings
from nstpipe.planning.outputs import Output
from nstpipe.system.files import Stamp


class Schedule:
    """The order of tasks. It is told of each result as it comes, and holds the outputs that have tasks to do.

    Args:
        tasks: The clips to stylize of each output, output by output.
        on_output: Called with each output before its first task may begin.
    """

    def __init__(self, tasks: Iterable[Sequence[ClipTask]], on_output: Callable[[Output], None] = lambda _: None) -> None:
        self._coming = iter(tasks)
        self._on_output = on_output
        self._tasks_left: Counter[Path] = Counter()
        self._clips_left: Counter[Path] = Counter()
        self._sharing: dict[str, list[ClipTask]] = {}

    def tasks(self) -> Iterator[ClipTask]:
        """Yield the tasks, made when they are asked for, since there may be a million."""
        for of_output in self._coming:
            if of_output:
                output = of_output[0].output
                self._on_output(output)
                self._tasks_left[output.path] += len(of_output)
                self._clips_left[output.path] += len(of_output)
                for task in of_output if output.is_video else ():
                    self._sharing.setdefault(task.clip.fingerprint, []).append(task)
                yield from of_output

    def is_ready(self, task: ClipTask) -> bool:
        """Return whether a task may begin.

        Clips of several videos may share their stored frames. These are painted for the first clip, and the others find them.
        A linked picture waits for the picture that it continues.
        """
        if task.output.is_video:
            return _is_same(self._sharing[task.clip.fingerprint][0], task)
        return task.linked_picture is None or task.output.linked_output not in self._tasks_left

    def end(self, task: ClipTask) -> None:
        """Note that a task has ended, well or not."""
        self._tasks_left[task.output.path] -= 1
        if self._tasks_left[task.output.path] == 0:
            del self._tasks_left[task.output.path]
        if task.output.is_video:
            sharing = self._sharing[task.clip.fingerprint]
            sharing.remove(next(other for other in sharing if _is_same(other, task)))
            if not sharing:
                del self._sharing[task.clip.fingerprint]

    def is_ended(self, output: Path) -> bool:
        """Return whether all tasks of an output have ended, well or not."""
        return output not in self._tasks_left

    def is_complete(self, output: Path) -> bool:
        """Return whether all clips of an output are done."""
        return output not in self._clips_left

    def completes_output(self, task: ClipTask) -> bool:
        """Note that a clip is done; return whether it was the last one of its output."""
        self._clips_left[task.output.path] -= 1
        if self._clips_left[task.output.path]:
            return False
        del self._clips_left[task.output.path]
        return True


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
