"""Files whose times cannot be encoded as they are: mended, said, and encoded, with the sound in sync."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from nstpipe.config.models import Encode
from nstpipe.errors import ItemError
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.decode_check import apply_decode_check, decode_check
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe
from nstpipe.media.video.shapes import shapes_of
from nstpipe.media.video.streams import omitted_streams
from nstpipe.media.video.trial import try_output

from .making import X264, films, looked_at, make_video, packets, passed_through, run_ffmpeg, shown_times, sine

FRAME = Fraction(1, 25)


def recording(path: Path, frames: int, *options: str, start: int = 0) -> Path:
    """Frames in 25ths of a second, with a tone of the same length."""
    return make_video(path, films(frames), *options, "-output_ts_offset", str(start), inputs=sine(frames / 25))


def joined(*parts: Path) -> Path:
    path = parts[0].with_name(f"joined{parts[0].suffix}")
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


MPEG4 = (*X264, "-bf", "2", "-c:a", "aac")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-c:a", "mp2")
JOINED = {
    ".ts": MPEG4,
    ".mpg": MPEG2,
    ".vob": ("-f", "vob", "-c:v", "mpeg2video", "-q:v", "2", "-c:a", "ac3"),
    ".mkv": MPEG4,
}


@pytest.mark.parametrize("suffix", JOINED)
@pytest.mark.parametrize("result", [".mp4", ".mkv"])
def test_recordings_that_were_joined_follow_one_another_each_in_sync(tmp_path: Path, suffix: str, result: str) -> None:
    first, second = (recording(tmp_path / f"{frames}{suffix}", frames, *JOINED[suffix]) for frames in (8, 12))
    path = joined(first, second)
    info = looked_at(path)
    assert info.loss is None
    assert len(info.mended) == 1
    assert "begins anew once (at frame 8)" in info.mended[0]
    made = tmp_path / f"made{result}"
    try_output(tmp_path / "trial", made, info, (64, 48), Encode(), copy_audio=True, keep_metadata=True)
    passed_through(info, made)
    times = shown_times(made)
    assert len(times) == 20
    before, sound = packets(path, "audio"), packets(made, "audio")
    assert [packet.content[-20:] for packet in sound] == [packet.content[-20:] for packet in before]
    sound_times = [packet.time for packet in sound if packet.time is not None]
    assert all(later > earlier for earlier, later in pairwise(sound_times))
    # The second recording's first frame and first sound are as far apart as in its own file.
    alone = packets(second, "audio")
    apart = alone[0].time - shown_times(second)[0]  # type: ignore[operator]
    assert abs((sound_times[-len(alone)] - times[8]) - apart) <= Fraction(2, 1000)
    # Nothing of the first one is lost in between, and there is no long pause.
    assert FRAME - Fraction(1, 1000) <= times[8] - times[7] < 3 * FRAME


def has_no_times_below_zero(folder: Path) -> Path:
    """Matroska cannot hold such times: the first packets of the picture have none."""
    whole, path = recording(folder / "whole.mkv", 50, *MPEG4, "-g", "25"), folder / "below.mkv"
    run_ffmpeg("-ss", "1.3", "-i", whole, "-c", "copy", "-avoid_negative_ts", "disabled", path)
    return path


def begins_below_zero(folder: Path) -> Path:
    """ffmpeg gives frames without a time those of the frames behind them."""
    whole, path = recording(folder / "whole.mp4", 6, *MPEG4), folder / "below.mkv"
    run_ffmpeg("-i", str(whole), "-c", "copy", "-output_ts_offset", "-0.12", "-avoid_negative_ts", "disabled", path)
    return path


def clock_at_its_end(folder: Path) -> Path:
    """The 33 bits of 90 kHz end after 95443.7 s."""
    return recording(folder / "wrap.ts", 50, *MPEG4, start=95442)


def equal_times(folder: Path) -> Path:
    setting = ("-bsf:v", "setts=ts=floor(N/2)*80", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    return make_video(folder / "equal.mkv", films(9), *setting)


def jump_of_hours(folder: Path) -> Path:
    return joined(*(recording(folder / f"{start}.ts", 10, *MPEG4, start=start) for start in (0, 7200)))


def clock_goes_back_and_sizes_change(folder: Path) -> Path:
    tall = make_video(folder / "tall.ts", films(10, 48, 64), *MPEG4, inputs=sine(0.4))
    return joined(recording(folder / "late.ts", 10, *MPEG4, start=7200), tall)


def cut_anywhere(folder: Path) -> Path:
    content = recording(folder / "whole.ts", 75, *MPEG4, "-g", "25").read_bytes()
    count, path = len(content) // 188, folder / "cut.ts"
    path.write_bytes(content[: count * 3 // 5 * 188] + content[count // 5 * 188 :])
    return path


ODD: dict[Callable[[Path], Path], str] = {
    has_no_times_below_zero: "had no time in the file",
    begins_below_zero: "3 frames had no time in the file",
    clock_at_its_end: "everything is moved so that they begin at 0",
    equal_times: "4 frames had the time of another",
    jump_of_hours: "its clock jumps once",
    clock_goes_back_and_sizes_change: "first at frame 10, to 48x64; they are fitted into 64x48",
    cut_anywhere: "begins anew once",
}


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_odd_times_are_said_and_encoded(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    info = probe(path)
    info = apply_decode_check(info, decode_check(info))
    info = VideoInfo(**{**vars(info), "shapes": shapes_of(info)})
    assert ODD[make] in " ".join(info.mended)
    assert info.ticks[0] >= 0
    steps = [(later - earlier) * info.time_base for earlier, later in pairwise(info.ticks)]
    assert min(steps) > (0 if make is cut_anywhere else FRAME / 2), "where a frame is damaged, its time is a guess"
    for suffix in (".mp4", ".mkv"):
        result = tmp_path / f"result{suffix}"
        try_output(tmp_path / "trial", result, info, (64, 48), Encode(), copy_audio=True, keep_metadata=True)
        found = passed_through(info, result)
        assert len(found.ticks) == len(info.ticks)
        assert found.audio_streams == info.audio_streams
    # A run that is interrupted reads from the middle.
    [frame] = VideoSource(info).read(len(info.ticks) - 2, len(info.ticks) - 1)
    assert frame.time == info.ticks[-2] * info.time_base


def test_a_frame_of_another_shape_is_fitted_without_distortion(tmp_path: Path) -> None:
    tall = make_video(tmp_path / "tall.ts", films(4, 48, 64), *X264)
    info = looked_at(joined(make_video(tmp_path / "wide.ts", films(4), *X264), tall))
    info = VideoInfo(**{**vars(info), "shapes": shapes_of(info)})
    *_, fitted = (frame.pixels for frame in VideoSource(info).read(0, 8))
    assert fitted.shape == (48, 64, 3)
    # 48x64 becomes 36x48, in the middle, between black bars of 14 pixels.
    lit = fitted.max(axis=(0, 2)) > 40
    assert (lit.argmax(), len(lit) - lit[::-1].argmax()) == (14, 50)
    [*_, whole] = VideoSource(probe(tall)).read(0, 4)
    import cv2

    small = cv2.resize(whole.pixels, (36, 48), interpolation=cv2.INTER_CUBIC)
    assert np.abs(small.astype(int) - fitted[:, 14:50]).mean() < 4


def test_colors_that_change_are_read_by_their_own_tags(tmp_path: Path) -> None:
    options = ("-c:v", "mpeg2video", "-q:v", "1")
    parts = [make_video(tmp_path / f"{matrix}.mpg", films(3), *options, matrix=matrix) for matrix in ("bt709", "smpte170m")]
    info = looked_at(joined(*parts))
    info = VideoInfo(**{**vars(info), "shapes": shapes_of(info)})
    assert [shape.color.matrix for shape in info.shapes] == ["smpte170m"]
    assert not info.changes_size
    frames = [frame.pixels for frame in VideoSource(info).read(0, 6)]
    for part, read in zip(parts, (frames[:3], frames[3:]), strict=True):
        alone = [frame.pixels for frame in VideoSource(looked_at(part)).read(0, 3)]
        assert all(np.array_equal(one, other) for one, other in zip(alone, read, strict=True))


@pytest.mark.parametrize("suffix", [".flv", ".mp4"])
def test_a_second_recording_that_ffmpeg_does_not_read_is_reported_as_missing(tmp_path: Path, suffix: str) -> None:
    options = ("-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100") if suffix == ".flv" else MPEG4
    part = recording(tmp_path / f"part{suffix}", 6, *options)
    info = looked_at(joined(part, part))
    assert len(info.ticks) == 6
    assert info.loss is not None
    assert f"another recording begins at byte {part.stat().st_size}" in info.loss.reason


def without_sound_packets(folder: Path) -> Path:
    content = recording(folder / "whole.ts", 10, *MPEG4).read_bytes()
    path = folder / "silent.ts"
    blocks = [content[at : at + 188] for at in range(0, len(content), 188)]
    path.write_bytes(b"".join(block for block in blocks if ((block[1] & 31) << 8 | block[2]) != 257))
    return path


def test_sound_that_is_announced_and_never_comes_is_dropped_and_named(tmp_path: Path) -> None:
    info = looked_at(without_sound_packets(tmp_path))
    [stream] = info.streams
    assert (stream.kind, stream.is_empty) == ("audio", True)
    for suffix in (".mp4", ".mkv"):
        result = tmp_path / f"result{suffix}"
        [omission] = omitted_streams(info, result, copy_audio=True)
        assert "holds none of it" in omission.detail
        assert passed_through(info, result).streams == ()


def test_sound_that_begins_behind_a_silent_recording_comes_along(tmp_path: Path) -> None:
    silent = make_video(tmp_path / "silent.ts", films(10), *X264)
    path = joined(silent, recording(tmp_path / "loud.ts", 10, *MPEG4))
    found = passed_through(looked_at(path), tmp_path / "result.mp4")
    assert found.audio_streams == 1
    first = packets(tmp_path / "result.mp4", "audio")[0].time
    assert first is not None
    assert abs(first - shown_times(tmp_path / "result.mp4")[10]) < FRAME


def test_sound_that_was_cut_away_does_not_come_back(tmp_path: Path) -> None:
    whole, path = recording(tmp_path / "whole.mp4", 50, *MPEG4), tmp_path / "cut.mp4"
    run_ffmpeg("-ss", "1.6", "-i", str(whole), "-c", "copy", path)
    assert min(one.time for one in packets(path, "audio") if one.time is not None) < -1, "it is in the file, hidden"
    info = looked_at(path)
    assert len(info.ticks) == 10
    for suffix in (".mkv", ".mp4"):
        result = tmp_path / f"result{suffix}"
        assert passed_through(info, result).audio_streams == 1
        with av.open(str(result)) as container:
            heard = [one.pts * one.time_base for one in container.demux(audio=0) if one.size and not one.is_discard]
        assert -2 * FRAME < heard[0] <= 0, "but what starts the decoder"
        assert heard[-1] > 8 * FRAME


def test_a_damaged_packet_of_sound_costs_itself_only(tmp_path: Path) -> None:
    path = recording(tmp_path / "film.ts", 25, *MPEG4)
    content = bytearray(path.read_bytes())
    headers = [at for at in range(len(content) - 1) if content[at : at + 2] == b"\xff\xf1"]
    content[headers[len(headers) // 2]] = 0
    path.write_bytes(bytes(content))
    info = looked_at(path)
    assert any("damaged packet" in one.detail for one in omitted_streams(info, Path("x.mp4"), copy_audio=True))
    passed_through(info, tmp_path / "result.mp4")
    assert len(packets(path, "audio")) - 3 < len(packets(tmp_path / "result.mp4", "audio")) < len(packets(path, "audio"))


DV = ("-s", "720x576", "-c:v", "dvvideo", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le", "-ar", "48000", "-ac", "2")
CONTAINERS = {
    "film.dv": DV,
    "sorenson.flv": ("-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100"),
    "film.swf": ("-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100"),
    "film.ivf": ("-c:v", "libvpx", "-output_ts_offset", "0.5"),
    "film.nut": ("-c:v", "ffv1", "-c:a", "pcm_s16le"),
    "film.ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
    "film.3gp": ("-c:v", "mpeg4", "-c:a", "aac"),
    "film.mxf": ("-c:v", "mpeg2video", "-c:a", "pcm_s16le", "-ar", "48000"),
    "film.gxf": ("-s", "720x576", "-c:v", "mjpeg", "-pix_fmt", "yuvj422p", "-c:a", "pcm_s16le", "-ar", "48000", "-ac", "1"),
    "film.asf": ("-c:v", "wmv2", "-c:a", "libmp3lame"),
    "film.wtv": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "film.rm": ("-s", "176x144", "-c:v", "rv20", "-c:a", "ac3"),
    "film.m2ts": (*X264, "-c:a", "ac3"),
    "film.y4m": ("-pix_fmt", "yuv420p"),
    "film.mjpeg": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "film.m2v": ("-c:v", "mpeg2video", "-bf", "2"),
    "b_frames.avi": (*X264, "-bf", "2", "-c:a", "libmp3lame"),
}
HAVE_NO_SOUND = (".ivf", ".y4m", ".mjpeg", ".m2v")


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_read_and_its_sound_comes_along(tmp_path: Path, name: str) -> None:
    has_sound = not name.endswith(HAVE_NO_SOUND)
    path = make_video(tmp_path / name, films(10), *CONTAINERS[name], inputs=sine(0.4) if has_sound else ())
    info = looked_at(path)
    assert (len(info.ticks), info.loss, info.mended) == (10, None, ())
    for suffix in (".mp4", ".mkv"):
        result = tmp_path / f"result{suffix}"
        try_output(tmp_path / "trial", result, info, (64, 48), Encode(), copy_audio=True, keep_metadata=True)
        found = passed_through(info, result)
        assert (len(found.ticks), found.audio_streams) == (10, int(has_sound))


def test_a_time_that_the_container_cannot_hold_is_found_before_the_work(tmp_path: Path) -> None:
    """MP4 counts a frame's duration in 32 bits: of a tick of a ninety-thousandth, that is less than seven hours."""
    info = probe(make_video(tmp_path / "film.mkv", films(4), *X264, "-bf", "0"))
    stretched = VideoInfo(**{**vars(info), "time_base": Fraction(1, 90000), "ticks": (0, 3600, 7200, 7200 + (1 << 33))})
    with pytest.raises(ItemError, match=r"a trial of 4 frames"):
        try_output(tmp_path, tmp_path / "x.mp4", stretched, (64, 48), Encode(), copy_audio=True, keep_metadata=True)
