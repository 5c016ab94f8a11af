"""How long the last frame of a video is shown: the one time that no frame after it tells."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from nstpipe.media.video.iso_media import Movie
from nstpipe.media.video.matroska import is_complete, seconds_of

_TOLERANCE = Fraction(1, 10)
"""Seconds by which a stated duration may differ from that of the sound, whose packets have up to this length."""


def end_tick(path: Path, container: av.container.InputContainer, stream: av.VideoStream, ticks: Sequence[int]) -> int | None:
    """When the last frame of a video ends, in ticks of its stream; None if the file does not tell.

    Args:
        path: The file.
        container: The file, opened. Its place is moved.
        stream: The stream of the picture.
        ticks: The time of each frame, in order.
    """
    time_base = Fraction(stream.time_base or Fraction(1, 1000))
    end: Fraction | None
    movie = Movie.read(path) if "mov" in container.format.name.split(",") else None
    if movie is not None:
        end = movie.end
    else:
        end = _end_of_packet(container, stream, ticks[-1])
        if container.format.name.startswith("matroska"):
            end = _stated_end(path, container, stream, ticks[-1] * time_base if end is None else end)
    if end is None:
        return None
    found = round(end / time_base)
    return found if found > ticks[-1] else None


def _end_of_packet(container: av.container.InputContainer, stream: av.VideoStream, last: int) -> Fraction | None:
    """When the packet of the last frame ends, in seconds."""
    try:
        container.seek(last, stream=stream)
        for packet in container.demux(stream):
            if packet.pts == last and packet.duration and packet.time_base:
                return (last + packet.duration) * Fraction(packet.time_base)
    except av.FFmpegError:
        pass
    return None


def _stated_end(path: Path, container: av.container.InputContainer, stream: av.VideoStream, end: Fraction) -> Fraction:
    """When the picture of a Matroska file ends, by its packets (the argument `end`) or by what the file states."""
    file_end = None if container.duration is None else Fraction(container.duration, 1_000_000)
    if file_end is None or end + _TOLERANCE >= file_end or not is_complete(path):
        return end
    ends = {other.index: _stated_by(other) for other in container.streams if other.type in ("audio", "video", "subtitle")}
    stated = ends.pop(stream.index)
    if stated is not None:
        return stated if end < stated <= file_end + _TOLERANCE else end
    # Without such a statement, the file lasts as long as its picture if nothing else does.
    others = [one if one is not None else file_end for one in ends.values()]
    return file_end if max(others, default=Fraction(0)) + _TOLERANCE < file_end else end


def _stated_by(stream: av.stream.Stream) -> Fraction | None:
    """How long a stream lasts by its tag, which mkvmerge and ffmpeg write; with mkvmerge, the name may end in a language."""
    texts = (text for name, text in stream.metadata.items() if name.startswith("DURATION"))
    return next((seconds for text in texts if (seconds := seconds_of(text)) is not None), None)
