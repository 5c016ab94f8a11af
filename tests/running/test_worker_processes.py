"""What is special about worker processes: their number of threads, their start and their end."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from nstpipe.events import Emit
from nstpipe.running.worker_processes import WorkerProcesses
from nstpipe.system.stop import Stop
from nstpipe.system.threads import core_count
from tests.running.tasks import double, execute, surprise


def threads_allowed(task: int, emit: Emit, stop: Stop) -> str:
    print("noise that must not stand among the answers")
    return os.environ.get("OMP_NUM_THREADS", "")


def sleep_in_a_worker(task: Path, emit: Emit, stop: Stop) -> None:
    task.write_text(str(os.getpid()))
    time.sleep(60)


def test_workers_share_the_cores_however_few_tasks_there_are() -> None:
    expected = str(max(1, core_count() // 2))
    assert list(execute(WorkerProcesses(2), threads_allowed, [1])) == [expected]


def test_a_worker_that_is_alone_decides_by_itself_as_this_process_would() -> None:
    assert list(execute(WorkerProcesses(1), threads_allowed, [1])) == [os.environ.get("OMP_NUM_THREADS", "")]


def threads_computing(task: int, emit: Emit, stop: Stop) -> tuple[int, int]:
    import cv2
    import torch

    return torch.get_num_threads(), cv2.getNumThreads()


def do_nothing() -> None:
    return None


def test_a_worker_that_was_started_before_its_number_was_known_shares_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    executor = WorkerProcesses(1)
    executor.prepare(do_nothing)
    executor.settle(2)
    share = max(1, core_count() // 2)
    assert list(execute(executor, threads_computing, [1])) == [(share, share)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    code = (
        "from tests.running.test_worker_processes import *\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "list(execute(WorkerProcesses(2), sleep_in_a_worker, [folder / 'one', folder / 'two']))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent.parent.parent)
    wait_for(lambda: all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in ("one", "two")))
    workers = [int((tmp_path / name).read_text()) for name in ("one", "two")]
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(psutil.pid_exists(worker) and alive(worker) for worker in workers))


def alive(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
def test_a_worker_ends_when_its_parent_was_killed_in_the_middle_of_a_task() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", "from nstpipe.running.worker import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdin is not None
    pickle.dump(pickle.dumps((double, 1, None)), worker.stdin)
    worker.stdin.write(pickle.dumps(b"x" * 1000)[:500])
    worker.stdin.close()
    assert worker.wait(timeout=60) == 0


class Unreadable(Exception):  # noqa: N818
    """Cannot be made again from its arguments, as pickle does it."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def fail_unreadably(task: int, emit: Emit, stop: Stop) -> None:
    raise Unreadable("a", "b")


def test_an_answer_that_cannot_be_read_ends_its_worker_and_not_the_run_never() -> None:
    asked: list[int] = []

    def give_up(task: Any, exit_code: int, /) -> str:
        asked.append(task)
        return "given up"

    assert list(execute(WorkerProcesses(1), fail_unreadably, [1], on_killed=give_up)) == ["given up"]
    assert asked == [1]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have no notes")
def test_a_bug_in_a_worker_is_shown_with_the_line_that_it_is_in() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(execute(WorkerProcesses(1), surprise, [1]))
    shown = "".join(traceback.format_exception(caught.value))
    assert "In the worker:" in shown
    assert "return task // 0" in shown
