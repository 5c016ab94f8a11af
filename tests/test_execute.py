"""Running functions over tasks, with functions that know nothing of style."""

from __future__ import annotations

import os

import pytest

from nstpipe.errors import MachineError
from nstpipe.events import Emit, Event, Noticed
from nstpipe.execute import execute


def double(task: int, emit: Emit) -> tuple[int, int]:
    emit(Noticed(job="double", message=str(task)))
    return 2 * task, os.getpid()


def threads_allowed(task: int, emit: Emit) -> str:
    return os.environ.get("OMP_NUM_THREADS", "")


def die(task: int, emit: Emit) -> int:
    os.kill(os.getpid(), 9)
    return task


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_gives_its_result_and_every_event_arrives(workers: int) -> None:
    events: list[Event] = []
    results = list(execute(double, [1, 2, 3, 4], workers=workers, emit=events.append))
    assert sorted(result for result, _ in results) == [2, 4, 6, 8]
    assert sorted(event.message for event in events if isinstance(event, Noticed)) == ["1", "2", "3", "4"]
    in_this_process = {process == os.getpid() for _, process in results}
    assert in_this_process == {workers == 1}


def test_workers_share_the_cores() -> None:
    [first, *_] = execute(threads_allowed, [1, 2, 3], workers=2, emit=lambda event: None)
    assert int(first) >= 1


def test_results_come_one_by_one_with_one_worker() -> None:
    done: list[int] = []
    results = execute(lambda task, emit: done.append(task), [1, 2, 3], workers=1, emit=lambda event: None)
    next(results)
    assert done == [1]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_worker_is_an_error_that_says_so() -> None:
    with pytest.raises(MachineError, match="a worker process was killed"):
        list(execute(die, [1, 2, 3], workers=2, emit=lambda event: None))
