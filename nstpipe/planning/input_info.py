"""What planning knows of an input that it has opened."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nstpipe.media.pictures.masks import Mask
from nstpipe.planning.inputs import InputFile
from nstpipe.system.files import sha256_of, state_of

if TYPE_CHECKING:
    from nstpipe.media.video.info import VideoInfo


@dataclass(frozen=True)
class Neighbor:
    """The picture before one, in the order of a folder's files.

    Attributes:
        path: of the picture before.
        refusal: why the picture does not go on from it; empty if it does.
        reliability: of the flow between the two, 0 to 1; None if something else decided.
    """

    path: Path
    refusal: str
    reliability: float | None = None

    def __str__(self) -> str:
        if self.refusal:
            return f"starts afresh: {self.refusal}"
        return f"goes on from {self.path.name}: {self.reliability:.0%} of the flow is reliable"


@dataclass(frozen=True)
class InputInfo:
    """An input file that was looked into.

    Attributes:
        file: where it is and where its result goes.
        sha256: of its content.
        size: width and height in pixels, upright.
        video: what a probe found; None for a picture.
        shot_starts: indices of the frames that begin a shot; the first is 0.
        masks: of the job's regions, in order.
        masks_sha256: of their contents, in order.
        stamp: size in bytes and time in nanoseconds of the file when it was looked into; None if nobody asks.
        neighbor: the picture before it, of a folder; None if there is none, or nobody asks.
    """

    file: InputFile
    sha256: str
    size: tuple[int, int]
    video: VideoInfo | None = None
    shot_starts: tuple[int, ...] = (0,)
    stamp: tuple[int, int] | None = None
    masks: tuple[Mask, ...] = ()
    masks_sha256: tuple[str, ...] = ()
    neighbor: Neighbor | None = None

    @property
    def frame_count(self) -> int:
        """Frames in the file."""
        return len(self.video.ticks) if self.video is not None else 1

    @property
    def mended(self) -> tuple[str, ...]:
        """What was mended of a video's times and fitted of its frames, one sentence each."""
        return () if self.video is None else tuple(f"{self.file.path.name}: {said}" for said in self.video.mended)

    @property
    def is_linked(self) -> bool:
        """Whether it is a picture that starts from the one before it."""
        return self.neighbor is not None and not self.neighbor.refusal


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, stamp: tuple[int, int]) -> str:
    return sha256_of(path)


def is_unchanged(found: InputInfo) -> bool:
    """Whether an input is still what was planned for."""
    path = found.file.path
    try:
        state = state_of(path)
        stamp = state.size_bytes, state.modified_ns
        return found.stamp in (None, stamp) or _sha256_of(path, stamp) == found.sha256
    except OSError:
        return False
