"""What a video carries beside its pictures comes along, or is named."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from nstpipe.config.models import Encode
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe
from nstpipe.media.video.streams import omitted_streams
from nstpipe.media.video.trial import try_output

from .making import X264, films, make_video, packets, passed_through, run_ffmpeg, shown_times, sine

FRAMES = 30
SUBTITLES = "1\n00:00:00,200 --> 00:00:00,600\nGood <i>evening</i>\n\n2\n00:00:00,700 --> 00:00:01,000\nGood night\n"
LINES = [(Fraction(2, 10), "Good"), (Fraction(7, 10), "Good night")]
FONT = b"this is a font" * 20


def rich(folder: Path, suffix: str = ".mkv") -> Path:
    """Two sounds and two subtitles with languages and dispositions; in Matroska also a font."""
    text, font = folder / "lines.srt", folder / "letters.ttf"
    text.write_text(SUBTITLES)
    font.write_bytes(FONT)
    made = make_video(folder / "made.mkv", films(FRAMES), *X264)
    path = folder / f"rich{suffix}"
    attached = ("-attach", font, "-metadata:s:t", "mimetype=font/ttf") if suffix == ".mkv" else ()
    run_ffmpeg(
        *("-i", made, *sine(1.2), "-f", "lavfi", "-i", "sine=frequency=880:sample_rate=48000:duration=1.2"),
        *("-i", text, "-i", text, *attached),
        *("-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3", "-map", "4", "-c:v", "copy", "-c:a", "aac"),
        *("-c:s", "mov_text" if suffix == ".mp4" else "subrip"),
        *("-metadata:s:v:0", "language=swe", "-metadata:s:a:0", "language=deu", "-metadata:s:a:1", "language=fra"),
        *("-metadata:s:s:0", "language=eng", "-metadata:s:s:1", "language=ita", "-metadata:s:a:1", "title=Commentary"),
        *("-disposition:a:0", "0", "-disposition:a:1", "default", "-disposition:s:0", "default"),
        *("-disposition:s:1", "forced" if suffix == ".mkv" else "0", path),
    )
    return path


def carried(info: VideoInfo) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [(stream.kind, stream.codec, stream.language, stream.dispositions) for stream in info.streams]


IN_MKV = [
    ("audio", "aac", "deu", ()),
    ("audio", "aac", "fra", ("default",)),
    ("subtitle", "subrip", "eng", ("default",)),
    ("subtitle", "subrip", "ita", ("forced",)),
]


def test_the_probe_names_all_streams(tmp_path: Path) -> None:
    info = probe(rich(tmp_path))
    assert carried(info)[:4] == IN_MKV
    assert info.language == "swe"
    attachment = info.streams[4]
    assert (attachment.kind, attachment.file_name, attachment.media_type) == ("attachment", "letters.ttf", "font/ttf")
    assert [stream.title for stream in info.streams if stream.kind == "audio"] == ["", "Commentary"]


def lines(path: Path) -> list[tuple[Fraction, bytes]]:
    return [(packet.time, packet.content) for packet in packets(path, "subtitles") if packet.time is not None]


def test_all_of_it_goes_from_matroska_to_matroska(tmp_path: Path) -> None:
    original, result = rich(tmp_path), tmp_path / "result.mkv"
    found = passed_through(original, result)
    assert found.streams == probe(original).streams
    assert found.language == "swe"
    assert omitted_streams(probe(original), result, copy_audio=True) == ()
    for kind in ("audio", "subtitles"):
        assert packets(result, kind) == packets(original, kind)
    with av.open(str(result)) as container:
        [attachment] = container.streams.attachments
        assert attachment.data == FONT


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_all_of_it_goes_from_mp4_to_its_family(tmp_path: Path, suffix: str) -> None:
    original, result = rich(tmp_path, ".mp4"), tmp_path / f"result{suffix}"
    found = passed_through(original, result)
    assert carried(found) == carried(probe(original))
    assert [stream.language for stream in found.streams] == ["deu", "fra", "eng", "ita"]
    assert found.language == "swe"
    for kind in ("audio", "subtitles"):
        assert packets(result, kind) == packets(original, kind)


def test_text_is_turned_into_what_mp4_takes_and_a_font_is_named(tmp_path: Path) -> None:
    original, result = rich(tmp_path), tmp_path / "result.mp4"
    said = [one.detail for one in omitted_streams(probe(original), result, copy_audio=True)]
    assert len(said) == 3
    assert "subtitle stream 3 (subrip, eng) is converted to mov_text" in said[0]
    assert "attachment stream 5" in said[2]
    assert "letters.ttf" in said[2]
    assert ".mp4 cannot hold it" in said[2]
    found = passed_through(original, result)
    assert [stream.codec for stream in found.streams] == ["aac", "aac", "mov_text", "mov_text"]
    shown = [(time, content[2:]) for time, content in lines(result) if len(content) > 2]
    for (time, content), (expected_time, words) in zip(shown, LINES, strict=True):
        assert time == expected_time
        assert words.encode() in content


def test_text_of_mp4_is_turned_into_what_matroska_takes(tmp_path: Path) -> None:
    original, result = rich(tmp_path, ".mp4"), tmp_path / "result.mkv"
    found = passed_through(original, result)
    assert [stream.codec for stream in found.streams] == ["aac", "aac", "subrip", "subrip"]
    assert [time for time, _ in lines(result)] == [time for time, _ in LINES]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_place_and_time_of_a_phones_video_come_along(tmp_path: Path, suffix: str) -> None:
    apple = "com.apple.quicktime."
    tags = {f"{apple}location.ISO6709": "+48.2082+016.3738+183/", f"{apple}make": "Apple", "title": "The square"}
    tags["creation_time"] = "2020-01-02T03:04:05.000000Z"
    given = [word for name, value in tags.items() for word in ("-metadata", f"{name}={value}")]
    original = make_video(tmp_path / "phone.mov", films(3), *X264, "-movflags", "use_metadata_tags", *given)
    assert tags.items() <= dict(probe(original).tags).items()
    passed_through(original, tmp_path / f"result{suffix}")
    found = {name.lower(): value for name, value in probe(tmp_path / f"result{suffix}").tags}
    assert {name.lower(): value for name, value in tags.items()}.items() <= found.items()


def test_a_late_start_keeps_subtitles_at_their_time(tmp_path: Path) -> None:
    late, result = tmp_path / "late.mkv", tmp_path / "result.mkv"
    run_ffmpeg("-i", rich(tmp_path), "-map", "0", "-c", "copy", "-output_ts_offset", "1.4", late)
    passed_through(late, result)
    assert shown_times(late)[0] == Fraction(14, 10)
    assert shown_times(result) == shown_times(late)
    assert lines(result) == lines(late)
    assert lines(result)[0][0] == Fraction(16, 10)


def test_sound_can_be_left_out_alone(tmp_path: Path) -> None:
    found = passed_through(rich(tmp_path), tmp_path / "result.mkv", copy_audio=False)
    assert [stream.kind for stream in found.streams] == ["subtitle", "subtitle", "attachment"]


def test_strip_keeps_the_streams_and_none_of_their_words(tmp_path: Path) -> None:
    found = passed_through(rich(tmp_path), tmp_path / "result.mkv", keep_metadata=False)
    assert [stream.kind for stream in found.streams] == ["audio", "audio", "subtitle", "subtitle", "attachment"]
    assert {stream.language for stream in found.streams} == {""}
    assert b"Commentary" not in (tmp_path / "result.mkv").read_bytes()


def test_a_cover_is_named_and_left_out(tmp_path: Path) -> None:
    cover, path = tmp_path / "cover.png", tmp_path / "covered.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "color=red:size=32x32", "-frames:v", "1", cover)
    made = make_video(tmp_path / "made.mp4", films(2), *X264)
    run_ffmpeg("-i", made, "-i", cover, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic", path)
    [cover] = omitted_streams(probe(path), tmp_path / "result.mp4", copy_audio=True)
    assert "video stream 1" in cover.detail
    assert "before it was painted" in cover.detail
    assert passed_through(path, tmp_path / "result.mp4").streams == ()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_trial_takes_what_the_whole_takes(tmp_path: Path, suffix: str) -> None:
    info = probe(rich(tmp_path))
    result = tmp_path / f"result{suffix}"
    try_output(tmp_path / "work", result, info, (64, 48), Encode(), copy_audio=True, keep_metadata=True)
    assert list((tmp_path / "work").iterdir()) == []


def test_sound_stays_in_sync_for_an_hour(tmp_path: Path) -> None:
    """A click at the last second stands where it stood, and so does the picture above it."""
    seconds = 3600
    original, result = tmp_path / "hour.mkv", tmp_path / "result.mp4"
    run_ffmpeg(
        # Every 60th frame of 30000/1001 a second.
        *("-f", "lavfi", "-i", f"color=gray:size=32x32:rate=500/1001:duration={seconds}"),
        *("-f", "lavfi", "-i", f"sine=sample_rate=8000:duration={seconds}"),
        *("-fps_mode", "passthrough"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-b:a", "8k", original),
    )
    passed_through(original, result, Encode(preset="ultrafast"))
    assert shown_times(result) == shown_times(original)
    before, after = packets(original, "audio"), packets(result, "audio")
    assert [packet.content for packet in after] == [packet.content for packet in before]
    last_before, last_after = before[-1].time, after[-1].time
    assert last_before is not None
    assert last_after is not None
    assert last_before > seconds - 1
    one_frame = Fraction(1001, 30000)
    assert abs(last_after - last_before) < one_frame


def captioned(folder: Path) -> Path:
    """H.264 with two characters of CEA-608 in a message (SEI, ITU-T T.35) before each picture, as broadcasts have it."""
    plain = make_video(folder / "plain.h264", films(4), *X264, "-x264-params", "slices=1:aud=1")
    # Country, provider and ATSC's mark; then one triplet for field 1: "Hi" with odd parity.
    payload = bytes((0xB5, 0x00, 0x31)) + b"GA94" + bytes((3, 0x40 | 1, 0xFF, 0xFC, 0xC8, 0xE9, 0xFF))
    message = b"\x00\x00\x00\x01\x06" + bytes((4, len(payload))) + payload + b"\x80"
    first, *units = plain.read_bytes().split(b"\x00\x00\x00\x01\x09")
    raw, result = folder / "captioned.h264", folder / "captioned.mp4"
    # An access unit delimiter (type 9) is followed by one byte; the message goes behind it.
    raw.write_bytes(first + b"".join(b"\x00\x00\x00\x01\x09" + unit[:1] + message + unit[1:] for unit in units))
    run_ffmpeg("-r", "25", "-i", raw, "-c", "copy", result)
    return result


def test_captions_within_the_picture_are_named(tmp_path: Path) -> None:
    info = probe(captioned(tmp_path))
    assert info.has_captions
    [captions] = omitted_streams(info, tmp_path / "result.mp4", copy_audio=True)
    assert captions.detail == "the closed captions in the picture's stream are dropped: a painted picture does not contain them"
    run_ffmpeg("-r", "25", "-i", tmp_path / "plain.h264", "-c", "copy", tmp_path / "plain.mp4")
    assert not probe(tmp_path / "plain.mp4").has_captions
