"""What the user should know of the inputs of a job before the work begins, once a job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from nstpipe.media.losses import Omission, sentences_of
from nstpipe.media.pictures.omissions import omissions_of_picture
from nstpipe.planning.job_notice import JobNotice

if TYPE_CHECKING:
    from nstpipe.config import Job
    from nstpipe.media.video.info import VideoInfo
    from nstpipe.planning.inputs import InputFile


def omissions_of(file: InputFile, job: Job, video: VideoInfo | None) -> tuple[Omission, ...]:
    """Find what the output of an input will not hold of it.

    Args:
        file: the input, with the place of its output.
        job: its job.
        video: what a probe found; None for a picture.
    """
    if video is None:
        return omissions_of_picture(file.path, file.output, keep_metadata=job.metadata == "keep")
    from nstpipe.media.video.animation_omissions import omissions_of_animation  # pictures need no PyAV
    from nstpipe.media.video.omissions import omissions_of_video

    copy_audio, keep_metadata = job.audio == "copy", job.metadata == "keep"
    of_video = omissions_of_video(video, file.output, job.encode, copy_audio=copy_audio, keep_metadata=keep_metadata)
    return (*of_video, *omissions_of_animation(video, file.output, keep_metadata=keep_metadata))


def omission_notices(job: str, found: Iterable[tuple[str, Omission]]) -> Iterator[JobNotice]:
    """Yield a notice for each kind of thing that outputs of a job will not hold.

    Args:
        job: the name of the job.
        found: the names of its inputs, each with one of its omissions.
    """
    yield from (JobNotice(job, sentence) for sentence in sentences_of(found))
