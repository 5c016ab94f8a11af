"""`nstpipe plan`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nstpipe.cli.options import (
    AsJson,
    ClusterOption,
    File,
    JobNames,
    Overrides,
    Overwrite,
    ShardOption,
    console_for,
    failure_as_json,
    inspection_progress,
    leave_for,
    print_json,
    with_overwrite,
)
from nstpipe.errors import DiskFullError

if TYPE_CHECKING:
    from nstpipe.planning.estimate import Estimate, OutputCost
    from nstpipe.planning.looks import Look

LONGEST_REASON = 28
"""The longest reason that the table shows, in letters. Longer ones stand below the table."""

MOST_ROWS = 40
"""The most rows with one for each picture and shot. A longer table has one row for similar pictures, and none for shots."""


def plan(
    pipeline: File,
    job: JobNames = [],  # noqa: B006  # typer reads the default and never changes it
    set_: Overrides = [],  # noqa: B006
    workers: Annotated[int | None, typer.Option(min=1, help="Number of worker processes; overrides the file.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N; overrides the file.")] = None,
    cluster: ClusterOption = None,
    calibrate: Annotated[
        bool,
        typer.Option(help="Paint a few small frames if no earlier run shows how fast this machine is. The result is kept."),
    ] = True,
    every: Annotated[bool, typer.Option("--all", help="Show a row for each picture and shot, however many.")] = False,
    overwrite: Overwrite = False,
    shard: ShardOption = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print failures only.")] = False,
) -> None:
    """Show what `run` would do, why, and how long it would take. Does nothing.

    Example: nstpipe plan pipeline.yaml
    """
    from nstpipe import api
    from nstpipe.system.files import as_megabytes

    with inspection_progress(quiet=quiet) as on_event:
        found = api.estimated(
            pipeline,
            jobs=job,
            overrides=with_overwrite(set_, overwrite=overwrite),
            workers=workers,
            device=device,
            cluster=cluster,
            calibrate=calibrate,
            shard=shard,
            isolated=True,
            on_event=on_event,
        )
    planned = found.plan
    if as_json:
        for cost in found.costs:
            print_json(_as_json(cost, found))
        for failure in planned.failures:
            print_json(failure_as_json(failure))
    console = console_for(as_json)
    if quiet:
        for failure in planned.failures:
            console.print(
                f"{failure.job}: {failure.reason} {failure.next_step}".rstrip(), markup=False, highlight=False, soft_wrap=True
            )
    else:
        _show(found, console, every=every)
    if planned.bytes_needed > planned.bytes_free:
        needed, free = as_megabytes(planned.bytes_needed), as_megabytes(planned.bytes_free)
        raise DiskFullError(
            f"the disk of the work folder is too full for this: {needed} are needed, {free} are free.",
            "Free some space, or give a smaller size.",
        )
    leave_for(len(planned.outputs), len(planned.failures), planned.unwritable)


def _show(found: Estimate, console: Console, *, every: bool) -> None:
    for notice in found.plan.notices:
        console.print(notice, markup=False, highlight=False, soft_wrap=True)
    with_each = every or len(found.costs) <= MOST_ROWS
    rows = list(_rows(found, every=with_each))
    if len(rows) > MOST_ROWS and with_each and not every:
        rows = list(_rows(found, every=False))
    table, notes = _table(rows)
    console.print(table)
    for line in (*notes, *_summary(found)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class _Row:
    """A row of the table.

    Attributes:
        what: The job and input, or the shot.
        why: What would be done with it, and the reason; empty for a shot.
        cost: Frames, size, iterations, time and disk space, for people.
    """

    what: str
    why: str
    cost: tuple[str, str, str, str, str]


def _table(rows: list[_Row]) -> tuple[Table, list[str]]:
    """Return the table, and the reasons that are too long for it, each once."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("job and input", overflow="fold")
    for name in ("frames", "size", "iterations", "time", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    notes: list[str] = []
    for row in rows:
        why = row.why
        if len(why) > LONGEST_REASON:
            begins, _, rest = why.partition(": ")
            if rest not in notes:
                notes.append(rest)
            why = f"{begins} ({notes.index(rest) + 1})"
        table.add_row(escape(f"{row.what}\n  {why}" if why else row.what), *row.cost)
    return table, [f"({number}) {note}" for number, note in enumerate(notes, start=1)]


class _Alike:
    """Outputs that share a row, counted one after another, since there may be a million.

    Args:
        first: The first of them.
    """

    def __init__(self, first: OutputCost) -> None:
        self.first = first
        self.outputs = self.frames = self.frames_left = self.iterations = self.bytes = self._linked = 0
        self.seconds: float | None = 0.0
        self._paintings = Counter[str]()

    def add(self, cost: OutputCost) -> None:
        """Count an output."""
        output, seconds = cost.output, cost.seconds
        self.outputs += 1
        self.frames += output.own_frames
        self.frames_left += cost.frames_left
        self.iterations += cost.max_iterations
        self.bytes += cost.bytes_needed
        self.seconds = self.seconds + seconds if self.seconds is not None and seconds is not None else None
        self._linked += output.input.is_linked
        self._paintings[output.painting] += 1

    @property
    def why(self) -> str:
        """What would be done with them, and the reason."""
        output = self.first.output
        if self.outputs == 1:
            return _state(self.first, output.reason)
        linked = f"; {self._linked} linked to the previous picture" if self._linked else ""
        return _state(self.first, output.own_reason + linked)

    @property
    def painted_after(self) -> str:
        """A line about the paintings that were picked for them; empty if there is no collection."""
        paintings = set(self._paintings) - {""}
        if not paintings:
            return ""
        return f"\n  after {min(paintings) if len(paintings) == 1 else f'{len(paintings):,} paintings'}"

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """Frames, size, iterations, time and disk space, for people."""
        size = self.first.output.size
        amounts = _amounts(self.first, self.iterations, self.seconds, self.bytes)
        frames = _frames(self.frames - self.frames_left, self.frames) if self.frames_left else str(self.frames)
        return frames, f"{size[0]}x{size[1]}", *amounts


def _rows(found: Estimate, *, every: bool) -> Iterator[_Row]:
    alike: dict[tuple[str, str, tuple[int, int]], _Alike] = {}
    for cost in found.costs:
        output = cost.output
        key = (output.job.name, _state(cost, output.own_reason), output.size)
        key = key if not output.is_video and not every else (str(output.path), "", (0, 0))
        alike.setdefault(key, _Alike(cost)).add(cost)
    failed = [Path(failure.path) for failure in found.plan.failures]
    names = _names([*(group.first.output.input.file.path for group in alike.values() if group.outputs == 1), *failed])
    for group in alike.values():
        first = group.first.output
        name = names[first.input.file.path] if group.outputs == 1 else f"{group.outputs} pictures"
        yield _Row(f"{first.job.name}: {name}{group.painted_after}", group.why, group.cells)
        if every and len(first.clips) > 1:
            yield from _shots(group.first)
    for failure in found.plan.failures:
        why = f"cannot be used: {failure.reason} {failure.next_step}".strip()
        yield _Row(f"{failure.job}: {names[Path(failure.path)]}", why, ("–", "–", "–", "–", "–"))


def _names(paths: Iterable[Path]) -> dict[Path, str]:
    """Return a name for each file: its own, or with as many folders as tell it from others of the same name."""
    names: dict[Path, str] = {}
    unnamed, depth = set(paths), 1
    while unnamed:
        counts = Counter(path.parts[-depth:] for path in unnamed)
        named = {path for path in unnamed if counts[path.parts[-depth:]] == 1 or depth >= len(path.parts)}
        names |= {path: str(Path(*path.parts[-depth:])) for path in named}
        unnamed, depth = unnamed - named, depth + 1
    return names


def _shots(cost: OutputCost) -> Iterator[_Row]:
    kind = "shot" if len(cost.clips) == len(cost.output.input.shot_starts) else "part"
    for number, part in enumerate(cost.clips, start=1):
        clip = part.clip
        what = f"  {kind} {number}: frames {clip.first_frame_index + 1} to {clip.end_frame_index}"
        frames = _frames(clip.frame_count - part.frames_left, clip.frame_count) if cost.frames_left else str(clip.frame_count)
        yield _Row(what, "", (frames, "", *_amounts(cost, part.max_iterations, part.seconds, part.bytes_needed)))


def _frames(done: int, frames: int) -> str:
    return f"{frames - done} of {frames}" if done else str(frames)


def _amounts(first: OutputCost, iterations: int, seconds: float | None, needed: int) -> tuple[str, str, str]:
    """Return the iterations, the time and the disk space of a row about outputs of one job, given the first of them."""
    from nstpipe.planning.eta import as_duration
    from nstpipe.system.files import as_megabytes

    if not iterations:
        return "–", "–", "–"
    shown = f"{iterations:,}" if first.output.job.iterates else "–"
    return shown, as_duration(seconds), as_megabytes(needed) if needed else "–"


def _state(cost: OutputCost, reason: str) -> str:
    output = cost.output
    if output.is_done:
        return "done"
    return f"not tried again: {reason}" if output.failed_before is not None else f"to do: {reason}"


def _summary(found: Estimate) -> Iterator[str]:
    from nstpipe.planning.eta import as_duration, as_range
    from nstpipe.system.files import as_megabytes

    planned, jobs = found.plan, found.totals.jobs.values()
    frames = sum(job.frames for job in jobs)
    iterations = sum(job.max_iterations for job in jobs if job.iterates)
    if iterations:
        likely = sum(job.likely_iterations for job in jobs if job.iterates)
        counts = f"about {likely:,.0f} iterations, at most {iterations:,}; a frame that hardly changes ends earlier."
        yield f"Total: {frames:,} frames, " + (counts if round(likely) < iterations else f"{iterations:,} iterations.")
    elif frames:
        yield f"Total: {frames:,} frames."
    for look in found.training:
        begun = "goes on with the training of" if look.is_begun else "trains"
        frames_of = f"{look.frames:,} frame{'s' if look.frames > 1 else ''} of {', '.join(look.jobs)}"
        yield f"Before the frames, the run {begun} a network on {frames_of}: {as_duration(look.seconds_left)} at most."
    if found.seconds is not None and (iterations or frames):
        workers = f"{found.workers} worker{'s' if found.workers > 1 else ''}"
        source = " and ".join(found.sources)
        time = as_range(found.seconds, found.seconds_at_most)
        yield f"That is about {time} with {workers}, measured in {source} on this machine."
        yield from _about_load(found)
    if planned.bytes_needed:
        needed, free = as_megabytes(planned.bytes_needed), as_megabytes(planned.bytes_free)
        yield f"Frames that wait for encoding need about {needed} of disk space; {free} are free."
    if any(job.has_failed_before for job in jobs):
        yield "To try failed items again, use `nstpipe run --retry-failed`."


def _about_load(found: Estimate) -> Iterator[str]:
    """Yield under what load an estimate holds, if other programs are computing."""
    from nstpipe.planning.eta import as_duration

    load = found.load
    if load is None or not load.is_busy:
        return
    quiet = found.seconds_when_quiet
    without = f" Without them it would be about {as_duration(quiet)}." if quiet is not None else ""
    yield (
        f"The machine is busy: other programs use {load.busy_cores:.1f} of {load.cores:g} cores. The time holds if they go on."
        f"{without}"
    )


def _as_json(cost: OutputCost, found: Estimate) -> dict[str, Any]:
    output, planned = cost.output, found.plan
    return {
        "job": output.job.name,
        "path": planned.remotes.shown(str(output.input.file.path)),
        "output": planned.remotes.shown(str(output.path)),
        "painting": output.painting,
        "frames": output.input.frame_count,
        "first_frame_indices": list(output.input.shot_starts),
        "width": output.size[0],
        "height": output.size[1],
        "done": output.is_done,
        "reason": output.reason,
        "frames_left": cost.frames_left,
        "most_evaluations": cost.max_iterations,
        "likely_evaluations": round(cost.likely_iterations, 1),
        "seconds": cost.seconds,
        "seconds_at_most": cost.seconds_at_most,
        "bytes_needed": cost.bytes_needed,
        "pace": cost.source,
        "engine": output.job.engine.name,
        "training": _training_as_json(planned.look_of(output.job)),
        "workers": found.workers,
        "total_seconds": found.seconds,
        "total_seconds_at_most": found.seconds_at_most,
        "total_seconds_when_quiet": found.seconds_when_quiet,
        "busy_cores": found.load.busy_cores if found.load is not None else None,
        "cores": found.load.cores if found.load is not None else None,
        "clips": [
            {
                "first_frame_index": part.clip.first_frame_index,
                "end_frame_index": part.clip.end_frame_index,
                "frames_left": part.frames_left,
                "most_evaluations": part.max_iterations,
                "likely_evaluations": round(part.likely_iterations, 1),
                "seconds": part.seconds,
                "seconds_at_most": part.seconds_at_most,
                "bytes_needed": part.bytes_needed,
            }
            for part in cost.clips
        ],
        "described": dict(output.fingerprint_inputs),
    }


def _training_as_json(look: Look | None) -> dict[str, Any] | None:
    """Return what is known of the network that a job's run trains; None if it needs none."""
    if look is None:
        return None
    return {
        "network": str(look.path),
        "trained": look.is_trained,
        "begun": look.is_begun,
        "jobs": list(look.jobs),
        "seconds_left": look.seconds_left,
    }
