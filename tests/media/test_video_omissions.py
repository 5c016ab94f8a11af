"""What a video holds beside its frames is in the result, or is named before the work: by reasoning, and by other readers."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from nstpipe.config.models import Encode
from nstpipe.media.frame import Frame
from nstpipe.media.losses import Omission, sentences_of
from nstpipe.media.transparency import with_hidden_filled
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.encode import video_sink
from nstpipe.media.video.encoding import keeps_alpha
from nstpipe.media.video.info import PICTURE_COLOR, Stream, VideoColor, VideoInfo
from nstpipe.media.video.iso_media import Box, Movie, text_value
from nstpipe.media.video.matroska import Element, Head, is_complete
from nstpipe.media.video.omissions import omissions_of_video
from nstpipe.media.video.probe import probe
from nstpipe.media.video.projection import CUBEMAP, GOOGLE_UUID, Projection, Stereo, google_box, iso_boxes

from .making import X264, films, make_video, packets, passed_through, run_ffmpeg, shown_times, sine

HELD = Fraction(3)
"""Seconds for which a last frame is shown."""


def held(folder: Path, suffix: str, b_frames: int = 0) -> Path:
    """Six frames, a tenth of a second each, but the last one for three seconds."""
    path = folder / f"held{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": str(b_frames)})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        found = []
        for index, pixels in enumerate(films(6)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = 100 * index, Fraction(1, 1000)
            found += stream.encode(frame)
        for packet in (*found, *stream.encode(None)):
            packet.duration = int(1000 * HELD) if packet.pts == 500 else 100
            container.mux(packet)
    return path


def duration(path: Path) -> Fraction:
    """How long a file lasts for a player, in seconds."""
    with av.open(str(path)) as container:
        assert container.duration is not None
        return Fraction(container.duration, 1_000_000)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize(("original", "b_frames"), [(".mp4", 0), (".mp4", 3), (".mkv", 0)])
def test_the_last_frame_is_shown_as_long_as_in_the_original(tmp_path: Path, original: str, b_frames: int, suffix: str) -> None:
    info = probe(held(tmp_path, original, b_frames))
    assert info.end_tick is not None
    assert info.end_tick * info.time_base == Fraction(1, 2) + HELD
    found = passed_through(info, tmp_path / f"result{suffix}", Encode(codec="libvpx-vp9" if suffix == ".webm" else None))
    assert found.loss is None, "a long hold is no damage"
    assert found.end_tick is not None
    assert found.end_tick * found.time_base == Fraction(1, 2) + HELD
    assert duration(tmp_path / f"result{suffix}") == Fraction(1, 2) + HELD
    assert shown_times(tmp_path / f"result{suffix}") == [Fraction(index, 10) for index in range(6)]


def test_longer_sound_still_ends_the_file_and_a_usual_last_frame_changes_nothing(tmp_path: Path) -> None:
    path = make_video(tmp_path / "film.mp4", films(5), *X264, "-c:a", "aac", inputs=sine(0.6))
    info = probe(path)
    assert info.end_tick is not None
    assert info.end_tick * info.time_base == Fraction(5, 25)
    short = replace(info, end_tick=round(Fraction(3, 10) / info.time_base))
    for suffix in (".mkv", ".mp4"):
        found = passed_through(short, tmp_path / f"result{suffix}")
        assert found.end_tick is not None
        assert found.end_tick * found.time_base == Fraction(3, 10)
        assert duration(tmp_path / f"result{suffix}") >= Fraction(6, 10)
        assert [one.content for one in packets(tmp_path / f"result{suffix}", "audio")] == [
            one.content for one in packets(path, "audio")
        ]


def test_a_matroska_file_that_is_cut_is_not_taken_for_one_with_a_long_last_frame(tmp_path: Path) -> None:
    path = held(tmp_path, ".mkv")
    assert is_complete(path)
    passed_through(path, tmp_path / "whole.mkv")
    content = (tmp_path / "whole.mkv").read_bytes()
    there = content[: len(content) * 3 // 4]
    for name, kept in (("cut.mkv", there), ("empty.mkv", there + bytes(len(content) - len(there)))):
        (tmp_path / name).write_bytes(kept)
        assert not is_complete(tmp_path / name)
        assert probe(tmp_path / name).loss is not None


@pytest.mark.parametrize("options", [(), ("-movflags", "+faststart")], ids=["described at its end", "at its beginning"])
def test_what_is_added_to_mp4_moves_nothing_else(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = make_video(tmp_path / "film.mp4", films(5), *X264, *options, "-c:a", "aac", "-metadata", "title=A", inputs=sine(0.2))
    before = [packets(path, kind) for kind in ("video", "audio")]
    movie = Movie.read(path)
    assert movie is not None
    movie.set_end(Fraction(2))
    movie.add_keys({"own": text_value("Ä" * 3000), "fps": struct.pack(">iif", 23, 0, 240.0)})
    movie.add_user_boxes([Box(b"CAME", b"1234")])
    movie.add_picture_boxes(iso_boxes(Projection("equirectangular"), Stereo("top and bottom")))
    movie.write()
    assert [packets(path, kind) for kind in ("video", "audio")] == before
    again = Movie.read(path)
    assert again is not None
    assert again.end == 2
    assert again.keys == {"own": text_value("Ä" * 3000), "fps": struct.pack(">iif", 23, 0, 240.0)}
    assert [bytes(box) for box in again.user_boxes] == [bytes(Box(b"CAME", b"1234"))]
    assert dict(probe(path).tags).items() >= {"title": "A", "own": "Ä" * 3000, "fps": "240.000000"}.items()
    assert probe(path).is_panorama
    assert [child.name for child in tmp_path.iterdir()] == ["film.mp4"]


def test_a_large_mp4_gets_wide_places(tmp_path: Path) -> None:
    """The content lies behind a hole of 4 GB, which takes no room on the disk."""
    path = make_video(tmp_path / "film.mp4", films(3), *X264, "-movflags", "+faststart")
    before = packets(path, "video")
    content = path.read_bytes()
    place = content.index(b"mdat") - 4
    hole = (1 << 32) - place - len(content) // 2
    movie = Movie.read(path)
    assert movie is not None
    movie._move_places(hole)
    with path.open("wb") as file:
        file.write(content[: content.index(b"moov") - 4] + bytes(movie.moov))
        file.write((1).to_bytes(4, "big") + b"free" + hole.to_bytes(8, "big"))
        file.seek(place + hole)
        file.write(content[place:])
    assert packets(path, "video") == before
    movie = Movie.read(path)
    assert movie is not None
    movie._widen_places(path.stat().st_size)
    tables = [box.kind for table in movie._sample_tables() for box in table.children]
    assert b"co64" in tables
    assert b"stco" not in tables
    movie._move_places(8 + len(bytes(movie.moov)) - movie._size)


def tagged(folder: Path, suffix: str = ".mkv") -> Path:
    own = ("-metadata", "title=T", "-metadata", "MYCAM=Cam7", "-metadata", "GPS_TRACK=52.5,13.4")
    return make_video(folder / f"tagged{suffix}", films(3), *X264, *own, "-metadata", "creation_time=2020-01-02T03:04:05Z")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_tags_of_any_name_are_kept_once(tmp_path: Path, suffix: str) -> None:
    info = probe(tagged(tmp_path))
    codec = "libvpx-vp9" if suffix == ".webm" else None
    found = dict(passed_through(info, tmp_path / f"result{suffix}", Encode(codec=codec)).tags)
    assert found.items() >= {"title": "T", "MYCAM": "Cam7", "GPS_TRACK": "52.5,13.4"}.items()
    assert found["creation_time"].startswith("2020-01-02T03:04:05")
    assert (tmp_path / f"result{suffix}").read_bytes().count(b"Cam7") == 1
    assert omissions_of_video(info, Path(f"a{suffix}"), Encode(), copy_audio=True, keep_metadata=True) == ()
    stripped = passed_through(info, tmp_path / f"bare{suffix}", Encode(codec=codec), keep_metadata=False)
    assert b"Cam7" not in (tmp_path / f"bare{suffix}").read_bytes()
    assert "title" not in dict(stripped.tags)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_the_values_of_a_phone_keep_their_types_and_order(tmp_path: Path, suffix: str) -> None:
    path = make_video(tmp_path / "phone.mp4", films(3), *X264, "-metadata", "title=T")
    values = {
        "com.android.version": text_value("14"),
        "com.android.capture.fps": struct.pack(">iif", 23, 0, 240.0),
        "com.apple.quicktime.location.ISO6709": text_value("+52.5000+013.4000/"),
        "com.apple.quicktime.live-photo.auto": struct.pack(">iiB", 22, 0, 1),
        "com.android.model": text_value("Phone7"),
    }
    movie = Movie.read(path)
    assert movie is not None
    movie.add_keys(values)
    movie.add_user_boxes([Box(b"FIRM", b"H22.01")])
    movie.write()
    found = passed_through(path, tmp_path / f"result{suffix}")
    result = Movie.read(tmp_path / f"result{suffix}")
    assert result is not None
    assert list(result.keys.items()) == list(values.items())
    assert [box.kind for box in result.user_boxes] == [b"FIRM"]
    assert dict(found.tags)["title"] == "T"


SPHERE = Projection("equirectangular", (12 << 16, -(3 << 16), 1 << 15))
CUBE = Projection(CUBEMAP, padding=8)


def described(folder: Path, projection: Projection | None, stereo: Stereo | None, suffix: str = ".mp4") -> VideoInfo:
    path = make_video(folder / "described.mp4", films(3), *X264)
    movie = Movie.read(path)
    assert movie is not None
    movie.add_picture_boxes(iso_boxes(projection, stereo))
    movie.write()
    if suffix == ".mp4":
        return probe(path)
    run_ffmpeg("-i", path, "-c", "copy", folder / f"described{suffix}")
    return probe(folder / f"described{suffix}")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("original", [".mp4", ".mkv"])
def test_the_layout_of_a_360_degree_video_is_kept(tmp_path: Path, original: str, suffix: str) -> None:
    for projection, stereo in (
        (SPHERE, Stereo("top and bottom")),
        (SPHERE, None),
        (CUBE, None),
        (None, Stereo("side by side")),
        (None, Stereo("one view")),
    ):
        info = described(tmp_path, projection, stereo, original)
        stereo = info.stereo if stereo == Stereo("one view") else stereo
        assert (info.projection, info.stereo) == (projection, stereo)
        codec = "libvpx-vp9" if suffix == ".webm" else None
        with video_sink(
            tmp_path / f"result{suffix}",
            info,
            (32, 24),
            Encode(codec=codec),
            copy_audio=True,
            keep_metadata=False,
            frame_count=3,
        ) as sink:
            for frame in VideoSource(info).read(0, 3):
                sink.write(frame.pixels[::2, ::2], frame)
            found = sink.finish()
        assert isinstance(found, VideoInfo)
        padding = projection.padding // 2 if projection is not None else 0
        assert found.projection == (projection if projection is None else replace(projection, padding=padding))
        # One view is what Matroska means without a word.
        assert found.stereo == (None if stereo == Stereo("one view") and suffix in (".mkv", ".webm") else stereo)
        assert found.is_panorama == (projection is SPHERE)
        assert "NSTPIPE" not in " ".join(name for name, _ in found.tags).upper()
        assert omissions_of_video(info, Path(f"a{suffix}"), Encode(), copy_audio=True, keep_metadata=True) == ()


def test_a_panorama_wraps_unless_its_eyes_stand_side_by_side_or_a_part_is_missing() -> None:
    info = replace(BLANK, projection=SPHERE)
    assert info.is_panorama
    assert replace(info, stereo=Stereo("top and bottom")).is_panorama
    assert not replace(info, stereo=Stereo("side by side")).is_panorama
    assert not replace(info, projection=replace(SPHERE, bounds=(1 << 30, 0, 1 << 30, 0))).is_panorama
    assert replace(info, projection=replace(SPHERE, bounds=(0, 1 << 30, 0, 0))).is_panorama
    assert not replace(info, projection=CUBE).is_panorama
    assert not BLANK.is_panorama


def test_the_older_description_counts_the_new_pixels(tmp_path: Path) -> None:
    xml = (
        b"<rdf:SphericalVideo><GSpherical:Spherical>true</GSpherical:Spherical><GSpherical:Stitched>true</GSpherical:Stitched>"
        b"<GSpherical:StitchingSoftware>x</GSpherical:StitchingSoftware>"
        b"<GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType>"
        b"<GSpherical:FullPanoWidthPixels>64</GSpherical:FullPanoWidthPixels>"
        b"<GSpherical:CroppedAreaTopPixels>12</GSpherical:CroppedAreaTopPixels></rdf:SphericalVideo>"
    )
    resized = google_box(Box(b"uuid", GOOGLE_UUID + xml), (0.5, 0.25)).head
    assert resized == GOOGLE_UUID + xml.replace(b">64<", b">32<").replace(b">12<", b">3<")
    path = make_video(tmp_path / "older.mp4", films(3), *X264)
    movie = Movie.read(path)
    assert movie is not None
    movie.add_picture_boxes([Box(b"uuid", GOOGLE_UUID + xml.replace(b"Top", b"Left").replace(b">12<", b">0<"))])
    movie.write()
    found = passed_through(path, tmp_path / "result.mp4")
    assert found.is_panorama
    assert GOOGLE_UUID in (tmp_path / "result.mp4").read_bytes()


def test_elements_that_do_not_fit_leave_matroska_as_it_was(tmp_path: Path) -> None:
    path = make_video(tmp_path / "film.mkv", films(3), *X264)
    before = path.read_bytes()
    head = Head.read(path)
    assert head is not None
    head.add_to_picture([Element(0x7670, b"", [Element(0x7672, bytes(1000))])])
    assert not head.write()
    assert path.read_bytes() == before


CLEAR = np.kron([[255, 128, 0]], np.ones((48, 16))).astype(np.uint8)
"""How opaque a 48 x 48 picture is: its left third wholly, the middle half, the right third not at all."""

HIDDEN = (0, 255, 0)


def transparent(folder: Path, name: str, *options: str) -> Path:
    """Three frames whose color changes, with a loud color where nothing is to be seen."""
    frames = []
    for level in (200, 160, 120):
        pixels = np.empty((48, 48, 4), np.uint8)
        pixels[..., :3], pixels[..., 3] = (level, 90, 40), CLEAR
        pixels[CLEAR == 0, :3] = HIDDEN
        frames.append(pixels)
    if "%" in name:
        for number, pixels in enumerate(frames):
            Image.fromarray(pixels).save(folder / (name % number))
        return folder / name
    shown = ("-f", "rawvideo", "-pixel_format", "rgba", "-video_size", "48x48", "-framerate", "25", "-i", "pipe:0")
    run_ffmpeg(*shown, *options, folder / name, content=b"".join(frame.tobytes() for frame in frames))
    return folder / name


TRANSPARENT = {
    "film.mov": ("-c:v", "qtrle"),
    "deep.mov": ("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le"),
    "nine.webm": ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0"),
    "lossless.mkv": ("-c:v", "ffv1", "-pix_fmt", "yuva420p"),
    "moving.gif": ("-filter_complex", "split[a][b];[a]palettegen[p];[b][p]paletteuse"),
    "moving.webp": ("-c:v", "libwebp_anim", "-pix_fmt", "yuva420p"),
    "frame_%02d.png": (),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparency_is_read_and_hidden_colors_are_not(tmp_path: Path, name: str) -> None:
    info = probe(transparent(tmp_path, name, *TRANSPARENT[name]))
    assert info.is_transparent
    frame = list(VideoSource(info).read(0, 3))[-1]
    assert frame.alpha is not None
    step = 257 if frame.alpha.dtype == np.uint16 else 1
    assert frame.alpha[24, 4] == 255 * step
    assert frame.alpha[24, 44] == 0
    halves = 255 if name.endswith(".gif") else 128
    assert abs(int(frame.alpha[24, 24]) - halves * step) <= step
    visible, hidden = (frame.pixels[24, column].astype(int) for column in (4, 44))
    assert np.abs(visible - hidden).max() <= 12 * step, "the color of what is visible, and not the hidden green"


KEEPING = [(".mov", "prores"), (".mov", "qtrle"), (".mov", "png"), (".mkv", "ffv1"), (".mkv", "prores")]
KEEPING += [(".mkv", "libvpx-vp9"), (".webm", "libvpx-vp9"), (".gif", None), (".webp", None), (".png", None)]


@pytest.mark.parametrize(("suffix", "codec"), KEEPING)
def test_transparency_is_kept_where_the_codec_holds_it(tmp_path: Path, suffix: str, codec: str | None) -> None:
    info = probe(transparent(tmp_path, "film.mov", *TRANSPARENT["film.mov"]))
    folder = tmp_path / "new"
    result, encode = folder / ("result_%02d.png" if suffix == ".png" else f"result{suffix}"), Encode(codec=codec)
    assert keeps_alpha(encode, info, result)
    with video_sink(result, info, (24, 24), encode, copy_audio=True, keep_metadata=True, frame_count=3) as sink:
        for frame in VideoSource(info).read(0, 3):
            sink.write(np.ascontiguousarray(frame.pixels[::2, ::2]), frame)
        sink.finish()
    found = probe(result)
    assert found.is_transparent
    back = list(VideoSource(found).read(0, 3))
    assert [frame.time for frame in back] == [frame.time for frame in VideoSource(info).read(0, 3)]
    alpha = back[1].alpha
    assert alpha is not None
    step = 257 if alpha.dtype == np.uint16 else 1
    halves = 255 if suffix == ".gif" else 128
    assert [round(alpha[12, column] / step) for column in (2, 22)] == [255, 0]
    assert abs(alpha[12, 12] / step - halves) <= 3
    assert np.abs(back[1].pixels[12, 2] / step - (160, 90, 40)).max() <= 10
    said = omissions_of_video(info, result, encode, copy_audio=True, keep_metadata=True)
    assert [one.kind for one in said] == (["partial transparency"] if suffix == ".gif" else [])


def test_an_opaque_video_with_an_alpha_channel_is_not_called_transparent(tmp_path: Path) -> None:
    path = make_video(tmp_path / "opaque.mov", films(3), "-c:v", "qtrle", "-pix_fmt", "argb")
    info = probe(path)
    assert not info.is_transparent
    assert passed_through(info, tmp_path / "result.mp4").pixel_format == "yuv420p"
    assert passed_through(info, tmp_path / "result.mov", Encode(codec="prores")).pixel_format.startswith("yuv422p10")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_hidden_pixels_take_the_colors_around_them(kind: type[np.uint8] | type[np.uint16]) -> None:
    most = np.iinfo(kind).max
    pixels, alpha = np.zeros((13, 21, 3), kind), np.zeros((13, 21), kind)
    pixels[:, :8], alpha[:, :8] = (most, most // 2, 10), most
    filled = with_hidden_filled(pixels, alpha)
    assert filled.dtype == kind
    assert (filled == (most, most // 2, 10)).all()
    assert with_hidden_filled(pixels, np.full_like(alpha, most)) is pixels
    nothing = with_hidden_filled(pixels, np.zeros_like(alpha))
    assert np.ptp(nothing) == 0


BLANK = VideoInfo(
    Path("a.mov"), 64, 48, Fraction(1, 25), (0, 1, 2), Fraction(25), PICTURE_COLOR, container="x", codec="h264", end_tick=3
)

HDR = VideoColor("bt2020nc", True, False, "bt2020", "smpte2084", "mastered from 0.005 to 1000 nits")

KINDS = [
    # what the original holds, the result, the settings of `encode`, and what is named
    (replace(BLANK, is_transparent=True), "a.mp4", {}, "libx264 in .mp4 cannot hold it", "suffix .mov"),
    (replace(BLANK, is_transparent=True), "a.mov", {}, "libx264 in .mov", "`encode: {codec: prores, pix_fmt: yuva444p10le}`"),
    (replace(BLANK, is_transparent=True), "a.webm", {}, "libsvtav1", "`encode: {codec: libvpx-vp9, pix_fmt: yuva420p}`"),
    (
        replace(BLANK, is_transparent=True),
        "a.mov",
        {"codec": "prores", "pix_fmt": "yuv422p10le"},
        "yuv422p10le",
        "yuva444p10le",
    ),
    (replace(BLANK, is_transparent=True), "a_%03d.jpg", {}, ".jpg cannot hold it", ".png"),
    (replace(BLANK, is_transparent=True), "a.gif", {}, "between clear and opaque", ""),
    (replace(BLANK, projection=SPHERE), "a.gif", {}, "360° picture", "suffix .mp4"),
    (replace(BLANK, projection=replace(SPHERE, kind="fisheye")), "a.mp4", {}, "fisheye", ""),
    (replace(BLANK, stereo=Stereo("side by side", True)), "a.mp4", {}, "two eyes", ".mkv"),
    (replace(BLANK, color=HDR), "a.mp4", {}, "HDR10 (PQ) (mastered from 0.005 to 1000 nits) is brought", ""),
    (replace(BLANK, bits=10), "a.mp4", {}, "10 bits of a color value become 8, as libx264 in .mp4", "libx265"),
    (replace(BLANK, bits=10), "a.gif", {}, "become 8, as .gif", ""),
    (replace(BLANK, dynamic_hdr="Dolby Vision"), "a.mkv", {}, "Dolby Vision", ""),
    (replace(BLANK, tags=(("title", "T"), ("encoder", "x"), ("MYCAM", "7"))), "a.webp", {}, "the tags title, MYCAM are", ""),
    (
        replace(BLANK, stream_tags=("REEL",)),
        "a.mkv",
        {},
        "the tag REEL of its streams is dropped: a painted stream has none",
        "",
    ),
    (replace(BLANK, timecode="01:00:00:00"), "a.gif", {}, "timecode 01:00:00:00", ""),
    (replace(BLANK, timecode="01:00:00:00", average_rate=Fraction(17)), "a.mp4", {}, "17 frames a second", ""),
    (replace(BLANK, end_tick=78), "a_%03d.png", {}, "from 0.04 s to 3.04 s", ""),
    (replace(BLANK, chapters=2), "a.gif", {}, "2 chapters", ""),
    (replace(BLANK, streams=(Stream(1, "data", "camm", "und"),)), "a.mp4", {}, "data stream 1 (camm)", ""),
    (replace(BLANK, streams=(Stream(1, "video", "h264"),)), "a.mp4", {}, "video stream 1", ""),
]


@pytest.mark.parametrize(("info", "output", "encode", "detail", "remedy"), KINDS, ids=[row[3] for row in KINDS])
def test_each_kind_of_thing_that_is_lost_is_named(
    info: VideoInfo, output: str, encode: dict[str, str], detail: str, remedy: str
) -> None:
    [found] = omissions_of_video(info, Path(output), Encode(**encode), copy_audio=True, keep_metadata=True)
    assert detail in found.detail
    assert remedy in found.remedy
    assert bool(remedy) == bool(found.remedy)
    assert not found.detail.endswith(".")


def test_what_is_kept_or_not_wanted_is_not_named() -> None:
    told = replace(
        BLANK, tags=(("a", "b"),), chapters=1, timecode="01:00:00:00", stream_tags=("REEL",), average_rate=Fraction(24000, 1001)
    )
    assert omissions_of_video(told, Path("a.gif"), Encode(), copy_audio=True, keep_metadata=False) == ()
    kept = replace(told, stream_tags=(), streams=(Stream(1, "data", "gpmd"), Stream(2, "data", "tmcd", timecode="01:00:00:00")))
    assert omissions_of_video(kept, Path("a.mp4"), Encode(), copy_audio=True, keep_metadata=True) == ()
    assert (
        omissions_of_video(replace(BLANK, is_transparent=True), Path("a.webp"), Encode(), copy_audio=True, keep_metadata=True)
        == ()
    )


def test_timecode_titles_and_measurements_come_along(tmp_path: Path) -> None:
    lines, made = tmp_path / "lines.srt", tmp_path / "made.mp4"
    lines.write_text("1\n00:00:00,000 --> 00:00:00,100\nhello\n")
    film = make_video(tmp_path / "film.mp4", films(5), *X264)
    run_ffmpeg(
        *("-i", film, *sine(0.2), "-i", lines, "-map", "0", "-map", "1", "-map", "2", "-c:v", "copy", "-c:a", "aac"),
        *("-c:s", "mov_text", "-metadata:s:a:0", "title=Talk", "-metadata:s:v:0", "timecode=01:02:03:04", made),
    )
    # A stream of text stands for the measurements of a GoPro, which no encoder writes.
    made.write_bytes(made.read_bytes().replace(b"tx3g", b"gpmd").replace(b"sbtl", b"meta"))
    info = probe(made)
    assert info.timecode == "01:02:03:04"
    assert [(one.kind, one.codec, one.title) for one in info.streams] == [
        ("audio", "aac", "Talk"),
        ("data", "gpmd", ""),
        ("data", "tmcd", ""),
    ]
    for suffix, streams in ((".mp4", 3), (".mov", 3), (".mkv", 1)):
        found = passed_through(info, tmp_path / f"result{suffix}")
        assert found.timecode == "01:02:03:04"
        assert len(found.streams) == streams
        assert found.streams[0].title == "Talk"
        named = [
            one.kind for one in omissions_of_video(info, Path(f"a{suffix}"), Encode(), copy_audio=True, keep_metadata=True)
        ]
        assert named == (["data streams"] if suffix == ".mkv" else [])


def test_one_kind_becomes_one_sentence_however_many_files_there_are() -> None:
    chapters = [(f"{index}.mov", Omission("chapters", f"{index} chapters are dropped")) for index in range(1, 6)]
    alpha = [("a.mov", Omission("transparency", "the transparency is dropped", "Set x.")) for _ in range(2)]
    assert sentences_of([*chapters, *alpha]) == (
        "1.mov, 2.mov and 3 more: 1 chapters are dropped; 2 chapters are dropped; 3 chapters are dropped; 2 more",
        "a.mov: the transparency is dropped. Set x.",
    )


def test_frames_without_alpha_are_opaque_in_a_format_with_alpha(tmp_path: Path) -> None:
    path = make_video(tmp_path / "film.mp4", films(3), *X264)
    passed_through(path, tmp_path / "result.mov", Encode(codec="prores", pix_fmt="yuva444p10le"))
    assert not probe(tmp_path / "result.mov").is_transparent
    assert Frame(films(1)[0], 0).alpha is None
