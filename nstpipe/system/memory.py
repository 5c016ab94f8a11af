"""How much memory the machine and the container have, and how torch asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil


@dataclass(frozen=True)
class Memory:
    """The main memory that this process may use.

    Attributes:
        free_bytes: what can be taken now without swapping, and without being killed for it.
        total_bytes: of the machine, or what its container is allowed if that is less.
    """

    free_bytes: int
    total_bytes: int


def memory(root: Path = Path("/")) -> Memory:
    """Return the memory that is available now.

    The kernel kills a process that takes more than its control group may have, however much the machine has. Where
    groups lie within groups, as services and containers do, the narrowest counts.

    Args:
        root: below which ``proc`` and ``sys`` are.
    """
    machine = psutil.virtual_memory()
    free, total = int(machine.available), int(machine.total)
    for limit, taken in _limits(root):
        free = min(free, max(0, limit - taken))
        total = min(total, limit)
    return Memory(free, total)


def ask_for_large_pages(root: Path = Path("/")) -> None:
    """Have torch take memory in pages of 2 MiB in this process. An environment that says otherwise is respected.

    Each pass through the network takes and gives back gigabytes. With pages of 4 KiB, Linux's default, page faults take a
    tenth of the time, and a fourth with large pictures. torch reads the environment variable once, before its first tensor.
    So the variable is set only until torch has read it, and neither the caller nor the processes that it starts see it.

    Args:
        root: the folder that ``sys`` is in.
    """
    try:
        offered = (root / "sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
    except OSError:
        return  # no Linux, or one without large pages
    # If the machine's owner turned them off, torch would warn of each refusal.
    if "[never]" in offered or _LARGE_PAGES in os.environ:
        return
    import torch

    os.environ[_LARGE_PAGES] = "1"
    try:
        torch.empty(1)
    finally:
        del os.environ[_LARGE_PAGES]


_LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"


@dataclass(frozen=True)
class _Files:
    """The file names of one version of the kernel's control groups (Linux: cgroup-v1/memory.rst, cgroup-v2.rst)."""

    mount: str
    limit: str
    taken: str
    reclaimable: str


_VERSION_1 = _Files("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = _Files("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Yield the bytes allowed and taken for each control group of this process that has a limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return  # no Linux, or one without control groups
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        files = _VERSION_1 if controllers else _VERSION_2
        # Within a container the path may be the one outside, where nothing is; the mount itself is then its own group.
        inside = PurePosixPath(path.lstrip("/"))
        for group in (inside, *inside.parents):
            found = _limit(root / files.mount / group, files)
            if found is not None:
                yield found


def _limit(folder: Path, files: _Files) -> tuple[int, int] | None:
    try:
        limit = int((folder / files.limit).read_text(encoding="ascii"))
        taken = int((folder / files.taken).read_text(encoding="ascii"))
        rows = (row.split() for row in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        reclaimable = next((int(row[1]) for row in rows if row[0] == files.reclaimable), 0)
    except (OSError, ValueError):
        return None  # no such group, or no limit: version 2 then says `max`
    # Cached files count as taken, but are given up before anything is killed.
    return limit, taken - reclaimable
