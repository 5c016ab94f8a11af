"""Links each picture of a folder to the previous one where it can start from it, as a frame of a video does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from nstpipe.config.models import Job
from nstpipe.journal.journal import Journal
from nstpipe.media.frame import working_size
from nstpipe.media.pictures.capture import capture_of
from nstpipe.planning.input_info import InputInfo, Neighbor

LINK_VERSION = 4
"""Part of the key under which the journal keeps what was measured. Raise it if the same pictures give another result, or if
the longest gaps change."""

LINK_RELIABILITY = 0.2
"""The least reliable share of the flow that makes a link. On sample streets, neighbors a few meters apart have 0.23 to 0.52;
two views of one place in different directions have 0.08."""

LONGEST_GAP_SECONDS = 60.0
"""The longest time between two linked pictures."""

LONGEST_GAP_METERS = 30.0
"""The longest distance between two linked pictures. Pictures farther apart show almost nothing in common."""


def linked(items: Iterable[InputInfo], job: Job, journal: Journal) -> list[InputInfo]:
    """Return the inputs of a job, each of which knows its previous picture, and whether it is linked to it.

    Args:
        items: The inputs that can be used, in the order of the files.
        job: The job of all of them.
        journal: Keeps what is measured.
    """
    found: list[InputInfo] = []
    for item in items:
        found.append(with_neighbor(found[-1] if found else None, item, job, journal))
    return found


def with_neighbor(before: InputInfo | None, item: InputInfo, job: Job, journal: Journal) -> InputInfo:
    """Return an input that knows its previous picture, and whether it is linked to it.

    Args:
        before: The previous input that can be used; None for the first one.
        item: The input. A video is never linked.
        job: The job of both.
        journal: Keeps what is measured.
    """
    if job.link == "none" or job.temporal.init != "warped":
        return item
    if before is None or not _are_pictures_of_one_folder(before, item):
        return item
    return replace(item, neighbor=_neighbor(before, item, job, journal))


def _are_pictures_of_one_folder(before: InputInfo, item: InputInfo) -> bool:
    return before.video is None and item.video is None and before.file.path.parent == item.file.path.parent


def _neighbor(before: InputInfo, item: InputInfo, job: Job, journal: Journal) -> Neighbor:
    path = before.file.path
    if working_size(before.size, job.size) != working_size(item.size, job.size):
        return Neighbor(path, f"{path.name} has a different shape")
    measured = journal.cached(f"link/{LINK_VERSION}", f"{before.sha256}|{item.sha256}", lambda: _measured(path, item.file.path))
    seconds, meters, reliability = json.loads(measured)
    gap = _gap(seconds, meters)
    if gap:
        return Neighbor(path, f"it and {path.name} are {gap} apart")
    if reliability < LINK_RELIABILITY:
        return Neighbor(path, f"only {reliability:.0%} of the flow from {path.name} is reliable", reliability)
    return Neighbor(path, "", reliability)


def _gap(seconds: float | None, meters: float | None) -> str:
    """How far apart two pictures are if that is too far for a link, in words; empty if it is not, or is not known."""
    if seconds is not None and seconds > LONGEST_GAP_SECONDS:
        return f"{seconds:.0f} s"
    return f"{meters:.0f} m" if meters is not None and meters > LONGEST_GAP_METERS else ""


def _measured(before: Path, now: Path) -> str:
    """Measure how far apart two pictures are.

    Returns:
        A JSON list: the seconds, the meters and the reliable share of the flow between the two. Seconds and meters are null
        where the metadata has none. The share is null where the gap is too long.
    """
    one, other = capture_of(before), capture_of(now)
    seconds, meters = one.seconds_to(other), one.meters_to(other)
    if _gap(seconds, meters):
        return json.dumps([seconds, meters, None])
    from nstpipe.planning.link_reliability import link_reliability  # known links need no OpenCV

    return json.dumps([seconds, meters, link_reliability(before, now)])
