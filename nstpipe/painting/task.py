"""What a worker is given: a clip with the settings of its run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from nstpipe.config import Pipeline
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
class RunSettings:
    """What all clips of a run have in common; the fields are those of `Pipeline`.

    Attributes:
        work: folder of unfinished work.
        device: auto, cpu, cuda or cuda:N.
        precision: auto, bfloat16 or float32.
        weights: of VGG19: bundled, torchvision or a path.
        seed: of all that is random.
        max_megapixels: of a picture; larger ones are refused.
    """

    work: Path
    device: str
    precision: str
    weights: str | Path
    seed: int
    max_megapixels: float

    @classmethod
    def of(cls, pipeline: Pipeline) -> RunSettings:
        """The settings of a pipeline's run."""
        return cls(**{field.name: getattr(pipeline, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class ClipTask:
    """A clip with the settings of its run; can be sent to another process.

    Attributes:
        output: whose clip it is.
        clip: what to do.
        run: settings that all clips of the run share.
        before: the picture that this one goes on from; None if it starts afresh.
    """

    output: Output
    clip: Clip
    run: RunSettings
    before: LinkedPicture | None = None
