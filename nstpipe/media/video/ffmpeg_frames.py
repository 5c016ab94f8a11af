"""Frames decoded by ffmpeg: in display order, upright, with square pixels, in full-range R'G'B'."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import IO, Any

import ffmpeg as graphs
import numpy as np
from numpy.typing import NDArray

from nstpipe.errors import ItemError
from nstpipe.media.frame import Frame
from nstpipe.media.video.containers import CONTAINERS
from nstpipe.media.video.decode_check import ONE_THREAD
from nstpipe.media.video.ffmpeg import LOCAL_ONLY, Process, filters, local
from nstpipe.media.video.info import VideoInfo

_INDEXED_DEMUXERS = {container.demuxer for container in CONTAINERS.values() if container.has_index}
"""ffmpeg's names of containers with an index. Others are decoded from their beginning."""

SEEK_LEAD = 300
"""Frames by which a seek goes to an earlier frame if the wanted one is not the first that is decoded. Key frames are rarely
farther apart, so the decoder then has all that it needs."""

DEINTERLACING_LEAD = 2
"""Frames decoded before the first one wanted: a missing line is computed from the frames around."""

HDR_WHITE_NITS = 203
"""How bright the white of a page is in HDR (ITU-R BT.2408): what becomes the white of the standard picture."""


def ffmpeg_frames(info: VideoInfo, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
    """The frames of a video from the first one up to, not including, the end.

    Raises:
        ItemError: A frame cannot be decoded. Those before it have been given.
    """
    skip, seek = _seek(info, first_frame_index)
    # Where something is wrong, several threads may give other frames each time.
    stream = graphs.input(local(info.path), **LOCAL_ONLY, **seek, **(ONE_THREAD if info.loss else {}))
    kind: np.dtype[Any]
    pixel_format, kind = ("rgb48le", np.dtype(np.uint16)) if info.is_deep else ("rgb24", np.dtype(np.uint8))
    video = _in_rgb(stream["V:0"], info).filter("format", pixel_format)
    # passthrough: one picture out for each picture in, none doubled or dropped to keep a rate.
    graph = graphs.output(video, "pipe:1", format="rawvideo", pix_fmt=pixel_format, fps_mode="passthrough")
    # swscale gives 255 * 256 for white where it makes RGB of Y'CbCr with 16 bits.
    white_is_lower = info.is_deep and info.color.hdr is None and not info.is_rgb
    with Process(graph, info.path, stdout=True) as process:
        for frame_index in range(first_frame_index - skip, end_frame_index):
            pixels: Any = np.empty((info.height, info.width, 3), kind)
            if not _filled(pixels, process.stdout):
                process.finish()
                raise process.failure(f"only {frame_index} of {len(info.ticks)} frames decoded")
            if frame_index >= first_frame_index:
                if white_is_lower:
                    pixels = np.minimum(pixels.astype(np.uint32) * 257 // 256, 65535).astype(np.uint16)
                yield Frame(pixels, frame_index, info.ticks[frame_index] * info.time_base)
        if end_frame_index == len(info.ticks) and process.stdout.read(1):
            raise process.failure(f"more than the {len(info.ticks)} frames that were planned")


def _seek(info: VideoInfo, first_frame_index: int) -> tuple[int, dict[str, object]]:
    """How many frames before the first one will be decoded and thrown away, and ffmpeg's options to get there."""
    lead = DEINTERLACING_LEAD if info.interlaced else 0
    seekable = not info.loss and not _INDEXED_DEMUXERS.isdisjoint(info.container.split(","))
    for skip in (lead, SEEK_LEAD):
        if not seekable or first_frame_index <= skip:
            break
        seek = _to(info, first_frame_index - skip)
        if _comes_first(info, first_frame_index - skip, seek):
            return skip, seek
    return first_frame_index, {}


def _to(info: VideoInfo, frame_index: int) -> dict[str, object]:
    """The options that lead to a frame, if the file allows it."""
    # ffmpeg goes to the key frame before and drops what is earlier than the time: half-way between two frames is
    # safe from rounding. The time counts from zero, not from the file's own start, as ffmpeg's default would.
    return {"ss": f"{float(_half_way_to(info, frame_index)):.6f}", "seek_timestamp": 1}


def _half_way_to(info: VideoInfo, frame_index: int) -> Fraction:
    ticks = info.ticks
    return Fraction(ticks[frame_index - 1] + ticks[frame_index], 2) * info.time_base


def _comes_first(info: VideoInfo, frame_index: int, seek: dict[str, object]) -> bool:
    """Whether a frame is the first one that is decoded after a seek to it.

    It is not where it follows a key frame in the file and precedes it on the screen (open groups of pictures, as x265
    makes them), or where the picture is renewed strip by strip: the decoder goes on with the first frame that it has all
    of, and those before it are missing without a word.
    """
    stream = graphs.input(local(info.path), **LOCAL_ONLY, **seek)["V:0"]
    once: dict[str, object] = {"frames:v": 1, "fps_mode": "passthrough", "enc_time_base": "1:1000000"}
    # As text: what is wanted of the frame is its time, which counts from the seek's.
    graph = graphs.output(stream, "pipe:1", format="framecrc", **once)
    with Process(graph, info.path, stdout=True) as process:
        rows = [line.split(b",") for line in process.stdout.read().splitlines() if not line.startswith(b"#")]
    if not rows:
        return False
    # The frame before would be as far below zero as this one is above.
    after_seek = info.ticks[frame_index] * info.time_base - _half_way_to(info, frame_index)
    to_next = after_seek
    if frame_index + 1 < len(info.ticks):
        to_next = (info.ticks[frame_index + 1] - info.ticks[frame_index]) * info.time_base / 2
    return abs(Fraction(int(rows[0][2]), 1000000) - after_seek) < min(after_seek, to_next)


def _in_rgb(video: Any, info: VideoInfo) -> Any:
    """The filters from a decoded stream to full-range R'G'B' at its size with square pixels."""
    # ffmpeg turns the picture upright by itself, before these.
    if info.interlaced:
        # One picture a frame, at the frame's own time; what is not interlaced within it stays as it is.
        video = video.filter("bwdif", mode="send_frame", deint="interlaced")
    if info.color.hdr is not None:
        video = _tone_mapped(video, info)
    # The matrix is given, for swscale takes BT.601 where none is tagged.
    return video.filter(
        "scale",
        info.width,
        info.height,
        flags="bicubic+accurate_rnd+full_chroma_int",
        in_color_matrix=info.color.matrix,
        in_range="full" if info.color.full_range or info.color.hdr else "limited",
        out_range="full",
    )


def check_readable(info: VideoInfo) -> None:
    """See that this machine can read a video; others may be done all the same.

    Raises:
        ItemError: it is HDR, and this ffmpeg lacks what makes a standard picture of it.
    """
    if info.color.hdr is not None and "zscale" not in filters():
        raise ItemError(
            f"{info.path} is in {info.color.hdr}; to make a standard picture of it, ffmpeg needs its filter zscale, "
            "but has none.",
            "Put an ffmpeg built with libzimg first on the PATH, or none: then the package imageio-ffmpeg's is taken.",
        )


def _tone_mapped(video: Any, info: VideoInfo) -> Any:
    """HDR to the light, the curve and the primaries of BT.709."""
    tagged = {
        "transferin": info.color.transfer,
        "matrixin": {"bt2020nc": "2020_ncl", "bt709": "709", "smpte170m": "170m"}[info.color.matrix],
        "primariesin": {"bt709": "709", "smpte432": "smpte432"}.get(info.color.primaries or "", "2020"),
        "rangein": "full" if info.color.full_range else "limited",
    }
    return (
        video.filter("zscale", transfer="linear", npl=HDR_WHITE_NITS, **tagged)
        .filter("format", "gbrpf32le")
        .filter("zscale", primaries="709")
        .filter("tonemap", tonemap="mobius", desat=0)
        .filter("zscale", transfer="709", range="full")
        .filter("format", "gbrp16le")
    )


def _filled(pixels: NDArray[Any], pipe: IO[bytes]) -> bool:
    """Fill an array from a pipe; False if the pipe ends before."""
    # What Python calls a buffered pipe has `readinto`, which its type does not say.
    room = memoryview(pixels.data).cast("B")
    place = 0
    while place < len(room):
        count: int = pipe.readinto(room[place:])  # type: ignore[attr-defined]
        if not count:
            return False
        place += count
    return True
