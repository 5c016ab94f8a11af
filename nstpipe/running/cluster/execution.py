"""Gives the tasks of one run to the workers of a cluster, and takes back what lost workers had."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any

from nstpipe.errors import NstpipeError
from nstpipe.events import Emit, Noticed
from nstpipe.running.cluster.backlog import Backlog, Waiting
from nstpipe.running.cluster.members import Attempt
from nstpipe.running.cluster.session import ANSWER_SECONDS, LOOK_SECONDS, Session
from nstpipe.running.executor import OnKilled
from nstpipe.system.stop import Stop, StopReason

LONGEST_UNSEEN_SECONDS = 5.0
"""How often lost workers are looked for, at least, however much the others say."""

PATIENCE_SECONDS = 30.0
"""Seconds without any worker after which the user is told that the run waits for one."""

AHEAD_TASKS = 2
"""A worker gets tasks ahead while there are more than this many for each, so that it goes on while a video is encoded here."""


class Execution:
    """One call of `execute`."""

    def __init__(
        self,
        session: Session,
        function: Callable[..., Any],
        backlog: Backlog,
    ) -> None:
        self._session = session
        self._function = function
        self._backlog = backlog
        self._attempts: dict[int, Attempt] = {}
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
        return not self._attempts and (stop.reason is not None or not self._backlog)

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

    def _give_up(self, attempt: Attempt) -> list[Waiting]:
        self._drop(attempt)
        begun = attempt.todo[:1] if attempt.has_begun else []
        self._backlog.put_back(attempt.todo[len(begun) :])
        for waiting in begun:
            self._hardware[waiting.number] = attempt.worker.report.hardware
        return begun

    def _drop(self, attempt: Attempt) -> None:
        self._attempts.pop(attempt.number, None)
        self._session.drop(attempt)

    def after_kill(self, waiting: Waiting, exit_code: int | None, on_killed: OnKilled) -> Any:
        """Return the result that ends a task whose process or worker was lost. If it has none, let it wait again.

        Args:
            waiting: The task.
            exit_code: See `OnKilled`.
            on_killed: Decides.
        """
        result = on_killed(waiting.task, exit_code)
        if result is None:
            self._backlog.put_back([waiting], self._hardware.get(waiting.number, ""))
        else:
            self._backlog.note_result()
        return result

    def look_again(self) -> None:
        """See whether tasks have become ready by themselves, if none is."""
        if not self._backlog.ready_count:
            self._backlog.note_result()

    def note_result(self) -> None:
        """Learn that a task has its result, which may make others ready."""
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
