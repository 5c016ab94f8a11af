"""What a worker is given: a clip with the settings of its run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nstpipe.planning.outputs import Clip, Output


@dataclass(frozen=True)
class LinkedPicture:
    """The picture of a folder that another one goes on from.

    Attributes:
        original: the picture.
        result: its file, from which the other one starts.
        outdated: size in bytes and time in nanoseconds of a result that is no longer right, and is to be made anew; None
            if there is none.
    """

    original: Path
    result: Path
    outdated: tuple[int, int] | None = None


@dataclass(frozen=True)
class ClipTask:
    """A clip and what the whole run has in common; can be sent to another process.

    Attributes:
        output: whose clip it is.
        clip: what to do.
        work: folder of unfinished work.
        device: as in pipeline.yaml.
        precision: likewise.
        weights: likewise.
        seed: likewise.
        max_megapixels: likewise.
        before: the picture that this one goes on from; None if it starts afresh.
    """

    output: Output
    clip: Clip
    work: Path
    device: str
    precision: str
    weights: str | Path
    seed: int
    max_megapixels: float
    before: LinkedPicture | None = None
