"""Functions for executors to run. They know nothing of style, and stand here so that other processes find them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nstpipe.errors import OutputError
from nstpipe.events import Emit, Noticed
from nstpipe.running.executor import Executor, Function
from nstpipe.system.stop import Stop


def never(task: object, exit_code: int, /) -> None:
    pytest.fail(f"no worker was to be killed, but one ended with {exit_code} at {task}")


def execute(executor: Executor, function: Function[Any, Any], tasks: Iterable[Any], **options: Any) -> Iterator[Any]:
    defaults: dict[str, Any] = {
        "emit": lambda event: None,
        "stop": Stop(),
        "on_killed": never,
        "is_ready": lambda task: True,
    }
    return executor.execute(function, tasks, **{**defaults, **options})


def double(task: int, emit: Emit, stop: Stop) -> tuple[int, int]:
    emit(Noticed(job="double", message=str(task)))
    return 2 * task, os.getpid()


def surprise(task: int, emit: Emit, stop: Stop) -> int:
    return task // 0


def note_process(place: Path) -> None:
    place.write_text(str(os.getpid()))


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


def take_a_moment(task: int, emit: Emit, stop: Stop) -> int:
    emit(Noticed(job="begun", message=str(task)))
    time.sleep(0.02)
    return task


def visible_gpus(task: int, emit: Emit, stop: Stop) -> tuple[str, bool]:
    """Return the GPUs that the process may see, and whether torch is imported already."""
    time.sleep(0.2)  # the other process gets the other task
    return os.environ.get("CUDA_VISIBLE_DEVICES", ""), "torch" in sys.modules
