"""The tasks that wait for a worker: the longest first, and short ones several at a time."""

from __future__ import annotations

import bisect
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

SHARES = 32
"""A worker gets several tasks at once only if they are less than this part of its fair share of what is left. The last workers
then end within this part of each other (guided self-scheduling; Polychronopoulos and Kuck 1987)."""

MOST_AT_ONCE = 200
"""The most tasks that a worker gets at once."""


MOST_LOOKED_AT = 20_000
"""Of so many tasks the longest comes first. Further ones are taken as these become fewer, since there may be a million."""


@dataclass(frozen=True)
class Waiting:
    """A task that waits.

    Attributes:
        number: Its place in the order of all tasks.
        task: The task.
        cost: How long it takes, in any unit.
        hardware: What it was begun on; empty if it was not.
    """

    number: int
    task: Any
    cost: float
    hardware: str = ""


class Backlog:
    """Chooses the next tasks for a worker (longest processing time first; Graham 1969).

    Args:
        tasks: All tasks, in an order in which each is ready when all before it are done.
        cost: Returns how long a task takes, in any unit.
        is_ready: Says whether a task may begin.
        most: How many tasks are looked at together.
    """

    def __init__(
        self,
        tasks: Iterable[Any],
        cost: Callable[[Any], float],
        is_ready: Callable[[Any], bool],
        most: int = MOST_LOOKED_AT,
    ) -> None:
        self._is_ready = is_ready
        self._coming = (Waiting(number, task, cost(task)) for number, task in enumerate(tasks))
        self._most = most
        self._later: dict[int, Waiting] = {}
        self._ready: list[Waiting] = []  # the longest last; of equal ones, the first last
        self._again: deque[Waiting] = deque()
        self._cost_ready = 0.0
        self._is_changed = False
        self._look()

    def __bool__(self) -> bool:
        """Return whether tasks wait, ready or not."""
        return bool(self._later or self._ready or self._again)

    @property
    def ready_count(self) -> int:
        """The number of tasks that may begin."""
        self._look()
        return len(self._ready) + len(self._again)

    def note_result(self) -> None:
        """Note that a result has come, so that other tasks may be ready."""
        self._is_changed = True

    def put_back(self, tasks: Iterable[Waiting], hardware: str = "") -> None:
        """Let tasks wait again, before all others.

        Args:
            tasks: Tasks that were chosen, and did not end.
            hardware: What the first one was begun on; empty if none was.
        """
        for place, waiting in enumerate(tasks):
            begun_on = waiting.hardware or (hardware if place == 0 else "")
            self._again.append(Waiting(waiting.number, waiting.task, waiting.cost, begun_on))

    def take(self, slots: int, hardware: str, others: Callable[[str], bool]) -> list[Waiting]:
        """Return tasks for a worker; none if none is ready for it.

        Args:
            slots: The number of tasks that all workers run at the same time.
            hardware: What the worker paints on. A task that was begun on something else goes there only if nothing like that
                is left.
            others: Says whether there is a worker with some hardware.
        """
        for waiting in self._again:
            if waiting.hardware in ("", hardware) or not others(waiting.hardware):
                self._again.remove(waiting)
                return [waiting]
        self._look()
        chosen: list[Waiting] = []
        most = self._cost_ready / (slots * SHARES)
        taken = 0.0
        while self._ready and len(chosen) < MOST_AT_ONCE and (not chosen or taken + self._ready[-1].cost <= most):
            waiting = self._ready.pop()
            taken += waiting.cost
            chosen.append(waiting)
        self._cost_ready = self._cost_ready - taken if self._ready else 0.0
        self._look()  # so that none is left if nothing waits
        return chosen

    def _look(self) -> None:
        """Find the tasks that have become ready. Take further ones if none is, or if few are left."""
        if self._is_changed:
            self._is_changed = False
            self._sort_in([waiting for waiting in self._later.values() if self._is_ready(waiting.task)])
        while not self._ready or len(self._ready) + len(self._later) <= self._most // 2:
            further = {waiting.number: waiting for waiting in itertools.islice(self._coming, self._most)}
            if not further:
                return
            self._later.update(further)
            self._sort_in([waiting for waiting in further.values() if self._is_ready(waiting.task)])

    def _sort_in(self, found: Sequence[Waiting]) -> None:
        """Let tasks be chosen from now on."""
        for waiting in found:
            del self._later[waiting.number]
            self._cost_ready += waiting.cost
        if len(found) > len(self._ready):
            self._ready = sorted([*self._ready, *found], key=_rank)
        else:
            for waiting in found:
                bisect.insort(self._ready, waiting, key=_rank)


def _rank(waiting: Waiting) -> tuple[float, int]:
    return waiting.cost, -waiting.number
