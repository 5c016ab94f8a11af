"""Small videos and pictures whose content is known, made without the code under test."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from nstpipe.config.models import Encode
from nstpipe.media.frame import working_size
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.decode_check import apply_decode_check, decode_check
from nstpipe.media.video.encode import VideoSink
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe
from tests.made_once import make_with_ffmpeg

Bytes = NDArray[np.uint8]

WIDTH, HEIGHT = 64, 48
BLOCK = 16
"""Side of a flat block: one macroblock, so that codecs and halved chroma leave its middle alone."""

PALETTE = (
    (200, 40, 40),
    (40, 180, 60),
    (50, 60, 200),
    (210, 200, 60),
    (60, 200, 200),
    (190, 70, 190),
    (30, 30, 30),
    (220, 220, 220),
    (128, 128, 128),
    (224, 172, 136),
    (90, 60, 40),
    (120, 160, 90),
)
"""One color for each of a picture's 4 x 3 blocks."""


def blocks(shift: int = 0, width: int = WIDTH, height: int = HEIGHT) -> Bytes:
    """A picture of flat blocks; each shift gives another one."""
    rows, columns = np.arange(height) // BLOCK, np.arange(width) // BLOCK
    number = rows[:, None] * 4 + columns[None, :] + shift
    return np.array(PALETTE, np.uint8)[number % len(PALETTE)]


def films(count: int, width: int = WIDTH, height: int = HEIGHT) -> list[Bytes]:
    """Pictures of which no two neighbors are alike."""
    return [blocks(shift, width, height) for shift in range(count)]


def middles(pixels: Bytes) -> NDArray[np.int16]:
    """The middle 4 x 4 pixels of each block, where neither filters nor chroma of the neighbors reach."""
    height, width, _ = pixels.shape
    inside = (np.arange(height) % BLOCK // 4 % 3 != 0)[:, None] & (np.arange(width) % BLOCK // 4 % 3 != 0)[None, :]
    levels = pixels / 257 if pixels.dtype == np.uint16 else pixels
    return np.round(levels[inside]).astype(np.int16)


def farthest(one: Bytes, other: Bytes) -> int:
    """Largest difference in levels within the blocks' middles."""
    assert one.shape == other.shape
    return int(np.abs(middles(one) - middles(other)).max())


def run_ffmpeg(*arguments: str | Path, content: bytes = b"") -> None:
    """Let ffmpeg write the file that is the last argument, a `Path`."""
    *others, result = arguments
    assert isinstance(result, Path)
    make_with_ffmpeg(*others, result=result, content=content)


def make_video(
    path: Path,
    pictures: list[Bytes],
    *options: str,
    rate: str = "25",
    inputs: tuple[str, ...] = (),
    video_filter: str = "null",
    video_input: tuple[str, ...] = (),
    matrix: str = "bt709",
    color_range: str = "limited",
) -> Path:
    """Encode pictures.

    Args:
        path: of the video.
        pictures: all of one size.
        options: of the output, such as the codec.
        rate: frames a second.
        inputs: arguments of a second input, such as sound.
        video_filter: applied to the pictures, such as other times.
        video_input: options of the pictures as an input.
        matrix: to Y'CbCr, where the codec wants that.
        color_range: ``limited`` or ``full``, likewise.
    """
    height, width, _ = pictures[0].shape
    run_ffmpeg(
        *("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}", "-framerate", rate),
        *video_input,
        *("-i", "pipe:0"),
        *inputs,
        *("-map", "0:v", *(("-map", "1:a") if inputs else ())),
        "-vf",
        f"{video_filter},scale=flags=accurate_rnd+full_chroma_int:out_color_matrix={matrix}:out_range={color_range}",
        *("-colorspace", matrix, "-color_primaries", "bt709", "-color_trc", "bt709"),
        *options,
        path,
        content=b"".join(picture.tobytes() for picture in pictures),
    )
    return path


def sine(seconds: float = 1.0, *options: str) -> tuple[str, ...]:
    """Arguments of an input that is a tone."""
    return (*options, "-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}")


def looked_at(path: Path) -> VideoInfo:
    """What a run knows of a video: after a probe and a survey."""
    info = probe(path)
    return apply_decode_check(info, decode_check(info))


def passed_through(original: Path | VideoInfo, result: Path, encode: Encode | None = None, **options: bool) -> VideoInfo:
    """Decode and encode each frame unchanged."""
    info = original if isinstance(original, VideoInfo) else probe(original)
    source = VideoSource(info)
    settings = {"copy_audio": True, "keep_metadata": True, **options}
    size = working_size(source.size, "native", even=True)
    with VideoSink(result, info, size, encode or Encode(), frame_count=source.frame_count, **settings) as sink:
        for frame in source.read(0, source.frame_count):
            sink.write(frame.pixels, frame)
        found = sink.finish()
    assert isinstance(found, VideoInfo)
    return found


X264 = ("-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv420p")
FFV1_RGB = ("-c:v", "ffv1", "-pix_fmt", "bgr0")


@dataclass(frozen=True)
class Packet:
    """A packet of a file: when it is to be presented, in seconds, and its content."""

    time: Fraction | None
    content: bytes


def packets(path: Path, kind: str) -> list[Packet]:
    """All packets of the first stream of a kind, ``audio`` or ``video``."""
    with av.open(f"file:{path}") as container:
        stream = getattr(container.streams, kind)[0]
        return [
            Packet(None if packet.pts is None else packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(stream)
            if packet.size
        ]


def shown_times(path: Path) -> list[Fraction]:
    """When each frame is shown, by decoding all of them."""
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        return [frame.pts * frame.time_base for frame in container.decode(stream)]


def tags(path: Path) -> dict[str, str]:
    """The tags of a file, with names in lower case."""
    with av.open(f"file:{path}") as container:
        return {name.lower(): value for name, value in container.metadata.items()}
