"""One contract for all that takes frames."""

from __future__ import annotations

import gc
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstpipe.config.models import Encode
from nstpipe.errors import ItemError, OutputError
from nstpipe.media.frame import Frame, PictureMetadata
from nstpipe.media.pictures.files import PictureSink, check_output, read_picture
from nstpipe.media.video.containers import VIDEO_CODECS_BY_SUFFIX
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.encode import VideoSink, video_sink
from nstpipe.media.video.ffmpeg import encoders
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe
from nstpipe.media.video.sequence import SequenceSink

from .making import BLOCK, FFV1_RGB, Bytes, farthest, films, make_video, passed_through

FRAMES = 4
WIDTH, HEIGHT = 4 * BLOCK, 4 * BLOCK
"""The smallest that libsvtav1 takes is 64 x 64."""

LOSS = {"libx264": 6, "libx265": 6, "libsvtav1": 8, "libvpx-vp9": 8, "ffv1": 3, "prores": 3, "qtrle": 0, "png": 0}
"""Levels in flat blocks: the lossy codecs at their default quality quantize even these; the others only round Y'CbCr."""

PAIRS = [(suffix, codec) for suffix, codecs in VIDEO_CODECS_BY_SUFFIX.items() for codec in codecs]
ENCODER = {"prores": "prores_ks"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    path = tmp_path_factory.mktemp("original") / "original.mkv"
    return probe(make_video(path, films(FRAMES, WIDTH, HEIGHT), *FFV1_RGB))


def sink_to(path: Path, info: VideoInfo, codec: str, frame_count: int = FRAMES) -> VideoSink:
    encode = Encode(codec=codec)
    return VideoSink(path, info, (WIDTH, HEIGHT), encode, copy_audio=True, keep_metadata=True, frame_count=frame_count)


def needs(codec: str) -> None:
    if ENCODER.get(codec, codec) not in encoders():
        pytest.skip(f"this ffmpeg has no {codec}")


@pytest.mark.parametrize(("suffix", "codec"), PAIRS)
def test_a_video_has_its_name_when_it_is_finished(tmp_path: Path, original: VideoInfo, suffix: str, codec: str) -> None:
    needs(codec)
    path = tmp_path / "new" / f"result{suffix}"
    written = films(FRAMES, WIDTH, HEIGHT)
    with sink_to(path, original, codec) as sink:
        for frame_index, pixels in enumerate(written):
            sink.write(pixels, Frame(pixels, frame_index))
            assert not path.exists()
        found = sink.finish()
    assert [child.name for child in path.parent.iterdir()] == [path.name]
    assert len(found.ticks) == FRAMES
    back = list(VideoSource(probe(path)).read(0, FRAMES))
    assert [frame.time for frame in back] == [tick * original.time_base for tick in original.ticks]
    for frame, pixels in zip(back, written, strict=True):
        assert farthest(frame.pixels, pixels) <= LOSS[codec]


@pytest.mark.parametrize(("suffix", "codec"), PAIRS)
def test_an_abandoned_video_leaves_nothing(tmp_path: Path, original: VideoInfo, suffix: str, codec: str) -> None:
    needs(codec)
    sink = sink_to(tmp_path / f"result{suffix}", original, codec)
    pixels = films(1, WIDTH, HEIGHT)[0]
    sink.write(pixels, Frame(pixels, 0))
    sink.abandon()
    assert list(tmp_path.iterdir()) == []
    # What PyAV closes when it is collected must not raise, into a closed pipe or otherwise.
    del sink
    gc.collect()


MOVING = {"a GIF": "result.gif", "an animated WebP": "result.webp", "numbered pictures": "result_%d.png"}
"""What is no video, but takes frames as one does, and how its names come to be."""


def moving_sink(path: Path, info: VideoInfo) -> VideoSink | SequenceSink:
    size = (WIDTH, HEIGHT)
    return video_sink(path, info, size, Encode(), copy_audio=True, keep_metadata=True, frame_count=FRAMES)


@pytest.mark.parametrize("name", MOVING.values(), ids=MOVING)
def test_moving_pictures_have_their_names_when_they_are_finished(tmp_path: Path, original: VideoInfo, name: str) -> None:
    path = tmp_path / "new" / name
    with moving_sink(path, original) as sink:
        for frame_index, pixels in enumerate(films(FRAMES, WIDTH, HEIGHT)):
            sink.write(pixels, Frame(pixels, frame_index))
            assert not [child for child in path.parent.iterdir() if not child.name.startswith(".")]
        sink.finish()
    expected = {path.name % number if "%" in name else path.name for number in range(1, FRAMES + 1)}
    assert {child.name for child in path.parent.iterdir()} == expected
    back = list(VideoSource(probe(path)).read(0, FRAMES))
    assert [frame.time for frame in back] == [tick * original.time_base for tick in original.ticks]


@pytest.mark.parametrize("name", MOVING.values(), ids=MOVING)
def test_abandoned_moving_pictures_leave_nothing(tmp_path: Path, original: VideoInfo, name: str) -> None:
    pixels = films(1, WIDTH, HEIGHT)[0]
    sink = moving_sink(tmp_path / name, original)
    sink.write(pixels, Frame(pixels, 0))
    sink.abandon()
    sink.abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", MOVING.values(), ids=MOVING)
def test_a_missing_moving_picture_is_an_error(tmp_path: Path, original: VideoInfo, name: str) -> None:
    with (
        pytest.raises(ItemError, match="4 frames planned, 3 written and 3 found"),
        moving_sink(tmp_path / name, original) as sink,
    ):
        for frame_index, pixels in enumerate(films(FRAMES - 1, WIDTH, HEIGHT)):
            sink.write(pixels, Frame(pixels, frame_index))
        sink.finish()
    assert list(tmp_path.iterdir()) == []


def test_an_error_within_the_block_leaves_nothing(tmp_path: Path, original: VideoInfo) -> None:
    pixels = films(1, WIDTH, HEIGHT)[0]
    with pytest.raises(KeyboardInterrupt), sink_to(tmp_path / "result.mp4", original, "libx264") as sink:
        sink.write(pixels, Frame(pixels, 0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_video_stays_until_the_new_one_is_finished(tmp_path: Path, original: VideoInfo) -> None:
    path = tmp_path / "result.mp4"
    path.write_bytes(b"earlier")
    pixels = films(1, WIDTH, HEIGHT)[0]
    with sink_to(path, original, "libx264") as sink:
        sink.write(pixels, Frame(pixels, 0))
    assert path.read_bytes() == b"earlier"


def test_abandoning_after_finish_keeps_the_video(tmp_path: Path, original: VideoInfo) -> None:
    path = tmp_path / "result.mkv"
    sink = sink_to(path, original, "ffv1")
    for frame_index, pixels in enumerate(films(FRAMES, WIDTH, HEIGHT)):
        sink.write(pixels, Frame(pixels, frame_index))
    sink.finish()
    sink.abandon()
    sink.abandon()
    assert path.is_file()


def test_a_missing_frame_is_an_error(tmp_path: Path, original: VideoInfo) -> None:
    path = tmp_path / "result.mkv"
    with pytest.raises(ItemError, match="4 frames planned, 3 written and 3 found"), sink_to(path, original, "ffv1") as sink:
        for frame_index, pixels in enumerate(films(FRAMES - 1, WIDTH, HEIGHT)):
            sink.write(pixels, Frame(pixels, frame_index))
        sink.finish()
    assert list(tmp_path.iterdir()) == []


def test_the_first_frames_alone_can_be_written(tmp_path: Path, original: VideoInfo) -> None:
    path = tmp_path / "result.mkv"
    with sink_to(path, original, "ffv1", frame_count=2) as sink:
        for frame_index, pixels in enumerate(films(2, WIDTH, HEIGHT)):
            sink.write(pixels, Frame(pixels, frame_index))
        sink.finish()
    assert probe(path).ticks == original.ticks[:2]


def test_an_encoder_that_dies_is_an_item_error(tmp_path: Path, original: VideoInfo) -> None:
    odd = Encode(codec="libx264", pix_fmt="nosuchformat")
    with (
        pytest.raises(ItemError, match="nosuchformat"),
        VideoSink(
            tmp_path / "result.mp4",
            original,
            (WIDTH, HEIGHT),
            odd,
            copy_audio=True,
            keep_metadata=True,
            frame_count=FRAMES,
        ) as sink,
    ):
        for frame_index, pixels in enumerate(films(FRAMES, WIDTH, HEIGHT)):
            sink.write(pixels, Frame(pixels, frame_index))
        sink.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_video_below_a_file_cannot_be_written(tmp_path: Path, original: VideoInfo) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        sink_to(tmp_path / "file" / "result.mp4", original, "libx264")


@dataclass(frozen=True)
class PictureKind:
    suffix: str
    format: str
    tolerance: int


JPEG_LOSS = 4
"""Levels: at quality 95 and full chroma a flat block is off by little more than the rounding of Y'CbCr."""
WEBP_LOSS = 8
"""Levels: WebP halves chroma and uses limited range."""

PICTURE_KINDS = [
    PictureKind(".jpg", "JPEG", JPEG_LOSS),
    PictureKind(".JPEG", "JPEG", JPEG_LOSS),
    PictureKind(".png", "PNG", 0),
    PictureKind(".tif", "TIFF", 0),
    PictureKind(".tiff", "TIFF", 0),
    PictureKind(".webp", "WEBP", WEBP_LOSS),
]


@pytest.mark.parametrize("kind", PICTURE_KINDS, ids=lambda kind: kind.suffix)
def test_a_picture_is_complete_at_once(tmp_path: Path, kind: PictureKind) -> None:
    paths = [tmp_path / "new" / f"{index}{kind.suffix}" for index in range(FRAMES)]
    sink = PictureSink(paths, keep_metadata=True)
    for frame_index, pixels in enumerate(films(FRAMES, WIDTH, HEIGHT)):
        sink.write(pixels, Frame(pixels, frame_index, metadata=PictureMetadata(kind.format)))
        assert sorted(path.name for path in paths[0].parent.iterdir()) == [path.name for path in paths[: frame_index + 1]]
        back, metadata = read_picture(paths[frame_index])
        assert metadata.format == kind.format
        assert farthest(back, pixels) <= kind.tolerance
    sink.finish()
    sink.abandon()
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize("kind", PICTURE_KINDS, ids=lambda kind: kind.suffix)
def test_a_picture_is_what_its_name_says(tmp_path: Path, kind: PictureKind) -> None:
    path = tmp_path / f"result{kind.suffix}"
    pixels = films(1)[0]
    for original in ("JPEG", "PNG", "TIFF", "WEBP"):
        PictureSink([path], keep_metadata=True).write(pixels, Frame(pixels, 0, metadata=PictureMetadata(original)))
        with Image.open(path) as image:
            assert image.format == kind.format


def test_a_picture_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    pixels = films(1)[0]
    with pytest.raises(OutputError, match="file"):
        PictureSink([tmp_path / "file" / "result.png"], keep_metadata=True).write(pixels, Frame(pixels, 0))


def test_an_output_that_is_a_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "result.png").mkdir()
    pixels = films(1)[0]
    with pytest.raises(OutputError, match=r"result\.png"):
        PictureSink([tmp_path / "result.png"], keep_metadata=True).write(pixels, Frame(pixels, 0))
    assert [child.name for child in tmp_path.iterdir()] == ["result.png"]


def noise(side: int) -> Bytes:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


@pytest.mark.parametrize("kind", PICTURE_KINDS, ids=lambda kind: kind.suffix)
def test_noise_can_be_written(tmp_path: Path, kind: PictureKind) -> None:
    """Nothing compresses worse, and a painting's grain comes near it."""
    pixels = noise(300)
    path = tmp_path / f"noise{kind.suffix}"
    PictureSink([path], keep_metadata=True).write(pixels, Frame(pixels, 0))
    assert read_picture(path)[0].shape == pixels.shape


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16_384), (".jpg", 65_536)])
def test_a_format_that_cannot_hold_the_size_is_an_item_error(tmp_path: Path, suffix: str, side: int) -> None:
    pixels = np.zeros((1, side, 3), np.uint8)
    path = tmp_path / f"long{suffix}"
    with pytest.raises(ItemError, match=rf"long{suffix} cannot be written as"):
        PictureSink([path], keep_metadata=True).write(pixels, Frame(pixels, 0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "side", "words"),
    [
        ("long.webp", 16_384, "16384x1 pixels; WEBP holds no more than 16383 a side"),
        ("long.jpg", 65_501, "65501x1 pixels; JPEG holds no more than 65500 a side"),
    ],
)
def test_a_size_that_a_format_cannot_hold_is_found_before_the_work(tmp_path: Path, name: str, side: int, words: str) -> None:
    with pytest.raises(ItemError, match=words):
        check_output(tmp_path / name, (side, 1))
    check_output(tmp_path / name, (side - 1, 1))
    pixels = np.zeros((1, side - 1, 3), np.uint8)
    PictureSink([tmp_path / name], keep_metadata=True).write(pixels, Frame(pixels, 0))
    check_output(tmp_path / "long.png", (side, 1))


def test_a_format_that_is_not_written_here_is_found_before_the_work(tmp_path: Path) -> None:
    if importlib.util.find_spec("pillow_heif"):
        check_output(tmp_path / "a.heic", (64, 48))
    else:
        with pytest.raises(ItemError, match=r"this Pillow does not write HEIF\.\n  Install nstpipe\[heic\]"):
            check_output(tmp_path / "a.heic", (64, 48))


def test_a_container_has_a_codec_of_its_own(tmp_path: Path, original: VideoInfo) -> None:
    for suffix, codecs in VIDEO_CODECS_BY_SUFFIX.items():
        result = passed_through(original, tmp_path / f"result{suffix}", copy_audio=False)
        assert result.codec in {"libx264": ("h264",), "libsvtav1": ("libdav1d", "av1")}[codecs[0]]
