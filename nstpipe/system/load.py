"""How busy other programs keep the processor, beside this process and those that it has started."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil

from nstpipe.system.threads import core_count

BUSY_SHARE = 0.15
"""Share of the cores that other programs use on a machine that is called busy. Less has no effect that an estimate shows."""

ALIKE_SHARE = 0.2
"""Loads that differ by less are alike."""


@dataclass(frozen=True)
class Load:
    """What other programs take of the processor.

    Attributes:
        cores: the cores that this process may use: those of its affinity, or its container's quota if that is less.
        busy_cores: how many of these other programs keep busy, on average.
    """

    cores: float
    busy_cores: float = 0.0

    @property
    def share(self) -> float:
        """The share of the cores that other programs use, 0 to 1."""
        return min(1.0, self.busy_cores / self.cores)

    @property
    def is_busy(self) -> bool:
        """Whether other programs slow this one down."""
        return self.share > BUSY_SHARE

    @property
    def slowdown(self) -> float:
        """How many times as long a computation with a thread for each core should take as on a quiet machine.

        Two threads that share a core get half of it each, and the others wait for the slower one.
        """
        return 1 / (1 - min(0.5, self.share))

    def is_alike(self, other: Load) -> bool:
        """Return whether times that were measured under one of both loads hold for the other."""
        return abs(self.share - other.share) <= ALIKE_SHARE


class LoadMeter:
    """Measures the load from its creation on."""

    def __init__(self) -> None:
        self._cpus = _allowed_cpus()
        self._began, self._busy, self._own = time.monotonic(), self._busy_seconds(), _own_seconds()

    def read(self) -> Load:
        """Return the average load since this meter was created."""
        passed = max(time.monotonic() - self._began, 1e-3)
        others = max(0.0, self._busy_seconds() - self._busy - (_own_seconds() - self._own)) / passed
        cores = float(core_count())
        # Cores beyond a container's quota are free for others.
        return Load(cores, min(cores, max(0.0, others - (len(self._cpus) - cores))))

    def _busy_seconds(self) -> float:
        """Return the seconds for which the allowed processors have computed so far, for whomever."""
        times = psutil.cpu_times(percpu=True)
        kinds = ("user", "nice", "system", "irq", "softirq", "steal")
        return float(sum(getattr(times[cpu], kind, 0.0) for cpu in self._cpus if cpu < len(times) for kind in kinds))


def load_now(seconds: float = 0.3) -> Load:
    """Measure the load for a moment, while this process waits.

    Args:
        seconds: how long. The kernel counts in steps of 10 ms.
    """
    meter = LoadMeter()
    time.sleep(seconds)
    return meter.read()


def _own_seconds() -> float:
    """Return the CPU time of this process and of all that it has started, including those that have ended."""
    own = os.times()
    seconds = own.user + own.system + own.children_user + own.children_system
    for child in psutil.Process().children(recursive=True):
        try:
            spent = child.cpu_times()
        except psutil.Error:
            continue  # it has just ended
        ended = getattr(spent, "children_user", 0.0) + getattr(spent, "children_system", 0.0)
        seconds += spent.user + spent.system + ended
    return seconds


def _allowed_cpus() -> list[int]:
    try:
        return list(psutil.Process().cpu_affinity() or ())
    except AttributeError:  # macOS has no affinity
        return list(range(psutil.cpu_count() or 1))
