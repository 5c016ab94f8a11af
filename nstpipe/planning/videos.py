"""Inspects videos for planning: what they hold, where they are cut, and whether their results can be encoded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from nstpipe.config import Job
from nstpipe.journal.journal import Journal
from nstpipe.media.frame import Pixels, in_eight_bits
from nstpipe.media.video.alpha import ALPHA_CHECK_VERSION, is_transparent, may_be_transparent
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.decode_check import DECODE_CHECK_VERSION, apply_decode_check, decode_check
from nstpipe.media.video.ffmpeg_frames import check_readable
from nstpipe.media.video.ffmpeg_program import named_version
from nstpipe.media.video.info import DecodeCheck, VideoInfo
from nstpipe.media.video.probe import probe_header
from nstpipe.media.video.shapes import SHAPES_VERSION, shapes_as_json, shapes_of, with_shapes
from nstpipe.media.video.trial import try_output
from nstpipe.motion.shots import DETECTOR_VERSION, shot_starts
from nstpipe.system.retry import in_spite_of_kills

LARGEST_RATE_DENOMINATOR = 1001
"""The largest denominator of common frame rates, such as 30000/1001."""

OnShare = Callable[[float], None]
"""A function that is called with the share of a video that has been decoded, 0 to 1."""


def rate_of(job: Job) -> Fraction:
    """Return the frame rate of numbered pictures as a fraction. A float cannot hold 29.97 exactly."""
    return Fraction(job.rate).limit_denominator(LARGEST_RATE_DENOMINATOR)


def open_video(path: Path, rate: Fraction) -> VideoInfo:
    """Read the header of a video, and check that this machine can decode its frames.

    Args:
        path: The path of the video, or the pattern of numbered pictures.
        rate: Frames per second of numbered pictures.

    Raises:
        ItemError: It cannot.
    """
    video = probe_header(path, rate)
    check_readable(video)
    return video


def decoded(video: VideoInfo, sha256: str, journal: Journal, on_share: OnShare) -> VideoInfo:
    """Return what a video really holds. All its frames are decoded once, and the journal keeps the result.

    Args:
        video: The video, as its header describes it.
        sha256: The hash of its content.
        journal: Keeps the result.
        on_share: Called at each frame.
    """

    def on_frames(frames: int) -> None:
        on_share(min(frames / max(len(video.ticks), 1), 1.0))

    kept = journal.cached(_key_of(f"survey/{DECODE_CHECK_VERSION}"), sha256, lambda: decode_check(video, on_frames).as_json())
    return _with_transparency(apply_decode_check(video, DecodeCheck.from_json(kept)), sha256, journal)


def _with_transparency(video: VideoInfo, sha256: str, journal: Journal) -> VideoInfo:
    """See whether a frame behind those that the probe looked at is transparent; the journal keeps the result."""
    if video.is_transparent or not may_be_transparent(video):
        return video
    found = journal.cached(_key_of(f"alpha/{ALPHA_CHECK_VERSION}"), sha256, lambda: json.dumps(is_transparent(video)))
    return replace(video, is_transparent=json.loads(found))


def shaped(video: VideoInfo, sha256: str, journal: Journal, on_share: OnShare) -> VideoInfo:
    """Say where the picture changes its size or its colors; the journal keeps it. See `decoded` for the arguments."""

    def on_frame(frame_index: int) -> None:
        on_share(frame_index / len(video.ticks))

    kept = journal.cached(f"shapes/{SHAPES_VERSION}", sha256, lambda: shapes_as_json(shapes_of(video, on_frame)))
    return with_shapes(video, kept)


def shots_of(video: VideoInfo, sha256: str, journal: Journal, on_share: OnShare) -> tuple[int, ...]:
    """Return the indices of the frames that begin a shot, from 0. The arguments are those of `decoded`."""
    found = journal.cached(_key_of(f"shots/{DETECTOR_VERSION}"), sha256, lambda: json.dumps(_detected_shots(video, on_share)))
    return tuple(json.loads(found))


def _key_of(measurement: str) -> str:
    """The journal's key of what was measured with the ffmpeg in use: another version may decode other frames."""
    other = named_version()
    return f"{measurement}/ffmpeg {other}" if other else measurement


def _detected_shots(video: VideoInfo, on_share: OnShare) -> tuple[int, ...]:
    def frames() -> Iterator[Pixels]:
        for frame_index, frame in enumerate(VideoSource(video).read(0, len(video.ticks))):
            on_share(frame_index / len(video.ticks))
            yield in_eight_bits(frame.pixels)

    return shot_starts(frames(), video.average_rate)


def try_encoding(job: Job, output: Path, video: VideoInfo, size: tuple[int, int], trials: Path) -> None:
    """Encode a few frames, to check that the container of a result can hold its codec and its sound.

    Args:
        job: The job whose settings apply.
        output: The path that the result would have.
        video: The original.
        size: Width and height of the result in pixels.
        trials: A folder for the test file.

    Raises:
        ItemError: It cannot.
    """
    copy_audio, keep_metadata = job.audio == "copy", job.metadata == "keep"
    in_spite_of_kills(
        lambda: try_output(trials, output, video, size, job.encode, copy_audio=copy_audio, keep_metadata=keep_metadata)
    )
