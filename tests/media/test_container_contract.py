"""The contract of every row of the table of containers: what it says is what its files hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from nstpipe.config.models import Encode
from nstpipe.media.detect import is_moving
from nstpipe.media.video.containers import CONTAINERS, Container
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe
from nstpipe.media.video.streams import omitted_streams
from nstpipe.media.video.trial import try_encode
from tests.making_examples import example

from .making import X264, films, make_video, packets, passed_through, run_ffmpeg, shown_times, sine

FRAMES = 6
EXAMPLE: Container = example("container.md", "row")
WRITTEN = [row for row in (*CONTAINERS.values(), EXAMPLE) if row.is_written]
READ_ONLY = [row for row in CONTAINERS.values() if not row.is_written]
SOUND = {".webm": "libopus"}
"""Sound that a container can hold where it cannot hold AAC."""

CODECS = {".wmv": "wmv2", ".flv": "flv1", ".mpg": "mpeg2video", ".mpeg": "mpeg2video"}
"""Codecs of containers that do not hold MPEG-4."""

MUXERS = {".m4v": "mp4"}
"""What writes a file of a suffix that ffmpeg takes for something else."""


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table, with the example's row in it."""
    monkeypatch.setitem(CONTAINERS, EXAMPLE.suffix, EXAMPLE)


def film(folder: Path, sound: str) -> VideoInfo:
    """A film with sound, subtitles, an attachment, chapters and a title."""
    text, font, marks = folder / "lines.srt", folder / "letters.ttf", folder / "marks.txt"
    text.write_text("1\n00:00:00,000 --> 00:00:00,200\nGood evening\n")
    font.write_bytes(b"this is a font" * 20)
    marks.write_text(
        ";FFMETADATA1\ntitle=A street\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=100\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=100\nEND=240\ntitle=Two\n"
    )
    picture = make_video(folder / "picture.mkv", films(FRAMES), *X264)
    path = folder / "film.mkv"
    run_ffmpeg(
        *("-i", picture, *sine(0.24), "-i", text, "-i", marks, "-attach", font, "-metadata:s:t", "mimetype=font/ttf"),
        *("-map", "0:v", "-map", "1:a", "-map", "2:s", "-map_metadata", "3", "-map_chapters", "3"),
        *("-c:v", "copy", "-c:a", sound, "-c:s", "subrip", path),
    )
    info = probe(path)
    assert [stream.kind for stream in info.streams] == ["audio", "subtitle", "attachment"]
    assert (info.chapters, dict(info.tags)["title"]) == (2, "A street")
    return info


@pytest.mark.parametrize("row", WRITTEN, ids=lambda row: row.suffix)
def test_a_file_holds_what_the_row_says(tmp_path: Path, row: Container) -> None:
    original, result = film(tmp_path, SOUND.get(row.suffix, "aac")), tmp_path / f"result{row.suffix}"
    found = passed_through(original, result, Encode())
    assert len(found.ticks) == FRAMES
    times = shown_times(result) if not row.is_animation else [tick * found.time_base for tick in found.ticks]
    assert [float(time) for time in times] == pytest.approx([frame / 25 for frame in range(FRAMES)], abs=float(found.time_base))

    kinds = [stream.kind for stream in found.streams]
    text = row.subtitle_codec("subrip")
    assert kinds.count("audio") == row.sound
    assert kinds.count("subtitle") == (text is not None)
    assert kinds.count("attachment") == row.attachments
    assert found.chapters == (2 if row.chapters else 0)
    assert (dict(found.tags).get("title") == "A street") == row.tags
    if row.sound:
        assert [one.content for one in packets(result, "audio")] == [one.content for one in packets(original.path, "audio")]

    said = [one.detail for one in omitted_streams(original, result, copy_audio=True)]
    dropped = [sentence for sentence in said if "dropped" in sentence]
    for kind, carried in (("audio stream", row.sound), ("subtitle", text), ("attachment", row.attachments)):
        assert any(sentence.startswith(kind) for sentence in dropped) == (not carried)
    assert any("chapters are dropped" in sentence for sentence in dropped) == (not row.chapters)
    assert any(f"converted to {text}" in sentence for sentence in said) == (text not in (None, "copy"))


@pytest.mark.parametrize("row", WRITTEN, ids=lambda row: row.suffix)
def test_the_trial_passes_and_leaves_nothing_behind(tmp_path: Path, row: Container) -> None:
    info = film(tmp_path, SOUND.get(row.suffix, "aac"))
    folder = tmp_path / "work"
    for codec in (None, *(() if row.is_animation else row.codecs)):
        try_encode(folder, row.suffix, info, (64, 48), Encode(codec=codec), copy_audio=True, keep_metadata=True)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("row", WRITTEN, ids=lambda row: row.suffix)
def test_a_written_file_is_recognized_by_its_content(tmp_path: Path, row: Container) -> None:
    source = probe(make_video(tmp_path / "picture.mkv", films(FRAMES), *X264))
    passed_through(source, tmp_path / f"result{row.suffix}")
    renamed = (tmp_path / f"result{row.suffix}").rename(tmp_path / "result.txt")
    assert is_moving(renamed) is True
    assert len(probe(renamed).ticks) == FRAMES
    assert row.demuxer in ("", *probe(renamed).container.split(","))


@pytest.mark.parametrize("row", READ_ONLY, ids=lambda row: row.suffix)
def test_a_row_without_codecs_is_read(tmp_path: Path, row: Container) -> None:
    muxer = ("-f", MUXERS[row.suffix]) if row.suffix in MUXERS else ()
    path = tmp_path / f"film{row.suffix}"
    make_video(path, films(FRAMES), "-c:v", CODECS.get(row.suffix, "mpeg4"), "-pix_fmt", "yuv420p", *muxer)
    assert len(probe(path).ticks) == FRAMES
    assert is_moving(path) is (True if row.signatures else None)
