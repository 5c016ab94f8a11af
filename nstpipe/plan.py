"""From config, probes and journal to clips: each with the reason why it must run, or why it need not. Pure."""

from __future__ import annotations

import hashlib
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

_KEYS_OF_THE_OUTPUT = frozenset({"encode", "audio", "metadata"})
"""Keys of a job that change the file, but not the stylised frames in it."""

_KEYS_THAT_CHANGE_NOTHING = frozenset({"name", "input", "output", "include", "exclude"})
"""Keys of a job that only say where things are."""


@dataclass(frozen=True)
class Found:
    """An input file that was looked into.

    Attributes:
        file: where it is and where its result goes.
        sha256: of its content.
        size: width and height in pixels, upright.
        video: what a probe found; None for a picture.
    """

    file: InputFile
    sha256: str
    size: tuple[int, int]
    video: VideoInfo | None


@dataclass(frozen=True)
class Clip:
    """Frames that are done in order, and the file that they become.

    Attributes:
        job: whose settings hold.
        found: what is read.
        size: width and height in pixels of the stylised frames.
        frames_fingerprint: of all that decides the stylised frames.
        fingerprint: of all that decides the output file.
        reason: why it must run; empty if it is done.
    """

    job: Job
    found: Found
    size: tuple[int, int]
    frames_fingerprint: str
    fingerprint: str
    reason: str

    @property
    def frame_count(self) -> int:
        """Frames of the clip."""
        return len(self.found.video.ticks) if self.found.video is not None else 1

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self.reason

    def most_evaluations(self, first_frame_index: int) -> int:
        """Iterations at most from a frame to the clip's end."""
        optimizer = self.job.optimizer
        frames = self.frame_count - first_frame_index
        if frames <= 0:
            return 0
        return (optimizer.first if first_frame_index == 0 else optimizer.next) + (frames - 1) * optimizer.next


def plan_job(
    job: Job,
    found: Iterable[Found],
    finished: Mapping[Path, FinishedOutput],
    *,
    seed: int,
    weights_sha256: str,
    picture_sha256: Mapping[Path, str],
) -> tuple[Clip, ...]:
    """The clips of one job.

    Args:
        job: from the pipeline.
        found: its inputs, in order.
        finished: what the journal knows, by output.
        seed: of the pipeline.
        weights_sha256: what identifies the weights.
        picture_sha256: of the style pictures, and of the picture given for `init`.
    """
    settings = job.model_dump(mode="json", exclude=set(_KEYS_THAT_CHANGE_NOTHING | _KEYS_OF_THE_OUTPUT))
    for image, dumped in zip(job.style.images, settings["style"]["images"], strict=True):
        dumped["path"] = picture_sha256[image.path]
    if isinstance(job.init, Path):
        settings["init"] = picture_sha256[job.init]
    of_the_output = job.model_dump(mode="json", include=set(_KEYS_OF_THE_OUTPUT))
    clips = []
    for item in found:
        size = working_size(item.size, job.size, even=item.video is not None)
        frames_fingerprint = fingerprint_of(
            algorithm=ALGORITHM_VERSION, input=item.sha256, settings=settings, seed=seed, weights=weights_sha256
        )
        fingerprint = fingerprint_of(frames=frames_fingerprint, output=of_the_output)
        reason = _reason(fingerprint, item.file.output, finished.get(item.file.output))
        clips.append(Clip(job, item, size, frames_fingerprint, fingerprint, reason))
    return tuple(clips)


def _reason(fingerprint: str, output: Path, finished: FinishedOutput | None) -> str:
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
