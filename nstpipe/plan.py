"""From config, probes and journal to outputs and their clips, each with the reason why it must run. Pure."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nstpipe.config.models import Job
from nstpipe.journal import FinishedOutput
from nstpipe.media.frame import working_size
from nstpipe.media.inputs import InputFile
from nstpipe.media.video import VideoInfo
from nstpipe.style import ALGORITHM_VERSION

_KEYS_OF_THE_OUTPUT = frozenset({"encode", "audio", "metadata", "rate"})
"""Keys of a job that change the file, but not the stylised frames in it."""

_KEYS_THAT_CHANGE_NO_FRAME = frozenset({"name", "input", "output", "include", "exclude", "shots"})
"""Keys of a job that only say where things are; `shots` acts through the frames that each clip begins with."""


@dataclass(frozen=True)
class Found:
    """An input file that was looked into.

    Attributes:
        file: where it is and where its result goes.
        sha256: of its content.
        size: width and height in pixels, upright.
        video: what a probe found; None for a picture.
        shot_starts: indices of the frames that begin a shot; the first is 0.
    """

    file: InputFile
    sha256: str
    size: tuple[int, int]
    video: VideoInfo | None = None
    shot_starts: tuple[int, ...] = (0,)

    @property
    def frame_count(self) -> int:
        """Frames in the file."""
        return len(self.video.ticks) if self.video is not None else 1


@dataclass(frozen=True)
class Clip:
    """Frames that must be done in order, because each starts from the one before: the unit of parallel work.

    Attributes:
        first_frame_index: from 0, in the file.
        end_frame_index: the first one that is no longer part of the clip.
        fingerprint: of all that decides the stylised frames.
    """

    first_frame_index: int
    end_frame_index: int
    fingerprint: str

    @property
    def frame_count(self) -> int:
        """Frames of the clip."""
        return self.end_frame_index - self.first_frame_index


@dataclass(frozen=True)
class Output:
    """A file to be made, and the clips that it is made of.

    Attributes:
        job: whose settings hold.
        found: what is read.
        size: width and height in pixels of the stylised frames.
        clips: in the order of the file.
        fingerprint: of all that decides the file.
        reason: why it must be made; empty if it is done.
    """

    job: Job
    found: Found
    size: tuple[int, int]
    clips: tuple[Clip, ...]
    fingerprint: str
    reason: str

    @property
    def path(self) -> Path:
        """Where the file goes."""
        return self.found.file.output

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self.reason

    def most_evaluations(self, clip: Clip, frames_done: int) -> int:
        """Iterations at most for the rest of a clip."""
        frames_left = clip.frame_count - frames_done
        first = self.job.optimizer.first if frames_done == 0 else self.job.optimizer.next
        return first + (frames_left - 1) * self.job.optimizer.next if frames_left else 0


def plan_job(
    job: Job,
    found: Iterable[Found],
    finished: Mapping[Path, FinishedOutput],
    *,
    seed: int,
    weights_sha256: str,
    picture_sha256: Mapping[Path, str],
) -> tuple[Output, ...]:
    """The outputs of one job.

    Args:
        job: from the pipeline.
        found: its inputs, in order.
        finished: what the journal knows, by output.
        seed: of the pipeline.
        weights_sha256: what identifies the weights.
        picture_sha256: of the style pictures, and of the picture given for `init`.
    """
    settings = job.model_dump(mode="json", exclude=set(_KEYS_THAT_CHANGE_NO_FRAME | _KEYS_OF_THE_OUTPUT))
    for image, dumped in zip(job.style.images, settings["style"]["images"], strict=True):
        dumped["path"] = picture_sha256[image.path]
    if isinstance(job.init, Path):
        settings["init"] = picture_sha256[job.init]
    of_the_output = job.model_dump(mode="json", include=set(_KEYS_OF_THE_OUTPUT))
    outputs = []
    for item in found:
        bounds = itertools.pairwise((*item.shot_starts, item.frame_count))
        clips = tuple(
            Clip(
                first,
                end,
                fingerprint_of(
                    algorithm=ALGORITHM_VERSION,
                    input=item.sha256,
                    frames=[first, end],
                    settings=settings,
                    seed=seed,
                    weights=weights_sha256,
                ),
            )
            for first, end in bounds
        )
        fingerprint = fingerprint_of(clips=[clip.fingerprint for clip in clips], output=of_the_output)
        size = working_size(item.size, job.size, even=item.video is not None)
        reason = _reason(fingerprint, finished.get(item.file.output))
        outputs.append(Output(job, item, size, clips, fingerprint, reason))
    return tuple(outputs)


def _reason(fingerprint: str, finished: FinishedOutput | None) -> str:
    if finished is None:
        return "new"
    if finished.fingerprint != fingerprint:
        return "input, settings or weights changed since it was made"
    if not finished.intact:
        return "output is missing or was changed"
    return ""


def fingerprint_of(**parts: object) -> str:
    """A sha256 of values that JSON can hold, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
