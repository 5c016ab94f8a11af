"""What is left of a damaged video is read, and what is lost is said with its time."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nstpipe.errors import ItemError
from nstpipe.media.video import decode_check as checking
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.decode_check import apply_decode_check, decode_check
from nstpipe.media.video.info import DecodeCheck, VideoInfo
from nstpipe.media.video.probe import probe, probe_header

from .making import X264, films, looked_at, make_video, passed_through, run_ffmpeg, shown_times, sine

FRAMES = 40
STEP = Fraction(1, 25)
EACH_BY_ITSELF = ("-g", "1")
"""Every frame is a key frame, so that what is lost is only what is cut off."""


def whole(folder: Path, suffix: str, *options: str) -> Path:
    codec = ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p") if suffix == ".avi" else (*X264, *EACH_BY_ITSELF)
    audio = () if suffix == ".webm" else ("-c:a", "aac")
    if suffix == ".webm":
        codec = ("-c:v", "libvpx-vp9", "-b:v", "1M", *EACH_BY_ITSELF)
    inputs = sine(FRAMES / 25) if audio else ()
    return make_video(folder / f"whole{suffix}", films(FRAMES), *codec, *audio, *options, inputs=inputs)


FAST_START = ("-movflags", "+faststart")


def cut(folder: Path, suffix: str, share: float, *options: str) -> Path:
    content = whole(folder, suffix, *options).read_bytes()
    path = folder / f"cut{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    return path


CONTAINERS = {".mp4": FAST_START, ".mov": FAST_START, ".mkv": (), ".webm": (), ".avi": (), ".ts": ()}


@pytest.mark.parametrize("share", [0.4, 0.63, 0.9])
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_what_is_left_of_a_cut_video_is_read_and_the_loss_is_timed(tmp_path: Path, suffix: str, share: float) -> None:
    info = looked_at(cut(tmp_path, suffix, share, *CONTAINERS[suffix]))
    left = len(info.ticks)
    assert 0 < left < FRAMES
    assert info.loss is not None
    assert abs(info.loss.time - info.ticks[0] * info.time_base - left * STEP) <= 2 * STEP, "the first one that is missing"
    frames = list(VideoSource(info).read(0, left))
    assert len(frames) == left
    middle = list(VideoSource(info).read(left // 2, left // 2 + 1))
    assert np.array_equal(middle[0].pixels, frames[left // 2].pixels)
    found = passed_through(info, tmp_path / "result.mkv", copy_audio=False)
    assert len(found.ticks) == left
    assert found.loss is None


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_whole_video_has_no_loss(tmp_path: Path, suffix: str) -> None:
    path = whole(tmp_path, suffix, *CONTAINERS[suffix])
    info = looked_at(path)
    assert (info.loss, info.complaint) == (None, "")
    assert len(info.ticks) == FRAMES
    assert decode_check(probe(path)) == DecodeCheck(None, "")


def test_the_empty_moments_of_an_avi_are_no_loss_but_its_missing_end_is(tmp_path: Path) -> None:
    source, path = make_video(tmp_path / "source.mkv", films(6), *X264), tmp_path / "reordered.avi"
    # Because frames are reordered, the copy counts in halves of a frame, and its index goes on to the end of the last one.
    run_ffmpeg("-i", str(source), "-c", "copy", "-bsf:v", "h264_mp4toannexb", path)
    assert (looked_at(path).loss, len(looked_at(path).ticks)) == (None, 6)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    loss = looked_at(path).loss
    assert loss is not None
    assert "cut short" in loss.reason


def test_a_byte_off_the_end_costs_a_frame(tmp_path: Path) -> None:
    path = make_video(tmp_path / "whole.mp4", films(FRAMES), *X264, *FAST_START, *EACH_BY_ITSELF)
    path.write_bytes(path.read_bytes()[:-1])
    info = probe(path)
    assert info.loss is not None
    assert info.loss.frames in (1, 2), "the file holds a part of the last one, which may decode"
    assert "cut short: its index lists 40 frames and it holds 39" in info.loss.reason
    assert info.loss.time == (FRAMES - 1) * STEP


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_a_hole_in_the_middle_is_found_by_decoding(tmp_path: Path, suffix: str) -> None:
    path = make_video(tmp_path / f"whole{suffix}", films(FRAMES), *X264, "-g", "10", "-bf", "0", *CONTAINERS[suffix])
    times = shown_times(path)
    content = bytearray(path.read_bytes())
    start, length = len(content) // 2, len(content) // 5
    content[start : start + length] = bytes(length)
    path.write_bytes(bytes(content))
    info = looked_at(path)
    assert info.loss is not None
    assert times[0] + FRAMES * STEP * Fraction(3, 10) < info.loss.time < times[0] + FRAMES * STEP * Fraction(8, 10)
    assert 0 < len(info.ticks) < FRAMES
    assert {tick * info.time_base for tick in info.ticks} <= set(times)
    assert len(list(VideoSource(info).read(0, len(info.ticks)))) == len(info.ticks)


def test_gaps_of_a_variable_rate_are_no_loss(tmp_path: Path) -> None:
    gap = "settb=1/1000,setpts='N*40+if(gte(N,20),2000,0)'"
    options = (*X264, "-fps_mode", "passthrough", "-enc_time_base", "1/1000")
    info = looked_at(make_video(tmp_path / "gap.mkv", films(FRAMES), *options, video_filter=gap))
    assert info.loss is None
    steps = {later - earlier for earlier, later in pairwise(info.ticks)}
    assert max(steps) - min(steps) > 1, "the rate is not constant"


def test_sound_that_is_longer_than_the_picture_is_no_loss(tmp_path: Path) -> None:
    path = make_video(tmp_path / "long.mkv", films(5), *X264, "-c:a", "aac", inputs=sine(3))
    assert looked_at(path).loss is None


def test_a_survey_survives_the_journal(tmp_path: Path) -> None:
    found = decode_check(probe(cut(tmp_path, ".mkv", 0.5)))
    assert found.complaints
    assert DecodeCheck.from_json(found.as_json()) == found
    assert DecodeCheck.from_json(DecodeCheck((0, 512), "said").as_json()) == DecodeCheck((0, 512), "said")


def test_a_video_of_which_nothing_decodes_is_an_error(tmp_path: Path) -> None:
    info = probe(whole(tmp_path, ".mkv"))
    with pytest.raises(ItemError, match="no frame of it can be decoded"):
        apply_decode_check(info, DecodeCheck((), "all is lost"))


def encrypted(folder: Path) -> Path:
    """Common encryption, as stores sell it: the container is fine, the frames are not."""
    path = folder / "encrypted.mp4"
    key = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "00" * 15 + "01", "-encryption_kid", "00" * 15 + "02")
    run_ffmpeg("-i", whole(folder, ".mp4"), "-map", "0:v", "-c", "copy", *key, path)
    return path


@pytest.mark.parametrize("make", [encrypted], ids=lambda make: make.__name__)
def test_what_is_encrypted_is_an_error(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(ItemError, match=r"encrypted\.mp4 is encrypted"):
        looked_at(make(tmp_path))


def test_a_cut_video_is_decoded_once_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cut(tmp_path, ".mp4", 0.63, *FAST_START)
    decoded: list[object] = []
    real = checking._decoded

    def counted(info: VideoInfo, options: dict[str, Any], on_frame: Callable[[int], None]) -> tuple[tuple[int, ...], str]:
        decoded.append(options)
        return real(info, options, on_frame)

    monkeypatch.setattr(checking, "_decoded", counted)
    says = probe_header(path)
    assert decoded == []
    assert says.loss is not None
    assert probe(path) == apply_decode_check(says, decode_check(says))
    assert decoded == [checking.ONE_THREAD] * 2, "once for each of the two"
