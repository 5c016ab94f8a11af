"""A connection to a Dask cluster that watches its workers."""

from __future__ import annotations

import itertools
import pickle
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nstpipe.config.cluster import Cluster
from nstpipe.errors import MachineError
from nstpipe.events import Noticed
from nstpipe.running.cluster.connection import Connection
from nstpipe.running.cluster.examination import examined
from nstpipe.running.cluster.leases import ALIVE_SECONDS, MOST_SECONDS_A_LOOK, Leases
from nstpipe.running.cluster.members import Attempt, ClusterWorker, name_of
from nstpipe.running.cluster.reads import Reads
from nstpipe.running.cluster.worker import TOPIC, Order, end_idle_processes, work

POLL_SECONDS = 0.1
"""Seconds after which this process looks for stops and lost workers, at most."""

LOOK_SECONDS = 1.0
"""How often the scheduler is asked for its workers."""

ANSWER_SECONDS = 20.0
"""Seconds in which a worker must answer when it is examined."""


class Session:
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
        self._workers: dict[str, ClusterWorker] = {}
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
                found = examined(self._client, address, info, self.leases.folder, self._reads)
            except Exception as error:  # it or the scheduler has just ended; if not, it is examined again
                found = f"worker {name_of(address, info)} does not answer: {error}"
            with self._lock:
                self._examining.pop(address, None)
                if isinstance(found, ClusterWorker):
                    self._submit_call(found)  # before it can be given a task
                    self._workers[address] = found
                else:
                    self._refused[address] = found
                    self._notices.put(f"{found}; it is not used")

        thread = threading.Thread(target=examine_it, daemon=True)
        self._examining[address] = thread
        thread.start()
        return thread

    def usable(self) -> list[ClusterWorker]:
        """Return the workers that can be given tasks."""
        with self._lock:
            return [worker for worker in self._workers.values() if not worker.is_silent]

    def has(self, worker: ClusterWorker) -> bool:
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

    def is_prepared(self, worker: ClusterWorker) -> bool:
        """Return whether a worker has a process that waits for its first task."""
        return worker.address == self._prepared

    def prepare(self, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        """Let a process of the first worker call a function. It waits for a worker if there is none yet."""
        call = pickle.dumps((function, arguments))
        with self._lock:
            self._waiting_call = call
            for worker in self.usable()[:1]:
                self._submit_call(worker)

    def _submit_call(self, worker: ClusterWorker) -> None:
        call, self._waiting_call = self._waiting_call, None
        if call is None:
            return
        self._prepared = worker.address
        attempt = self.submit(worker, (call,), None, prepares=True)
        worker.attempts.remove(attempt)
        attempt.future.add_done_callback(lambda _: self.leases.take_back(attempt.lease))

    def submit(
        self, worker: ClusterWorker, packed: tuple[bytes, ...], seconds_left: float | None, *, prepares: bool = False
    ) -> Attempt:
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
        attempt = Attempt(number, worker, [], lease, future)
        self._has_worked = True
        worker.attempts.append(attempt)
        return attempt

    def drop(self, attempt: Attempt) -> None:
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
