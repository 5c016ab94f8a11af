"""Run a function over tasks, here or in worker processes. Knows nothing of style.

A worker is a Python of its own that takes tasks on its standard input and gives events and results on its standard output.
It is not told of the terminal's Ctrl-C, it ends when this process does, and when it is killed, the task that it worked on is
known and the others go on.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Protocol, TypeVar

import joblib

from nstpipe.errors import MachineError
from nstpipe.events import Emit
from nstpipe.system.stop import Stop, StopReason

Task = TypeVar("Task")
Result = TypeVar("Result")
Function = Callable[[Task, Emit, Stop], Result]

POLL_SECONDS = 0.1
"""How soon the workers hear of a stop."""

_MAIN = "import sys; sys.path[:] = sys.argv[1:]; from nstpipe.running.worker_processes import serve; serve()"
"""A worker finds modules where this process does."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class OnKilled(Protocol):
    """What to do about a task whose worker was killed."""

    def __call__(self, task: Any, exit_code: int, /) -> Any:
        """A result to end the task with, or None to give it to a fresh worker."""


def execute(
    function: Function[Task, Result],
    tasks: Sequence[Task],
    *,
    workers: int,
    emit: Emit,
    stop: Stop,
    on_killed: OnKilled,
    isolated: bool = False,
    is_ready: Callable[[Task], bool] = lambda _: True,
) -> Iterator[Result]:
    """Results as they come, in any order; events go to `emit` meanwhile.

    Args:
        function: can be sent to another process by its name, and so can tasks, results and events by their content.
        tasks: each is given to one call.
        workers: processes; with 1 all runs in this one, with all its threads, unless `isolated`.
        emit: called in this process only.
        stop: looked at before each task; the function is given one that hears of it too.
        on_killed: asked when a worker was killed from outside.
        isolated: give a single worker a process too, with all threads, so that this one outlives it.
        is_ready: whether a task may begin, now that the results given so far are there. The order of the tasks must be one
            in which each is ready when all before it are done.

    Raises:
        MachineError: no worker can be started.
        Exception: whatever the function raises.
    """
    if workers == 1 and not isolated:
        for task in tasks:
            if stop.should_stop():
                return
            yield function(task, emit, stop)
        return
    yield from _in_workers(function, tasks, workers, emit, stop, on_killed, is_ready)


def _in_workers(
    function: Function[Task, Result],
    tasks: Sequence[Task],
    workers: int,
    emit: Emit,
    stop: Stop,
    on_killed: OnKilled,
    is_ready: Callable[[Task], bool],
) -> Iterator[Result]:
    inbox: queue.SimpleQueue[tuple[_Worker, str, Any]] = queue.SimpleQueue()
    todo = deque(tasks)
    idle: list[_Worker] = []
    running: dict[_Worker, Task] = {}
    # Each worker would otherwise take every core. The number of tasks must not matter: other threads round otherwise.
    # A single one decides by itself, as this process would.
    threads = max(1, joblib.cpu_count() // workers) if workers > 1 else None
    try:
        while True:
            while len(running) < workers and not stop.should_stop():
                task = next((task for task in todo if is_ready(task)), None)
                if task is None:
                    break
                todo.remove(task)
                worker = idle.pop() if idle else _Worker(function, inbox, threads, stop.deadline)
                running[worker] = task
                worker.send(running[worker])
            if not running:
                return
            if stop.reason is not None:
                for worker in running:
                    worker.ask_to_stop(stop.reason)
            try:
                worker, kind, value = inbox.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if kind == "event":
                emit(value)
            elif kind == "error":
                raise value
            elif kind == "result":
                del running[worker]
                idle.append(worker)
                yield value
            elif worker in running:
                task = running.pop(worker)
                result = on_killed(task, value)
                if result is not None:
                    yield result
                else:
                    todo.appendleft(task)
            else:
                idle.remove(worker)
    finally:
        for worker in (*idle, *running):
            worker.end()


class _Worker:
    """A process that runs the function on one task after the other."""

    def __init__(
        self,
        function: Callable[..., Any],
        inbox: queue.SimpleQueue[tuple[_Worker, str, Any]],
        threads: int | None,
        deadline: float | None,
    ) -> None:
        self._inbox = inbox
        self._told = False
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **(dict.fromkeys(THREAD_VARIABLES, str(threads)) if threads is not None else {})},
                # Ctrl-C goes to a terminal's whole process group; this process decides what ends when.
                start_new_session=os.name != "nt",
            )
        except OSError as error:
            raise MachineError(f"no worker process can be started: {error}.", "Run again with --workers 1.") from error
        self.send((function, deadline))
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, value: object) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(value, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it was killed; who listens will say so

    def ask_to_stop(self, reason: StopReason) -> None:
        if not self._told:
            self._told = True
            self.send(reason)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                kind, value = pickle.load(self._process.stdout)
                self._inbox.put((self, kind, value))
        except (EOFError, OSError):
            self._inbox.put((self, "killed", self._process.wait()))
        except Exception:
            # Whatever cannot be read, what comes after it cannot either: the worker would wait for ever, and so would its task.
            self._process.kill()
            self._inbox.put((self, "killed", self._process.wait()))

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                assert pipe is not None
                pipe.close()
            except (BrokenPipeError, ValueError):
                pass


def serve() -> None:
    """Be a worker: the main function of its process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a service manager sends them to every process; ours will tell us
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand among the answers
    function, deadline = pickle.load(commands)
    stop = Stop(deadline)
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_hear, args=(commands, tasks, stop), daemon=True).start()
    while True:
        task = tasks.get()
        try:
            answer = "result", function(task, lambda event: _say(answers, ("event", event)), stop)
        except Exception as error:
            answer = "error", error
        _say(answers, answer)


def _hear(commands: IO[bytes], tasks: queue.SimpleQueue[Any], stop: Stop) -> None:
    try:
        while True:
            command = pickle.load(commands)
            if isinstance(command, StopReason):
                stop.ask(command)
            else:
                tasks.put(command)
    except Exception:
        os._exit(0)  # the parent is gone, perhaps in the middle of a task: a new run may already work on the same files


def _say(answers: IO[bytes], answer: tuple[str, Any]) -> None:
    try:
        pickle.dump(answer, answers)
        answers.flush()
    except BrokenPipeError:
        os._exit(0)
