"""What every display of progress says in the same words: the final table, failures, and further attempts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from nstpipe.events import ItemFailed, RunFinished, TriedAgain
from nstpipe.listeners.tally import JobTally, Tally
from nstpipe.planning.eta import as_duration


def print_summary(tally: Tally, console: Console, finished: RunFinished) -> None:
    """Print the final table, the closing line, and the paths of the results and of the report."""
    planned = tally.planned
    if planned:
        console.print(_table(planned))
    console.print(_closing_line(finished, is_planned=bool(planned)), highlight=False, soft_wrap=True)
    for line in _results(finished.results):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if finished.report:
        console.print(f"Report: {finished.report}", markup=False, highlight=False, soft_wrap=True)


def _table(jobs: Mapping[str, JobTally]) -> Table:
    table = Table("job", "made", "before", "failed", "frames", "s/frame", "iterations", "loss")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, job in jobs.items():
        pace = job.seconds_per_frame
        table.add_row(
            name,
            str(job.outputs_made),
            str(job.outputs_done_before),
            str(job.failures),
            str(job.frames_made),
            f"{pace:.2f}" if pace is not None else "–",
            f"{job.iterations / job.frames_made:.0f}" if job.iterations else "–",
            f"{job.loss:.3f}" if job.loss is not None else "–",
        )
    return table


def _closing_line(finished: RunFinished, *, is_planned: bool) -> str:
    made, before, failed = finished.outputs_made, finished.outputs_already_done, finished.items_failed
    if finished.stopped:
        why = finished.stopped[0].upper() + finished.stopped[1:]
        said = f"{made} made, {before} done before, {failed} failed, {finished.outputs_left} left"
        if not is_planned:
            said = "the inputs were not all inspected"
        return f"{why}: {said}. Run it again to continue. Exit code {finished.exit_code}."
    if not made and not failed:
        done = "the output is" if before == 1 else f"all {before} outputs are"
        return f"Nothing to do: {done} already done."
    said = f"{made} made, {before} done before, {failed} failed, in {as_duration(finished.seconds)}."
    return f"{said} Exit code {finished.exit_code}." if finished.exit_code else said


MOST_RESULTS = 4
"""The most results that are named. More of them are told by the folder that they are in."""


def _results(results: Sequence[str]) -> list[str]:
    if len(results) <= MOST_RESULTS:
        return [f"Result: {result}" for result in results]
    try:
        return [f"Results: {os.path.commonpath(results)}"]
    except ValueError:  # on several drives of Windows
        return [f"Result: {result}" for result in results[:MOST_RESULTS]]


def attempt_line(tried: TriedAgain) -> str:
    """Return the line that announces another attempt."""
    after = f" after {as_duration(tried.wait_seconds)}" if tried.wait_seconds else ""
    return f"{tried.job}: trying again{after} (try {tried.attempt + 1}): {tried.reason}"


def failure_line(failure: ItemFailed) -> str:
    """Return the line that reports a failure."""
    hint = f" {failure.next_step}" if failure.next_step else ""
    return f"{failure.job}: failed: {failure.reason}{hint}"
