"""Whole runs over media that is not plain: what is lost is said, what is left is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

import nstpipe
from nstpipe import api
from nstpipe.events import Event, ItemFailed, Noticed
from nstpipe.media.video import decode_check as checking
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe
from tests.making import make_picture, make_video, write_pipeline
from tests.media.making import X264, films, run_ffmpeg, sine
from tests.media.making import make_video as make_of


def damaged(folder: Path) -> Path:
    whole = make_of(folder / "whole.mp4", films(12), *X264, "-g", "1", "-movflags", "+faststart")
    path = folder / "in.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 7 // 10])
    return path


def test_a_damaged_video_is_done_as_far_as_it_decodes_and_the_exit_code_says_so(tmp_path: Path) -> None:
    left = len(probe(damaged(tmp_path)).ticks)
    pipeline = write_pipeline(tmp_path, {"name": "film", "input": "in.mp4", "output": "out/film.mp4"})
    events: list[Event] = []
    result = nstpipe.run(pipeline, on_event=events.append)
    assert result.exit_code == 2
    assert [output.frames for output in result.outputs] == [left]
    assert len(probe(tmp_path / "out" / "film.mp4").ticks) == left
    [failure] = result.failures
    assert f"missing from {left / 25:.3f} s on" in failure.reason
    assert f"What decodes of it, {left} frames, is done" in failure.reason
    assert failure in events
    again = nstpipe.run(pipeline)
    assert (again.exit_code, again.outputs, len(again.failures)) == (2, (), 1)
    found = api.validate(pipeline)
    assert (found.usable, len(found.failures), found.problems, found.missing) == (1, 1, (), ())


def test_a_broken_item_leaves_the_rest_to_be_done(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").symlink_to(make_picture(tmp_path / "elsewhere.png"))
    large = tmp_path / "in" / "c.png"
    Image.new("1", (2000, 1000)).save(large)
    pipeline = write_pipeline(tmp_path, {"name": "pictures", "input": "in", "output": "out"}, max_megapixels=1)
    result = nstpipe.run(pipeline)
    assert result.exit_code == 2
    assert [Path(output.output).name for output in result.outputs] == ["a.png"]
    reasons = {Path(failure.path).name: failure.reason for failure in result.failures}
    assert "a link that leaves" in reasons["b.png"]
    assert "more than the 1 megapixels that max_megapixels allows" in reasons["c.png"]


def test_two_jobs_do_not_write_the_same_file(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "a.png")
    make_picture(tmp_path / "other" / "in" / "a.png", seed=1)
    pipeline = write_pipeline(
        tmp_path,
        {"name": "one", "input": "in", "output": "out/in"},
        {"name": "two", "input": "other", "output": "out"},
    )
    result = nstpipe.run(pipeline)
    assert (result.exit_code, len(result.outputs)) == (2, 1)
    assert "would both be written to" in result.failures[0].reason


def test_what_is_left_out_is_named_before_the_work(tmp_path: Path) -> None:
    lines = tmp_path / "lines.srt"
    lines.write_text("1\n00:00:00,000 --> 00:00:00,100\nGood evening\n")
    made = make_of(tmp_path / "made.mkv", films(2), *X264, "-c:a", "aac", inputs=sine(0.1))
    run_ffmpeg("-i", made, "-i", lines, "-map", "0", "-map", "1", "-c", "copy", tmp_path / "in.mkv")
    events: list[Event] = []
    pipeline = write_pipeline(tmp_path, {"name": "film", "input": "in.mkv", "output": "out/film.gif"})
    assert nstpipe.run(pipeline, on_event=events.append).exit_code == 0
    notices = [event.message for event in events if isinstance(event, Noticed)]
    assert any("audio stream 1 (aac) is dropped: .gif cannot hold it" in notice for notice in notices)
    assert any("subtitle stream 2 (subrip) is dropped" in notice for notice in notices)
    kinds = [type(event).__name__ for event in events]
    assert kinds.index("Noticed") < kinds.index("ClipStarted")
    assert len(probe(tmp_path / "out" / "film.gif").ticks) == 2


def test_numbered_pictures_in_and_out(tmp_path: Path) -> None:
    for number in range(3, 6):
        make_picture(tmp_path / "in" / f"frame_{number:04d}.png", seed=number)
    job = {"name": "film", "input": "in/frame_%04d.png", "rate": 12.5}
    pipeline = write_pipeline(
        tmp_path,
        {**job, "output": "out/film.mp4"},
        {**job, "name": "pictures", "output": "painted/frame_%04d.png"},
    )
    assert nstpipe.run(pipeline).exit_code == 0
    found = probe(tmp_path / "out" / "film.mp4")
    assert [tick * found.time_base for tick in found.ticks] == [Fraction(index * 2, 25) for index in range(3)]
    names = [f"frame_{number:04d}.png" for number in range(3, 6)]
    assert sorted(path.name for path in (tmp_path / "painted").iterdir()) == names
    again = nstpipe.run(pipeline)
    assert (again.outputs, len(again.already_done)) == ((), 2)
    (tmp_path / "painted" / names[1]).unlink()
    assert len(nstpipe.run(pipeline).outputs) == 1


def test_sixteen_bits_are_painted_in_sixteen_bits(tmp_path: Path) -> None:
    made = tmp_path / "in.mkv"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.08", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", made)
    run_ffmpeg("-i", made, "-frames:v", "1", "-pix_fmt", "rgb48be", tmp_path / "in.png")
    pipeline = write_pipeline(
        tmp_path,
        {"name": "film", "input": "in.mkv", "output": "out/film.mkv", "encode": {"codec": "ffv1"}},
        {"name": "picture", "input": "in.png", "output": "out/picture.png"},
    )
    assert nstpipe.run(pipeline).exit_code == 0
    assert probe(tmp_path / "out" / "film.mkv").bits == 10
    assert (tmp_path / "out" / "picture.png").read_bytes()[24] == 16, "the bit depth of a PNG"


def test_a_whole_video_has_nothing_to_say(tmp_path: Path) -> None:
    make_video(tmp_path / "in.mp4", frames=2)
    events: list[Event] = []
    pipeline = write_pipeline(tmp_path, {"name": "film", "input": "in.mp4", "output": "out/film.mp4"})
    assert nstpipe.run(pipeline, on_event=events.append).exit_code == 0
    assert not [event for event in events if isinstance(event, ItemFailed)]


def test_a_painting_that_was_changed_between_two_runs_is_read_again(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "a.png")
    pipeline = write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out", "init": "blank"})
    shown = []
    for level in (30, 220):
        Image.new("RGB", (64, 48), (level, level, level)).save(tmp_path / "style.png")
        assert nstpipe.run(pipeline).exit_code == 0
        with Image.open(tmp_path / "out" / "a.png") as image:
            shown.append(np.asarray(image).mean())
    assert shown[1] > shown[0] + 50


def test_a_file_that_only_claims_to_be_a_picture_is_given_to_no_other_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_picture(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "evil.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n")
    interpreter = tmp_path / "bin" / "gs"
    interpreter.parent.mkdir()
    interpreter.write_text(f"#!/bin/sh\ntouch {tmp_path / 'called'}\n")
    interpreter.chmod(0o755)
    monkeypatch.setenv("PATH", str(interpreter.parent), prepend=os.pathsep)
    result = nstpipe.run(write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out"}))
    assert (result.exit_code, [Path(done.output).name for done in result.outputs]) == (2, ["good.png"])
    assert "is not a picture in a supported format" in result.failures[0].reason
    assert not (tmp_path / "called").exists()


def test_a_name_that_is_no_text_costs_its_picture_alone(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "good.png")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/caf\xe9.png")).write_bytes(
            (tmp_path / "in" / "good.png").read_bytes()
        )
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    result = nstpipe.run(write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out"}))
    assert (result.exit_code, [Path(done.output).name for done in result.outputs]) == (2, ["good.png"])
    assert r"caf\udce9.png has a name that is no UTF-8" in result.failures[0].reason


def test_strips_of_a_few_pixels_are_neighbors_of_nothing(tmp_path: Path) -> None:
    for number in range(2):
        make_picture(tmp_path / "in" / f"{number}.png", seed=number, size=(2000, 40))
    job = {"name": "one", "input": "in", "output": "out", "size": 800}
    assert nstpipe.run(write_pipeline(tmp_path, job)).exit_code == 0


def test_a_cut_video_is_decoded_to_its_end_for_the_first_plan_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged(tmp_path)
    pipeline = write_pipeline(tmp_path, {"name": "film", "input": "in.mp4", "output": "out/film.mp4"})
    decoded: list[VideoInfo] = []
    real = checking._decoded

    def counted(info: VideoInfo, options: dict[str, Any], on_frame: Callable[[int], None]) -> tuple[tuple[int, ...], str]:
        decoded.append(info)
        return real(info, options, on_frame)

    monkeypatch.setattr(checking, "_decoded", counted)
    plans = [api.plan(pipeline) for _ in range(2)]
    assert len(decoded) == 1
    [first], [second] = (plan.outputs for plan in plans)
    assert first == second
    assert 0 < first.input.frame_count < 12


def test_numbered_pictures_of_16_bits_stay_so(tmp_path: Path) -> None:
    fine = (np.arange(64 * 48).reshape(48, 64) * 20).astype(np.uint16)
    (tmp_path / "in").mkdir()
    for number in (1, 2):
        Image.fromarray(fine).save(tmp_path / "in" / f"frame_{number:04d}.png")
    job = {"name": "film", "input": "in/frame_%04d.png", "output": "out/frame_%04d.png"}
    assert nstpipe.run(write_pipeline(tmp_path, job)).exit_code == 0
    for number in (1, 2):
        assert (tmp_path / "out" / f"frame_{number:04d}.png").read_bytes()[24] == 16, "the bit depth of a PNG"


def test_what_stands_beside_a_picture_and_does_not_fit_costs_no_painting_and_is_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Ann"
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment.value: b"c" * 70_000}
    make_picture(tmp_path / "in.png")
    with Image.open(tmp_path / "in.png") as image:
        image.save(tmp_path / "in.png", exif=exif)
    events: list[Event] = []
    pipeline = write_pipeline(tmp_path, {"name": "picture", "input": "in.png", "output": "out/picture.jpg"})
    sentence = "in.png: the EXIF UserComment is dropped: JPEG cannot hold it as it is"
    assert api.validate(pipeline).notices == api.plan(pipeline).notices == (f"picture: {sentence}",)
    assert nstpipe.run(pipeline, on_event=events.append).exit_code == 0
    assert (tmp_path / "out" / "picture.jpg").is_file()
    assert [event.message for event in events if isinstance(event, Noticed)] == [sentence]
    assert api.plan(pipeline).notices == (), "there is nothing to do"
