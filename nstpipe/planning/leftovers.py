"""Finds and deletes leftovers in the work folder, which no output needs any more."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nstpipe.config import Pipeline
from nstpipe.errors import OutputError
from nstpipe.events import Emit
from nstpipe.journal.database import damaged_journals
from nstpipe.journal.frames import frames_folder
from nstpipe.journal.journal import Journal
from nstpipe.planning.fingerprints import clip_fingerprints
from nstpipe.planning.looks import looks_folder
from nstpipe.planning.plan import Plan, plan_pipeline
from nstpipe.planning.shards import whole_folder
from nstpipe.system.stop import Stop


@dataclass(frozen=True)
class Leftover:
    """A folder or file that can be deleted.

    Attributes:
        path: The path of the folder or file.
        what: What it is, for people.
        size_bytes: Its size, including everything in it.
    """

    path: Path
    what: str
    size_bytes: int


def find_leftovers(work: Path, plan: Plan, journal: Journal) -> tuple[Leftover, ...]:
    """Find frames and networks that no output needs any more, and damaged journals that were moved aside.

    Frames that wait for another pipeline in the same folder stay. So do frames of inputs that are out of reach now, and the
    networks of both.

    Args:
        work: The work folder.
        plan: The plan of all jobs of the pipeline.
        journal: The journal of the folder.
    """
    # Frames of pictures never wait, and a folder that is planned as one has only pictures.
    wanted = {clip.fingerprint for output in plan.outputs.left().single() for clip in output.clips}
    for record in journal.records(finished=False):
        wanted.update(clip_fingerprints(record.fingerprint_inputs))
    needed = {frames_folder(work, fingerprint) for fingerprint in wanted}
    folders = sorted(folder for folder in frames_folder(work, "").glob("*") if folder not in needed)
    found = [_leftover(folder, "frames that no output needs any more") for folder in folders]
    found += [_leftover(path, "of a network that no output needs any more") for path in _networks_left(work, plan, journal)]
    return (*found, *(_leftover(path, "a damaged journal") for path in damaged_journals(work)))


def _networks_left(work: Path, plan: Plan, journal: Journal) -> list[Path]:
    """Return the files of networks that no job uses, and that have painted nothing but what a job paints anew."""
    used = {look.path.stem for look in plan.looks}
    files = [path for path in sorted(looks_folder(work).glob("*")) if _NETWORK.match(path.name) is not None]
    unused = {path.name.partition(".")[0] for path in files} - used
    if unused:
        planned = {output.path for output in plan.outputs}
        for record in journal.records():
            if Path(record.path) not in planned:
                unused.discard(_network_of(record.fingerprint_inputs))
    return [path for path in files if path.name.partition(".")[0] in unused]


_NETWORK = re.compile(r"[0-9a-f]{16}\.(json|safetensors|safetensors\.training)$")
"""The names of files in the folder of networks; see `nstpipe.planning.looks`."""


def _network_of(fingerprint_inputs: Mapping[str, Any]) -> str:
    """Return how the name of the network begins that has painted an output; any other text if none has."""
    engine = fingerprint_inputs.get("settings", {}).get("engine", {})
    return str(engine.get("weights", ""))[:16]


def _leftover(path: Path, what: str) -> Leftover:
    return Leftover(path, what, sum(_sizes(path)))


def _sizes(path: Path) -> Iterator[int]:
    for file in (path, *path.rglob("*")):
        with suppress(OSError):  # it has just been deleted
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
    """What `clean` found in the work folder.

    Attributes:
        leftovers: Frames, networks and journals that no output needs any more.
        removed: Whether they were deleted.
    """

    leftovers: tuple[Leftover, ...]
    removed: bool


def clean_work_folder(pipeline: Pipeline, agrees: Callable[[tuple[Leftover, ...]], bool], emit: Emit) -> Cleaning:
    """Find leftovers in the work folder, and delete them if the caller agrees.

    Args:
        pipeline: The pipeline with all its jobs.
        agrees: Called with what was found; returns whether to delete it.
        emit: Receives the progress of the inspection of the inputs.

    Raises:
        BusyError: A run works on the same folder.
        OutputError: Something cannot be deleted.
    """
    if not pipeline.work.is_dir():
        agrees(())
        return Cleaning((), removed=False)
    with whole_folder(pipeline.work), closing(Journal(pipeline.work, pipeline=pipeline.file)) as journal:
        journal.join_shards()
        plan = plan_pipeline(pipeline, journal, stop=Stop(), emit=emit)
        found = find_leftovers(pipeline.work, plan, journal)
        removed = agrees(found)
        for leftover in found if removed else ():
            _remove(leftover)
    return Cleaning(found, removed)
