"""What a run says of its end."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nstpipe.events import JobPlanned, RunFinished
from nstpipe.listeners.sentences import print_summary
from nstpipe.listeners.tally import Tally


def said(finished: RunFinished, *, is_planned: bool = True) -> str:
    tally = Tally()
    if is_planned:
        tally.add(JobPlanned(job="film", outputs=8, outputs_done=1, frames=80, frames_left=70, work_left=1))
    written = io.StringIO()
    print_summary(tally, Console(file=written, width=100), finished)
    return written.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    ("finished", "expected"),
    [
        (
            RunFinished(
                exit_code=130,
                outputs_made=0,
                outputs_already_done=1,
                items_failed=2,
                seconds=9,
                outputs_left=5,
                stopped="interrupted",
            ),
            "Interrupted: 0 made, 1 done before, 2 failed, 5 left. Run it again to continue. Exit code 130.",
        ),
        (
            RunFinished(exit_code=0, outputs_made=7, outputs_already_done=1, items_failed=0, seconds=61),
            "7 made, 1 done before, 0 failed, in 1 min 01 s.",
        ),
        (
            RunFinished(exit_code=0, outputs_made=0, outputs_already_done=8, items_failed=0, seconds=1),
            "Nothing to do: all 8 outputs are already done.",
        ),
    ],
    ids=["interrupted", "done", "nothing to do"],
)
def test_the_last_line_says_how_it_ended(finished: RunFinished, expected: str) -> None:
    assert said(finished) == expected


def test_a_run_that_ends_before_its_plan_says_so() -> None:
    finished = RunFinished(
        exit_code=75, outputs_made=0, outputs_already_done=0, items_failed=0, seconds=3, stopped="the time is up"
    )
    expected = "The time is up: the inputs were not all inspected. Run it again to continue. Exit code 75."
    assert said(finished, is_planned=False) == expected
