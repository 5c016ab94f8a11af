"""One contract for all that gives frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstpipe.media.frame import Frame, Source
from nstpipe.media.pictures.files import PictureSource
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.probe import probe
from tests.made_once import make_with_ffmpeg

from .making import FFV1_RGB, HEIGHT, WIDTH, X264, farthest, films, make_video

FRAMES = 6

EXACT = 0
YCBCR_ROUNDING = 3
"""Levels: 8-bit Y', Cb and Cr are each off by up to a half, which is 2.1 levels of blue, and codecs at their best add one."""
MJPEG_LOSS = 6
"""Levels: JPEG has no lossless setting; its finest quantizers still move flat blocks by a few levels."""
GIF_LOSS = 2
"""Levels: a picture of 12 colors has them all in its palette, but Pillow chooses one palette by its own measure."""
MPEG4_LOSS = 12
"""Levels: likewise, and B-frames are quantized more coarsely; two colors of the palette are much farther apart."""


@dataclass(frozen=True)
class Kind:
    """A kind of source: how it is made, and how near its pixels come to what was put in."""

    make: Callable[[Path], Source]
    tolerance: int
    has_times: bool = True
    first_time: Fraction = Fraction(0)


def video(suffix: str, *options: str, **how: str) -> Callable[[Path], Source]:
    def make(folder: Path) -> Source:
        return VideoSource(probe(make_video(folder / f"made{suffix}", films(FRAMES), *options, **how)))  # type: ignore[arg-type]

    return make


def folder_of_pictures(folder: Path) -> Source:
    paths = []
    for index, picture in enumerate(films(FRAMES)):
        paths.append(folder / f"{index}.png")
        Image.fromarray(picture).save(paths[-1])
    return PictureSource(folder, paths)


def animation(suffix: str) -> Callable[[Path], Source]:
    def make(folder: Path) -> Source:
        path = folder / f"made{suffix}"
        first, *others = [Image.fromarray(picture) for picture in films(FRAMES)]
        options: dict[str, object] = {"lossless": True} if suffix == ".webp" else {}
        first.save(path, save_all=True, append_images=others, duration=40, loop=0, **options)
        return VideoSource(probe(path))

    return make


def numbered_pictures(folder: Path) -> Source:
    for index, picture in enumerate(films(FRAMES)):
        Image.fromarray(picture).save(folder / f"frame_{index + 8:03d}.png")
    return VideoSource(probe(folder / "frame_%03d.png"))


# AVI holds no color tags, so its pictures are BT.601 as small untagged ones are; and it holds times of decoding,
# so with B-frames all is shown one frame later.
KINDS = {
    "mp4": Kind(video(".mp4", *X264), YCBCR_ROUNDING),
    "mp4 with B-frames": Kind(video(".mp4", *X264, "-bf", "3", "-b_strategy", "0"), YCBCR_ROUNDING),
    "mkv": Kind(video(".mkv", *FFV1_RGB), EXACT),
    "mov": Kind(video(".mov", "-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"), YCBCR_ROUNDING),
    "mov in RGB": Kind(video(".mov", "-c:v", "png", "-pix_fmt", "rgb24"), EXACT),
    "webm": Kind(video(".webm", "-c:v", "libvpx-vp9", "-lossless", "1", "-pix_fmt", "yuv420p"), YCBCR_ROUNDING),
    "avi": Kind(video(".avi", "-c:v", "ffv1", "-pix_fmt", "yuv444p", matrix="smpte170m"), YCBCR_ROUNDING),
    "avi with B-frames": Kind(
        video(".avi", "-c:v", "mpeg4", "-q:v", "1", "-bf", "2", matrix="smpte170m"), MPEG4_LOSS, first_time=Fraction(1, 25)
    ),
    "avi, motion JPEG": Kind(
        video(".avi", "-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj444p", matrix="smpte170m", color_range="full"), MJPEG_LOSS
    ),
    "gif": Kind(animation(".gif"), GIF_LOSS),
    "animated WebP": Kind(animation(".webp"), EXACT),
    "numbered pictures": Kind(numbered_pictures, EXACT),
    "transport stream": Kind(video(".ts", *X264, "-bf", "0"), YCBCR_ROUNDING, first_time=Fraction(14, 10)),
    "pictures": Kind(folder_of_pictures, EXACT, has_times=False),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def source(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return kind.make(tmp_path_factory.mktemp("source"))


def test_it_knows_its_frame_count_and_size(source: Source) -> None:
    assert source.frame_count == FRAMES
    assert source.size == (WIDTH, HEIGHT)
    assert source.path.exists() or "%" in source.path.name


def test_frames_come_in_order_at_their_exact_times(source: Source, kind: Kind) -> None:
    frames = list(source.read(0, FRAMES))
    assert [frame.frame_index for frame in frames] == list(range(FRAMES))
    expected = [kind.first_time + Fraction(index, 25) if kind.has_times else None for index in range(FRAMES)]
    assert [frame.time for frame in frames] == expected


def test_pixels_are_what_was_put_in(source: Source, kind: Kind) -> None:
    for frame, put_in in zip(source.read(0, FRAMES), films(FRAMES), strict=True):
        assert farthest(frame.pixels, put_in) <= kind.tolerance


def test_a_middle_range_gives_the_same_frames_as_all(source: Source) -> None:
    everything = list(source.read(0, FRAMES))
    middle = list(source.read(2, 4))
    assert [frame.frame_index for frame in middle] == [2, 3]
    for frame, same in zip(middle, everything[2:4], strict=True):
        assert np.array_equal(frame.pixels, same.pixels)
        assert frame.time == same.time


def test_an_empty_range_gives_nothing(source: Source) -> None:
    assert list(source.read(3, 3)) == []


def test_reading_can_stop_early(source: Source) -> None:
    frames = source.read(0, FRAMES)
    assert next(frames).frame_index == 0
    frames.close()  # type: ignore[attr-defined]
    assert next(source.read(0, FRAMES)).frame_index == 0


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
    ids=["gray", "alpha", "one channel", "float", "batch"],
)
def test_a_frame_refuses_other_pixels(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="height x width x 3 in uint8"):
        Frame(pixels, 0)


def test_a_frame_says_what_it_is() -> None:
    frame = Frame(np.zeros((2, 3, 3), np.uint8), 7, Fraction(1, 25))
    assert repr(frame) == "Frame(frame_index=7, time=1/25, 3x2)"


SEEKS = {
    "open groups": (".mp4", "libx265", ["-x265-params", "keyint=12:min-keyint=12:log-level=error"]),
    "renewed strip by strip": (".mp4", "libx264", ["-x264-params", "intra-refresh=1:keyint=15"]),
    "closed groups": (".mp4", "libx264", ["-g", "12"]),
    "late": (".mp4", "libx264", ["-g", "12", "-output_ts_offset", "5"]),
    "Matroska": (".mkv", "libx264", ["-x264-params", "open-gop=1:keyint=12"]),
}


@pytest.mark.parametrize("name", SEEKS)
def test_reading_from_any_frame_gives_the_frames_of_reading_all(tmp_path: Path, name: str) -> None:
    """A decoder that is led into the middle of a file may begin with a later frame than the one it was led to."""
    suffix, codec, options = SEEKS[name]
    path = tmp_path / f"film{suffix}"
    picture = "testsrc2=size=320x48:rate=25:duration=1.8,crop=64:48:2*n:0"  # pans, so that no two frames are alike
    make_with_ffmpeg("-f", "lavfi", "-i", picture, "-c:v", codec, *options, result=path)
    source = VideoSource(probe(path))
    whole = [frame.pixels for frame in source.read(0, source.frame_count)]
    assert all(not np.array_equal(one, other) for one, other in itertools.pairwise(whole))
    for first in range(1, source.frame_count):
        [frame] = source.read(first, first + 1)
        assert np.array_equal(frame.pixels, whole[first]), f"from frame {first}"
