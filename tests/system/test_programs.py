"""No other program can make nstpipe wait forever."""

from __future__ import annotations

import sys
import time

import psutil
import pytest

from nstpipe.errors import MachineError
from nstpipe.system import programs
from nstpipe.system.programs import how_it_ended, last_lines, run_program
from nstpipe.system.stop import Stop, Stopped

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def left_behind() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


def test_what_a_program_said_and_how_it_ended() -> None:
    done = run_program(
        python("import sys; print(input()); print('no', file=sys.stderr); sys.exit(3)"), limit_seconds=30, content="ä\n"
    )
    assert (done.exit_code, done.stdout.strip(), done.stderr.strip(), done.last_words) == (3, "ä", "no", "no")
    silent = run_program(python("raise SystemExit(4)"), limit_seconds=30)
    assert silent.last_words == "exit code 4"


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(MachineError, match=r"/no/such/program cannot be started: No such file or directory\."):
        run_program(["/no/such/program"], limit_seconds=1)


@UNIX
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "script",
    [
        "echo last words; sleep 600",
        "trap '' TERM; echo last words; while :; do sleep 600; done",
        "echo last words; sleep 600 & sleep 600",
        "echo last words; setsid sleep 600 & sleep 600",
    ],
    ids=["sleeps", "ignores the request to end", "has started another program", "has started one in a session of its own"],
)
def test_a_program_that_does_not_end_is_ended_with_all_that_it_started(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "GRACE_SECONDS", 0.3)
    before = set(left_behind())
    with pytest.raises(MachineError, match=r"did not end within 0\.5 s, so nstpipe ended it\. It said: last words\."):
        run_program(["sh", "-c", script], limit_seconds=0.5)
    assert not set(left_behind()) - before


@UNIX
@pytest.mark.timeout(60)
def test_a_run_whose_time_is_up_waits_for_no_program() -> None:
    stop = Stop(deadline=time.time() + 0.3)
    before, began = set(left_behind()), time.monotonic()
    with stop.in_force(), pytest.raises(Stopped):
        run_program(["sleep", "600"], limit_seconds=600)
    assert time.monotonic() - began < 10
    assert not set(left_behind()) - before


def test_exit_codes_in_words() -> None:
    assert how_it_ended(3) == "exit code 3"
    if sys.platform != "win32":
        assert (how_it_ended(-9), how_it_ended(-11)) == ("the signal SIGKILL", "the signal SIGSEGV")
    assert how_it_ended(-900) == "the signal 900"


def test_only_whole_lines_of_long_messages_are_quoted() -> None:
    assert last_lines("one\ntwo\n") == "one\ntwo"
    assert last_lines("first\n" + "x" * programs.TAIL_CHARACTERS) == "x" * programs.TAIL_CHARACTERS
