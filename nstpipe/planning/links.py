"""Links each picture of a folder to the previous one where it can start from it, as a frame of a video does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path

from nstpipe.config.models import Job
from nstpipe.journal.journal import Journal
from nstpipe.media.frame import working_size
from nstpipe.media.pictures.capture import capture_of
from nstpipe.planning.input_info import InputInfo, Neighbor
from nstpipe.storage.contents import held

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
    with LinkMeasurements(job, journal) as measurements:
        found: list[InputInfo] = []
        for item in items:
            found.append(measurements.with_neighbor(found[-1] if found else None, item))
        return found


class LinkMeasurements:
    """Measures neighboring pictures in threads, while the caller inspects those that follow.

    Args:
        job: The job of all pictures.
        journal: Keeps what is measured.
    """

    def __init__(self, job: Job, journal: Journal) -> None:
        self._job = job
        self._journal = journal
        self._pool = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS), "links")
        self._begun: dict[str, Future[str]] = {}

    def __enter__(self) -> LinkMeasurements:
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what has been measured, and end the threads."""
        self._pool.shutdown(cancel_futures=True)
        self.keep()

    def begin(self, before: InputInfo | None, item: InputInfo) -> None:
        """Begin to measure an input and the one before it, if they may be linked and nobody has measured them.

        Pictures so large that several would fill the memory wait until `with_neighbor`. While as many pairs as `MOST_AHEAD` are
        not measured yet it waits for the first of them, so that the progress of the caller is that of the measurements.
        """
        if before is None or not self._may_be_linked(before, item):
            return
        key = _pair(before, item)
        pixels = max(width * height for width, height in (before.size, item.size))
        if pixels <= LARGEST_SIDE_BY_SIDE_PIXELS and self._journal.known(_KIND, key) is None:
            self._begun[key] = self._pool.submit(_measured, before.file.path, item.file.path)
            waiting = [future for future in self._begun.values() if not future.done()]
            if len(waiting) > MOST_AHEAD:
                wait(waiting[:1])

    def keep(self) -> None:
        """Let the journal keep what has been measured so far."""
        for key, future in list(self._begun.items()):
            if future.done() and not future.cancelled() and future.exception() is None:
                self._journal.cached(_KIND, key, future.result)
                del self._begun[key]

    def with_neighbor(self, before: InputInfo | None, item: InputInfo) -> InputInfo:
        """Return an input that knows its previous picture, and whether it is linked to it.

        Args:
            before: The previous input that can be used; None for the first one.
            item: The input. A video is never linked.
        """
        if before is None or not self._wants_links or not _are_pictures_of_one_folder(before, item):
            return item
        path = before.file.path
        if not self._may_be_linked(before, item):
            return replace(item, neighbor=Neighbor(path, f"{path.name} has a different shape"))
        begun = self._begun.pop(key := _pair(before, item), None)
        measure = begun.result if begun is not None else partial(_measured, path, item.file.path)
        return replace(item, neighbor=_neighbor(path, self._journal.cached(_KIND, key, measure)))

    @property
    def _wants_links(self) -> bool:
        # An engine that paints each frame by itself has no use for the picture before.
        return self._job.link != "none" and self._job.temporal.init == "warped" and self._job.engine.follows_motion

    def _may_be_linked(self, before: InputInfo, item: InputInfo) -> bool:
        same_size = working_size(before.size, self._job.size) == working_size(item.size, self._job.size)
        return self._wants_links and _are_pictures_of_one_folder(before, item) and same_size


MOST_THREADS = 8
"""The most pairs of pictures that are measured at the same time."""

MOST_AHEAD = 2 * MOST_THREADS
"""The most pairs that wait to be measured."""

LARGEST_SIDE_BY_SIDE_PIXELS = 16_000_000
"""The largest picture that is measured beside others: with all threads, such pictures take about a gigabyte."""


def _are_pictures_of_one_folder(before: InputInfo, item: InputInfo) -> bool:
    return before.video is None and item.video is None and before.file.path.parent == item.file.path.parent


_KIND = f"link/{LINK_VERSION}"


def _pair(before: InputInfo, item: InputInfo) -> str:
    """Return the journal's key of a measurement."""
    return f"{before.sha256}|{item.sha256}"


def _neighbor(path: Path, measured: str) -> Neighbor:
    """Return the neighbor at a path, by what `_measured` returned."""
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
    with held(before, now):
        one, other = capture_of(before), capture_of(now)
        seconds, meters = one.seconds_to(other), one.meters_to(other)
        if _gap(seconds, meters):
            return json.dumps([seconds, meters, None])
        from nstpipe.planning.link_reliability import link_reliability  # known links need no OpenCV

        return json.dumps([seconds, meters, link_reliability(before, now)])
