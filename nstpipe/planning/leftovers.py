"""What the work folder holds that no output needs any more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nstpipe.journal.database import damaged_journals
from nstpipe.journal.frames import frames_folder
from nstpipe.journal.journal import Journal
from nstpipe.planning.outputs import clip_fingerprints
from nstpipe.planning.plan import Plan


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
    """Frames of settings, inputs and shots that are no longer wanted, and journals that were moved aside.

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


def remove(leftover: Leftover) -> None:
    """Delete one.

    Raises:
        OSError: it cannot be deleted.
    """
    if leftover.path.is_dir():
        shutil.rmtree(leftover.path)
    else:
        leftover.path.unlink()
