"""Pictures of a folder that go on from one another, as the frames of a video do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2

from nstpipe.config.models import Job
from nstpipe.errors import ItemError
from nstpipe.journal.journal import Journal
from nstpipe.media.frame import Pixels, working_size
from nstpipe.media.pictures.capture import capture_of
from nstpipe.media.pictures.files import read_picture
from nstpipe.motion.flow.method import for_flow
from nstpipe.motion.motion import motion_between
from nstpipe.planning.outputs import InputInfo, Neighbor

LINK_VERSION = 4
"""Part of the key under which measured figures are kept: raised when the same pictures give another one, and when the gaps
that part pictures change."""

LINK_RELIABILITY = 0.2
"""Of the frame, at least, for a link. On sample streets neighbors a few meters apart have 0.23 to 0.52, two views of one
place in different directions 0.08."""

LINK_LONGEST_SIDE = 256
"""Pixels; what moves by a tenth of the picture is found better in a small one."""

LONGEST_GAP_SECONDS = 60.0
"""Between two pictures of one drive or walk."""

LONGEST_GAP_METERS = 30.0
"""Farther apart, next to nothing is seen in both."""


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
    """Seconds and meters between two pictures, where they say so; and how reliable their flow is, where no gap parts them."""
    one, other = capture_of(before), capture_of(now)
    seconds, meters = one.seconds_to(other), one.meters_to(other)
    return json.dumps([seconds, meters, None if _gap(seconds, meters) else _reliability(before, now)])


def _reliability(before: Path, now: Path) -> float:
    try:
        (earlier, size), (later, _) = _small(before), _small(now)
        return round(float(motion_between(earlier, later, size=size).reliability.mean()), 4)
    except (ItemError, cv2.error):
        return 0.0  # what is wrong with it is said when it is painted; flow finds nothing in a strip of a few pixels


def _small(path: Path) -> tuple[Pixels, tuple[int, int]]:
    """A picture as flow wants to see it, and the width and height at which it is asked where things are."""
    pixels, _ = read_picture(path)
    height, width, _ = pixels.shape
    size = working_size((width, height), min(LINK_LONGEST_SIDE, max(width, height)))
    return for_flow(pixels, size), size
