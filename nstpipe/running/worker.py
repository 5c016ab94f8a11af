"""The program of a worker process, which `worker_processes` starts. It imports little, so that it starts fast."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from contextlib import suppress
from typing import IO, Any

from nstpipe.errors import NstpipeError
from nstpipe.system.raw_messages import separate_raw_messages
from nstpipe.system.stop import STOP_SIGNALS, Stop, StopReason


def serve() -> None:
    """Run as a worker process: read tasks until the parent ends."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # a service manager signals every process; the parent decides
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    separate_raw_messages()
    stop = Stop()
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(commands, messages, stop), daemon=True).start()
    while True:
        function, *arguments = _read(messages.get())
        if len(arguments) == 1:  # a call that prepares the tasks, and has no answer
            with suppress(Exception):  # what fails here fails again, and is reported, where it is needed
                function(*arguments[0])
            continue
        task, stop.deadline = arguments
        try:
            answer = "result", function(task, lambda event: _send(answers, ("event", event)), stop)
        except Exception as error:
            answer = "error", _with_traceback(error)
        _send(answers, answer)


def _with_traceback(error: Exception) -> Exception:
    """Note where an error that nobody expected was raised: the traceback itself stays in this process."""
    if not isinstance(error, NstpipeError) and sys.version_info >= (3, 11):
        error.add_note(f"In the worker:\n{traceback.format_exc()}")
    return error


def _read(message: bytes) -> Any:
    try:
        return pickle.loads(message)
    except Exception:
        os._exit(0)  # nobody could say which task it was


def _receive(commands: IO[bytes], messages: queue.SimpleQueue[bytes], stop: Stop) -> None:
    try:
        while True:
            command = pickle.load(commands)
            if isinstance(command, StopReason):
                stop.ask(command)
            else:
                messages.put(command)
    except Exception:
        os._exit(0)  # the parent is gone, and a new run may already work on the same files


def _send(answers: IO[bytes], answer: tuple[str, Any]) -> None:
    try:
        pickle.dump(answer, answers)
        answers.flush()
    except BrokenPipeError:
        os._exit(0)
