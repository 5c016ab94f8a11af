"""The frames that wait in the work folder until their video is encoded: whose they are, and how much room they need."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.errors import DiskFullError, OutputError
from nstpipe.journal.frames import frame_store
from nstpipe.journal.journal import Journal
from nstpipe.planning.fingerprints import clip_fingerprints
from nstpipe.planning.outputs import Output
from nstpipe.planning.plan import Plan
from nstpipe.planning.resources import bytes_needed
from nstpipe.system.files import as_megabytes, free_bytes


class StoredFrames:
    """Deletes the frames of finished videos. Frames that several outputs share stay until the last one is finished.

    Args:
        work: The work folder.
        plan: All outputs of the run.
        journal: Names the outputs of jobs that are not part of the run.
    """

    def __init__(self, work: Path, plan: Plan, journal: Journal) -> None:
        self._work = work
        self._journal = journal
        self._videos = [output for output in plan.outputs.single() if output.is_video]
        self._unfinished = {output.path: output for output in self._videos if not output.is_done}

    @cached_property
    def _needed_elsewhere(self) -> frozenset[str]:
        own = {self._journal.spelled(output.path) for output in self._videos}
        unfinished = (record for record in self._journal.records(finished=False) if record.path not in own)
        return frozenset(fingerprint for record in unfinished for fingerprint in clip_fingerprints(record.fingerprint_inputs))

    def release(self, output: Output) -> None:
        """Delete the frames of a finished output, except those that other outputs need."""
        self._unfinished.pop(output.path, None)
        if not output.is_video or output.elsewhere:
            return  # other shards that have just started may look for the frames of a video that they share
        needed = {clip.fingerprint for other in self._unfinished.values() for clip in other.clips} | self._needed_elsewhere
        for clip in output.clips:
            if clip.fingerprint not in needed:
                frame_store(self._work, clip.fingerprint).remove()


def check_room(todo: Iterable[Output], pipeline: Pipeline) -> None:
    """Check that the disk has room for the frames that will wait there.

    Raises:
        DiskFullError: It has not.
    """
    needed, free = bytes_needed(todo, pipeline), free_bytes(pipeline.work)
    if needed > free:
        raise DiskFullError(
            f"{pipeline.work} has {as_megabytes(free)} free; frames that wait there to be encoded need about "
            f"{as_megabytes(needed)}.",
            "Free some space (`nstpipe clean` says what can go there), give a `work` folder on another disk, fewer --workers "
            "or a smaller size.",
        )


def with_room_needed(error: OutputError, left: Iterable[Output], pipeline: Pipeline) -> OutputError:
    """Return an error that, for a full disk, also says how much room the rest of the run needs."""
    if not isinstance(error, DiskFullError):
        return error
    needed, free = bytes_needed(left, pipeline), free_bytes(pipeline.work)
    return DiskFullError(
        f"{error.problem} About {as_megabytes(needed)} are needed for the frames still to be done in "
        f"{pipeline.work}, {as_megabytes(free)} are free.",
        "Free some space and run again. Finished work is kept, and the run continues from there.",
    )
