"""More than 8 bits, more light than a screen has, and half pictures: each becomes whole frames in RGB."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nstpipe.config.models import Encode
from nstpipe.media.frame import in_eight_bits, in_sixteen_bits
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.ffmpeg import encoders, executable, filters
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe
from tests.making import write_pipeline

from .making import BLOCK, HEIGHT, WIDTH, X264, Bytes, farthest, films, make_video, passed_through, run_ffmpeg, shown_times

LOSSLESS = ("-c:v", "ffv1", "-pix_fmt")
FRAMES = 10

# 10 bits.

LEVELS_OF_TEN_BITS = 1023


def ramp() -> NDArray[np.uint16]:
    """Grays in steps of one level of 10 bits, which 8 bits cannot tell apart; limited range is 64 to 940."""
    luma = np.repeat(np.arange(500, 500 + WIDTH, dtype=np.uint16)[None], HEIGHT, axis=0)
    return np.stack([luma, np.full_like(luma, 512), np.full_like(luma, 512)])


def ten_bit(path: Path, frames: int = 2) -> Path:
    said = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    run_ffmpeg(
        *("-f", "rawvideo", "-pixel_format", "yuv444p10le", "-video_size", f"{WIDTH}x{HEIGHT}", "-framerate", "25"),
        *("-i", "pipe:0", "-vf", said, "-c:v", "ffv1", "-pix_fmt", "yuv444p10le", path),
        content=ramp().astype("<u2").tobytes() * frames,
    )
    return path


def expected_ramp() -> NDArray[np.float64]:
    """BT.709 limited: 64 is black and 940 is white; both scaled to 65535."""
    return (np.arange(500, 500 + WIDTH) - 64) / (940 - 64) * 65535


HALF_A_LEVEL_OF_TEN_BITS = 65535 / 876 / 2
"""So much the conversion may be off before two neighboring levels could be taken for each other."""


def test_ten_bits_stay_ten_bits_up_to_the_engine(tmp_path: Path) -> None:
    info = probe(ten_bit(tmp_path / "ten.mkv"))
    assert (info.bits, info.is_deep) == (10, True)
    frame = next(VideoSource(info).read(0, 1))
    assert frame.pixels.dtype == np.uint16
    row = frame.pixels[HEIGHT // 2].astype(float)
    assert np.abs(row - expected_ramp()[:, None]).max() < HALF_A_LEVEL_OF_TEN_BITS
    assert len(np.unique(frame.pixels[0, :, 0])) == WIDTH


@pytest.mark.parametrize(
    ("codec", "suffix"), [("ffv1", ".mkv"), ("libx265", ".mp4"), ("prores", ".mov"), ("libsvtav1", ".mkv")]
)
def test_ten_bits_come_out_as_ten_bits(tmp_path: Path, codec: str, suffix: str) -> None:
    if {"prores": "prores_ks"}.get(codec, codec) not in encoders():
        pytest.skip(f"this ffmpeg has no {codec}")
    made = tmp_path / "ten.mkv"
    run_ffmpeg("-i", ten_bit(tmp_path / "small.mkv"), "-vf", "pad=64:64", *LOSSLESS, "yuv444p10le", made)
    found = passed_through(made, tmp_path / f"result{suffix}", Encode(codec=codec))
    assert found.bits == 10
    row = next(VideoSource(found_again(tmp_path / f"result{suffix}")).read(0, 1)).pixels[HEIGHT // 2, :, 1].astype(float)
    assert np.abs(row - expected_ramp()).mean() < LOSS_OF_TEN_BITS[codec] * 2 * HALF_A_LEVEL_OF_TEN_BITS


LOSS_OF_TEN_BITS = {"ffv1": 1, "libx265": 4, "prores": 2, "libsvtav1": 6}
"""Levels of 10 bits on average; 8 bits alone would be off by up to 2, which the lossy codecs at their default exceed."""


def found_again(path: Path) -> VideoInfo:
    return probe(path)


def test_h264_stays_in_eight_bits_that_all_players_show(tmp_path: Path) -> None:
    found = passed_through(ten_bit(tmp_path / "ten.mkv"), tmp_path / "result.mp4")
    assert (found.bits, found.pixel_format) == (8, "yuv420p")
    asked = passed_through(ten_bit(tmp_path / "ten.mkv"), tmp_path / "asked.mp4", Encode(pix_fmt="yuv420p10le"))
    assert asked.bits == 10


def test_eight_bits_stay_in_one_byte(tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "eight.mp4", films(2), *X264))
    assert not info.is_deep
    assert next(VideoSource(info).read(0, 1)).pixels.dtype == np.uint8


def test_eight_bits_survive_sixteen() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 256)
    assert np.array_equal(in_eight_bits(in_sixteen_bits(levels)), levels)
    assert in_sixteen_bits(levels).max() == 65535
    assert in_eight_bits(np.array([[128, 129, 65406, 65407]], np.uint16)).tolist() == [[0, 1, 254, 255]]


# HDR.


def pq(nits: float) -> float:
    """SMPTE ST 2084's curve, by its own constants: from light to a value from 0 to 1."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = (nits / 10_000) ** m1
    return float(((c1 + c2 * power) / (1 + c3 * power)) ** m2)


def hdr(path: Path, transfer: str = "smpte2084") -> Path:
    """Grays of 0, 20, 203 and 1000 nits, side by side."""
    values = [pq(nits) for nits in NITS]
    luma = np.repeat([round(64 + 876 * value) for value in values], BLOCK).astype(np.uint16)
    plane = np.repeat(luma[None], HEIGHT, axis=0)
    planes = np.stack([plane, np.full_like(plane, 512), np.full_like(plane, 512)])
    said = f"setparams=range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc={transfer}"
    run_ffmpeg(
        *("-f", "rawvideo", "-pixel_format", "yuv444p10le", "-video_size", f"{WIDTH}x{HEIGHT}", "-framerate", "25"),
        *("-i", "pipe:0", "-vf", said, "-c:v", "ffv1", "-pix_fmt", "yuv444p10le", path),
        content=planes.astype("<u2").tobytes() * 2,
    )
    return path


NITS = (0, 20, 203, 1000)
needs_zscale = pytest.mark.skipif("zscale" not in filters(), reason="this ffmpeg has no zscale")


@needs_zscale
@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "HDR10 (PQ)"), ("arib-std-b67", "HLG")])
def test_hdr_becomes_a_standard_picture(tmp_path: Path, transfer: str, name: str) -> None:
    info = probe(hdr(tmp_path / "hdr.mkv", transfer))
    assert (info.color.hdr, info.bits, info.color.primaries, info.color.matrix) == (name, 10, "bt2020", "bt2020nc")
    pixels = in_eight_bits(next(VideoSource(info).read(0, 1)).pixels).astype(int)
    grays = pixels[HEIGHT // 2, BLOCK // 2 :: BLOCK]
    assert (grays.max(axis=1) - grays.min(axis=1)).max() <= 2, "gray stays gray"
    levels = grays[:, 1].tolist()
    assert levels == sorted(levels)
    assert len(set(levels)) == len(NITS), "what is brighter is brighter still"
    assert levels[0] <= 1


@needs_zscale
def test_the_white_of_a_page_is_bright_and_a_dim_room_is_not(tmp_path: Path) -> None:
    """203 nits is the reference white (BT.2408). A screen shows a value to the power of 2.4 (BT.1886), so 20 nits, a tenth
    of that light, is its 2.4th root: 0.38."""
    info = probe(hdr(tmp_path / "hdr.mkv"))
    pixels = in_eight_bits(next(VideoSource(info).read(0, 1)).pixels).astype(int)
    _, dim, white, bright = pixels[HEIGHT // 2, BLOCK // 2 :: BLOCK, 1].tolist()
    assert abs(dim - 255 * (20 / 203) ** (1 / 2.4)) < 3
    assert 150 < white < bright <= 255


@needs_zscale
def test_what_was_hdr_is_tagged_as_what_it_is_now(tmp_path: Path) -> None:
    found = passed_through(hdr(tmp_path / "hdr.mkv"), tmp_path / "result.mp4", Encode(codec="libx265"))
    assert (found.color.hdr, found.color.matrix, found.color.primaries, found.color.transfer) == (
        None,
        "bt709",
        "bt709",
        "bt709",
    )


def test_the_light_that_hdr_was_made_for_is_read(tmp_path: Path) -> None:
    path = tmp_path / "hdr.mp4"
    master = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    light = f"log-level=error:hdr10=1:master-display={master}:max-cll=1000,400"
    pq_tags = ("-vf", "setparams=range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084")
    run_ffmpeg(
        "-i", hdr(tmp_path / "hdr.mkv"), *pq_tags, "-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params", light, path
    )
    info = probe(path)
    assert info.color.hdr == "HDR10 (PQ)"
    assert info.color.mastering == "mastered from 0.005 to 1000 nits, brightest pixel 1000 nits, brightest frame 400 nits"
    assert probe(hdr(tmp_path / "untold.mkv")).color.mastering == ""


WITHOUT_ZSCALE = """#!/bin/sh
case "$*" in *-filters*) "{ffmpeg}" "$@" | grep -v zscale ;; *) exec "{ffmpeg}" "$@" ;; esac
"""


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for an ffmpeg without zscale is a shell script")
def test_hdr_that_this_ffmpeg_cannot_map_costs_itself_and_not_the_run(tmp_path: Path) -> None:
    film = tmp_path / "in" / "plain.mp4"
    film.parent.mkdir()
    make_video(film, films(2), *X264)
    hdr(tmp_path / "in" / "hdr.mkv")
    pipeline = write_pipeline(tmp_path, {"name": "films", "input": "in/*", "output": "out"})
    lesser = tmp_path / "bin" / "ffmpeg"
    lesser.parent.mkdir()
    lesser.write_text(WITHOUT_ZSCALE.format(ffmpeg=executable()))
    lesser.chmod(0o755)
    plan = subprocess.run(
        [sys.executable, "-m", "nstpipe", "plan", str(pipeline), "--no-calibrate"],
        env={**os.environ, "NSTPIPE_FFMPEG": str(lesser), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert plan.returncode == 2, plan.stderr
    assert "to do: new" in plan.stdout
    assert "ffmpeg needs its filter zscale, which ffmpeg" in plan.stdout
    assert f"({lesser}) lacks" in plan.stdout


# Interlaced.


def moving_bars(count: int) -> list[Bytes]:
    """A bar that moves by 2 pixels from field to field."""
    pictures = []
    for index in range(count):
        picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        picture[:, 2 * index : 2 * index + 16] = 220
        pictures.append(picture)
    return pictures


def interlaced(path: Path) -> Path:
    options = (*X264, "-flags", "+ilme+ildct", "-g", "5", "-bf", "0")
    return make_video(path, moving_bars(2 * FRAMES), *options, rate="50", video_filter="interlace=scan=tff:lowpass=off")


def comb(pixels: Bytes) -> float:
    """How much each line differs from the mean of its neighbors: where two moments are mixed, by most of the contrast."""
    levels = pixels[..., 1].astype(float)
    return float(np.abs(levels[1:-1] - (levels[:-2] + levels[2:]) / 2).max())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_interlaced_pictures_become_whole_at_their_times(tmp_path: Path, suffix: str) -> None:
    path = interlaced(tmp_path / f"interlaced{suffix}")
    info = probe(path)
    assert info.interlaced
    times = shown_times(path)
    assert len(info.ticks) == len(times) == FRAMES
    frames = list(VideoSource(info).read(0, FRAMES))
    assert [frame.time for frame in frames] == times
    woven = [frame.pixels for frame in VideoSource(replaced(info)).read(0, FRAMES)]
    assert min(comb(in_eight_bits(pixels)) for pixels in woven) > 100, "the made video is as it should be"
    assert max(comb(in_eight_bits(frame.pixels)) for frame in frames) < 60


def replaced(info: VideoInfo) -> VideoInfo:
    from dataclasses import replace

    return replace(info, interlaced=False)


def test_the_middle_of_an_interlaced_video_is_the_same_as_in_all_of_it(tmp_path: Path) -> None:
    info = probe(interlaced(tmp_path / "interlaced.mkv"))
    everything = list(VideoSource(info).read(0, FRAMES))
    for first in (1, 4, 7):
        for frame in VideoSource(info).read(first, FRAMES):
            assert np.array_equal(frame.pixels, everything[frame.frame_index].pixels), (first, frame)


def test_a_progressive_video_is_left_alone(tmp_path: Path) -> None:
    assert not probe(make_video(tmp_path / "whole.mp4", films(FRAMES), *X264)).interlaced


def test_one_interlaced_frame_is_enough(tmp_path: Path) -> None:
    options = (*X264, "-flags", "+ilme+ildct")
    path = make_video(tmp_path / "one.mkv", moving_bars(2), *options, rate="50", video_filter="interlace=lowpass=off")
    info = probe(path)
    assert (info.interlaced, len(info.ticks)) == (True, 1)
    assert [frame.time for frame in VideoSource(info).read(0, 1)] == [Fraction(0)]


def test_the_ends_of_bright_and_dark_meet(tmp_path: Path) -> None:
    """What the comparison of flat blocks rests on at 16 bits."""
    assert farthest(in_sixteen_bits(films(1)[0]), films(1)[0]) == 0
