"""How long torch's threads spin while they wait for each other."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from nstpipe.system import spinning
from nstpipe.system.spinning import VALUES_A_THREAD, SpareTeams, Watch, adapt_spinning, seconds_waited, teams_needed

OPERATIONS = 50

on_linux = pytest.mark.skipif(
    sys.platform != "linux" or "libgomp" not in Path("/proc/self/maps").read_text(encoding="utf-8"),
    reason="needs torch with GNU's OpenMP",
)


@contextmanager
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def sleeps_of_other_threads() -> int:
    """How often threads of this process, other than this one, have gone to sleep."""
    statuses = (task / "status" for task in Path("/proc/self/task").iterdir() if int(task.name) != threading.get_native_id())
    lines = (line for status in statuses for line in status.read_text(encoding="utf-8").splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


@on_linux
def test_beside_spare_teams_threads_sleep_instead_of_spinning() -> None:
    values = torch.zeros(2 * VALUES_A_THREAD)
    teams = SpareTeams()
    with two_threads():
        teams.begin()
        try:
            before = sleeps_of_other_threads()
            for _ in range(OPERATIONS):
                values.add_(1)
                time.sleep(0.001)  # longer than 100 rounds, shorter than 300 000
            slept = sleeps_of_other_threads() - before
        finally:
            teams.end()
    assert slept >= OPERATIONS - 1
    assert not teams


@pytest.mark.parametrize(
    ("cores", "size", "teams"), [(2, 2, 1), (16, 16, 1), (16, 8, 2), (16, 4, 5), (4, 2, 3), (1, 4, 1), (8, 1, 0)]
)
def test_the_fewest_teams_that_have_more_threads_than_cores(cores: int, size: int, teams: int) -> None:
    assert teams_needed(cores, size) == teams


def tell_waits(root: Path, *waits_seconds: float) -> None:
    for number, wait in enumerate(waits_seconds):
        task = root / "proc/self/task" / str(number)
        task.mkdir(parents=True, exist_ok=True)
        (task / "schedstat").write_text(f"123456 {int(wait * 1e9)} 7\n", encoding="ascii")


def test_the_waits_of_all_threads_count(tmp_path: Path) -> None:
    assert seconds_waited(tmp_path) == 0
    tell_waits(tmp_path, 0.25, 2)
    (tmp_path / "proc/self/task/9").mkdir()  # has just ended
    assert seconds_waited(tmp_path) == 2.25


@on_linux
def test_threads_spin_when_nothing_else_needs_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spinning, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(spinning, "CALM_SECONDS", 0.05)
    tell_waits(tmp_path, 1)
    watch = Watch(tmp_path)
    watch.start()
    try:
        assert watch.teams, "the first look has not been taken"
        wait_for(lambda: not watch.teams)
        waits = iter(range(2, 10**6))

        def shared() -> bool:
            tell_waits(tmp_path, next(waits))
            return bool(watch.teams)

        wait_for(shared)
        wait_for(lambda: not watch.teams)
    finally:
        watch.end()
    assert not watch.is_alive()


def wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("environment", "has_tasks"), [({"GOMP_SPINCOUNT": "1000"}, True), ({"OMP_WAIT_POLICY": "active"}, True), ({}, False)]
)
def test_what_the_user_decided_and_other_systems_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], has_tasks: bool
) -> None:
    monkeypatch.setattr(spinning, "_watch", None)
    if has_tasks:
        tell_waits(tmp_path, 1)
    adapt_spinning(tmp_path, environment)
    assert spinning._watch is None
