"""What every executor promises, also the one that docs/extending/executor.md shows how to write."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nstpipe.config import load_pipeline
from nstpipe.config.cluster import Cluster
from nstpipe.errors import OutputError
from nstpipe.events import Event, Noticed
from nstpipe.running.cluster.backlog import MOST_LOOKED_AT
from nstpipe.running.cluster.executor import DaskCluster
from nstpipe.running.executor import Executor
from nstpipe.running.executors import EXECUTORS, executor_for
from nstpipe.running.in_process import InProcess
from nstpipe.running.worker_processes import WorkerProcesses
from nstpipe.system.stop import Stop, StopReason
from tests.making import make_picture, write_pipeline
from tests.making_examples import example_of
from tests.running.tasks import die, die_once, double, execute, note_process, refuse, take_a_moment, until_stopped

ThreadPool = example_of("extending/executor.md").ThreadPool

CASES: dict[str, tuple[Executor, int, bool]] = {
    "in process": (InProcess(), 1, False),
    "a worker": (WorkerProcesses(1), 1, True),
    "two workers": (WorkerProcesses(2), 2, True),
    "a cluster": (DaskCluster(Cluster(kind="local"), Path(tempfile.mkdtemp(prefix="nstpipe-tests-")), 2), 2, True),
    "threads, from the document": (ThreadPool(2), 2, False),
}
"""An executor, the tasks that it runs at the same time, and whether it runs them in other processes."""

EVERY = pytest.mark.parametrize(("executor", "at_once", "isolates"), CASES.values(), ids=CASES.keys())
ISOLATING = pytest.mark.parametrize(
    "executor", [executor for executor, _, isolates in CASES.values() if isolates], ids=lambda executor: type(executor).__name__
)


@pytest.fixture(scope="module", autouse=True)
def _close_all() -> Iterator[None]:
    """A cluster stays connected from one test to the next, as it does within a run."""
    yield
    for executor, _, _ in CASES.values():
        executor.close()


UNIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")


def test_every_executor_of_the_table_is_tried_here() -> None:
    assert {type(executor) for executor, _, _ in CASES.values()} == {*EXECUTORS, ThreadPool}


@pytest.mark.parametrize(
    ("top", "isolated", "expected"),
    [
        ({"workers": 1}, False, InProcess),
        ({"workers": 1}, True, WorkerProcesses),
        ({"workers": 2}, False, WorkerProcesses),
        ({"workers": 1, "cluster": "tcp://scheduler:8786"}, False, DaskCluster),
    ],
)
def test_the_settings_choose_the_executor(
    tmp_path: Path, top: dict[str, Any], isolated: bool, expected: type[Executor]
) -> None:
    make_picture(tmp_path / "a.png")
    pipeline = load_pipeline(write_pipeline(tmp_path, {"name": "one", "input": "a.png", "output": "b.png"}, **top))
    assert type(executor_for(pipeline, isolated=isolated)) is expected


@EVERY
def test_what_was_prepared_runs_a_task_or_ends(executor: Executor, at_once: int, isolates: bool, tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    executor.prepare(note_process, tmp_path / "note")
    [(result, process)] = execute(executor, double, [1])
    assert result == 2
    assert not isolates or (tmp_path / "note").read_text() == str(process)
    executor.prepare(note_process, tmp_path / "no folder" / "note")  # its failure is nobody's business
    executor.close()
    assert set(psutil.Process().children()) <= before
    executor.prepare(note_process, tmp_path / "no folder" / "note")
    assert [result for result, _ in execute(executor, double, [2])] == [4]


@EVERY
def test_every_task_gives_one_result_and_every_event_arrives(executor: Executor, at_once: int, isolates: bool) -> None:
    events: list[tuple[Event, threading.Thread]] = []

    def emit(event: Event) -> None:
        events.append((event, threading.current_thread()))

    results = list(execute(executor, double, [1, 2, 3, 4], emit=emit))
    assert sorted(result for result, _ in results) == [2, 4, 6, 8]
    assert sorted(event.message for event, _ in events if isinstance(event, Noticed)) == ["1", "2", "3", "4"]
    assert {thread for _, thread in events} == {threading.current_thread()}
    assert {process != os.getpid() for _, process in results} == {isolates}


@EVERY
def test_no_task_gives_no_result(executor: Executor, at_once: int, isolates: bool) -> None:
    assert list(execute(executor, double, [])) == []


@EVERY
def test_tasks_are_taken_as_they_are_needed(executor: Executor, at_once: int, isolates: bool) -> None:
    """There may be a million. A cluster looks at many together, so that the longest comes first."""
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(100_000):
            taken.append(number)
            yield number

    stop = Stop()
    results = execute(executor, double, tasks(), stop=stop)
    first, _ = next(iter(results))
    stop.ask(StopReason.FAILURE)
    assert {first, *(result for result, _ in results)} <= {2 * number for number in taken}
    assert len(taken) <= (MOST_LOOKED_AT if isinstance(executor, DaskCluster) else 10 * at_once)


@EVERY
def test_an_executor_can_be_used_again(executor: Executor, at_once: int, isolates: bool) -> None:
    for _ in range(2):
        assert [result for result, _ in execute(executor, double, [1])] == [2]


@EVERY
def test_no_more_tasks_are_begun_than_can_run_at_once(executor: Executor, at_once: int, isolates: bool) -> None:
    begun: list[Event] = []
    executor.settle(at_once)
    results = execute(executor, take_a_moment, [1, 2, 3, 4, 5, 6], emit=begun.append)
    next(results)
    assert len(begun) <= at_once
    assert len(list(results)) == 5


@EVERY
def test_an_executor_knows_its_number_of_tasks_or_leaves_it_to_the_settings(
    executor: Executor, at_once: int, isolates: bool
) -> None:
    assert executor.slots() in (None, at_once)


@EVERY
def test_a_task_begins_only_when_it_is_ready(executor: Executor, at_once: int, isolates: bool) -> None:
    done: list[int] = []
    story: list[str] = []

    def is_ready(task: int) -> bool:
        return task in (1, 4) or task - 1 in done

    def emit(event: Event) -> None:
        assert isinstance(event, Noticed)
        story.append(f"begin {event.message}")

    for result in execute(executor, take_a_moment, [1, 2, 3, 4, 5], emit=emit, is_ready=is_ready):
        done.append(result)
        story.append(f"end {result}")
    assert sorted(done) == [1, 2, 3, 4, 5]
    for task in (2, 3, 5):
        assert story.index(f"end {task - 1}") < story.index(f"begin {task}")


@EVERY
def test_an_error_arrives_as_it_was_raised(executor: Executor, at_once: int, isolates: bool) -> None:
    with pytest.raises(OutputError, match="disk is full") as caught:
        list(execute(executor, refuse, ["disk"]))
    assert caught.value.next_step == "Empty it."


@EVERY
def test_a_stop_reaches_the_tasks_and_no_further_one_begins(executor: Executor, at_once: int, isolates: bool) -> None:
    stop, begun = Stop(), []

    def ask(event: Event) -> None:
        begun.append(event)
        stop.ask(StopReason.TERMINATED)

    assert set(execute(executor, until_stopped, ["a", "b", "c", "d"], stop=stop, emit=ask)) == {"TERMINATED"}
    assert 1 <= len(begun) <= at_once


@EVERY
def test_nothing_begins_after_a_stop(executor: Executor, at_once: int, isolates: bool) -> None:
    stop, events = Stop(), list[Event]()
    stop.ask(StopReason.INTERRUPTED)
    assert list(execute(executor, double, [1, 2], stop=stop, emit=events.append)) == []
    assert events == []


@EVERY
def test_a_deadline_reaches_the_tasks(executor: Executor, at_once: int, isolates: bool) -> None:
    list(execute(executor, double, [1]))  # the start of a cluster may take longer than the deadline
    assert set(execute(executor, until_stopped, ["a"], stop=Stop(time.time() + 1.5))) == {"TIME"}


@EVERY
def test_the_caller_may_leave_off(executor: Executor, at_once: int, isolates: bool) -> None:
    results = execute(executor, take_a_moment, [1, 2, 3, 4, 5, 6])
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert list(results) == []


@UNIX
@ISOLATING
def test_a_killed_task_is_tried_again_and_the_others_lose_nothing(executor: Executor, tmp_path: Path) -> None:
    killed: list[tuple[Path, int]] = []
    (tmp_path / "other").touch()

    def again(task: Path, exit_code: int, /) -> None:
        killed.append((task, exit_code))

    tasks = [tmp_path / "dies once", tmp_path / "other"]
    assert sorted(execute(executor, die_once, tasks, on_killed=again)) == ["dies once", "other"]
    assert killed == [(tmp_path / "dies once", -signal.SIGKILL)]


@UNIX
@ISOLATING
def test_a_killed_task_can_end_with_a_result(executor: Executor) -> None:
    def give_up(task: str, exit_code: int, /) -> str:
        return f"gave up {task}"

    assert sorted(execute(executor, die, ["die", "live", "on"], on_killed=give_up)) == ["gave up die", "live", "on"]


def test_results_come_one_by_one_in_process() -> None:
    done: list[int] = []
    results = execute(InProcess(), lambda task, emit, stop: done.append(task), [1, 2, 3])
    next(results)
    assert done == [1]
