"""A long video takes no more memory than a short one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from nstpipe.config.models import Encode
from nstpipe.media.frame import Frame
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.decode_check import apply_decode_check, decode_check
from nstpipe.media.video.encode import VideoSink
from nstpipe.media.video.probe import probe

from .making import run_ffmpeg

WIDTH, HEIGHT = 320, 240
SHORT, LONG = 100, 2000
ALLOWED_BYTES = 32 << 20
"""More than times and packet heads take, and a fifteenth of what the long video's pixels would."""


def film(folder: Path, frames: int) -> Path:
    path = folder / f"{frames}.mp4"
    run_ffmpeg(
        *("-f", "lavfi", "-i", f"color=c=gray:size={WIDTH}x{HEIGHT}:rate=25", "-frames:v", str(frames)),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", path),
    )
    return path


def resident_bytes() -> int:
    """Of this process and of every ffmpeg that it has running."""
    own = psutil.Process(os.getpid())
    return int(own.memory_info().rss + sum(child.memory_info().rss for child in own.children()))


def most_memory(folder: Path, frames: int) -> int:
    """The highest of many looks while a video goes from its source to its sink."""
    seen: list[int] = []

    def watched(pictures: Iterator[Frame]) -> Iterator[Frame]:
        for picture in pictures:
            if picture.frame_index % (frames // 20) == 0:
                seen.append(resident_bytes())
            yield picture

    path = film(folder, frames)
    info = probe(path)
    info = apply_decode_check(info, decode_check(info))
    source, result = VideoSource(info), path.with_name(f"{frames}_result.mp4")
    encode = Encode(preset="ultrafast")
    with VideoSink(result, info, source.size, encode, copy_audio=True, keep_metadata=True, frame_count=frames) as sink:
        for picture in watched(source.read(0, frames)):
            sink.write(picture.pixels, picture)
        assert len(sink.finish().ticks) == frames
    return max(seen)


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    most_memory(tmp_path, SHORT)  # what is loaded once is loaded by now
    short, long = most_memory(tmp_path, SHORT), most_memory(tmp_path, LONG)
    assert (LONG - SHORT) * WIDTH * HEIGHT * 3 > 10 * ALLOWED_BYTES
    assert long - short < ALLOWED_BYTES
