"""Running functions over tasks, with functions that know nothing of style."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import psutil
import pytest

from nstpipe.errors import OutputError
from nstpipe.events import Emit, Event, Noticed
from nstpipe.running.worker_processes import Function, execute
from nstpipe.system.stop import Stop, StopReason


def never(task: object, exit_code: int, /) -> None:
    pytest.fail(f"no worker was to be killed, but one ended with {exit_code} at {task}")


def run(function: Function[Any, Any], tasks: list[Any], workers: int = 2, **options: Any) -> Iterator[Any]:
    defaults: dict[str, Any] = {"emit": lambda event: None, "stop": Stop(), "on_killed": never}
    return execute(function, tasks, workers=workers, **{**defaults, **options})


def double(task: int, emit: Emit, stop: Stop) -> tuple[int, int]:
    emit(Noticed(job="double", message=str(task)))
    return 2 * task, os.getpid()


def threads_allowed(task: int, emit: Emit, stop: Stop) -> str:
    print("noise that must not stand among the answers")
    return os.environ.get("OMP_NUM_THREADS", "")


def die_once(marker: Path, emit: Emit, stop: Stop) -> str:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return marker.name


def die(task: str, emit: Emit, stop: Stop) -> str:
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def until_stopped(task: str, emit: Emit, stop: Stop) -> str:
    emit(Noticed(job="begun", message=task))
    end = time.monotonic() + 60
    while not stop.should_stop() and time.monotonic() < end:
        time.sleep(0.01)
    assert stop.reason is not None
    return stop.reason.name


def refuse(task: str, emit: Emit, stop: Stop) -> str:
    raise OutputError(f"{task} is full.", "Empty it.")


def sleep_in_a_worker(task: Path, emit: Emit, stop: Stop) -> None:
    task.write_text(str(os.getpid()))
    time.sleep(60)


@pytest.mark.parametrize(("workers", "isolated"), [(1, False), (1, True), (2, False)])
def test_every_task_gives_its_result_and_every_event_arrives(workers: int, isolated: bool) -> None:
    events: list[Event] = []
    results = list(run(double, [1, 2, 3, 4], workers, isolated=isolated, emit=events.append))
    assert sorted(result for result, _ in results) == [2, 4, 6, 8]
    assert sorted(event.message for event in events if isinstance(event, Noticed)) == ["1", "2", "3", "4"]
    in_this_process = {process == os.getpid() for _, process in results}
    assert in_this_process == {workers == 1 and not isolated}


def test_workers_share_the_cores_however_few_tasks_there_are() -> None:
    expected = str(max(1, joblib.cpu_count() // 2))
    assert list(run(threads_allowed, [1])) == [expected]


def test_a_worker_that_is_alone_decides_by_itself_as_this_process_would() -> None:
    assert list(run(threads_allowed, [1], 1, isolated=True)) == [os.environ.get("OMP_NUM_THREADS", "")]


def test_results_come_one_by_one_with_one_worker() -> None:
    done: list[int] = []
    results = run(lambda task, emit, stop: done.append(task), [1, 2, 3], 1)
    next(results)
    assert done == [1]


def test_a_workers_error_arrives_as_it_was_raised() -> None:
    with pytest.raises(OutputError, match="disk is full") as caught:
        list(run(refuse, ["disk"]))
    assert caught.value.next_step == "Empty it."


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_worker_costs_its_task_one_more_try_and_the_others_nothing(tmp_path: Path) -> None:
    killed: list[tuple[Path, int]] = []
    (tmp_path / "other").touch()

    def again(task: Path, exit_code: int, /) -> None:
        killed.append((task, exit_code))

    tasks = [tmp_path / "dies once", tmp_path / "other"]
    assert sorted(run(die_once, tasks, on_killed=again)) == ["dies once", "other"]
    assert killed == [(tmp_path / "dies once", -signal.SIGKILL)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_who_gives_a_task_up_says_with_which_result() -> None:
    def give_up(task: str, exit_code: int, /) -> str:
        return f"gave up {task}"

    assert sorted(run(die, ["die", "live", "on"], on_killed=give_up)) == ["gave up die", "live", "on"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_reaches_who_works_and_nothing_new_begins(workers: int) -> None:
    stop, begun = Stop(), []

    def ask(event: Event) -> None:
        begun.append(event)
        stop.ask(StopReason.TERMINATED)

    assert set(run(until_stopped, ["a", "b", "c", "d"], workers, stop=stop, emit=ask)) == {"TERMINATED"}
    assert 1 <= len(begun) <= workers


def test_a_deadline_reaches_who_works() -> None:
    assert set(run(until_stopped, ["a"], stop=Stop(time.time() + 3))) == {"TIME"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    code = (
        "from tests.running.test_worker_processes import *\n"
        f"list(run(sleep_in_a_worker, [Path({str(tmp_path)!r}) / 'one', Path({str(tmp_path)!r}) / 'two']))"
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
        [sys.executable, "-c", "from nstpipe.running.worker_processes import serve; serve()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdin is not None
    pickle.dump((double, None), worker.stdin)
    worker.stdin.write(pickle.dumps("x" * 1000)[:500])
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

    assert list(run(fail_unreadably, [1], on_killed=give_up, isolated=True, workers=1)) == ["given up"]
    assert asked == [1]
