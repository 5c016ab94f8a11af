"""Runs tasks in worker processes on this machine.

A worker is a Python process that reads tasks from its standard input and writes events and results to its standard output.
It ignores the terminal's Ctrl-C and ends when its parent process does. If a worker is killed, its task is known and the other
workers continue.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nstpipe.config import Pipeline
from nstpipe.errors import MachineError
from nstpipe.events import Emit
from nstpipe.running.executor import Function, OnKilled, Result, Task
from nstpipe.running.task_queue import TaskQueue
from nstpipe.system.devices import only_visible
from nstpipe.system.stop import Stop, StopReason
from nstpipe.system.threads import THREAD_VARIABLES, core_count, limit_threads

POLL_SECONDS = 0.1
"""Seconds after which the workers hear of a stop, at most."""

_MAIN = "import sys; sys.path[:] = sys.argv[1:]; from nstpipe.running.worker import serve; serve()"
"""The program of a worker. It finds modules where this process does."""

Inbox = queue.SimpleQueue[tuple["WorkerProcess", str, Any]]
"""Messages of all workers: the worker, the kind of message, and its content."""

_Call = tuple[Callable[..., None], tuple[Any, ...]]
"""A function and its arguments."""


class WorkerProcesses:
    """An executor with a fixed number of processes on this machine.

    Args:
        workers: The number of processes. A single process may use all threads, as this process would.
        gpus: The GPUs that the processes are pinned to in turn, such as cuda:0; empty for none.
    """

    def __init__(self, workers: int, gpus: Sequence[str] = ()) -> None:
        self._workers = workers
        self._gpus = tuple(gpus)
        self._prepared: _Pool | None = None

    @classmethod
    def for_pipeline(cls, pipeline: Pipeline, workers: int, *, isolated: bool) -> WorkerProcesses:
        """Return the executor with a process for each worker; it serves every pipeline."""
        return cls(workers, pipeline.devices if len(pipeline.devices) > 1 else ())

    def prepare(self, function: Callable[..., None], *arguments: Any) -> None:
        """Start one process, which calls the function while the caller goes on; see `Executor.prepare`.

        How many there are tasks for is not known yet, and each takes as much memory as the network.
        """
        self._prepared = _Pool(self._threads, self._gpus)
        self._prepared.start_idle((function, arguments))

    def settle(self, workers: int) -> None:
        """Share the cores among so many processes; see `Executor.settle`."""
        self._workers = workers
        if self._prepared is not None:
            self._prepared.share(self._threads)

    def slots(self) -> int | None:
        """Return None: the settings decide. See `Executor.slots`."""
        return None

    def close(self) -> None:
        """End the prepared process; see `Executor.close`."""
        if self._prepared is not None:
            self._prepared.end()

    def execute(
        self,
        function: Function[Task, Result],
        tasks: Iterable[Task],
        *,
        emit: Emit,
        stop: Stop,
        on_killed: OnKilled,
        is_ready: Callable[[Task], bool],
    ) -> Iterator[Result]:
        """Yield the results as the workers finish them; see `Executor.execute`."""
        pool, self._prepared = self._prepared or _Pool(self._threads, self._gpus), None
        todo = TaskQueue(tasks)
        try:
            while True:
                while len(pool.running) < self._workers and not stop.should_stop():
                    task = todo.take(is_ready)
                    if task is None:
                        break
                    pool.start(function, task, stop.deadline)
                if not pool.running and (not todo or stop.should_stop()):
                    return
                pool.follow(stop)
                message = pool.receive()
                if message is None:
                    continue
                worker, kind, value = message
                if kind == "event":
                    emit(value)
                elif kind == "error":
                    raise value
                elif kind == "result":
                    pool.release(worker)
                    yield value
                elif (task := pool.discard(worker)) is not None:
                    result = on_killed(task, value)
                    if result is None:
                        todo.put_back(task)
                    else:
                        yield result
        finally:
            pool.end()

    @property
    def _threads(self) -> int | None:
        """Threads of each worker; None lets a single worker decide by itself.

        Without a limit each of several workers would use all cores. The limit does not depend on the number of tasks, because
        another number of threads rounds differently.
        """
        return max(1, core_count() // self._workers) if self._workers > 1 else None


class _Pool:
    """The workers of one execution. A worker starts when a task needs it, and keeps running for further tasks."""

    def __init__(self, threads: int | None, gpus: Sequence[str]) -> None:
        self._threads = threads
        self._on_gpu: dict[str, list[WorkerProcess]] = {gpu: [] for gpu in gpus}
        self._inbox: Inbox = queue.SimpleQueue()
        self._idle: list[WorkerProcess] = []
        self.running: dict[WorkerProcess, Any] = {}

    def start_idle(self, call: _Call) -> None:
        """Start a worker that waits for a task, and calls a function before."""
        worker = self._new()
        self._idle.append(worker)
        worker.send(call)

    def _new(self) -> WorkerProcess:
        if not self._on_gpu:
            return WorkerProcess(self._inbox, thread_variables(self._threads))
        gpu, others = min(self._on_gpu.items(), key=lambda item: len(item[1]))
        worker = WorkerProcess(self._inbox, {**thread_variables(self._threads), **only_visible(gpu)})
        others.append(worker)
        return worker

    def share(self, threads: int | None) -> None:
        """Give the workers another number of threads than they were started with, before their first task."""
        if threads is not None and threads != self._threads:
            for worker in self._idle:
                worker.send((limit_threads, (threads,)))
        self._threads = threads

    def start(self, function: Callable[..., Any], task: object, deadline: float | None) -> None:
        worker = self._idle.pop() if self._idle else self._new()
        self.running[worker] = task
        worker.send((function, task, deadline))

    def follow(self, stop: Stop) -> None:
        """Pass a stop on to the workers."""
        if stop.reason is not None:
            for worker in self.running:
                worker.ask_to_stop(stop.reason)

    def receive(self) -> tuple[WorkerProcess, str, Any] | None:
        """Return the next message, or None if no message came for a moment."""
        try:
            return self._inbox.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return None

    def release(self, worker: WorkerProcess) -> None:
        """Note that a worker has finished its task."""
        del self.running[worker]
        self._idle.append(worker)

    def discard(self, worker: WorkerProcess) -> Any:
        """Forget a worker that was killed, and return its task; None if it was idle."""
        for pinned in self._on_gpu.values():
            if worker in pinned:
                pinned.remove(worker)
        if worker in self.running:
            return self.running.pop(worker)
        self._idle.remove(worker)
        return None

    def end(self) -> None:
        for worker in (*self._idle, *self.running):
            worker.end()


def thread_variables(threads: int | None) -> dict[str, str]:
    """Return the environment of a process that computes with so many threads; empty if it decides by itself."""
    return dict.fromkeys(THREAD_VARIABLES, str(threads)) if threads is not None else {}


class WorkerProcess:
    """A process that runs one task after the other.

    Args:
        inbox: Receives its messages.
        environment: What its environment has beside that of this process.
    """

    def __init__(self, inbox: Inbox, environment: Mapping[str, str]) -> None:
        self._inbox = inbox
        self._asked_to_stop = False
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **environment},
                # Ctrl-C reaches a terminal's whole process group; this process decides what ends when.
                start_new_session=os.name != "nt",
            )
        except OSError as error:
            raise MachineError(f"no worker process can be started: {error}.", "Run again with --workers 1.") from error
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, value: object) -> None:
        """Send a call, a task or the reason of a stop."""
        # Tasks travel as bytes. The thread of the worker that runs them makes objects of them, and imports what they need.
        self.send_packed(value if isinstance(value, StopReason) else pickle.dumps(value))

    def send_packed(self, value: bytes | StopReason) -> None:
        """Send a task that is pickled already, or the reason of a stop."""
        assert self._process.stdin is not None
        try:
            pickle.dump(value, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the worker was killed; `_listen` reports it

    def ask_to_stop(self, reason: StopReason) -> None:
        """Ask the task to end soon, once."""
        if not self._asked_to_stop:
            self._asked_to_stop = True
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
            # After a message that cannot be read, no further one can: the worker and its task would wait forever.
            self._process.kill()
            self._inbox.put((self, "killed", self._process.wait()))

    def kill(self) -> None:
        """Kill the process. Its last message says so."""
        self._process.kill()

    def end(self) -> None:
        """Kill the process, and close what leads there."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                assert pipe is not None
                pipe.close()
            except (BrokenPipeError, ValueError):
                pass
