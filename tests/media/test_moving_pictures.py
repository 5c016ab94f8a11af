"""GIF, animated WebP and numbered pictures, in and out."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstpipe.config.models import Encode
from nstpipe.errors import ItemError
from nstpipe.media.frame import Frame
from nstpipe.media.video.animation_omissions import omissions_of_animation
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.encode import video_sink
from nstpipe.media.video.encoding import bits_of
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.iso_media import Movie
from nstpipe.media.video.probe import probe
from nstpipe.media.video.sequence import SequenceSink
from nstpipe.media.video.streams import omitted_streams
from nstpipe.media.video.trial import try_output
from nstpipe.system.files import is_numbered, numbered_files, sha256_of, state_of

from .making import FFV1_RGB, X264, blocks, farthest, films, make_video, run_ffmpeg, shown_times, sine

FRAMES = 6
MILLISECONDS = (40, 100, 40, 250, 60, 40)
"""How long each frame is shown: whole hundredths of a second, for GIF has no finer."""


def animation(path: Path, loops: int = 0) -> Path:
    first, *others = [Image.fromarray(picture) for picture in films(FRAMES)]
    first.save(path, save_all=True, append_images=others, duration=list(MILLISECONDS), loop=loops)
    return path


def through(original: Path, result: Path) -> VideoInfo:
    info = probe(original)
    source = VideoSource(info)
    count = source.frame_count
    with video_sink(result, info, source.size, Encode(), copy_audio=True, keep_metadata=True, frame_count=count) as sink:
        for frame in source.read(0, count):
            sink.write(frame.pixels, frame)
        sink.finish()
    return probe(result)


def times_of(info: VideoInfo) -> list[Fraction]:
    return [tick * info.time_base for tick in info.ticks]


EXPECTED_TIMES = [Fraction(sum(MILLISECONDS[:index]), 1000) for index in range(FRAMES)]
PALETTE_LOSS = 12
"""Levels: GIF has 256 colors a frame, each of 8 bits, and WebP quantizes chroma at half the size."""


@pytest.mark.parametrize("result", [".gif", ".webp", ".mp4", ".mkv"])
@pytest.mark.parametrize("original", [".gif", ".webp"])
def test_each_frame_of_an_animation_keeps_its_time(tmp_path: Path, original: str, result: str) -> None:
    path = animation(tmp_path / f"original{original}")
    assert times_of(probe(path)) == EXPECTED_TIMES
    found = through(path, tmp_path / f"result{result}")
    assert times_of(found) == EXPECTED_TIMES
    for frame, put_in in zip(VideoSource(found).read(0, FRAMES), films(FRAMES), strict=True):
        assert farthest(frame.pixels, put_in) <= PALETTE_LOSS


def durations(path: Path) -> list[float]:
    """How long each frame is shown, in milliseconds, by Pillow."""
    with Image.open(path) as image:
        found = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()
            found.append(image.info["duration"])
        return found


@pytest.mark.parametrize("result", [".gif", ".webp"])
@pytest.mark.parametrize("original", [".gif", ".webp"])
def test_the_last_frame_is_held_as_long_as_in_the_original(tmp_path: Path, original: str, result: str) -> None:
    path = tmp_path / f"original{original}"
    first, *others = [Image.fromarray(picture) for picture in films(3)]
    first.save(path, save_all=True, append_images=others, duration=[100, 40, 3000])
    through(path, tmp_path / f"result{result}")
    assert durations(tmp_path / f"result{result}") == [100, 40, 3000]
    assert list(omissions_of_animation(probe(path), tmp_path / f"result{result}", keep_metadata=True)) == []


def test_the_metadata_of_numbered_pictures_is_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Ann"
    for number in (1, 2):
        Image.fromarray(blocks()).save(tmp_path / f"a_{number}.png", exif=exif, dpi=(300, 300))
    found = omissions_of_animation(probe(tmp_path / "a_%d.png"), tmp_path / "b_%d.png", keep_metadata=True)
    assert [one.kind for one in found] == ["EXIF", "resolution"]


def test_equal_last_frames_are_held_together(tmp_path: Path) -> None:
    path, first, second = tmp_path / "original.gif", *(Image.fromarray(picture) for picture in films(2))
    first.save(path, save_all=True, append_images=[second], duration=[100, 3000])
    info = replace(probe(path), ticks=(0, 10, 14), end_tick=310)
    with video_sink(
        tmp_path / "result.webp", info, (64, 48), Encode(), copy_audio=True, keep_metadata=True, frame_count=3
    ) as sink:
        for index, picture in enumerate((films(2)[0], films(2)[1], films(2)[1])):
            sink.write(picture, Frame(picture, index))
        sink.finish()
    assert durations(tmp_path / "result.webp") == [100, 3000], "the two equal frames are one"


def test_the_hold_of_the_last_frame_of_an_avif_is_read(tmp_path: Path) -> None:
    first, *others = [Image.fromarray(picture) for picture in films(3)]
    first.save(tmp_path / "made.avif", save_all=True, append_images=others, duration=[100, 40, 3000])
    movie = Movie.read(tmp_path / "made.avif")
    assert movie is not None
    assert movie.end == Fraction(3140, 1000)


def test_what_a_video_cannot_hold_of_an_animation_is_named(tmp_path: Path) -> None:
    path = tmp_path / "original.webp"
    first, *others = [Image.fromarray(picture) for picture in films(2)]
    first.save(path, save_all=True, append_images=others, duration=700_000, loop=3, xmp=b"<x/>")
    info = probe(path)
    for suffix, kinds in ((".mp4", ["repeats", "XMP"]), (".gif", ["hold of the last frame", "XMP"]), (".webp", ["XMP"])):
        found = omissions_of_animation(info, tmp_path / f"a{suffix}", keep_metadata=True)
        assert [one.kind for one in found] == kinds
    assert list(omissions_of_animation(info, tmp_path / "a.webp", keep_metadata=False)) == []


@pytest.mark.parametrize("result", [".gif", ".webp"])
@pytest.mark.parametrize("original", [".gif", ".webp"])
@pytest.mark.parametrize("plays", [0, 1, 2, 4])
def test_how_often_it_is_shown_is_kept(tmp_path: Path, original: str, result: str, plays: int) -> None:
    made = tmp_path / f"original{original}"
    first, *others = [Image.fromarray(picture) for picture in films(FRAMES)]
    # A GIF says how often it is shown again, and nothing if it is not; a WebP how often it is shown.
    again = {"loop": plays} if original == ".webp" or plays == 0 else {"loop": plays - 1} if plays > 1 else {}
    first.save(made, save_all=True, append_images=others, duration=list(MILLISECONDS), **again)
    assert probe(made).loops == plays
    assert through(made, tmp_path / f"result{result}").loops == plays


def test_a_frame_that_is_shown_for_no_time_is_shown_as_browsers_do(tmp_path: Path) -> None:
    first, *others = [Image.fromarray(picture) for picture in films(FRAMES)]
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, duration=[40] * (FRAMES - 1) + [0])
    info = probe(tmp_path / "a.webp")
    assert list(info.ticks) == [40 * index for index in range(FRAMES)]
    first.save(tmp_path / "b.webp", save_all=True, append_images=others, duration=[0] * FRAMES)
    assert list(probe(tmp_path / "b.webp").ticks) == [100 * index for index in range(FRAMES)]
    assert len(through(tmp_path / "b.webp", tmp_path / "b.mp4").ticks) == FRAMES


def test_a_gif_that_is_shown_once_stays_so(tmp_path: Path) -> None:
    first, *others = [Image.fromarray(picture) for picture in films(FRAMES)]
    first.save(tmp_path / "once.gif", save_all=True, append_images=others, duration=40)
    through(tmp_path / "once.gif", tmp_path / "result.gif")
    with Image.open(tmp_path / "result.gif") as image:
        assert "loop" not in image.info


@pytest.mark.parametrize("start", ["0", "3600.007"])
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_video_becomes_an_animation_and_what_is_lost_is_named(tmp_path: Path, suffix: str, start: str) -> None:
    late = ("-output_ts_offset", start)
    original = make_video(tmp_path / "film.mkv", films(FRAMES), *X264, "-c:a", "aac", *late, inputs=sine(0.2))
    result = tmp_path / f"result{suffix}"
    info = probe(original)
    try_output(tmp_path / "work", result, info, (64, 48), Encode(), copy_audio=True, keep_metadata=True)
    [sound] = omitted_streams(info, result, copy_audio=True)
    assert "audio stream 1" in sound.detail
    assert omitted_streams(info, result, copy_audio=False) == ()
    first, *others = shown_times(original)
    assert times_of(through(original, result)) == [0, *(time - first for time in others)], "it begins with its first frame"


def test_equal_frames_are_all_there(tmp_path: Path) -> None:
    """Writers of animations like to leave out a frame that is like the one before."""
    original = make_video(tmp_path / "still.mkv", [blocks()] * 3, *FFV1_RGB)
    assert len(through(original, tmp_path / "result.gif").ticks) == 3
    assert len(through(original, tmp_path / "result.mp4").ticks) == 3
    fast = make_video(tmp_path / "fast.mkv", [blocks()] * 3, *FFV1_RGB, rate="1000")
    for still in (original, fast):
        joined = through(still, tmp_path / "result.webp")
        assert times_of(joined)[0] == 0


def test_a_rate_that_gif_cannot_show_is_found_by_the_trial(tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "fast.mkv", films(FRAMES), *FFV1_RGB, rate="60"))
    with pytest.raises(
        ItemError, match=r"shows a frame for 0\.016.* s; players show no frame of a \.gif for less than 0\.02 s"
    ):
        try_output(tmp_path, tmp_path / "a.gif", info, (64, 48), Encode(), copy_audio=True, keep_metadata=True)


# Numbered pictures.


def numbered(folder: Path, *numbers: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number, picture in zip(numbers, films(len(numbers)), strict=True):
        Image.fromarray(picture).save(folder / f"frame_{number:04d}.png")
    return folder / "frame_%04d.png"


def test_numbered_pictures_become_a_video_at_the_rate_asked_for(tmp_path: Path) -> None:
    path = numbered(tmp_path / "in", 7, 8, 9, 10)
    info = probe(path, Fraction(30000, 1001))
    assert info.loss is None
    assert info.first_number == 7
    assert [frame.time for frame in VideoSource(info).read(0, 4)] == [index * Fraction(1001, 30000) for index in range(4)]
    assert times_of(through(path, tmp_path / "result.mp4")) == [Fraction(index, 25) for index in range(4)]


def test_a_video_becomes_numbered_pictures(tmp_path: Path) -> None:
    original = make_video(tmp_path / "film.mkv", films(FRAMES), *FFV1_RGB)
    result = tmp_path / "out" / "frame_%05d.png"
    through(original, result)
    assert sorted(path.name for path in result.parent.iterdir()) == [
        f"frame_{number:05d}.png" for number in range(1, FRAMES + 1)
    ]
    for number, put_in in enumerate(films(FRAMES), start=1):
        assert np.array_equal(np.asarray(Image.open(result.parent / f"frame_{number:05d}.png")), put_in)


def test_numbered_pictures_keep_their_numbers(tmp_path: Path) -> None:
    through(numbered(tmp_path / "in", 9, 10, 12), tmp_path / "out" / "picture_%d.png")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["picture_10.png", "picture_12.png", "picture_9.png"]


def test_a_missing_number_is_a_loss_and_leaves_its_time_empty(tmp_path: Path) -> None:
    info = probe(numbered(tmp_path / "in", 3, 4, 7))
    assert info.ticks == (0, 1, 4)
    assert info.loss is not None
    assert (info.loss.frames, info.loss.time) == (2, Fraction(2, 25))
    assert "frame_0005.png does not exist" in info.loss.reason


def test_other_numbers_in_the_way_are_found_before_the_work(tmp_path: Path) -> None:
    path = numbered(tmp_path / "out", 1, 2, 99)
    info = probe(make_video(tmp_path / "film.mkv", films(2), *FFV1_RGB))
    with pytest.raises(ItemError, match=r"1 pictures of the pattern .* such as frame_0099\.png"):
        try_output(tmp_path, path, info, (64, 48), Encode(), copy_audio=True, keep_metadata=True)


def test_numbered_pictures_appear_when_all_are_there(tmp_path: Path) -> None:
    path = tmp_path / "out" / "frame_%03d.png"
    with SequenceSink(path, (1, 2)) as sink:
        sink.write(blocks(), Frame(blocks(), 0))
        assert numbered_files(path) == {}
        with pytest.raises(ItemError, match="2 frames planned, 1 written and 1 found"):
            sink.finish()
    assert list(path.parent.iterdir()) == []


def test_a_deep_video_becomes_deep_pictures(tmp_path: Path) -> None:
    made = tmp_path / "deep.mkv"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.08", "-c:v", "ffv1", "-pix_fmt", "yuv444p10le", made)
    assert bits_of(Encode(), probe(made), tmp_path / "f_%d.png") == 10
    through(made, tmp_path / "out" / "f_%d.png")
    assert (tmp_path / "out" / "f_1.png").read_bytes()[24] == 16, "the bit depth of a PNG"


def test_a_pattern_is_one_only_where_no_file_has_its_name(tmp_path: Path) -> None:
    assert is_numbered(tmp_path / "a_%05d.png")
    assert is_numbered(tmp_path / "a_%d.jpg")
    for name in ("a.png", "100% a.png", "a_%s.png", "a_%d_%d.png", "a_%05d.mp4", "a_%5.png"):
        assert not is_numbered(tmp_path / name), name
    (tmp_path / "a_%d.jpg").touch()
    assert not is_numbered(tmp_path / "a_%d.jpg")


def test_numbers_are_read_as_they_are_written(tmp_path: Path) -> None:
    for name in ("f_1.png", "f_01.png", "f_001.png", "f_100.png", "f_1000.png", "f_x.png", "g_001.png", "f_001.jpg"):
        (tmp_path / name).touch()
    assert sorted(numbered_files(tmp_path / "f_%03d.png")) == [1, 100, 1000]
    assert sorted(numbered_files(tmp_path / "f_%d.png")) == [1, 100, 1000]
    assert numbered_files(tmp_path / "f_%d.png")[1].name == "f_1.png"
    assert numbered_files(tmp_path / "none" / "f_%d.png") == {}


def test_a_change_in_one_of_them_is_seen(tmp_path: Path) -> None:
    path = numbered(tmp_path, 1, 2)
    before, state = sha256_of(path), state_of(path)
    Image.fromarray(blocks(5)).save(tmp_path / "frame_0002.png")
    assert sha256_of(path) != before
    assert state_of(path) != state
    with pytest.raises(FileNotFoundError):
        state_of(tmp_path / "none_%d.png")


def test_numbered_pictures_of_16_bits_are_deep(tmp_path: Path) -> None:
    path = numbered(tmp_path, 1, 2)
    assert not probe(path).is_deep
    fine = (np.arange(64 * 48).reshape(48, 64) * 20).astype(np.uint16)
    for number in (1, 2):
        Image.fromarray(fine).save(tmp_path / f"frame_{number:04d}.png")
    info = probe(path)
    assert info.is_deep
    assert bits_of(Encode(), info, path) == 16
    assert bits_of(Encode(codec="libx265"), info, tmp_path / "film.mp4") == 10
    assert bits_of(Encode(), info, tmp_path / "film.mp4") == 8, "libx264, which few players show deeper"
    assert np.array_equal(next(VideoSource(info).read(0, 1)).pixels[..., 0], fine)


def test_the_picture_of_a_frame_is_found_by_its_number(tmp_path: Path) -> None:
    info = probe(numbered(tmp_path, 3, 4, 7))
    assert [info.picture_of(index).name for index in range(3)] == ["frame_0003.png", "frame_0004.png", "frame_0007.png"]
