"""What a stylized video has in common with its original: time, sound, tags, color, shape."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nstpipe.config.models import Encode
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.encode import VideoSink
from nstpipe.media.video.probe import probe

from .making import (
    FFV1_RGB,
    HEIGHT,
    PALETTE,
    WIDTH,
    X264,
    Bytes,
    blocks,
    farthest,
    films,
    make_video,
    middles,
    packets,
    passed_through,
    run_ffmpeg,
    shown_times,
    sine,
    tags,
)

FRAMES = 10


RATES = {"25": Fraction(25), "30000/1001": Fraction(30000, 1001), "24000/1001": Fraction(24000, 1001), "12": Fraction(12)}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_constant_rates_are_exact(tmp_path: Path, rate: str, suffix: str) -> None:
    original = make_video(tmp_path / f"original{suffix}", films(FRAMES), *X264, rate=rate)
    result = tmp_path / f"result{suffix}"
    found = passed_through(original, result)
    expected = [index / RATES[rate] for index in range(FRAMES)]
    assert [tick * found.time_base for tick in found.ticks] == expected
    assert shown_times(result) == expected
    assert found.average_rate == RATES[rate]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "libx264"), (".webm", "libsvtav1")])
def test_a_container_in_milliseconds_keeps_its_milliseconds(tmp_path: Path, rate: str, suffix: str, codec: str) -> None:
    original = make_video(tmp_path / "original.mkv", films(FRAMES, 64, 64), *X264, rate=rate)
    result = tmp_path / f"result{suffix}"
    found = passed_through(original, result, Encode(codec=codec))
    expected = [Fraction(round(index * 1000 / RATES[rate]), 1000) for index in range(FRAMES)]
    assert shown_times(original) == expected
    assert shown_times(result) == expected
    assert found.average_rate == RATES[rate]


def test_times_survive_from_a_container_in_milliseconds_to_mp4(tmp_path: Path) -> None:
    original = make_video(tmp_path / "original.mkv", films(FRAMES), *X264, rate="30000/1001")
    passed_through(original, tmp_path / "result.mp4")
    assert shown_times(tmp_path / "result.mp4") == shown_times(original)


UNEVEN = "settb=1/1000,setpts=(N*40+7*mod(N\\,3)+N*N)"
UNEVEN_TIMES = [Fraction(n * 40 + 7 * (n % 3) + n * n, 1000) for n in range(FRAMES)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_variable_rate_keeps_each_time(tmp_path: Path, suffix: str) -> None:
    timescale = () if suffix == ".mkv" else ("-video_track_timescale", "1000")
    options = (*X264, "-fps_mode", "passthrough", "-enc_time_base", "1/1000", *timescale)
    original = make_video(tmp_path / f"original{suffix}", films(FRAMES), *options, video_filter=UNEVEN)
    assert shown_times(original) == UNEVEN_TIMES
    assert [frame.time for frame in VideoSource(probe(original)).read(0, FRAMES)] == UNEVEN_TIMES
    passed_through(original, tmp_path / f"result{suffix}")
    assert shown_times(tmp_path / f"result{suffix}") == UNEVEN_TIMES


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_start_other_than_zero_stays(tmp_path: Path, suffix: str) -> None:
    options = (*X264, "-c:a", "aac", "-output_ts_offset", "1.4")
    original = make_video(tmp_path / f"original{suffix}", films(FRAMES), *options, inputs=sine(0.4))
    times = [Fraction(14, 10) + Fraction(index, 25) for index in range(FRAMES)]
    assert shown_times(original) == times
    assert [frame.time for frame in VideoSource(probe(original)).read(0, FRAMES)] == times
    result = tmp_path / f"result{suffix}"
    passed_through(original, result)
    assert shown_times(result) == times
    assert packets(result, "audio") == packets(original, "audio")


def test_a_transport_stream_becomes_an_mp4_in_sync(tmp_path: Path) -> None:
    options = ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-c:a", "aac")
    original = make_video(tmp_path / "original.ts", films(FRAMES), *options, inputs=sine(0.4))
    result = tmp_path / "result.mp4"
    passed_through(original, result)
    before, after = shown_times(original), shown_times(result)
    assert len(before) == FRAMES
    assert after == before
    first_sound_before, first_sound_after = packets(original, "audio")[0].time, packets(result, "audio")[0].time
    assert first_sound_before is not None
    assert first_sound_after is not None
    assert abs(first_sound_after - first_sound_before) < Fraction(1, 1000), "MP4 counts sound in samples, TS in 1/90000 s"


LATE = {
    "both at once": ((), ()),
    "sound late": ((), ("-itsoffset", "0.32")),
    "picture late": (("-itsoffset", "0.32"), ()),
}
SOUNDS = {".mp4": "aac", ".mov": "pcm_s16le", ".mkv": "flac"}


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("suffix", SOUNDS)
def test_sound_is_copied_packet_for_packet_in_sync(tmp_path: Path, late: str, suffix: str) -> None:
    video_input, audio_input = LATE[late]
    original = make_video(
        tmp_path / f"original{suffix}",
        films(FRAMES),
        *(*X264, "-c:a", SOUNDS[suffix]),
        inputs=sine(0.5, *audio_input),
        video_input=video_input,
    )
    sound, times = packets(original, "audio"), shown_times(original)
    assert len(sound) > 3
    first = sound[0].time
    assert first is not None
    between = times[0] - first
    expected = {"both at once": 0.0, "sound late": -0.32, "picture late": 0.32}[late]
    assert abs(float(between) - expected) < AAC_PRIMING_SECONDS, "the made video is as it should be"
    result = tmp_path / f"result{suffix}"
    found = passed_through(original, result)
    assert found.audio_streams == 1
    assert packets(result, "audio") == sound
    assert shown_times(result) == times


AAC_PRIMING_SECONDS = 0.03
"""An AAC encoder puts 1024 samples before the sound; Matroska rounds them to milliseconds."""


def test_sound_in_opus_goes_to_webm(tmp_path: Path) -> None:
    original = make_video(
        tmp_path / "original.webm",
        films(FRAMES, 64, 64),
        *("-c:v", "libvpx-vp9", "-b:v", "1M", "-c:a", "libopus"),
        inputs=sine(0.4),
    )
    result = tmp_path / "result.webm"
    passed_through(original, result, Encode(codec="libsvtav1"))
    assert packets(result, "audio") == packets(original, "audio")


def test_sound_can_be_left_out(tmp_path: Path) -> None:
    original = make_video(tmp_path / "original.mp4", films(FRAMES), *X264, "-c:a", "aac", inputs=sine(0.4))
    found = passed_through(original, tmp_path / "result.mp4", copy_audio=False)
    assert probe(original).audio_streams == 1
    assert found.audio_streams == 0


def test_all_sound_streams_come_along(tmp_path: Path) -> None:
    one = make_video(tmp_path / "one.mkv", films(FRAMES), *X264, "-c:a", "flac", inputs=sine(0.4))
    original = tmp_path / "original.mkv"
    run_ffmpeg("-i", one, "-map", "0:v", "-map", "0:a", "-map", "0:a", "-c", "copy", original)
    assert passed_through(original, tmp_path / "result.mkv").audio_streams == 2


@pytest.mark.parametrize("sound", [True, False], ids=["with sound", "without sound"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_tags_and_chapters_are_kept_or_dropped(tmp_path: Path, suffix: str, sound: bool) -> None:
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(";FFMETADATA1\ntitle=A street\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=Corner\n")
    made = make_video(
        tmp_path / f"made{suffix}", films(FRAMES), *X264, *(("-c:a", "aac") if sound else ()), inputs=sine(0.4) if sound else ()
    )
    original = tmp_path / f"original{suffix}"
    run_ffmpeg(
        *("-i", made, "-i", chapters, "-map", "0", "-map_metadata", "1", "-map_chapters", "1", "-c", "copy"),
        *("-metadata:s", "language=deu", "-metadata:s", "title=Private words", original),
    )
    assert b"Private words" in original.read_bytes()
    for keep in (True, False):
        result = tmp_path / f"result_{keep}{suffix}"
        passed_through(original, result, keep_metadata=keep)
        assert tags(result).get("title") == ("A street" if keep else None)
        with av.open(str(result)) as container:
            assert len(container.chapters()) == (1 if keep else 0)
        assert (b"Corner" in result.read_bytes()) is keep
        if not keep:
            assert b"Private words" not in result.read_bytes()


# Colors. The Y'CbCr is computed here from the standards' own numbers, so nothing is compared with itself.

LUMA = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}
"""Shares of red and blue in luma: ITU-R BT.709, BT.601, BT.2020."""


def ycbcr(rgb: Bytes, matrix: str, full_range: bool) -> Bytes:
    red_share, blue_share = LUMA[matrix]
    red, green, blue = (rgb[..., channel] / 255 for channel in range(3))
    luma = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
    to_blue, to_red = (blue - luma) / (2 - 2 * blue_share), (red - luma) / (2 - 2 * red_share)
    planes = (255 * luma, 128 + 255 * to_blue, 128 + 255 * to_red)
    if not full_range:
        planes = (16 + 219 * luma, 128 + 224 * to_blue, 128 + 224 * to_red)
    return np.stack(planes).round().clip(0, 255).astype(np.uint8)


def color_file(path: Path, picture: Bytes, matrix: str, full_range: bool, *, tagged: bool = True) -> Path:
    """Planes into a lossless file, with the tags alone saying what they mean."""
    height, width, _ = picture.shape
    said = f"setparams=range={'pc' if full_range else 'tv'}"
    if tagged:
        said += f":colorspace={matrix}:color_primaries=bt709:color_trc=bt709"
    run_ffmpeg(
        *("-f", "rawvideo", "-pixel_format", "yuv444p", "-video_size", f"{width}x{height}", "-framerate", "25", "-i", "pipe:0"),
        *("-vf", said, "-c:v", "libx264", "-qp", "0", path),
        content=ycbcr(picture, matrix, full_range).tobytes() * 2,
    )
    return path


YCBCR_ROUNDING = 3
"""Levels: Y', Cb and Cr are each off by up to a half, which is 2.1 levels of blue; the conversion rounds once more."""


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", LUMA)
def test_tagged_colors_are_decoded_as_tagged(tmp_path: Path, matrix: str, full_range: bool) -> None:
    path = color_file(tmp_path / "colors.mkv", blocks(), matrix, full_range)
    info = probe(path)
    assert (info.color.matrix, info.color.matrix_is_tagged, info.color.full_range) == (matrix, True, full_range)
    frame = next(VideoSource(info).read(0, 1))
    assert farthest(frame.pixels, blocks()) <= YCBCR_ROUNDING


@pytest.mark.parametrize(("height", "matrix"), [(48, "smpte170m"), (704, "smpte170m"), (720, "bt709")])
def test_untagged_colors_go_by_the_height(tmp_path: Path, height: int, matrix: str) -> None:
    picture = blocks(height=height)
    info = probe(color_file(tmp_path / "colors.mkv", picture, matrix, False, tagged=False))
    assert (info.color.matrix, info.color.matrix_is_tagged) == (matrix, False)
    frame = next(VideoSource(info).read(0, 1))
    assert farthest(frame.pixels, picture) <= YCBCR_ROUNDING


SAME_COLOUR = 2
"""Levels: what may not be seen; Y'CbCr is rounded once more, and a flat block loses nothing else."""


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_round_trip_keeps_flat_colors_and_tags(tmp_path: Path, matrix: str, full_range: bool, suffix: str) -> None:
    original = color_file(tmp_path / f"colors{suffix}", blocks(), matrix, full_range)
    before = next(VideoSource(probe(original)).read(0, 1)).pixels
    result = tmp_path / f"result{suffix}"
    found = passed_through(original, result, Encode(crf=1))
    assert (found.color.matrix, found.color.matrix_is_tagged, found.color.full_range) == (matrix, True, False)
    assert (found.color.primaries, found.color.transfer) == ("bt709", "bt709")
    after = next(VideoSource(probe(result)).read(0, 1)).pixels
    assert farthest(after, before) <= SAME_COLOUR


@pytest.mark.parametrize("color", PALETTE[::3])
def test_the_default_quality_keeps_a_flat_picture(tmp_path: Path, color: tuple[int, int, int]) -> None:
    flat = np.full((HEIGHT, WIDTH, 3), color, np.uint8)
    original = make_video(tmp_path / "original.mkv", [flat] * 3, *FFV1_RGB)
    passed_through(original, tmp_path / "result.mp4")
    for frame in VideoSource(probe(tmp_path / "result.mp4")).read(0, 3):
        assert farthest(frame.pixels, flat) <= SAME_COLOUR


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "gbrp", "bgr0", "yuv420p10le"])
def test_ffv1_keeps_colors_in_any_pixel_format(tmp_path: Path, pix_fmt: str) -> None:
    original = make_video(tmp_path / "original.mkv", films(2), *FFV1_RGB)
    result = tmp_path / "result.mkv"
    passed_through(original, result, Encode(codec="ffv1", pix_fmt=pix_fmt))
    for frame, put_in in zip(VideoSource(probe(result)).read(0, 2), films(2), strict=True):
        assert farthest(frame.pixels, put_in) <= (YCBCR_ROUNDING if pix_fmt.startswith("yuv") else 0)


def test_untagged_colors_are_tagged_in_the_result(tmp_path: Path) -> None:
    original = color_file(tmp_path / "original.mp4", blocks(), "smpte170m", False, tagged=False)
    found = passed_through(original, tmp_path / "result.mp4")
    assert (found.color.matrix, found.color.matrix_is_tagged) == ("smpte170m", True)


# Shape.


# A turn by an odd angle would leave empty corners. It is not applied, as by players.
@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (270, 3), (45, 0), (100, 0)])
def test_rotation_is_applied_once_and_gone(tmp_path: Path, degrees: int, turns: int) -> None:
    stored = blocks()
    made = make_video(tmp_path / "made.mp4", [stored] * 2, *X264)
    original = tmp_path / "original.mp4"
    run_ffmpeg("-display_rotation", str(degrees), "-i", made, "-c", "copy", original)
    # The display matrix turns counter-clockwise, and so does rot90.
    upright = np.rot90(stored, turns)
    height, width, _ = upright.shape
    info = probe(original)
    assert (info.width, info.height) == (width, height)
    frame = next(VideoSource(info).read(0, 1))
    assert farthest(frame.pixels, upright) <= YCBCR_ROUNDING
    found = passed_through(original, tmp_path / "result.mp4")
    assert (found.width, found.height) == (width, height)
    with av.open(str(tmp_path / "result.mp4")) as container:
        decoded = next(container.decode(video=0))
        assert (decoded.rotation, decoded.width, decoded.height) == (0, width, height)


def test_anamorphic_pixels_become_square(tmp_path: Path) -> None:
    original = make_video(tmp_path / "original.mp4", films(2), *X264, video_filter="setsar=2/1")
    info = probe(original)
    assert (info.width, info.height) == (2 * WIDTH, HEIGHT)
    frame = next(VideoSource(info).read(0, 1))
    wide = np.repeat(films(1)[0], 2, axis=1)
    assert frame.pixels.shape == wide.shape
    # Two middle pixels of each block are safe from the resize filter too.
    assert np.abs(frame.pixels[8::16, 16::32].astype(int) - wide[8::16, 16::32]).max() <= YCBCR_ROUNDING
    found = passed_through(original, tmp_path / "result.mp4")
    assert (found.width, found.height) == (2 * WIDTH, HEIGHT)
    with av.open(str(tmp_path / "result.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, Fraction(1))
        assert container.streams.video[0].width == 2 * WIDTH


def test_anamorphic_and_turned(tmp_path: Path) -> None:
    made = make_video(tmp_path / "made.mp4", films(2), *X264, video_filter="setsar=2/1")
    original = tmp_path / "original.mp4"
    run_ffmpeg("-display_rotation", "90", "-i", made, "-c", "copy", original)
    info = probe(original)
    assert (info.width, info.height) == (HEIGHT, 2 * WIDTH)
    upright = np.rot90(np.repeat(films(1)[0], 2, axis=1))
    frame = next(VideoSource(info).read(0, 1))
    assert np.abs(frame.pixels[16::32, 8::16].astype(int) - upright[16::32, 8::16]).max() <= YCBCR_ROUNDING


def test_odd_sizes_are_read_exactly_and_written_even(tmp_path: Path) -> None:
    picture = blocks(width=63, height=47)
    original = make_video(tmp_path / "original.mkv", [picture] * 2, *FFV1_RGB)
    info = probe(original)
    assert (info.width, info.height) == (63, 47)
    frame = next(VideoSource(info).read(0, 1))
    assert np.array_equal(frame.pixels, picture)
    result = tmp_path / "result.mp4"
    even = blocks()
    with VideoSink(result, info, (WIDTH, HEIGHT), Encode(), copy_audio=True, keep_metadata=True, frame_count=2) as sink:
        for frame in VideoSource(info).read(0, 2):
            sink.write(even, frame)
        found = sink.finish()
    assert (found.width, found.height) == (WIDTH, HEIGHT)


def test_the_middles_leave_no_block_out() -> None:
    """What the comparisons here rest on."""
    assert len(np.unique(middles(blocks()), axis=0)) == len(PALETTE)
    assert farthest(blocks(), blocks(1)) > 100
