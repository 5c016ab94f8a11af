"""Memory, as the machine and its control groups tell it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from nstpipe.system.memory import Memory, ask_for_large_pages, memory

GROUPS = Path("/sys/fs/cgroup/memory")
"""Where version 1 of the kernel's control groups is mounted, on machines that have it."""

ASIDE = 1 << 30
"""Bytes that other processes may take or give back between two looks."""


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n", encoding="ascii")


def machine_of(folder: Path, line: str) -> Path:
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text(line + "\n", encoding="utf-8")
    return folder


def test_without_control_groups_it_is_the_machines(tmp_path: Path) -> None:
    found = memory(tmp_path)
    assert found.total_bytes == psutil.virtual_memory().total
    assert abs(found.free_bytes - psutil.virtual_memory().available) < ASIDE


def test_version_2_limits_a_service_and_what_it_lies_in(tmp_path: Path) -> None:
    root = machine_of(tmp_path, "0::/night.slice/nstpipe.service")
    slice_of_it = root / "sys/fs/cgroup/night.slice"
    group(slice_of_it, memory__max="900000", memory__current="500000", memory__stat="anon 1\ninactive_file 100000")
    group(slice_of_it / "nstpipe.service", memory__max="800000", memory__current="100000", memory__stat="inactive_file 0")
    # The service has 700000 left, but the slice around it only 400000 and 100000 of cached files.
    assert memory(root) == Memory(500000, 800000)


def test_version_2_without_a_limit_is_the_machines(tmp_path: Path) -> None:
    root = machine_of(tmp_path, "0::/user.slice")
    group(root / "sys/fs/cgroup/user.slice", memory__max="max", memory__current="5", memory__stat="inactive_file 0")
    assert memory(root).total_bytes == psutil.virtual_memory().total


def test_version_1_in_a_container_whose_path_is_the_one_outside(tmp_path: Path) -> None:
    root = machine_of(tmp_path, "9:cpu:/docker/4f1\n8:hugetlb,memory:/docker/4f1")
    mounted = root / "sys/fs/cgroup/memory"
    stat = "inactive_file 1\ntotal_inactive_file 300"
    group(mounted, memory__limit_in_bytes="4000", memory__usage_in_bytes="1300", memory__stat=stat)
    assert memory(root) == Memory(3000, 4000)


def test_more_taken_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    root = machine_of(tmp_path, "0::/")
    group(root / "sys/fs/cgroup", memory__max="1000", memory__current="1200", memory__stat="inactive_file 0")
    assert memory(root).free_bytes == 0


@pytest.mark.parametrize("line", ["", "0::/", "7:memory:/gone"])
def test_groups_that_cannot_be_read_limit_nothing(tmp_path: Path, line: str) -> None:
    root = machine_of(tmp_path, line) if line else tmp_path
    group(root / "sys/fs/cgroup", memory__max="many", memory__current="", memory__stat="")
    assert memory(root).total_bytes == psutil.virtual_memory().total


@pytest.fixture
def real_group() -> Iterator[Path]:
    folder = GROUPS / f"nstpipe-{uuid.uuid4().hex}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(3 << 30), encoding="ascii")
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield folder
    with suppress(OSError):
        folder.rmdir()


def test_a_real_group(real_group: Path) -> None:
    code = "from nstpipe.system.memory import memory; found = memory(); print(found.free_bytes, found.total_bytes)"
    join = lambda: (real_group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")  # noqa: E731
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, preexec_fn=join)
    free, total = map(int, done.stdout.split())
    assert total == 3 << 30
    # What the interpreter itself takes is some tens of megabytes.
    assert 2 << 30 < free < 3 << 30


LARGE_PAGES = "sys/kernel/mm/transparent_hugepage/enabled"

TAKEN = """
import os, resource, torch
from nstpipe.system.memory import ask_for_large_pages
ask_for_large_pages()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
torch.zeros(1 << 28, dtype=torch.uint8)
print(os.environ.get("THP_MEM_ALLOC_ENABLE"), faults() - before)
"""


def taken(environment: dict[str, str]) -> tuple[str, int]:
    """What the environment says afterwards, and the page faults of the first 256 MiB."""
    clean = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    found = subprocess.run(
        [sys.executable, "-c", TAKEN], env={**clean, **environment}, check=True, capture_output=True, text=True
    )
    left, faults = found.stdout.split()
    return left, int(faults)


@pytest.mark.skipif(
    not Path("/", LARGE_PAGES).is_file() or "[never]" in Path("/", LARGE_PAGES).read_text(encoding="ascii"),
    reason="the kernel offers no large pages",
)
def test_torch_takes_large_pages_unless_the_environment_says_otherwise() -> None:
    left, faults = taken({})
    assert left == "None", "the environment is the caller's"
    # 256 MiB are 65536 small pages, or 128 large ones; what does not begin with one, and the process' own, comes on top.
    assert faults < 65536 / 4
    assert taken({"THP_MEM_ALLOC_ENABLE": "0"})[0] == "0"


@pytest.mark.parametrize("offered", [None, "always madvise [never]"])
def test_where_there_are_no_large_pages_torch_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: str | None
) -> None:
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    if offered is not None:
        (tmp_path / LARGE_PAGES).parent.mkdir(parents=True)
        (tmp_path / LARGE_PAGES).write_text(offered + "\n", encoding="ascii")
    changes: list[str] = []
    monkeypatch.setattr(os, "putenv", lambda name, value: changes.append(str(name)), raising=True)
    ask_for_large_pages(tmp_path)
    assert not changes
