"""What runs in the workers of a Dask cluster: it passes tasks on to a process of its own, and tells what becomes of them.

The process is the same that paints on a single machine (`nstpipe.running.worker`). It keeps torch, the network and the
paintings for the next task. It ends when the worker does, can be killed without harm to it, and sees no GPU but its own.
"""

from __future__ import annotations

import pickle
import platform
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nstpipe.errors import NstpipeError
from nstpipe.events import Emit
from nstpipe.running.cluster.leases import Lease, LeasedStop
from nstpipe.running.worker_processes import Inbox, WorkerProcess, thread_variables
from nstpipe.style import ALGORITHM_VERSION
from nstpipe.style.weights_files import weights_sha256
from nstpipe.system.devices import gpu_names, only_visible
from nstpipe.system.hardware import WORKER_VARIABLE, processor_with_threads, threads_of_slot
from nstpipe.system.stop import Stop
from nstpipe.version import __version__

TOPIC = "nstpipe"
"""The topic of Dask's events by which workers tell what becomes of tasks. All runs share it, so a scheduler keeps little."""

IDLE_SECONDS = 60.0
"""Seconds after which a process that has nothing to do is ended, because it holds the memory of a network."""

LOOK_SECONDS = 1.0
"""How often a worker looks whether an attempt still counts, while its process says nothing."""


@dataclass(frozen=True)
class Order:
    """Tasks for one worker, one after the other. They are pickled, because only the process that runs them needs their modules.

    Attributes:
        attempt: The number of the attempt, which all messages repeat.
        run: The name of the run, likewise.
        tasks: Pickled pairs of a function and its task; or, for `prepares`, of a function and its arguments.
        lease: The right to go on.
        seconds_left: Seconds until the run must have ended; None if there is no limit. Clocks of machines may differ.
        hung_after: Seconds without a message after which the process is ended.
        threads: Threads of the process.
        gpus: Number of GPUs of the worker, one of which the process is pinned to; 0 for none.
        prepares: Whether this only prepares a process for a later task.
    """

    attempt: int
    run: str
    tasks: tuple[bytes, ...]
    lease: Lease
    seconds_left: float | None
    hung_after: float
    threads: int
    gpus: int
    prepares: bool = False


class Revoked:
    """The result of a task whose lease is gone."""


@dataclass(frozen=True)
class LeasedTask:
    """A task with the right to run it.

    Attributes:
        packed: The function and its task, pickled. They are made into objects where they run.
        lease: The right to go on.
    """

    packed: bytes
    lease: Lease


def run_leased(leased: LeasedTask, emit: Emit, stop: Stop) -> Any:
    """Run a task as long as its lease is there; see `nstpipe.running.executor.Function`."""
    leased_stop = LeasedStop(leased.lease, stop.deadline)
    function, task = pickle.loads(leased.packed)
    try:
        result = function(task, emit, leased_stop)
    except Exception:
        if leased_stop.is_revoked:
            return Revoked()  # another worker may have changed what it worked on
        raise
    return Revoked() if leased_stop.is_revoked else result


def work(order: Order) -> None:
    """Run the tasks of an order. This is the function of a Dask task.

    Messages are bytes, tagged with the run, the attempt and their kind: ``begun``, ``event``, ``result``, ``error``,
    ``killed`` (with the exit code, or None if the process was hung), ``left`` for a task that was not finished, and ``ended``.
    """
    from distributed import get_worker

    worker = get_worker()

    def say(kind: str, value: object = None) -> None:
        worker.log_event(TOPIC, {"run": order.run, "attempt": order.attempt, "kind": kind, "value": pickle.dumps(value)})

    _Runner(order, str(worker.name), say).run()


class _Runner:
    """Runs one order in a process of this machine."""

    def __init__(self, order: Order, name: str, say: Callable[..., None]) -> None:
        self._order = order
        self._name = name
        self._say = say

    def run(self) -> None:
        order = self._order
        self._say("begun")
        if order.lease.read() is True:
            process = PROCESSES.take(order.threads, order.gpus, self._name)
            if order.prepares:
                for packed in order.tasks:
                    process.process.send_packed(packed)
                PROCESSES.give_back(process)
            elif self._run_tasks(process):
                PROCESSES.give_back(process)
            else:
                PROCESSES.end(process)
        self._say("ended")

    def _run_tasks(self, process: _Process) -> bool:
        """Run the tasks, and return whether the process can be used further."""
        deadline = None if self._order.seconds_left is None else time.time() + self._order.seconds_left
        for packed in self._order.tasks:
            if self._order.lease.read() is not True:
                return True
            process.process.send((run_leased, LeasedTask(packed, self._order.lease), deadline))
            if not self._follow(process):
                return False
        return True

    def _follow(self, process: _Process) -> bool:
        """Pass on what a process says of its task, until it ends; return whether the process can be used further."""
        heard = time.monotonic()
        while True:
            try:
                _, kind, value = process.inbox.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if self._order.lease.read() is False:
                    return False
                if time.monotonic() - heard > self._order.hung_after:
                    self._say("killed")
                    return False
                continue
            heard = time.monotonic()
            if kind == "result" and isinstance(value, Revoked):
                return True
            self._say(kind, value)
            if kind != "event":
                return kind != "killed"


@dataclass(frozen=True, eq=False)
class _Process:
    """A process that paints, with what it was started for."""

    process: WorkerProcess
    inbox: Inbox
    threads: int
    gpus: int
    gpu: int


class _Processes:
    """The processes of this worker. An idle one is kept for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[_Process, threading.Timer] = {}
        self._gpus_taken: list[int] = []

    def take(self, threads: int, gpus: int, name: str) -> _Process:
        """Return an idle process, or a new one."""
        with self._lock:
            for process, timer in list(self._idle.items()):
                timer.cancel()
                del self._idle[process]
                # One that has said something was killed.
                if (process.threads, process.gpus) == (threads, gpus) and process.inbox.empty():
                    return process
                self._end(process)  # for other settings it only takes memory
            gpu = min(range(gpus), key=self._gpus_taken.count) if gpus else -1
            self._gpus_taken.append(gpu)
        pinned = only_visible(f"cuda:{gpu}") if gpus else {}
        inbox: Inbox = queue.SimpleQueue()
        started = WorkerProcess(inbox, {**thread_variables(threads), **pinned, WORKER_VARIABLE: name})
        return _Process(started, inbox, threads, gpus, gpu)

    def give_back(self, process: _Process) -> None:
        timer = threading.Timer(IDLE_SECONDS, self._end_idle, [process])
        timer.daemon = True
        with self._lock:
            self._idle[process] = timer
        timer.start()

    def end(self, process: _Process) -> None:
        with self._lock:
            self._end(process)

    def end_all_idle(self) -> None:
        for process in list(self._idle):
            self._end_idle(process)

    def _end_idle(self, process: _Process) -> None:
        with self._lock:
            timer = self._idle.pop(process, None)
            if timer is not None:
                timer.cancel()
                self._end(process)

    def _end(self, process: _Process) -> None:
        self._gpus_taken.remove(process.gpu)
        process.process.end()


PROCESSES = _Processes()
"""Those of this worker."""


def end_idle_processes() -> None:
    """End the processes that have nothing to do."""
    PROCESSES.end_all_idle()


@dataclass(frozen=True)
class Expected:
    """What a worker must have and see.

    Attributes:
        probe: A file in the work folder that has just been written.
        content: Its content.
        answer: A file in the same folder, which the worker is to write with the same content.
        inputs: Files with their sizes, and folders with None, that the run reads.
        outputs: Probe files with the same content, in the folders of outputs or above them.
        weights: VGG19's weights, as in the pipeline.
        device: The device, as in the pipeline.
        slots: Tasks that the worker would run at the same time without a GPU.
    """

    probe: Path
    content: str
    answer: Path
    inputs: tuple[tuple[Path, int | None], ...]
    outputs: tuple[Path, ...]
    weights: str | Path
    device: str
    slots: int


@dataclass(frozen=True)
class WorkerReport:
    """What a worker has and sees.

    Attributes:
        host: The name of its machine.
        versions: What it computes with, by name.
        gpus: The names of its GPUs.
        threads: Threads of each process.
        hardware: What its processes compute on, in words.
        problems: What it does not see, each as a sentence without its subject.
    """

    host: str
    versions: tuple[tuple[str, str], ...]
    gpus: tuple[str, ...]
    threads: int
    hardware: str
    problems: tuple[str, ...]


def versions_here(weights: str | Path) -> tuple[tuple[str, str], ...]:
    """Return what decides the result beside the settings and the hardware, by name. torch is not imported."""
    try:
        torch = version("torch").partition("+")[0]
    except PackageNotFoundError:
        torch = "none"
    try:
        sha256 = weights_sha256(weights)
    except NstpipeError as error:
        sha256 = f"none ({error.problem})"
    return (
        ("nstpipe", __version__),
        ("the algorithm", str(ALGORITHM_VERSION)),
        ("Python", ".".join(platform.python_version_tuple()[:2])),
        ("torch", torch),
        ("VGG19's weights", sha256[:12] if not sha256.startswith("none") else sha256),
    )


def examine(expected: Expected) -> WorkerReport:
    """Return what this worker has and sees."""
    problems: list[str] = []
    if _content(expected.probe) != expected.content:
        problems.append(f"does not see the work folder {expected.probe.parent.parent.parent}")
    try:
        expected.answer.write_text(expected.content, encoding="ascii")
    except OSError as error:
        if not problems:
            problems.append(f"cannot write to the work folder {expected.probe.parent.parent.parent}: {error.strerror}")
    for path, size in expected.inputs:
        try:
            found = path.stat()
        except OSError as error:
            problems.append(f"does not see {path}: {error.strerror}")
            continue
        if size is not None and found.st_size != size:
            problems.append(f"sees another file at {path}, of {found.st_size:,} bytes instead of {size:,}")
    unseen = (probe.parent for probe in expected.outputs if _content(probe) != expected.content)
    problems += [f"does not see the folder {folder}, where results go" for folder in unseen]
    gpus = gpu_names() if expected.device != "cpu" else ()
    slots = len(gpus) or expected.slots
    threads = threads_of_slot(slots)
    if expected.device.startswith("cuda") and not gpus:
        problems.append(f"has no GPU, but device is {expected.device}")
    if len(set(gpus)) > 1:
        problems.append(f"has different GPUs ({', '.join(gpus)}); start one worker for each, with CUDA_VISIBLE_DEVICES")
    return WorkerReport(
        host=socket.gethostname(),
        versions=versions_here(expected.weights),
        gpus=gpus,
        threads=threads,
        hardware=gpus[0] if gpus else processor_with_threads(threads),
        problems=tuple(problems),
    )


def describe(device: str, slots: int) -> tuple[int, str]:
    """Return how many tasks this worker runs at the same time, and what they are painted on.

    Args:
        device: As in the pipeline.
        slots: Tasks that it would run at the same time without a GPU.
    """
    gpus = gpu_names() if device != "cpu" else ()
    return (min(len(gpus), slots), gpus[0]) if gpus else (slots, processor_with_threads(threads_of_slot(slots)))


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
