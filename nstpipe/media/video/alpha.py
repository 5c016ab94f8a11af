"""Finds out whether a video is transparent: whether some pixel of it is not opaque."""

from __future__ import annotations

import dataclasses
from typing import Any

import av
import ffmpeg as graphs
import numpy as np

from nstpipe.errors import ItemError
from nstpipe.media.pictures.files import read_picture
from nstpipe.media.video.ffmpeg import LOCAL_ONLY, Process, decoders, each_at_its_time, local
from nstpipe.media.video.ffmpeg_streams import ffmpeg_stream
from nstpipe.media.video.info import Reader, VideoInfo
from nstpipe.system.files import numbered_files
from nstpipe.system.retry import is_transient

ALPHA_CHECK_VERSION = 1
"""Part of the journal's key of a check: raised when the same video gives another result."""

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Codecs whose transparency is a second picture, which the usual decoder ignores, and a decoder that reads it."""

_CHUNK_BYTES = 1 << 20


def may_be_transparent(info: VideoInfo) -> bool:
    """Whether the format of a video's pixels has a place for transparency."""
    if info.decoder or info.reader is Reader.SEQUENCE:
        return True
    return info.pixel_format == "pal8" or (bool(info.pixel_format) and has_alpha(info.pixel_format))


def has_alpha(pixel_format: str) -> bool:
    """Whether a pixel format has an alpha channel. False if there is no such format."""
    try:
        return any(component.is_alpha for component in av.VideoFormat(pixel_format).components)
    except ValueError:
        return False


def is_rgb(pixel_format: str) -> bool:
    """Whether a pixel format holds R'G'B'. False if there is no such format."""
    try:
        return av.VideoFormat(pixel_format).is_rgb
    except ValueError:
        return False


def alpha_decoder(codec: str, tags: dict[str, str]) -> str:
    """The decoder that reads the transparency of a stream; empty if the usual one does, or this ffmpeg lacks it.

    Args:
        codec: ffmpeg's name of the codec.
        tags: The stream's tags.
    """
    marked = any(name.lower() == "alpha_mode" and text == "1" for name, text in tags.items())
    name = ALPHA_DECODERS.get(codec, "")
    return name if marked and name in decoders() else ""


def is_transparent(info: VideoInfo, frame_count: int | None = None) -> bool:
    """Whether a pixel of a video is not opaque.

    Args:
        info: The video.
        frame_count: How many frames are looked at, from the first; None for all of them.
    """
    if not may_be_transparent(info):
        return False
    if info.reader is Reader.SEQUENCE:
        return _of_pictures(info, frame_count)
    options: dict[str, Any] = {"vcodec": info.decoder} if info.decoder else {}
    stream = graphs.input(local(info.path), **LOCAL_ONLY, **options)[ffmpeg_stream(info, info.stream_index)]
    alpha = stream.filter("format", "rgba").filter("alphaextract")
    limit = {} if frame_count is None else {"frames:v": frame_count}
    graph = graphs.output(alpha, "pipe:1", format="rawvideo", pix_fmt="gray", **each_at_its_time(), **limit)
    with Process(graph, info.path, stdout=True) as process:
        while chunk := process.stdout.read(_CHUNK_BYTES):
            if np.frombuffer(chunk, np.uint8).min() < 255:
                return True
        # What cannot be decoded is reported where the frames are read.
        process.finish(may_fail=True)
    return False


def _of_pictures(info: VideoInfo, frame_count: int | None) -> bool:
    files = numbered_files(info.path)
    for number in sorted(files)[:frame_count]:
        try:
            alpha = read_picture(files[number])[1].alpha
        except ItemError as error:
            if is_transient(error):
                raise
            continue  # likewise
        if alpha is None:
            return False  # the others are of the same kind
        if alpha.min() < np.iinfo(alpha.dtype).max:
            return True
    return False


def with_transparency(info: VideoInfo, frame_count: int | None = None) -> VideoInfo:
    """What is known of a video, with whether it is transparent. See `is_transparent`."""
    return dataclasses.replace(info, is_transparent=True) if is_transparent(info, frame_count) else info
