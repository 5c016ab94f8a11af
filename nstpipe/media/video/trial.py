"""Tries to encode a result before the long work, so that a setting that cannot work fails at once."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np

from nstpipe.errors import ItemError
from nstpipe.media.frame import Frame
from nstpipe.media.video.containers import container_of
from nstpipe.media.video.encode import VideoSink, numbers_of
from nstpipe.media.video.encoding import EncodeSettings, codec_of, encoder_of
from nstpipe.media.video.ffmpeg_program import described, encoders, how_to_get
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.sequence import check_free
from nstpipe.system.files import is_numbered

TRIAL_FRAMES = 2
TRIAL_SECONDS = 1.0

LONG_FRAME_SECONDS = 600
"""Containers count the duration of a frame in 32 bits. A longer one than this is tried."""

TRIAL_SIDE = 64
"""The longest side of a frame in a trial of all times, in pixels: the least that every encoder takes."""


def try_output(
    folder: Path,
    path: Path,
    info: VideoInfo,
    size: tuple[int, int],
    encode: EncodeSettings,
    *,
    copy_audio: bool,
    keep_metadata: bool,
) -> None:
    """Check that a result can be written; see `try_encode`.

    Args:
        folder: Where the trial is written.
        path: The result.
        info: The original.
        size: Width and height of the stylized frames, in pixels.
        encode: The codec and the quality.
        copy_audio: Whether the result carries the sound.
        keep_metadata: Whether the result carries the tags and the chapters.

    Raises:
        ItemError: It cannot be written.
    """
    if is_numbered(path):
        check_free(path, numbers_of(info, len(info.ticks)))
        return
    try_encode(folder, path.suffix, info, size, encode, copy_audio=copy_audio, keep_metadata=keep_metadata)


def try_encode(
    folder: Path,
    suffix: str,
    info: VideoInfo,
    size: tuple[int, int],
    encode: EncodeSettings,
    *,
    copy_audio: bool,
    keep_metadata: bool,
) -> None:
    """Encode two gray frames and a second of the original's sound.

    If the original's times are unusual, or it is damaged, all of its frames and its sound are encoded then, in gray and
    small: what is painted in a night is not lost for a time or a packet that the container does not take.

    Args:
        folder: Where the trial is written; it is deleted afterwards.
        suffix: Of the result's name; it decides the container.
        info: The original.
        size: Width and height of the stylized frames, in pixels.
        encode: The codec and the quality.
        copy_audio: Whether the result carries the sound.
        keep_metadata: Whether the result carries the tags and the chapters.

    Raises:
        ItemError: The codec, the container and the sound do not go together, or ffmpeg lacks the encoder.
    """
    path = folder / f".trial_encode{suffix}"
    _check_shortest_frame(info, path)
    _check_encoder(info, path, encode)
    if copy_audio:
        _check_sound(info, path)
    short = dataclasses.replace(info, ticks=info.ticks[:TRIAL_FRAMES], end_tick=None)
    trials: list[tuple[VideoInfo, tuple[int, int], float | None]] = [(short, size, TRIAL_SECONDS)]
    if _may_fail_late(info):
        trials.append((info, (min(size[0], TRIAL_SIDE), min(size[1], TRIAL_SIDE)), None))
    frames = 0
    try:
        for of_trial, size_of_trial, seconds in trials:
            frames = len(of_trial.ticks)
            with VideoSink(
                path,
                of_trial,
                size_of_trial,
                encode,
                copy_audio=copy_audio,
                keep_metadata=keep_metadata,
                frame_count=frames,
                seconds_of_sound=seconds,
            ) as sink:
                _write_gray(sink, frames, size_of_trial)
                sink.finish()
    except ItemError as error:
        codec = codec_of(encode, container_of(path))
        raise ItemError(
            f"{info.path} could not be encoded as {suffix} with {codec} (a trial of {frames} frames): "
            + error.problem.removeprefix(f"{path}: "),
            f"Choose another codec, another suffix for output, or `audio: none`. {error.next_step}".rstrip(),
        ) from error
    finally:
        path.unlink(missing_ok=True)


def _check_encoder(info: VideoInfo, path: Path, encode: EncodeSettings) -> None:
    name = encoder_of(encode, container_of(path))
    if name not in encoders():
        raise ItemError(
            f"{info.path} could not be encoded as {path.suffix}: {described()} lacks the encoder {name}.", how_to_get()
        )


def _check_sound(info: VideoInfo, path: Path) -> None:
    container = container_of(path)
    for stream in info.streams:
        if stream.kind == "audio" and container.sound_codecs and stream.codec not in container.sound_codecs:
            allowed = " and ".join(sorted(container.sound_codecs))
            found = stream.codec or "an unknown codec"
            raise ItemError(
                f"{info.path} could not be encoded as {path.suffix}: its sound is in {found}, and {path.suffix} holds only "
                f"{allowed}.",
                "Choose another suffix for output, or `audio: none`.",
            )


def _may_fail_late(info: VideoInfo) -> bool:
    """Whether the rest of a video may be refused though its beginning is not."""
    longest = max((later - earlier for earlier, later in pairwise(info.ticks)), default=0) * info.time_base
    is_unusual = info.timeline is not None or longest > LONG_FRAME_SECONDS
    return is_unusual or info.loss is not None or any(stream.broken or stream.late_from > 0 for stream in info.streams)


def _write_gray(sink: VideoSink, frames: int, size: tuple[int, int]) -> None:
    # Neighbors differ, because an encoder may join equal frames.
    grays = [np.full((size[1], size[0], 3), level, np.uint8) for level in (128, 168)]
    for frame_index in range(frames):
        gray = grays[frame_index % 2]
        sink.write(gray, Frame(gray, frame_index))


def _check_shortest_frame(info: VideoInfo, path: Path) -> None:
    limit = container_of(path).shortest_frame
    shortest = min((later - earlier for earlier, later in pairwise(info.ticks)), default=0) * info.time_base
    if limit is not None and 0 < shortest < limit:
        raise ItemError(
            f"{info.path} shows a frame for {float(shortest):.4f} s; players show no frame of a {path.suffix} for less than "
            f"{float(limit):.2f} s.",
            "Choose another suffix for output, such as .webp or .mp4.",
        )
