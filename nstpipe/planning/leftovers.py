"""Finds what the work folder holds that no output needs any more, and deletes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.errors import OutputError
from nstpipe.events import Emit
from nstpipe.journal.database import damaged_journals
from nstpipe.journal.frames import frames_folder
from nstpipe.journal.journal import Journal
from nstpipe.planning.fingerprints import clip_fingerprints
from nstpipe.planning.plan import Plan, plan_pipeline
from nstpipe.system.lock import locked
from nstpipe.system.stop import Stop


@dataclass(frozen=True)
class Leftover:
    """A folder or file that can go.

    Attributes:
        path: where it is.
        what: what it was for, for people.
        size_bytes: with all that is in it.
    """

    path: Path
    what: str
    size_bytes: int


def find_leftovers(work: Path, plan: Plan, journal: Journal) -> tuple[Leftover, ...]:
    """Find frames of settings, inputs and shots that no output needs any more, and journals that were moved aside.

    Frames that wait for another pipeline in the same folder stay, and so do those of inputs that are out of reach now.

    Args:
        work: the folder.
        plan: of all jobs of the pipeline.
        journal: of the folder.
    """
    wanted = {clip.fingerprint for output in plan.outputs if not output.is_done for clip in output.clips}
    for record in journal.records():
        if record.state != "done":
            wanted.update(clip_fingerprints(record.fingerprint_inputs))
    needed = {frames_folder(work, fingerprint) for fingerprint in wanted}
    folders = sorted(folder for folder in frames_folder(work, "").glob("*") if folder not in needed)
    found = [_leftover(folder, "frames that no output needs any more") for folder in folders]
    return (*found, *(_leftover(path, "a damaged journal") for path in damaged_journals(work)))


def _leftover(path: Path, what: str) -> Leftover:
    return Leftover(path, what, sum(_sizes(path)))


def _sizes(path: Path) -> Iterator[int]:
    for file in (path, *path.rglob("*")):
        with suppress(OSError):  # it went meanwhile
            yield file.lstat().st_size if not file.is_dir() else 0


def _remove(leftover: Leftover) -> None:
    try:
        if leftover.path.is_dir():
            shutil.rmtree(leftover.path)
        else:
            leftover.path.unlink()
    except OSError as error:
        raise OutputError(f"{leftover.path} cannot be removed: {error.strerror}.", "Remove it yourself.") from error


@dataclass(frozen=True)
class Cleaning:
    """What `clean` found in the work folder, and what became of it.

    Attributes:
        leftovers: frames and journals that no output needs any more.
        removed: whether they were deleted.
    """

    leftovers: tuple[Leftover, ...]
    removed: bool


def clean_work_folder(pipeline: Pipeline, agrees: Callable[[tuple[Leftover, ...]], bool], emit: Emit) -> Cleaning:
    """Find what no output needs any more in the work folder, and delete it if the caller agrees.

    Args:
        pipeline: with all its jobs.
        agrees: called with what was found; says whether it is to be deleted.
        emit: told how far the look at the inputs is.

    Raises:
        BusyError: a run works on the same folder.
        OutputError: something cannot be deleted.
    """
    if not pipeline.work.is_dir():
        agrees(())
        return Cleaning((), removed=False)
    with locked(pipeline.work), closing(Journal(pipeline.work, pipeline=pipeline.file)) as journal:
        plan = plan_pipeline(pipeline, journal, stop=Stop(), emit=emit)
        found = find_leftovers(pipeline.work, plan, journal)
        removed = agrees(found)
        for leftover in found if removed else ():
            _remove(leftover)
    return Cleaning(found, removed)
