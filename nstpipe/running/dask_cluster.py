"""Runs tasks on a Dask cluster: on as many machines as it has, which share the folders of the run.

This process decides which worker gets which task, and Dask carries it there. What workers say comes back as Dask's events. A
worker that is lost costs the frame under way: its lease is taken back, and the task goes on elsewhere.
"""

from __future__ import annotations

import itertools
import pickle
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nstpipe.config import Pipeline
from nstpipe.config.cluster import Cluster
from nstpipe.errors import MachineError, NstpipeError
from nstpipe.events import Emit, Noticed
from nstpipe.running.backlog import Backlog, Waiting
from nstpipe.running.cluster_connection import Connection
from nstpipe.running.cluster_worker import (
    TOPIC,
    Expected,
    Order,
    WorkerReport,
    describe,
    end_idle_processes,
    examine,
    versions_here,
    work,
)
from nstpipe.running.executor import Function, OnKilled, Result, Task
from nstpipe.running.leases import ALIVE_SECONDS, MOST_SECONDS_A_LOOK, Lease, Leases
from nstpipe.running.schedule import clip_cost
from nstpipe.system.files import MOST_NAMED
from nstpipe.system.stop import Stop, StopReason

POLL_SECONDS = 0.1
"""Seconds after which this process looks for stops and lost workers, at most."""

LOOK_SECONDS = 1.0
"""How often the scheduler is asked for its workers."""

LONGEST_UNSEEN_SECONDS = 5.0
"""How often lost workers are looked for, at least, however much the others say."""

ANSWER_SECONDS = 20.0
"""Seconds in which a worker must answer when it is examined."""

PATIENCE_SECONDS = 30.0
"""Seconds without any worker after which the user is told that the run waits for one."""

AHEAD_TASKS = 2
"""A worker gets tasks ahead while there are more than this many for each, so that it goes on while a video is encoded here."""

_PROBE = ".nstpipe-probe"


@dataclass(frozen=True)
class Reads:
    """What a run reads and writes, beside the work folder, and how.

    Attributes:
        inputs: Files and folders that it reads.
        outputs: Folders that it writes to, or those above them.
        weights: VGG19's weights, as in the pipeline.
        device: The device, as in the pipeline.
        job: The name of a job, for notices.
    """

    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    weights: str | Path = "bundled"
    device: str = "cpu"
    job: str = ""

    @classmethod
    def of(cls, pipeline: Pipeline) -> Reads:
        """Return what a pipeline reads and writes."""
        inputs: list[Path] = []
        for job in pipeline.jobs:
            flow = [job.temporal.flow] if isinstance(job.temporal.flow, Path) else []
            start = [job.init] if isinstance(job.init, Path) else []
            styles = [image.path for image in job.style.images]
            of_regions = [image.path for region in job.regions if region.style for image in region.style.images]
            masks = [region.mask for region in job.regions]
            inputs += (job.input, *styles, *of_regions, *masks, *flow, *start, *job.engine.files.values())
        if isinstance(pipeline.weights, Path):
            inputs.append(pipeline.weights)
        return cls(
            inputs=tuple(dict.fromkeys(_existing(path) for path in inputs)),
            outputs=tuple(dict.fromkeys(_existing(job.output.parent) for job in pipeline.jobs)),
            weights=pipeline.weights,
            device=pipeline.device_of_process,
            job=pipeline.jobs[0].name,
        )


def _existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that exists. An input may be a pattern."""
    return next(place for place in (path, *path.parents) if place.exists())


@dataclass
class _Worker:
    """A worker of the cluster that can be used.

    Attributes:
        address: How Dask knows it.
        name: How people know it.
        report: What it has.
        slots: The tasks that it runs at the same time.
        has_gpu_resource: Whether Dask counts its GPUs.
        attempts: The attempts that it has, begun or not.
        silent_seconds: Seconds without a sign of life to the scheduler.
        sign: The last sign of life.
        is_silent: Whether it counts as lost until the next sign of life.
    """

    address: str
    name: str
    report: WorkerReport
    slots: int
    has_gpu_resource: bool
    attempts: list[_Attempt] = field(default_factory=list)
    silent_seconds: float = 0.0
    sign: float = 0.0
    is_silent: bool = False


@dataclass(eq=False)
class _Attempt:
    """Tasks that a worker has.

    Attributes:
        number: Of this attempt.
        worker: The worker.
        todo: The tasks without a result. The first one is under way once the attempt has begun.
        lease: The right to go on.
        future: Dask's own.
        has_begun: Whether the worker has begun.
    """

    number: int
    worker: _Worker
    todo: list[Waiting]
    lease: Lease
    future: Any
    has_begun: bool = False


class DaskCluster:
    """An executor that uses the workers of a Dask cluster.

    It connects when it is first needed, and stays connected until it is closed.

    Args:
        cluster: The settings of the cluster.
        work: A folder that this process and all workers see at this path.
        workers: The most tasks at the same time, and the workers to start if the cluster is started here; None for as many as
            there are.
        reads: What workers must see, too.
        cost: Returns how long a task takes, in any unit.
    """

    def __init__(
        self,
        cluster: Cluster,
        work: Path,
        workers: int | None = None,
        reads: Reads | None = None,
        cost: Callable[[Any], float] = lambda _: 1.0,
    ) -> None:
        self._cluster = cluster
        self._work = work
        self._most = workers
        self._reads = reads or Reads()
        self._cost = cost
        self._session: _Session | None = None

    @classmethod
    def for_pipeline(cls, pipeline: Pipeline, workers: int, *, isolated: bool) -> DaskCluster | None:
        """Return the executor if the pipeline names a cluster."""
        cluster = pipeline.cluster
        if cluster is None:
            return None
        given = None if pipeline.workers == "auto" and not cluster.is_here else workers
        return cls(cluster, pipeline.work, given, Reads.of(pipeline), clip_cost)

    def prepare(self, function: Callable[..., None], *arguments: Any) -> None:
        """Connect, and let the first worker prepare a process; see `Executor.prepare`.

        Raises:
            MachineError: The cluster cannot be reached, or a worker lacks something or does not see a folder of the run.
            OutputError: The work folder cannot be written to.
        """
        self._connected().prepare(function, arguments)

    def settle(self, workers: int) -> None:
        """Do nothing: a cluster has its own number of workers. See `Executor.settle`."""

    def close(self) -> None:
        """Leave the cluster, and end the workers that were started for it."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def slots(self) -> int:
        """Return how many tasks run at the same time, as far as the cluster tells it now; see `prepare` for the errors."""
        return self._connected().slots()

    def _connected(self) -> _Session:
        if self._session is None:
            self._session = _Session(self._cluster, self._work, self._most, self._reads)
        return self._session

    def execute(
        self,
        function: Function[Task, Result],
        tasks: Sequence[Task],
        *,
        emit: Emit,
        stop: Stop,
        on_killed: OnKilled,
        is_ready: Callable[[Task], bool],
    ) -> Iterator[Result]:
        """Yield the results as the workers finish them; see `Executor.execute`.

        Raises:
            MachineError: The cluster cannot be reached, or has no worker that can be used.
        """
        if not tasks or stop.should_stop():
            return
        execution = _Execution(self._connected(), function, tasks, self._cost, is_ready)
        try:
            while True:
                if execution.is_over(stop):
                    return
                execution.assign(stop)
                for waiting in execution.lost(emit):
                    result = on_killed(waiting.task, None)
                    if result is not None:
                        execution.note_result()
                        yield result
                    else:
                        execution.try_again(waiting)
                message = execution.receive()
                if message is None:
                    execution.look_again()
                    continue
                kind, waiting, value = message
                if kind == "event":
                    emit(value)
                elif kind == "error":
                    raise value
                elif kind == "result":
                    execution.note_result()
                    yield value
                elif kind == "killed":
                    result = on_killed(waiting.task, value)
                    if result is not None:
                        execution.note_result()
                        yield result
                    else:
                        execution.try_again(waiting)
        finally:
            execution.end()


@dataclass(frozen=True)
class ClusterNow:
    """What a cluster has at this moment.

    Attributes:
        slots: Tasks that it runs at the same time.
        workers: Its workers with what they paint on, in words.
    """

    slots: int
    workers: tuple[str, ...]

    def __str__(self) -> str:
        count = len(self.workers)
        named = "; ".join(self.workers[:MOST_NAMED]) + ("; …" if count > MOST_NAMED else "")
        return f"{count} worker{'s' if count != 1 else ''}{': ' if named else ''}{named}"


def cluster_now(pipeline: Pipeline) -> ClusterNow | None:
    """Ask the scheduler of a pipeline's cluster for its workers. This disturbs no run that uses it.

    Returns:
        None if no scheduler is running yet, because the run starts one.

    Raises:
        MachineError: The scheduler cannot be reached.
    """
    cluster = pipeline.cluster
    if cluster is None or cluster.address is None:
        return None
    connection = Connection(cluster, 0)
    try:
        client, found, slots = connection.client, [], 0
        for address, info in client.scheduler_info()["workers"].items():
            try:
                [said] = client.run(describe, pipeline.device_of_process, info["nthreads"], workers=[address]).values()
            except Exception as error:  # it lacks nstpipe, say; a run says more
                said = 0, f"cannot be used: {error}"
            slots += said[0]
            found.append(f"{_name_of(address, info)} ({said[1]})")
        most = slots if pipeline.workers == "auto" else min(slots, pipeline.workers)
        return ClusterNow(most, tuple(found))
    finally:
        connection.close()


class _Execution:
    """One call of `execute`."""

    def __init__(
        self,
        session: _Session,
        function: Callable[..., Any],
        tasks: Sequence[Any],
        cost: Callable[[Any], float],
        is_ready: Callable[[Any], bool],
    ) -> None:
        self._session = session
        self._function = function
        self._backlog = Backlog(tasks, cost, is_ready)
        self._attempts: dict[int, _Attempt] = {}
        self._hardware: dict[int, str] = {}
        self._asked = False
        self._looked = 0.0
        self._waits_since: float | None = time.monotonic()

    def assign(self, stop: Stop) -> None:
        """Give tasks to workers that have room for them."""
        if stop.should_stop():
            if not self._asked and stop.reason is not None:
                self._asked = True
                for attempt in self._attempts.values():
                    self._session.leases.ask_to_stop(attempt.lease, stop.reason)
            return
        usable = self._session.usable()
        slots = self._session.slots()
        kinds = {worker.report.hardware for worker in usable}
        most = self._session.most or slots
        for depth in (0, 1):
            for worker in sorted(usable, key=lambda worker: not self._session.is_prepared(worker)):
                while len(worker.attempts) < worker.slots + depth and len(self._attempts) < most + depth * len(usable):
                    if depth and self._backlog.ready_count <= AHEAD_TASKS * slots:
                        return
                    chosen = self._backlog.take(max(1, slots), worker.report.hardware, kinds.__contains__)
                    if not chosen:
                        break
                    seconds_left = None if stop.deadline is None else stop.deadline - time.time()
                    packed = tuple(pickle.dumps((self._function, waiting.task)) for waiting in chosen)
                    try:
                        attempt = self._session.submit(worker, packed, seconds_left)
                    except Exception:
                        if not self._session.is_lost():
                            raise
                        self._backlog.put_back(chosen)
                        return
                    attempt.todo = list(chosen)
                    self._attempts[attempt.number] = attempt

    def is_over(self, stop: Stop) -> bool:
        """Return whether nothing runs, and nothing more can. A scheduler that is gone stops the run."""
        if self._session.is_lost():
            stop.ask(StopReason.NO_CLUSTER)
            return True
        return not self._attempts and (stop.reason is not None or not len(self._backlog))

    def lost(self, emit: Emit) -> list[Waiting]:
        """Return the tasks that were under way on workers that are lost. The others wait again.

        What workers have said is read first: one may have been lost after it had told of a result.

        Raises:
            MachineError: A worker cannot start a process, or no worker can be used.
        """
        unseen = time.monotonic() - self._looked
        if unseen < LOOK_SECONDS or (self._session.has_messages() and unseen < LONGEST_UNSEEN_SECONDS):
            return []
        self._looked = time.monotonic()
        self._session.check_refused()
        found = []
        for notice in self._session.notices():
            emit(notice)
        for attempt in list(self._attempts.values()):
            if attempt.worker.is_silent or not self._session.has(attempt.worker):
                found += self._give_up(attempt)
            elif attempt.future.status == "error":
                error = attempt.future.exception(timeout=ANSWER_SECONDS)
                if isinstance(error, NstpipeError):
                    raise error
                emit(Noticed(job=self._session.job, message=f"worker {attempt.worker.name} failed: {error!r}"))
                found += self._give_up(attempt)
        if self._attempts or self._session.usable():
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = time.monotonic()
        elif time.monotonic() - self._waits_since > PATIENCE_SECONDS:
            self._waits_since = time.monotonic() + 1e9
            emit(Noticed(job=self._session.job, message="the cluster has no worker; the run waits for one"))
        return found

    def _give_up(self, attempt: _Attempt) -> list[Waiting]:
        self._drop(attempt)
        begun = attempt.todo[:1] if attempt.has_begun else []
        self._backlog.put_back(attempt.todo[len(begun) :])
        for waiting in begun:
            self._hardware[waiting.number] = attempt.worker.report.hardware
        return begun

    def _drop(self, attempt: _Attempt) -> None:
        self._attempts.pop(attempt.number, None)
        self._session.drop(attempt)

    def try_again(self, waiting: Waiting) -> None:
        """Let a task wait again whose process or worker was lost."""
        self._backlog.put_back([waiting], self._hardware.get(waiting.number, ""))

    def look_again(self) -> None:
        """See whether tasks have become ready by themselves, if none is."""
        if not self._backlog.ready_count:
            self._backlog.note_result()

    def note_result(self) -> None:
        self._backlog.note_result()

    def receive(self) -> tuple[str, Waiting, Any] | None:
        """Return the next message: its kind, its task and its value; None if there is none for a moment."""
        message = self._session.receive()
        while message is not None and message["attempt"] not in self._attempts:
            message = self._session.receive()  # one of an attempt that was given up
        attempt = self._attempts.get(message["attempt"]) if message is not None else None
        if message is None or attempt is None:
            return None
        kind = message["kind"]
        if kind == "begun":
            attempt.has_begun = True
            return None
        if kind == "ended":
            self._drop(attempt)
            self._backlog.put_back(attempt.todo)  # it was told to end before it came to these
            return None
        if not attempt.todo:
            return None
        waiting, value = attempt.todo[0], pickle.loads(message["value"])
        if kind in ("result", "killed"):
            attempt.todo.pop(0)
            self._hardware[waiting.number] = attempt.worker.report.hardware
        return kind, waiting, value

    def end(self) -> None:
        """End what is still under way."""
        for attempt in list(self._attempts.values()):
            self._drop(attempt)


class _Session:
    """A connection to a cluster, the workers that can be used, and what they say. A thread of its own watches them.

    Args:
        cluster: The settings.
        work: The shared folder.
        most: See `DaskCluster`.
        reads: See `DaskCluster`.

    Raises:
        MachineError: The cluster cannot be reached, or one of its workers cannot be used.
        OutputError: The shared folder cannot be written to.
    """

    def __init__(self, cluster: Cluster, work: Path, most: int | None, reads: Reads) -> None:
        self.most = most
        self.job = reads.job
        self._reads = reads
        self._cluster = cluster
        self._run = secrets.token_hex(8)
        self.leases = Leases(work, self._run, cluster.lost_after)
        self._numbers = itertools.count(1)
        self._inbox: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._notices: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._workers: dict[str, _Worker] = {}
        self._refused: dict[str, str] = {}
        self._examining: dict[str, threading.Thread] = {}
        self._prepared = ""
        self._waiting_call: bytes | None = None
        self._looked = time.monotonic()
        self._unanswered_since: float | None = None
        self._is_lost = False
        self._has_worked = False
        self._closing = threading.Event()
        try:
            self._connection = Connection(cluster, most or 1)
        except BaseException:
            self.leases.close()
            raise
        self._client = self._connection.client
        self._client.subscribe_topic(TOPIC, self._hear)
        try:
            self._examine_all()
        except BaseException:
            self.close()
            raise
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _examine_all(self) -> None:
        """Examine the workers that are there at the start.

        Raises:
            MachineError: One of them cannot be used.
        """
        end = time.monotonic() + ANSWER_SECONDS
        for thread in self._look():
            thread.join(max(0.0, end - time.monotonic()))
        self.check_refused()
        if self._examining:
            names = ", ".join(self._examining)
            raise MachineError(f"cluster: {names} does not answer.", "Look whether this worker runs, or stop it.")

    def check_refused(self) -> None:
        """Check that no worker was refused, unless others are used.

        Raises:
            MachineError: One was.
        """
        if self._has_worked:
            return
        for problem in self._refused.values():
            raise MachineError(f"cluster: {problem}.", "Mend or stop this worker, then run again.")

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        _, message = event
        if isinstance(message, dict) and message.get("run") == self._run:
            self._inbox.put(message)

    def _watch(self) -> None:
        shown = 0.0
        while not self._closing.wait(LOOK_SECONDS):
            if time.monotonic() - shown > ALIVE_SECONDS:
                shown = time.monotonic()
                self.leases.show_life()
            try:
                self._look()
            except Exception:  # the scheduler does not answer; `is_lost` decides
                self._unanswered_since = self._unanswered_since or time.monotonic()

    async def _identity(self) -> Mapping[str, Any]:
        scheduler: Any = self._client.scheduler
        found: Mapping[str, Any] = await scheduler.identity(n_workers=-1)
        return found

    def _look(self) -> list[threading.Thread]:
        """Ask the scheduler for its workers, and begin to examine those that are new, each in one of the returned threads."""
        identity = self._client.sync(self._identity, callback_timeout=ANSWER_SECONDS)
        now = time.monotonic()
        # While the scheduler did not answer, or this process stood still, no sign of life of any worker could arrive.
        passed, self._looked, self._unanswered_since = min(now - self._looked, MOST_SECONDS_A_LOOK), now, None
        there = {address: info for address, info in identity["workers"].items() if info["status"] in ("running", "paused")}
        with self._lock:
            known = {*self._workers, *self._refused, *self._examining}
            for address in [address for address in self._workers if address not in there]:
                del self._workers[address]
            for address in [address for address in self._refused if address not in there]:
                del self._refused[address]
            for address, worker in self._workers.items():
                sign = float(there[address]["last_seen"])
                worker.silent_seconds += passed
                if sign != worker.sign:
                    worker.sign, worker.silent_seconds, worker.is_silent = sign, 0.0, False
                elif worker.silent_seconds > self._cluster.lost_after and not worker.is_silent:
                    worker.is_silent = True
                    self._notices.put(f"worker {worker.name} gives no sign of life; its work goes on elsewhere")
            return [self._begin_examining(address, info) for address, info in there.items() if address not in known]

    def _begin_examining(self, address: str, info: Mapping[str, Any]) -> threading.Thread:
        """Examine a worker in a thread of its own: one that stands still must not keep the others waiting."""

        def examine_it() -> None:
            try:
                found = self._examined(address, info)
            except Exception as error:  # it or the scheduler has just ended; if not, it is examined again
                found = f"worker {_name_of(address, info)} does not answer: {error}"
            with self._lock:
                self._examining.pop(address, None)
                if isinstance(found, _Worker):
                    self._submit_call(found)  # before it can be given a task
                    self._workers[address] = found
                else:
                    self._refused[address] = found
                    self._notices.put(f"{found}; it is not used")

        thread = threading.Thread(target=examine_it, daemon=True)
        self._examining[address] = thread
        thread.start()
        return thread

    def _examined(self, address: str, info: Mapping[str, Any]) -> _Worker | str:
        """Return a worker that can be used, or why it cannot."""
        slots, name = int(info["nthreads"]), _name_of(address, info)
        with _probes(self.leases.folder, self._reads) as (probe, answer, content, outputs):
            expected = Expected(
                probe=probe,
                content=content,
                answer=answer,
                inputs=tuple((path, path.stat().st_size if path.is_file() else None) for path in self._reads.inputs),
                outputs=outputs,
                weights=self._reads.weights,
                device=self._reads.device,
                slots=slots,
            )
            report = self._client.run(examine, expected, workers=[address], on_error="return").get(address)
            problem = self._problem_of(name, report, content, answer)
        if problem or not isinstance(report, WorkerReport):
            return problem
        counted = int(info["resources"].get("GPU", 0))
        gpus = min(counted or len(report.gpus), len(report.gpus))
        return _Worker(address, name, report, min(gpus, slots) or slots, bool(counted and gpus))

    def _problem_of(self, name: str, report: object, content: str, answer: Path) -> str:
        """Return why a worker cannot be used; empty if it can be."""
        if isinstance(report, ModuleNotFoundError):
            return f"worker {name} lacks nstpipe ({report}); install the same version there"
        if not isinstance(report, WorkerReport):
            return f"worker {name} does not answer: {report}"
        for (what, here), (_, there) in zip(versions_here(self._reads.weights), report.versions, strict=False):
            if here != there:
                return f"worker {name} has another version of {what}: {there}; this machine has {here}"
        if report.problems:
            return f"worker {name} on {report.host} {report.problems[0]}"
        try:
            written = answer.read_text(encoding="ascii")
        except OSError:
            written = ""
        if written != content:
            return f"worker {name} on {report.host} writes to another work folder than {self.leases.folder.parent.parent}"
        return ""

    def usable(self) -> list[_Worker]:
        """Return the workers that can be given tasks."""
        with self._lock:
            return [worker for worker in self._workers.values() if not worker.is_silent]

    def has(self, worker: _Worker) -> bool:
        """Return whether a worker is still there."""
        return self._workers.get(worker.address) is worker

    def slots(self) -> int:
        """Return how many tasks run at the same time."""
        there = sum(worker.slots for worker in self.usable())
        return min(there, self.most) if self.most is not None and there else there or self.most or 1

    def is_lost(self) -> bool:
        """Return whether the scheduler is gone."""
        since = self._unanswered_since
        silent = since is not None and time.monotonic() - since > self._cluster.lost_after
        if silent or self._client.status != "running":
            self._is_lost = True
        return self._is_lost

    def notices(self) -> Iterable[Noticed]:
        """Return what the user should know of the workers."""
        while not self._notices.empty():
            yield Noticed(job=self.job, message=self._notices.get())

    def has_messages(self) -> bool:
        """Return whether workers have said something that is not read yet."""
        return not self._inbox.empty()

    def receive(self) -> Mapping[str, Any] | None:
        """Return the next message; None if there is none for a moment."""
        try:
            return self._inbox.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return None

    def is_prepared(self, worker: _Worker) -> bool:
        """Return whether a worker has a process that waits for its first task."""
        return worker.address == self._prepared

    def prepare(self, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        """Let a process of the first worker call a function. It waits for a worker if there is none yet."""
        call = pickle.dumps((function, arguments))
        with self._lock:
            self._waiting_call = call
            for worker in self.usable()[:1]:
                self._submit_call(worker)

    def _submit_call(self, worker: _Worker) -> None:
        call, self._waiting_call = self._waiting_call, None
        if call is None:
            return
        self._prepared = worker.address
        attempt = self.submit(worker, (call,), None, prepares=True)
        worker.attempts.remove(attempt)
        attempt.future.add_done_callback(lambda _: self.leases.take_back(attempt.lease))

    def submit(
        self, worker: _Worker, packed: tuple[bytes, ...], seconds_left: float | None, *, prepares: bool = False
    ) -> _Attempt:
        """Send tasks to a worker.

        Raises:
            OutputError: The work folder cannot be written to.
        """
        number = next(self._numbers)
        lease = self.leases.give(str(number))
        gpus = len(worker.report.gpus)
        order = Order(
            attempt=number,
            run=self._run,
            tasks=packed,
            lease=lease,
            seconds_left=seconds_left,
            hung_after=self._cluster.hung_after,
            threads=worker.report.threads,
            gpus=gpus,
            prepares=prepares,
        )
        future = self._client.submit(
            work,
            order,
            key=f"nstpipe-{self._run}-{number}",
            workers=[worker.address],
            allow_other_workers=False,
            resources={"GPU": 1} if worker.has_gpu_resource else None,
            pure=False,
        )
        attempt = _Attempt(number, worker, [], lease, future)
        self._has_worked = True
        worker.attempts.append(attempt)
        return attempt

    def drop(self, attempt: _Attempt) -> None:
        """Forget an attempt. If it is still under way, it ends."""
        self.leases.take_back(attempt.lease)
        with suppress(ValueError):
            attempt.worker.attempts.remove(attempt)
        with suppress(Exception):  # the scheduler may be gone
            attempt.future.release()

    def close(self) -> None:
        """Leave the cluster."""
        self._closing.set()
        if not self.is_lost():
            closing = threading.Thread(target=self._end_idle, daemon=True)
            closing.start()
            closing.join(timeout=2)
        self._connection.close()
        self.leases.close()

    def _end_idle(self) -> None:
        with suppress(Exception):
            self._client.run(end_idle_processes, on_error="ignore")


def _name_of(address: str, info: Mapping[str, Any]) -> str:
    """Return how people know a worker. Dask names it by its address if it was given no name."""
    name = str(info["name"])
    return name if name == address else f"{name} at {address}"


class _probes:  # noqa: N801 - used as a context manager only
    """A block in which files stand where workers must see them."""

    def __init__(self, folder: Path, reads: Reads) -> None:
        self._folder, self._reads = folder, reads
        self._written: list[Path] = []

    def __enter__(self) -> tuple[Path, Path, str, tuple[Path, ...]]:
        content = secrets.token_hex(16)
        probe, answer = self._folder / f"probe-{content[:8]}", self._folder / f"answer-{content[:8]}"
        self._written = [probe, answer]
        probe.write_text(content, encoding="ascii")
        outputs = []
        for folder in self._reads.outputs:
            place = folder / f"{_PROBE}-{content[:8]}"
            with suppress(OSError):  # it cannot be written to; the run says so of each output
                place.write_text(content, encoding="ascii")
                self._written.append(place)
                outputs.append(place)
        return probe, answer, content, tuple(outputs)

    def __exit__(self, *error: object) -> None:
        for path in self._written:
            with suppress(OSError):
                path.unlink(missing_ok=True)
