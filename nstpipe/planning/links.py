"""Pictures of a folder that go on from one another, as the frames of a video do."""

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
"""Part of the key under which measured figures are kept: raised when the same pictures give another one, and when the gaps
that part pictures change."""

LINK_RELIABILITY = 0.2
"""Of the frame, at least, for a link. On sample streets neighbors a few meters apart have 0.23 to 0.52, two views of one
place in different directions 0.08."""

LONGEST_GAP_SECONDS = 60.0
"""Between two pictures of one drive or walk."""

LONGEST_GAP_METERS = 30.0
"""Farther apart, next to nothing is seen in both."""


def linked(items: Iterable[InputInfo], job: Job, journal: Journal) -> list[InputInfo]:
    """Say of each picture of a job whether it goes on from the one before it, in the order of the files.

    Args:
        items: the inputs of the job that can be used.
        job: theirs.
        journal: keeps what is measured.
    """
    found: list[InputInfo] = []
    for item in items:
        found.append(with_neighbor(found[-1] if found else None, item, job, journal))
    return found


def with_neighbor(before: InputInfo | None, item: InputInfo, job: Job, journal: Journal) -> InputInfo:
    """Say of a picture whether it goes on from the one before it, in the order of the files.

    Args:
        before: the input before it that can be used; None for the first.
        item: the picture, or a video, which goes on from nothing.
        job: theirs.
        journal: keeps what is measured.
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
        return Neighbor(path, f"{path.name} has another shape")
    measured = journal.cached(f"link/{LINK_VERSION}", f"{before.sha256}|{item.sha256}", lambda: _measured(path, item.file.path))
    seconds, meters, reliability = json.loads(measured)
    gap = _gap(seconds, meters)
    if gap:
        return Neighbor(path, f"{path.name} was taken {gap} apart")
    if reliability < LINK_RELIABILITY:
        return Neighbor(path, f"{reliability:.0%} of its flow from {path.name} is reliable", reliability)
    return Neighbor(path, "", reliability)


def _gap(seconds: float | None, meters: float | None) -> str:
    """How far apart two pictures are that are too far apart, in words; empty if they are not, or do not say."""
    if seconds is not None and seconds > LONGEST_GAP_SECONDS:
        return f"{seconds:.0f} s"
    return f"{meters:.0f} m" if meters is not None and meters > LONGEST_GAP_METERS else ""


def _measured(before: Path, now: Path) -> str:
    """Measure how far two pictures are apart.

    Returns:
        Seconds and meters as JSON, each null where the pictures do not tell, and the reliable share of the flow between
        them, null where a gap parts them.
    """
    one, other = capture_of(before), capture_of(now)
    seconds, meters = one.seconds_to(other), one.meters_to(other)
    if _gap(seconds, meters):
        return json.dumps([seconds, meters, None])
    from nstpipe.planning.link_reliability import link_reliability  # known links need no OpenCV

    return json.dumps([seconds, meters, link_reliability(before, now)])
