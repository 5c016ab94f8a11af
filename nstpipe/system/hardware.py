"""What a process computes on. Different hardware may round differently, so frames of one clip should come from one kind."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

from nstpipe.system.threads import core_count

WORKER_VARIABLE = "NSTPIPE_WORKER"
"""The environment variable by which a process that paints for a cluster knows the name of its worker."""

THREADS_VARIABLE = "NSTPIPE_THREADS"
"""The environment variable that says how many threads a process of a cluster's worker paints with."""


def worker_name() -> str:
    """Return the name of the cluster's worker that this process paints for; empty if it is none."""
    return os.environ.get(WORKER_VARIABLE, "")


@functools.cache
def processor_name(root: Path = Path("/")) -> str:
    """Return the name of the processor, as far as the system tells it.

    Args:
        root: The folder that ``proc`` is in.
    """
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, "") or platform.processor() or platform.machine()


def processor_with_threads(threads: int) -> str:
    """Return the processor and the number of threads, on which the order of sums depends."""
    return f"{processor_name()}, {threads} thread{'s' if threads != 1 else ''}"


def threads_of_slot(slots: int) -> int:
    """Return the threads of each of several processes that paint on this machine at the same time.

    Args:
        slots: How many they are.
    """
    given = os.environ.get(THREADS_VARIABLE, "")
    return int(given) if given.isdecimal() and int(given) else max(1, core_count() // max(1, slots))
