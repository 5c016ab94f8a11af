"""Frames decoded by ffmpeg: in display order, upright, with square pixels, in full-range R'G'B'."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from io import BufferedReader
from typing import Any

import ffmpeg as graphs
import numpy as np
from numpy.typing import NDArray

from nstpipe.errors import ItemError
from nstpipe.media.frame import Frame
from nstpipe.media.transparency import with_hidden_filled
from nstpipe.media.video.containers import CONTAINERS
from nstpipe.media.video.decode_check import ONE_THREAD
from nstpipe.media.video.ffmpeg import LOCAL_ONLY, Process, each_at_its_time, filters, local
from nstpipe.media.video.ffmpeg_program import described, how_to_get
from nstpipe.media.video.ffmpeg_streams import ffmpeg_stream
from nstpipe.media.video.info import QUARTER_TURN, SCALE_MATRICES, VideoInfo
from nstpipe.media.video.shapes import color_runs

_INDEXED_DEMUXERS = {container.demuxer for container in CONTAINERS.values() if container.has_index}
"""ffmpeg's names of containers with an index. Others are decoded from their beginning."""

SEEK_LEAD = 300
"""Frames by which a seek goes to an earlier frame if the wanted one is not the first that is decoded. Key frames are rarely
farther apart, so the decoder then has all that it needs."""

DEINTERLACING_LEAD = 2
"""Frames decoded before the first one wanted: a missing line is computed from the frames around."""

HDR_WHITE_NITS = 203
"""The brightness of a white page in HDR (ITU-R BT.2408). It becomes the white of the standard picture."""


def ffmpeg_frames(info: VideoInfo, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
    """The frames of a video from the first one up to, not including, the end, all of the size of the first one.

    Raises:
        ItemError: A frame cannot be decoded. Those before it have been given.
    """
    for color, first, end in color_runs(info, first_frame_index, end_frame_index):
        yield from _frames_of_one_color(dataclasses.replace(info, color=color), first, end)


def _frames_of_one_color(info: VideoInfo, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
    skip, seek = _seek(info, first_frame_index)
    # If the file is damaged, several threads may give other frames each time.
    decoder: dict[str, Any] = {"vcodec": info.decoder} if info.is_transparent and info.decoder else {}
    stored: dict[str, Any] = {"noautorotate": None} if info.rotation % QUARTER_TURN else {}
    options = {**seek, **decoder, **stored, **(ONE_THREAD if info.loss else {})}
    stream = graphs.input(local(info.path), **LOCAL_ONLY, **options)
    pixel_format = raw_format(deep=info.is_deep, alpha=info.is_transparent)
    kind: np.dtype[Any] = np.dtype(np.uint16 if info.is_deep else np.uint8)
    channels = 4 if info.is_transparent else 3
    video = _in_rgb(stream[ffmpeg_stream(info, info.stream_index)], info).filter("format", pixel_format)
    if info.changes_size:
        video = video.filter("pad", info.width, info.height, "(ow-iw)/2", "(oh-ih)/2")
    graph = graphs.output(video, "pipe:1", format="rawvideo", pix_fmt=pixel_format, **each_at_its_time())
    # swscale gives 255 * 256 for white when it converts Y'CbCr to RGB with 16 bits.
    white_is_lower = info.is_deep and info.color.hdr is None and not info.is_rgb
    with Process(graph, info.path, stdout=True) as process:
        for frame_index in range(first_frame_index - skip, end_frame_index):
            values: Any = np.empty((info.height, info.width, channels), kind)
            if not _filled(values, process.stdout):
                process.finish()
                raise process.failure(f"only {frame_index} of {len(info.ticks)} frames decoded")
            if frame_index >= first_frame_index:
                if white_is_lower:
                    values = np.minimum(values.astype(np.uint32) * 257 // 256, 65535).astype(np.uint16)
                pixels, alpha = (values[..., :3], values[..., 3]) if info.is_transparent else (values, None)
                pixels = pixels if alpha is None else with_hidden_filled(pixels, alpha)
                yield Frame(pixels, frame_index, info.ticks[frame_index] * info.time_base, alpha=alpha)
        if end_frame_index == len(info.ticks) and process.stdout.read(1):
            raise process.failure(f"more than the {len(info.ticks)} frames that were planned")


def raw_format(*, deep: bool, alpha: bool) -> str:
    """The pixel format in which frames travel, by ffmpeg's name: R'G'B' of 8 or 16 bits, with alpha or without."""
    return f"rgb{'a64le' if deep else 'a'}" if alpha else f"rgb{'48le' if deep else '24'}"


def _seek(info: VideoInfo, first_frame_index: int) -> tuple[int, dict[str, object]]:
    """How many frames before the first one are decoded and discarded, and the options of ffmpeg for the seek."""
    lead = DEINTERLACING_LEAD if info.interlaced else 0
    seekable = not info.loss and _has_one_clock(info) and not _INDEXED_DEMUXERS.isdisjoint(info.container.split(","))
    for skip in (lead, SEEK_LEAD):
        if not seekable or first_frame_index <= skip or _half_way_to(info, first_frame_index - skip) <= 0:
            break
        seek = _to(info, first_frame_index - skip)
        if _comes_first(info, first_frame_index - skip, seek):
            return skip, seek
    return first_frame_index, {}


def _to(info: VideoInfo, frame_index: int) -> dict[str, object]:
    """The options of ffmpeg that seek to a frame."""
    # ffmpeg seeks to the key frame before the time and drops what is earlier than the time. A time half-way between two
    # frames is safe from rounding. It counts from zero, and not from the file's own start as by default.
    return {"ss": f"{float(_half_way_to(info, frame_index)):.6f}", "seek_timestamp": 1}


def _half_way_to(info: VideoInfo, frame_index: int) -> Fraction:
    return (_file_time(info, frame_index - 1) + _file_time(info, frame_index)) / 2


def _has_one_clock(info: VideoInfo) -> bool:
    """Whether each frame has a time of its own in the file."""
    line = info.timeline
    return line is None or (line.mending is not None and not line.mending.joints and len(line.raw) == len(info.ticks))


def _file_time(info: VideoInfo, frame_index: int) -> Fraction:
    """The time of a frame by the file's own clock, in seconds."""
    if info.timeline is None:
        return info.ticks[frame_index] * info.time_base
    return info.timeline.raw[frame_index] * info.timeline.raw_time_base


def _comes_first(info: VideoInfo, frame_index: int, seek: dict[str, object]) -> bool:
    """Whether a frame is the first one that is decoded after a seek to it.

    It is not if it follows a key frame in the file and precedes it on the screen (open groups of pictures, as x265 makes
    them), or if the picture is refreshed strip by strip. The decoder then silently starts at the first complete frame.
    """
    stream = graphs.input(local(info.path), **LOCAL_ONLY, **seek)[ffmpeg_stream(info, info.stream_index)]
    once: dict[str, object] = {"frames:v": 1, **each_at_its_time(), "enc_time_base": "1:1000000"}
    # As text: only the time of the frame is needed. It counts from the time of the seek.
    graph = graphs.output(stream, "pipe:1", format="framecrc", **once)
    with Process(graph, info.path, stdout=True) as process:
        rows = [line.split(b",") for line in process.stdout.read().splitlines() if not line.startswith(b"#")]
        process.finish(may_fail=True)
    if not rows:
        return False
    # The frame before would be as far below zero as this one is above.
    after_seek = _file_time(info, frame_index) - _half_way_to(info, frame_index)
    to_next = after_seek
    if frame_index + 1 < len(info.ticks):
        to_next = (_file_time(info, frame_index + 1) - _file_time(info, frame_index)) / 2
    return abs(Fraction(int(rows[0][2]), 1000000) - after_seek) < min(after_seek, to_next)


def _in_rgb(video: Any, info: VideoInfo) -> Any:
    """The filters from a decoded stream to full-range R'G'B' at its size with square pixels."""
    # ffmpeg itself turns the picture upright before these filters, by quarter turns.
    if info.interlaced:
        # One picture per frame, at its own time. Frames that are not interlaced stay as they are.
        video = video.filter("bwdif", mode="send_frame", deint="interlaced")
    if info.color.hdr is not None:
        video = _tone_mapped(video, info)
    # The matrix is given because swscale assumes BT.601 if there is no tag.
    width, height = (_fitted("iw*sar", info), _fitted("ih", info)) if info.changes_size else (info.width, info.height)
    return video.filter(
        "scale",
        width,
        height,
        flags="bicubic+accurate_rnd+full_chroma_int",
        in_color_matrix=SCALE_MATRICES[info.color.matrix],
        in_range="full" if info.color.full_range or info.color.hdr else "limited",
        out_range="full",
    )


def _fitted(side: str, info: VideoInfo) -> str:
    """Ffmpeg's expression for a side of a frame of any size that is fitted into the size of the first one."""
    return f"max(1,trunc({side}*min({info.width}/(iw*sar),{info.height}/ih)+0.5))"


def check_readable(info: VideoInfo) -> None:
    """Check that this machine can read a video. If it cannot, others may still be painted.

    Raises:
        ItemError: It is HDR, and this ffmpeg lacks the filter that converts it to a standard picture.
    """
    hdr = next((color.hdr for color in (info.color, *(shape.color for shape in info.shapes)) if color.hdr is not None), None)
    if hdr is not None and "zscale" not in filters():
        raise ItemError(
            f"{info.path} is in {hdr}; to convert it to a standard picture, ffmpeg needs its filter "
            f"zscale, which {described()} lacks.",
            how_to_get(),
        )


def _tone_mapped(video: Any, info: VideoInfo) -> Any:
    """The filters from HDR to the brightness, the transfer function and the primaries of BT.709."""
    tagged = {
        "transferin": info.color.transfer,
        "matrixin": {"bt2020nc": "2020_ncl", "bt709": "709", "smpte170m": "170m"}[info.color.matrix],
        "primariesin": {"bt709": "709", "smpte432": "smpte432"}.get(info.color.primaries or "", "2020"),
        "rangein": "full" if info.color.full_range else "limited",
    }
    return (
        video.filter("zscale", transfer="linear", npl=HDR_WHITE_NITS, **tagged)
        .filter("format", "gbrapf32le" if info.is_transparent else "gbrpf32le")
        .filter("zscale", primaries="709")
        .filter("tonemap", tonemap="mobius", desat=0)
        .filter("zscale", transfer="709", range="full")
        .filter("format", "gbrap16le" if info.is_transparent else "gbrp16le")
    )


def _filled(pixels: NDArray[Any], pipe: BufferedReader) -> bool:
    """Fill an array from a pipe. False if the pipe ends before the array is full."""
    room = memoryview(pixels.data).cast("B")
    place = 0
    while place < len(room):
        count = pipe.readinto(room[place:])
        if not count:
            return False
        place += count
    return True
