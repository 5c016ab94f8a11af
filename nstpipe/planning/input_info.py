"""What planning knows of an input that it has opened."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nstpipe.config import Job
from nstpipe.media.losses import Omission
from nstpipe.media.pictures.masks import Mask
from nstpipe.media.pictures.omissions import OMISSIONS_VERSION
from nstpipe.media.pictures.pillow import megapixel_limit
from nstpipe.planning.inputs import InputFile
from nstpipe.storage.contents import content_sha256
from nstpipe.system.files import state_of

if TYPE_CHECKING:
    from nstpipe.media.video.info import VideoInfo


@dataclass(frozen=True)
class Neighbor:
    """The previous picture of a folder, in the order of its files, and whether a picture is linked to it.

    Attributes:
        path: The previous picture.
        refusal: Why the picture is not linked to it; empty if it is.
        reliability: The reliable share of the flow between the two, 0 to 1; None if it did not decide.
    """

    path: Path
    refusal: str
    reliability: float | None = None

    def __str__(self) -> str:
        if self.refusal:
            return f"not linked: {self.refusal}"
        return f"linked to {self.path.name}: {self.reliability:.0%} of the flow is reliable"


@dataclass(frozen=True, slots=True)
class InputInfo:
    """An input file that was inspected.

    Attributes:
        file: The file and the path of its result.
        sha256: The hash of its content.
        size: Width and height in pixels, upright.
        video: What a probe found; None for a picture.
        shot_starts: The indices of the frames that begin a shot; the first is 0.
        masks: The masks of the job's regions, in order.
        masks_sha256: The hashes of their contents, in order.
        stamp: The file's size in bytes and its time in nanoseconds when it was inspected; None if it is not needed.
        neighbor: The previous picture of the folder; None if there is none, or if pictures are not linked.
        omissions: What the result will not hold of it.
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
    omissions: tuple[Omission, ...] = ()

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
        """Whether it is a picture that starts from the previous one."""
        return self.neighbor is not None and not self.neighbor.refusal


PICTURE_VERSION = 1
"""Part of the key under which the journal keeps the size of a picture. Raise it if the same file gives another size, or another
error."""


def picture_kind() -> str:
    """Return the kind under which the journal keeps the content and the size of a picture."""
    return f"picture/{PICTURE_VERSION}/{megapixel_limit():g}"


def omissions_kind(output: Path, job: Job) -> str:
    """Return the kind under which the journal keeps what results with the suffix of an output do not hold of a picture."""
    return f"omissions/{OMISSIONS_VERSION}/{output.suffix.lower()}/{job.metadata}"


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, stamp: tuple[int, int]) -> str:
    return content_sha256(path)


def is_unchanged(found: InputInfo) -> bool:
    """Whether an input is still the file that was planned."""
    path = found.file.path
    try:
        state = state_of(path)
        stamp = state.size_bytes, state.modified_ns
        return found.stamp in (None, stamp) or _sha256_of(path, stamp) == found.sha256
    except OSError:
        return False
