"""Fetches the remote files of the tasks of a run just ahead of their use, and lets them go when they are done with."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nstpipe.errors import NstpipeError
from nstpipe.painting.task import ClipTask
from nstpipe.planning.inspect import pictures_of
from nstpipe.planning.outputs import Output
from nstpipe.storage.mirror import Mirror
from nstpipe.system.stop import Stopped


class Staging:
    """The remote files of tasks. Without a mirror, no file is remote, and every task is ready.

    Files are fetched in the order of the tasks, as far as there is room for them. Those of an output stay until it is done.

    Args:
        mirror: The remote files; None if there are none.
        tasks: The tasks, in the order in which they will begin.
        ahead: How many outputs are fetched before their first task begins.
    """

    def __init__(self, mirror: Mirror | None, tasks: Sequence[ClipTask], ahead: int) -> None:
        self._mirror = mirror
        self._lock = threading.Condition()
        self._staged: set[Path] = set()
        self._begun: set[Path] = set()
        self._ended: set[Path] = set()
        self._held: dict[Path, list[Path]] = {}
        self._ahead = ahead
        self._is_closed = False
        self._tasks: dict[Path, list[ClipTask]] = {}
        for task in tasks if mirror is not None else ():
            self._tasks.setdefault(task.output.path, []).append(task)
        self._thread = threading.Thread(target=self._stage_all, name="staging", daemon=True)
        if self._tasks:
            self._thread.start()

    def is_ready(self, task: ClipTask) -> bool:
        """Return whether the files of a task are there, or are known to be out of reach."""
        if self._mirror is None:
            return True
        with self._lock:
            if task.output.path not in self._staged:
                return False
            self._begun.add(task.output.path)
            self._lock.notify_all()
            return True

    def end(self, output: Path) -> None:
        """Let the files of an output go: it is made, or has failed."""
        if self._mirror is None:
            return
        with self._lock:
            self._ended.add(output)
            held = self._held.pop(output, [])
            self._lock.notify_all()
        if held:
            self._mirror.release(*held)

    def close(self) -> None:
        """Let all files go."""
        with self._lock:
            self._is_closed = True
            self._lock.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        for output in list(self._held):
            self.end(output)

    def _stage_all(self) -> None:
        for output, tasks in self._tasks.items():
            with self._lock:
                while not self._is_closed and len(self._staged - self._begun - self._ended) >= self._ahead:
                    self._lock.wait(1.0)
                if self._is_closed:
                    return
                if output in self._ended:
                    continue
            self._stage(output, tasks)

    def _stage(self, output: Path, tasks: Sequence[ClipTask]) -> None:
        assert self._mirror is not None
        files = [path for path in dict.fromkeys(_files_of(tasks)) if self._mirror.covers(path)]
        # What this run is to make must not be fetched: an old result would take its place.
        made = [path for path in files if path in self._tasks]
        try:
            self._mirror.keep(*made)
            if len(files) > len(made):
                self._mirror.hold(*(path for path in files if path not in made))
        except Stopped:
            self._mirror.release(*made)
            return
        except NstpipeError as error:
            self._fail(tasks, error.problem, error.next_step)
            self._mirror.release(*made)
        except Exception as error:  # or its tasks would wait forever
            self._fail(tasks, f"{tasks[0].output.input.file.path} cannot be fetched: {type(error).__name__}.", "")
            self._mirror.release(*made)
        else:
            with self._lock:
                if output not in self._ended:
                    self._held[output] = files
                    files = []
            if files:
                self._mirror.release(*files)
        with self._lock:
            self._staged.add(output)

    @staticmethod
    def _fail(tasks: Sequence[ClipTask], problem: str, next_step: str) -> None:
        for task in tasks:
            task.staged.problem, task.staged.next_step = problem, next_step


def _files_of(tasks: Iterable[ClipTask]) -> Iterator[Path]:
    """Yield the files that tasks of one output read."""
    for task in tasks:
        yield from files_of(task.output)
        if task.linked_picture is not None:
            yield task.linked_picture.original
            yield task.linked_picture.result


def files_of(output: Output) -> Iterator[Path]:
    """Yield the files that an output is made of."""
    yield output.input.file.path
    for mask in output.input.masks:
        yield from mask.files
    yield from (path for path, _ in pictures_of(output.job) if not path.is_dir())
