"""The contracts of sources and sinks with each ffmpeg that this machine has, on the files in which versions differ."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstpipe.config.models import Encode
from nstpipe.errors import ItemError
from nstpipe.media.frame import Frame
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.encode import video_sink
from nstpipe.media.video.ffmpeg import encoders
from nstpipe.media.video.ffmpeg_program import using, version
from nstpipe.media.video.probe import probe
from nstpipe.media.video.trial import try_encode
from tests.ffmpegs import found_ffmpegs

from .making import FFV1_RGB, X264, farthest, films, looked_at, make_video, packets, passed_through, sine
from .test_sources import FRAMES, KINDS

ONE_MILLISECOND = Fraction(1, 1000)


@pytest.fixture(scope="module", params=(found := found_ffmpegs()).values(), ids=found)
def ffmpeg(request: pytest.FixtureRequest) -> Iterator[str]:
    with using(request.param, "the test"):
        yield version()


@pytest.mark.parametrize(
    "name", ["mp4 with B-frames", "mkv", "webm", "mov in RGB", "avi with B-frames", "gif", "transport stream"]
)
def test_each_reads_the_frames_and_the_times_of_a_source(ffmpeg: str, name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    source = kind.make(tmp_path)
    assert isinstance(source, VideoSource)
    assert looked_at(source.path).loss is None
    frames = list(source.read(0, FRAMES))
    assert [frame.time for frame in frames] == [kind.first_time + Fraction(index, 25) for index in range(FRAMES)]
    for frame, put_in in zip(frames, films(FRAMES), strict=True):
        assert farthest(frame.pixels, put_in) <= kind.tolerance
    [middle] = source.read(3, 4)
    assert np.array_equal(middle.pixels, frames[3].pixels)


def times(path: Path) -> list[Fraction]:
    info = probe(path)
    return [tick * info.time_base for tick in info.ticks]


ORIGINALS = {
    "AAC, which begins before zero": ((*X264, "-bf", "2", "-c:a", "aac"), sine(0.4)),
    "late AAC": ((*X264, "-c:a", "aac", "-output_ts_offset", "1.4"), sine(0.4)),
    "BT.2020": ((*X264, "-color_primaries", "bt2020"), ()),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("name", ORIGINALS)
def test_each_writes_frames_sound_and_colors_as_they_were(ffmpeg: str, suffix: str, name: str, tmp_path: Path) -> None:
    options, inputs = ORIGINALS[name]
    matrix = "bt2020nc" if name == "BT.2020" else "bt709"
    original = make_video(tmp_path / "original.mp4", films(FRAMES), *options, inputs=inputs, matrix=matrix)
    result = tmp_path / f"result{suffix}"
    found = passed_through(original, result)
    assert (found.color.matrix, found.color.matrix_is_tagged, found.color.full_range) == (matrix, True, False)
    assert times(result) == times(original)
    if inputs:
        for before, after in zip(packets(original, "audio"), packets(result, "audio"), strict=True):
            assert after.content == before.content
            assert before.time is not None
            assert after.time is not None
            assert abs(after.time - before.time) <= ONE_MILLISECOND
    for frame, put_in in zip(VideoSource(probe(result)).read(0, FRAMES), films(FRAMES), strict=True):
        assert farthest(frame.pixels, put_in) <= 8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif", ".webp"])
def test_each_keeps_a_variable_rate_to_its_last_frame(ffmpeg: str, suffix: str, tmp_path: Path) -> None:
    shown = "if(eq(N,0),0,PREV_OUTPTS+(0.04+0.03*mod(N,3))/TB)"
    steps = ("-enc_time_base", "1/1000", "-fps_mode", "passthrough")
    original = make_video(
        tmp_path / "original.mkv", films(FRAMES), *FFV1_RGB, *steps, video_filter=f"settb=1/1000,setpts='{shown}'"
    )
    info = probe(original)
    assert len({later - earlier for earlier, later in pairwise(info.ticks)}) > 1, "or this test shows nothing"
    size = (info.width, info.height)
    with video_sink(
        tmp_path / f"result{suffix}", info, size, Encode(), copy_audio=True, keep_metadata=True, frame_count=FRAMES
    ) as sink:
        for frame_index, pixels in enumerate(films(FRAMES)):
            sink.write(pixels, Frame(pixels, frame_index))
        sink.finish()
    found, wanted = times(tmp_path / f"result{suffix}"), times(original)
    assert len(found) == FRAMES
    # A GIF counts in hundredths of a second; MP4 of ffmpeg before 5.1 in 999ths.
    nearest = Fraction(1, 200) if suffix == ".gif" else ONE_MILLISECOND
    assert all(abs(one - other) <= nearest for one, other in zip(found, wanted, strict=True))


def test_each_decodes_the_animation_of_an_avif_and_not_its_still_picture(ffmpeg: str, tmp_path: Path) -> None:
    path = tmp_path / "moving.avif"
    grays = [Image.new("RGB", (64, 48), (level,) * 3) for level in (0, 80, 160, 240)]
    grays[0].save(path, save_all=True, append_images=grays[1:], duration=40)
    info = looked_at(path)
    assert info.loss is None
    assert [tick * info.time_base for tick in info.ticks] == [Fraction(index, 25) for index in range(4)]
    levels = [int(frame.pixels[24, 32, 0]) for frame in VideoSource(info).read(0, 4)]
    assert all(abs(level - put_in) < 8 for level, put_in in zip(levels, (0, 80, 160, 240), strict=True))


def test_each_says_what_it_cannot_do_before_the_work(ffmpeg: str, tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "film.mp4", films(2), *X264, "-c:a", "aac", inputs=sine(0.1)))

    def tried(suffix: str, **options: bool) -> None:
        try_encode(tmp_path, suffix, info, (64, 64), Encode(), **{"copy_audio": True, "keep_metadata": True, **options})

    with pytest.raises(ItemError) as caught:
        tried(".webm")
    if "libsvtav1" in encoders():
        assert "its sound is in aac, and .webm holds only opus and vorbis" in caught.value.problem
        assert "audio: none" in caught.value.next_step
        tried(".webm", copy_audio=False)
    else:
        assert f"ffmpeg {ffmpeg} (" in caught.value.problem
        assert "lacks the encoder libsvtav1" in caught.value.problem
        assert "`ffmpeg: bundled`" in caught.value.next_step
    tried(".mp4")
