"""Whole runs: the real engine on small real media."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import nstpipe
import nstpipe.api
from nstpipe.errors import InputError, MachineError, OutputError, UsageError
from nstpipe.events import ClipStarted, Emit, Event, FrameDone, ItemFailed, JobPlanned, OutputDone, RunFinished
from nstpipe.journal.placing import Placing
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.probe import probe
from nstpipe.painting.encode import finish_output
from nstpipe.planning.outputs import Output
from nstpipe.running import finishing
from nstpipe.style.regions import LEAST_SHARE
from nstpipe.system.stop import Stop, StopReason
from nstpipe.system.stop import Stopped as StoppedWork
from tests.made_once import make_with_ffmpeg
from tests.making import make_picture, make_video, write_pipeline


class Stopped(Exception):  # noqa: N818
    """Stands for whatever ends a process in the middle of its work."""


def video_job(folder: Path, frames: int = 6, pan_pixels: int = 0, **keys: object) -> Path:
    make_video(folder / "in.mp4", frames=frames, pan_pixels=pan_pixels)
    return write_pipeline(folder, {"name": "film", "input": "in.mp4", "output": "out/film.mp4", **keys})


def folder_job(folder: Path, pictures: int = 3, **keys: object) -> Path:
    for number in range(pictures):
        make_picture(folder / "in" / f"picture_{number}.jpg", seed=number)
    return write_pipeline(folder, {"name": "folder", "input": "in", "output": "out", **keys})


def content_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_video_keeps_its_frames_times_and_sound(tmp_path: Path) -> None:
    result = nstpipe.run(video_job(tmp_path))
    assert result.exit_code == 0
    assert not result.failures
    before, after = probe(tmp_path / "in.mp4"), probe(tmp_path / "out" / "film.mp4")
    assert [tick * after.time_base for tick in after.ticks] == [tick * before.time_base for tick in before.ticks]
    assert after.average_rate == before.average_rate
    assert (after.width, after.height, after.audio_streams) == (48, 36, 1)
    [output] = result.outputs
    assert output.frames == 6


def test_the_places_of_results_come_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    make_picture(tmp_path / "picture.png")
    names = ["film", "b", "street", "a", "z"]
    jobs = [{"name": name, "input": "picture.png", "output": f"{name}.png", "size": 32} for name in names]
    ends: list[Event] = []
    nstpipe.run(write_pipeline(tmp_path, *jobs), on_event=ends.append)
    [end] = [event for event in ends if isinstance(event, RunFinished)]
    assert [Path(place).stem for place in end.results] == names


def test_results_are_painted_and_not_the_input(tmp_path: Path) -> None:
    nstpipe.run(video_job(tmp_path, optimizer={"first": 15, "next": 5}))
    before, after = probe(tmp_path / "in.mp4"), probe(tmp_path / "out" / "film.mp4")
    original = [frame.pixels for frame in VideoSource(before).read(0, 6)]
    painted = [frame.pixels for frame in VideoSource(after).read(0, 6)]
    for source, result in zip(original, painted, strict=True):
        small = np.asarray(Image.fromarray(source).resize((48, 36)))
        assert np.abs(small.astype(int) - result.astype(int)).mean() > 10
        assert result.std() > 10


def test_a_folder_is_mirrored_in_natural_order(tmp_path: Path) -> None:
    for name in ("a/picture_10.jpg", "a/picture_9.jpg", "b.png"):
        make_picture(tmp_path / "in" / name)
    seen: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, OutputDone):
            seen.append(Path(event.output).relative_to(tmp_path / "out").as_posix())

    pipeline = write_pipeline(tmp_path, {"name": "folder", "input": "in", "output": "out"})
    assert nstpipe.run(pipeline, on_event=watch).exit_code == 0
    assert seen == ["a/picture_9.jpg", "a/picture_10.jpg", "b.png"]
    assert sorted(content_of(tmp_path / "out")) == sorted(seen)


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    pipeline = video_job(tmp_path)
    nstpipe.run(pipeline)
    written = (tmp_path / "out" / "film.mp4").stat().st_mtime_ns
    events: list[Event] = []
    again = nstpipe.run(pipeline, on_event=events.append)
    assert (again.exit_code, again.outputs) == (0, ())
    assert again.already_done == (tmp_path / "out" / "film.mp4",)
    assert (tmp_path / "out" / "film.mp4").stat().st_mtime_ns == written
    assert [type(event) for event in events] == [JobPlanned, RunFinished]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / "out" / "picture_1.jpg").unlink(), "output missing"),
        (lambda folder: os.truncate(folder / "out" / "picture_1.jpg", 300), "output changed"),
        (lambda folder: (folder / "out" / "picture_1.jpg").write_bytes(bytes(500)), "output changed"),
        (lambda folder: make_picture(folder / "in" / "picture_1.jpg", seed=77), "input changed"),
        (lambda folder: make_picture(folder / "in" / "picture_7.jpg", seed=7), "new"),
    ],
    ids=["deleted output", "damaged output", "output of zeros", "changed input", "new input"],
)
def test_only_what_changed_is_done_again(tmp_path: Path, change: object, reason: str) -> None:
    pipeline = folder_job(tmp_path)
    nstpipe.run(pipeline)
    before = content_of(tmp_path / "out")
    assert callable(change)
    change(tmp_path)
    [todo] = [output for output in nstpipe.api.plan(pipeline).outputs if not output.is_done]
    assert reason in todo.reason
    again = nstpipe.run(pipeline)
    assert len(again.outputs) == 1
    after = content_of(tmp_path / "out")
    untouched = set(before) - {todo.path.name}
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}


def test_settings_that_do_not_matter_redo_nothing(tmp_path: Path) -> None:
    pipeline = folder_job(tmp_path)
    nstpipe.run(pipeline)
    touched = tmp_path / "in" / "picture_0.jpg"
    touched.touch()
    others = set(psutil.Process().children())  # of other tests
    processes: list[psutil.Process] = []

    def look(_: Event) -> None:
        processes.extend(set(psutil.Process().children()) - others)

    assert nstpipe.run(pipeline, workers=2, device="cpu", on_event=look).outputs == ()
    assert not processes, "where the last run did everything, no worker is started in vain"
    (tmp_path / "pipeline.yaml").write_text(pipeline.read_text().replace("name: folder", "name: renamed"))
    assert nstpipe.run(pipeline, workers=2, device="cpu", on_event=look).outputs == ()
    assert processes, "this test would not see a worker"


def test_settings_that_matter_redo_all(tmp_path: Path) -> None:
    pipeline = folder_job(tmp_path)
    nstpipe.run(pipeline)
    for override in ("jobs.folder.style.strength=2", "seed=5", "jobs.folder.metadata=strip"):
        assert all(not output.is_done for output in nstpipe.api.plan(pipeline, overrides=[override]).outputs), override


def test_other_encoding_does_not_stylize_again(tmp_path: Path) -> None:
    pipeline = video_job(tmp_path)
    [plain] = nstpipe.api.plan(pipeline).outputs
    [other] = nstpipe.api.plan(pipeline, overrides=["jobs.film.encode.crf=30"]).outputs
    assert plain.clips == other.clips
    assert plain.fingerprint != other.fingerprint


def test_a_broken_off_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
        video_job(folder, optimizer={"first": 4, "next": 3}, pan_pixels=4)
    nstpipe.run(whole / "pipeline.yaml")

    def stop_after_three(event: Event) -> None:
        if isinstance(event, FrameDone) and event.frame_index == 2:
            raise Stopped

    with pytest.raises(Stopped):
        nstpipe.run(broken / "pipeline.yaml", on_event=stop_after_three)
    assert not (broken / "out" / "film.mp4").exists()
    state = np.load(max((broken / ".nstpipe" / "clips").glob("*/state_*.npy")))
    assert state[0, 3].mean() >= LEAST_SHARE, "nothing is new, so that this test would not see whether that is kept"
    events: list[Event] = []
    assert nstpipe.run(broken / "pipeline.yaml", on_event=events.append).exit_code == 0
    [started] = [event for event in events if isinstance(event, ClipStarted)]
    assert started.next_frame_index == 3
    assert [event.frame_index for event in events if isinstance(event, FrameDone)] == [3, 4, 5]
    assert content_of(broken / "out") == content_of(whole / "out")


def test_unfinished_work_is_cleared_away(tmp_path: Path) -> None:
    nstpipe.run(video_job(tmp_path))
    assert list((tmp_path / ".nstpipe" / "clips").iterdir()) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["film.mp4"]


def test_a_cut_starts_afresh(tmp_path: Path, samples: Path) -> None:
    sample = samples / "video" / "city_night.mp4"
    pipeline = write_pipeline(tmp_path, {"name": "city", "input": str(sample), "output": "out.mp4"})
    [output] = nstpipe.api.plan(pipeline).outputs
    assert [(clip.first_frame_index, clip.end_frame_index) for clip in output.clips] == [(0, 23), (23, 75)]
    [joined] = nstpipe.api.plan(pipeline, overrides=["jobs.city.shots=none"]).outputs
    assert [(clip.first_frame_index, clip.end_frame_index) for clip in joined.clips] == [(0, 75)]


def two_films(folder: Path) -> Path:
    for name, frames in (("one", 2), ("two", 3)):
        make_video(folder / "in" / f"{name}.mp4", frames=frames)
    return write_pipeline(folder, {"name": "films", "input": "in/*.mp4", "output": "out"})


def test_a_video_is_written_while_the_next_one_is_painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, is_painted = two_films(tmp_path), threading.Event()

    def finish_late(output: Output, *arguments: Any) -> OutputDone | ItemFailed:
        assert output.path.stem == "two" or is_painted.wait(60), "the second film waits for the first"
        return finish_output(output, *arguments)

    monkeypatch.setattr(finishing, "finish_output", finish_late)
    events: list[Event] = []

    def see(event: Event) -> None:
        events.append(event)
        if isinstance(event, FrameDone) and "two" in event.path:
            is_painted.set()

    assert nstpipe.run(pipeline, on_event=see).exit_code == 0
    assert [Path(event.output).stem for event in events if isinstance(event, OutputDone)] == ["one", "two"]
    assert [len(probe(tmp_path / "out" / f"{name}.mp4").ticks) for name in ("one", "two")] == [2, 3]


def test_an_error_that_ends_a_run_ends_what_is_written_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread must not go on in a notebook's process, where the next run writes the same file."""
    pipeline, begun, ends = two_films(tmp_path), threading.Event(), []

    def wait_for_the_end(output: Output, placing: Placing, emit: Emit, stop: Stop) -> OutputDone | ItemFailed:
        begun.set()
        while not stop.should_stop():
            time.sleep(0.01)
        try:
            return finish_output(output, placing, emit, stop)
        except StoppedWork:
            ends.append(output.path.stem)
            raise

    def fail(event: Event) -> None:
        if isinstance(event, FrameDone) and "two" in event.path:
            assert begun.wait(60)
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(finishing, "finish_output", wait_for_the_end)
        with pytest.raises(Stopped):
            nstpipe.run(pipeline, on_event=fail)
    assert ends == ["one"]
    assert content_of(tmp_path / "out") == {}
    assert nstpipe.run(pipeline).exit_code == 0
    assert len(content_of(tmp_path / "out")) == 2


def test_two_workers_give_what_one_gives(tmp_path: Path) -> None:
    pipeline = folder_job(tmp_path, pictures=2)
    nstpipe.run(pipeline, workers=1)
    one = {path.name: np.asarray(Image.open(path)).astype(int) for path in (tmp_path / "out").glob("*.jpg")}
    for path in (tmp_path / "out").glob("*.jpg"):
        path.unlink()
    events: list[Event] = []
    assert nstpipe.run(pipeline, workers=2, on_event=events.append).exit_code == 0
    assert sum(isinstance(event, FrameDone) for event in events) == 2
    for path in (tmp_path / "out").glob("*.jpg"):
        # Sums over another number of threads round otherwise, which an optimization enlarges a little.
        assert np.abs(np.asarray(Image.open(path)).astype(int) - one[path.name]).mean() < 1


def test_bad_pictures_are_named_and_the_others_are_done(tmp_path: Path) -> None:
    pipeline = folder_job(tmp_path, pictures=2)
    (tmp_path / "in" / "empty.jpg").touch()
    whole = (tmp_path / "in" / "picture_0.jpg").read_bytes()
    (tmp_path / "in" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "text.jpg").write_text("not a picture")
    result = nstpipe.run(pipeline)
    assert result.exit_code == 2
    assert {Path(output.output).name for output in result.outputs} == {"picture_0.jpg", "picture_1.jpg"}
    reasons = {Path(failure.path).name: failure.reason for failure in result.failures}
    assert set(reasons) == {"empty.jpg", "cut.jpg", "text.jpg"}
    assert "is empty (0 bytes)" in reasons["empty.jpg"]
    assert "truncated" in reasons["cut.jpg"]
    assert "is not a picture" in reasons["text.jpg"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["picture_0.jpg", "picture_1.jpg"]


def test_one_bad_job_does_not_stop_the_next(tmp_path: Path) -> None:
    make_picture(tmp_path / "in.png")
    pipeline = write_pipeline(
        tmp_path,
        {"name": "missing", "input": "nowhere.mp4", "output": "out/a.mp4"},
        {"name": "unpainted", "input": "in.png", "output": "out/b.png", "style": "nowhere.png"},
        {"name": "good", "input": "in.png", "output": "out/c.png"},
    )
    result = nstpipe.run(pipeline)
    assert result.exit_code == 2
    assert [failure.job for failure in result.failures] == ["missing", "unpainted"]
    assert "style.images[0]" in result.failures[1].reason
    assert content_of(tmp_path / "out").keys() == {"c.png"}


def test_nothing_usable_is_an_error_of_its_own(tmp_path: Path) -> None:
    pipeline = write_pipeline(tmp_path, {"name": "missing", "input": "nowhere.mp4", "output": "out/a.mp4"})
    events: list[Event] = []
    with pytest.raises(InputError, match="nothing usable"):
        nstpipe.run(pipeline, on_event=events.append)
    [failure] = [event for event in events if isinstance(event, ItemFailed)]
    assert "nowhere.mp4 does not exist" in failure.reason


def test_an_output_folder_that_cannot_be_made_ends_the_run_before_its_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    events: list[Event] = []
    with pytest.raises(OutputError, match="file/out cannot be made"):
        nstpipe.run(folder_job(tmp_path, output="file/out"), on_event=events.append)
    assert events == []


def test_other_errors_of_a_run(tmp_path: Path) -> None:
    pipeline = folder_job(tmp_path, pictures=1)
    with pytest.raises(UsageError, match="--job film: there is no such job; the file has folder"):
        nstpipe.run(pipeline, jobs=["film"])
    with pytest.raises(MachineError, match="found cuda:9"):
        nstpipe.run(pipeline, device="cuda:9")
    with pytest.raises(UsageError, match="workers: found 0; should be 1 to 1024"):
        nstpipe.run(pipeline, workers=0)


def test_codec_and_sound_that_do_not_fit_are_found_before_the_work(tmp_path: Path) -> None:
    from nstpipe.media.video import ffmpeg

    if "libsvtav1" not in ffmpeg.encoders():
        pytest.skip("this ffmpeg has no libsvtav1")
    make_video(tmp_path / "in.mp4")
    job = {"name": "film", "input": "in.mp4", "output": "out.webm", "size": 64, "encode": {"codec": "libsvtav1"}}
    events: list[Event] = []
    with pytest.raises(InputError):
        nstpipe.run(write_pipeline(tmp_path, job), on_event=events.append)  # WebM takes no AAC
    [failure] = [event for event in events if isinstance(event, ItemFailed)]
    assert "could not be encoded as .webm: its sound is in aac" in failure.reason
    assert not any(isinstance(event, FrameDone) for event in events)
    silent = write_pipeline(tmp_path, {**job, "audio": "none"})
    assert nstpipe.run(silent).exit_code == 0


@pytest.mark.parametrize("init", ["warped", "previous", "content"])
def test_every_temporal_start_works(tmp_path: Path, init: str) -> None:
    assert nstpipe.run(video_job(tmp_path, frames=3, temporal={"init": init})).exit_code == 0


@pytest.mark.parametrize("color", ["content", "matched"])
def test_colors_of_a_broken_off_clip_go_on_with_its_first_frame(tmp_path: Path, color: str) -> None:
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
        video_job(tmp_path / name, frames=3, color=color)
    nstpipe.run(tmp_path / "whole" / "pipeline.yaml")

    def stop(event: Event) -> None:
        if isinstance(event, FrameDone) and event.frame_index == 1:
            raise Stopped

    with pytest.raises(Stopped):
        nstpipe.run(tmp_path / "broken" / "pipeline.yaml", on_event=stop)
    nstpipe.run(tmp_path / "broken" / "pipeline.yaml")
    assert content_of(tmp_path / "broken" / "out") == content_of(tmp_path / "whole" / "out")


@pytest.mark.parametrize("init", ["matched", "content", "noise", "blank", "style.png"])
def test_every_first_start_works(tmp_path: Path, init: str) -> None:
    assert nstpipe.run(folder_job(tmp_path, pictures=1, init=init)).exit_code == 0


def test_a_still_video_stays_still(tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "still.png", size=(96, 64))
    lossless = ("-frames:v", "5", "-r", "25", "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p")
    make_with_ffmpeg("-loop", "1", "-i", picture, *lossless, result=tmp_path / "in.mp4")
    job = {"name": "still", "input": "in.mp4", "output": "out.mkv", "encode": {"codec": "ffv1"}, "size": 96}
    nstpipe.run(write_pipeline(tmp_path, {**job, "optimizer": {"first": 60, "next": 10}}))
    info = probe(tmp_path / "out.mkv")
    frames = [frame.pixels.astype(int) for frame in VideoSource(info).read(0, 5)]
    changes = [np.abs(later - earlier).mean() for earlier, later in itertools.pairwise(frames)]
    # The optimization goes on from frame to frame, so a little changes; less and less of it.
    assert max(changes) < 4
    assert changes[-1] <= changes[0]


def test_stylize_repaints_one_picture(samples: Path) -> None:
    with (
        Image.open(samples / "streetview" / "street_01.jpg") as content,
        Image.open(samples / "styles" / "van_gogh_night_cafe.jpg") as style,
    ):
        seen: list[tuple[int, float]] = []
        result = nstpipe.stylize(
            content, style, size=96, iterations=12, device="cpu", on_progress=lambda done, loss: seen.append((done, loss))
        )
        assert (result.mode, result.size) == ("RGB", (96, 54))
        assert [done for done, _ in seen] == list(range(1, 13))
        assert seen[-1][1] < seen[0][1] / 2
        small = np.asarray(content.convert("RGB").resize((96, 54))).astype(int)
        assert np.abs(np.asarray(result).astype(int) - small).mean() > 10


def test_stylize_refuses_what_it_does_not_know() -> None:
    picture = Image.new("RGB", (64, 64))
    with pytest.raises(UsageError, match="a picture of 0x4 pixels"):
        nstpipe.stylize(Image.new("RGB", (0, 4)), picture)
    with pytest.raises(UsageError, match="style is empty"):
        nstpipe.stylize(picture, [])
    with pytest.raises(UsageError, match="init='warm'"):
        nstpipe.stylize(picture, picture, init="warm")
    with pytest.raises(UsageError, match=r"should be pictures of PIL.*; found str"):
        nstpipe.stylize(picture, "style.png")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"fromarray makes one of an array; found numpy\.ndarray"):
        nstpipe.stylize(np.zeros((64, 64, 3), np.uint8), picture)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="transparent everywhere"):
        nstpipe.stylize(picture, Image.new("RGBA", (64, 64)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": "big"}, "stylize: size: found the text 'big'; should be a whole number or native."),
        ({"size": 16}, "stylize: size: found 16; should be at least 32 or native."),
        ({"iterations": 0}, "stylize: iterations: found 0; should be at least 1."),
        ({"strength": -1}, "stylize: strength: found -1; should be more than 0."),
        ({"strength": float("nan")}, "stylize: strength: found nan; should be"),
        ({"strength": np.float32(-2)}, "stylize: strength: found -2.0; should be more than 0."),
        ({"scale": 9}, "stylize: scale: found 9; should be at most 4."),
        ({"color": "contents"}, "color: found the text 'contents'; should be style, content or matched. Did you mean content?"),
        ({"device": "gpu"}, "stylize: device: found the text 'gpu'; should be auto, cpu, cuda or cuda:N, or a list"),
        ({"seed": -1}, "stylize: seed: found -1; should be at least 0."),
        ({"weights": ""}, "stylize: weights: found the text ''; should be a path, but is empty."),
    ],
)
def test_stylize_holds_its_arguments_to_what_a_file_may_say(arguments: dict[str, Any], words: str) -> None:
    picture = Image.new("RGB", (64, 64))
    with pytest.raises(UsageError) as caught:
        nstpipe.stylize(picture, picture, **arguments)
    assert words in str(caught.value)


def test_regions_of_a_picture_are_painted_kept_and_done_again_when_their_mask_changes(tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "in" / "a.png", size=(72, 54))
    mask = tmp_path / "masks" / "a.png"
    mask.parent.mkdir()
    pixels = np.zeros((54, 72), np.uint8)
    pixels[:, :36] = 255
    Image.fromarray(pixels).save(mask)
    regions = [{"mask": "masks", "style": "keep"}]
    pipeline = write_pipeline(tmp_path, {"name": "half", "input": "in", "output": "out", "size": "native", "regions": regions})
    assert nstpipe.run(pipeline).exit_code == 0
    before, after = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (picture, tmp_path / "out" / "a.png"))
    assert (before[:, :36] == after[:, :36]).all()
    assert np.abs(before[:, 36:] - after[:, 36:]).mean() > 5
    Image.fromarray(255 - pixels).save(mask)
    [output] = nstpipe.api.plan(pipeline).outputs
    assert output.reason == "masks changed"
    mask.unlink()
    [failure] = nstpipe.api.plan(pipeline).failures
    assert "holds no mask for a.png" in failure.reason


def test_regions_of_a_video_have_a_mask_for_each_frame(tmp_path: Path) -> None:
    make_video(tmp_path / "in.mp4", frames=2)
    for frame_index in range(2):
        pixels = np.full((48, 64), 255 * frame_index, np.uint8)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "masks" / f"{frame_index}.png")
    regions = [{"mask": "masks", "style": "keep"}]
    film = {"name": "film", "input": "in.mp4", "output": "out/%d.png", "size": "native", "regions": regions}
    assert nstpipe.run(write_pipeline(tmp_path, film)).exit_code == 0
    info = probe(tmp_path / "in.mp4")
    original = [frame.pixels for frame in VideoSource(info).read(0, 2)]
    painted = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out").iterdir())]
    assert np.abs(original[0].astype(int) - painted[0]).mean() > 10
    assert (original[1] == painted[1]).all()


def painted_twice(folder: Path, **keys: object) -> Path:
    """One film for two containers: the same painting, and so the same frames on disk."""
    make_video(folder / "in.mp4")
    jobs = [{"name": name, "input": "in.mp4", "output": f"out/film.{name}", **keys} for name in ("mp4", "mkv")]
    return write_pipeline(folder, *jobs)


@pytest.mark.parametrize("workers", [1, 2])
def test_outputs_that_share_their_painting_are_painted_once(tmp_path: Path, workers: int) -> None:
    events: list[Event] = []
    result = nstpipe.run(painted_twice(tmp_path), on_event=events.append, workers=workers)
    assert result.exit_code == 0
    assert [done.frames for done in result.outputs] == [6, 6]
    assert sum(isinstance(event, FrameDone) for event in events) == 6
    assert not list((tmp_path / ".nstpipe" / "clips").iterdir()), "what nobody needs any more is gone"


def test_a_finished_output_leaves_the_frames_that_another_one_still_needs(tmp_path: Path) -> None:
    pipeline = painted_twice(tmp_path)
    nstpipe.run(pipeline, jobs=["mp4"])

    def stop_at_the_third(event: Event) -> None:
        if isinstance(event, FrameDone) and event.frame_index == 2:
            raise Stopped

    with pytest.raises(Stopped):
        nstpipe.run(pipeline, jobs=["mkv"], on_event=stop_at_the_third)
    events: list[Event] = []
    assert nstpipe.run(pipeline, on_event=events.append).exit_code == 0
    assert [event.frame_index for event in events if isinstance(event, FrameDone)] == [3, 4, 5]


def test_frames_of_more_bits_are_not_those_of_fewer(tmp_path: Path) -> None:
    pipeline = painted_twice(tmp_path)
    text = pipeline.read_text()
    deeper = text.replace("output: out/film.mkv", "output: out/film.mkv\n  encode: {codec: ffv1, pix_fmt: yuv444p10le}")
    assert deeper != text
    pipeline.write_text(deeper)
    events: list[Event] = []
    assert nstpipe.run(pipeline, on_event=events.append).exit_code == 0
    assert sum(isinstance(event, FrameDone) for event in events) == 12


def test_a_loaded_pipeline_takes_workers_and_device_and_refuses_overrides(tmp_path: Path) -> None:
    pipeline = nstpipe.config.load_pipeline(folder_job(tmp_path, pictures=1))
    with pytest.raises(MachineError, match="found cuda:9"):
        nstpipe.run(pipeline, device="cuda:9")
    with pytest.raises(UsageError, match=r"overrides: found seed=7; a loaded pipeline has its values"):
        nstpipe.run(pipeline, overrides=["seed=7"])


def test_a_worker_that_had_no_time_for_another_frame_leaves_the_run_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the worker knows then that the time was too short: it decides before the deadline."""
    from nstpipe.painting.clip import ClipResult
    from nstpipe.running import output_maker

    monkeypatch.setattr(output_maker, "run_clip", lambda task, emit, stop: ClipResult(task, stopped=True))
    result = nstpipe.run(folder_job(tmp_path, pictures=1))
    assert (result.exit_code, result.stopped) == (75, StopReason.TIME)
