"""How long torch's threads spin while they wait for each other, which depends on what else the machine does.

torch's threads share each operation by OpenMP, and the first that are done wait for the last. GNU's OpenMP lets them spin for
up to 300 000 rounds, 20 ms on a recent server processor, before they sleep. On an idle machine this is right, because the next
operation follows within microseconds. Beside other work, the spinning threads hold the cores that the last one needs.
"""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

USERS_CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Environment variables by which a user decides how long threads spin. Nothing is changed if one of them is set."""

LOOK_SECONDS = 0.25
"""How often the machine is looked at."""

CALM_SECONDS = 1.0
"""Seconds without other work after which threads may spin again."""

WAITING_SHARE = 0.15
"""Core-seconds that this process's threads waited for a core, for each second, from which on the machine is taken as shared.
Alone they wait for 0.01 to 0.05, and beside one other busy thread for more than 0.5, whether they spin or not."""

VALUES_A_THREAD = 32768
"""torch shares out an operation on single values if each thread gets as many (`at::internal::GRAIN_SIZE`)."""


def adapt_spinning(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> None:
    """From now on, let torch's threads spin only while no other work needs the cores they spin on.

    A thread of this process looks at the machine all the time. Results do not change, because the number of threads does not.
    On other systems than Linux, and where the user has decided otherwise, nothing is done.

    Args:
        root: the folder that ``proc`` is in.
        environment: the environment variables.
    """
    if any(name in environment for name in USERS_CHOICES) or not (root / _TASKS).is_dir():
        return
    global _watch
    with _lock:
        # The thread is not alive in a process that was forked.
        if _watch is None or not _watch.is_alive():
            watch = Watch(root)
            with suppress(RuntimeError):  # the system allows no more threads
                watch.start()
                _watch = watch


class SpareTeams:
    """Threads of OpenMP that do nothing, and make the others spin less.

    libgomp lets threads spin for 100 rounds instead of 300 000 "if there are more OpenMP threads than available CPUs" (GNU
    libgomp manual, GOMP_SPINCOUNT). It reads the environment only once, but counts the threads at each wait. So a team of
    sleeping threads turns the spinning down, and its end turns it up again, at any time.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __bool__(self) -> bool:
        """Whether there are teams now."""
        return bool(self._threads)

    def begin(self) -> None:
        """Make as many teams as it takes to have more threads of OpenMP than cores."""
        self._over = threading.Event()
        needed = 1
        while len(self._threads) < needed:
            sizes: queue.SimpleQueue[int] = queue.SimpleQueue()
            thread = threading.Thread(target=_hold_team, args=(sizes, self._over), daemon=True, name="spare OpenMP team")
            try:
                thread.start()
            except RuntimeError:
                return  # the system allows no more threads; torch goes on with what it has
            self._threads.append(thread)
            needed = teams_needed(len(os.sched_getaffinity(0)), sizes.get())

    def end(self) -> None:
        """End the teams."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._threads = []


def _hold_team(sizes: queue.SimpleQueue[int], over: threading.Event) -> None:
    """Make a team, tell its size, and keep it until it is over. A team belongs to the thread that made it."""
    import torch

    size = torch.get_num_threads()
    try:
        torch.empty(size * VALUES_A_THREAD).fill_(1)
    finally:
        sizes.put(size)
    over.wait()


def teams_needed(cores: int, size: int) -> int:
    """Return how many further teams give more threads of OpenMP than cores.

    Args:
        cores: the number of cores that this process may use.
        size: the threads of a team, the one included that makes it and that is no thread of OpenMP's own. One team computes.
    """
    return max(1, math.ceil((cores - size + 1) / (size - 1))) if size > 1 else 0


class Watch(threading.Thread):
    """Looks at the machine, and makes or ends the spare teams.

    Args:
        root: the folder that ``proc`` is in.

    Attributes:
        teams: the spare teams; there are some while threads must not spin.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        super().__init__(daemon=True, name="watch for other work")
        self.teams = SpareTeams()
        self._root = root
        self._over = threading.Event()

    def start(self) -> None:
        """Start as if beside other work: a short picture loses little by it alone, and gains much beside other work."""
        self.teams.begin()
        super().start()

    def run(self) -> None:
        """Look again and again, until the end."""
        waited, looked = seconds_waited(self._root), time.monotonic()
        last_shared = looked
        while not self._over.wait(LOOK_SECONDS):
            waited_before, looked_before = waited, looked
            waited, looked = seconds_waited(self._root), time.monotonic()
            if waited - waited_before > WAITING_SHARE * (looked - looked_before):
                last_shared = looked
            is_shared = looked - last_shared < CALM_SECONDS
            if is_shared and not self.teams:
                self.teams.begin()
            elif self.teams and not is_shared:
                self.teams.end()
        self.teams.end()

    def end(self) -> None:
        """End the thread and the teams."""
        self._over.set()
        self.join()


def seconds_waited(root: Path = Path("/")) -> float:
    """Return for how many seconds this process's threads could have run, but had no core (Linux: sched-stats.rst).

    Threads that have ended do not count any more.

    Args:
        root: the folder that ``proc`` is in.
    """
    waited = 0
    with suppress(OSError):
        for task in (root / _TASKS).iterdir():
            with suppress(OSError, ValueError, IndexError):  # it has just ended, or a kernel that does not count
                waited += int((task / "schedstat").read_text(encoding="ascii").split()[1])
    return waited / 1e9


_TASKS = "proc/self/task"
_lock = threading.Lock()
_watch: Watch | None = None
