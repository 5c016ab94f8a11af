"""What happens to files from outside: full disks, folders that go, bytes that flip."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import nstpipe
from nstpipe.errors import DiskFullError, OutputError
from nstpipe.events import ClipStarted, Event, FrameDone, ItemFailed, Noticed, OutputDone, TriedAgain
from nstpipe.journal.frames import stored_bytes
from nstpipe.system.retry import RETRY_WAITS_SECONDS
from tests.making import ALL_LAYERS, make_picture, small_disk, write_pipeline

from .making import FRAMES, REPEATED, Night, Row, children_named, flip_a_byte, night_job, row

resource = pytest.importorskip("resource", reason="Windows has no limits of this kind")


class Broken(Exception):  # noqa: N818
    """Stands for whatever ends a process."""


def broken_off(night: Night, after_frames: int) -> None:
    """A run that ends in the middle of the first film."""
    done: list[Event] = []

    def watch(event: Event) -> None:
        if isinstance(event, FrameDone):
            done.append(event)
            if len(done) == after_frames:
                raise Broken

    with pytest.raises(Broken):
        nstpipe.run(night.pipeline, on_event=watch)


def painted(night: Night) -> tuple[list[tuple[str, int]], list[str]]:
    """Run to the end; which frames were painted for it, and what was said."""
    events: list[Event] = []
    assert nstpipe.run(night.pipeline, on_event=events.append).exit_code == 0
    frames = [(Path(event.path).name, event.frame_index) for event in events if isinstance(event, FrameDone)]
    return frames, [event.message for event in events if isinstance(event, Noticed)]


def test_a_disk_that_is_full_from_the_beginning_is_refused(tmp_path: Path) -> None:
    night = night_job(tmp_path)
    with small_disk(tmp_path / "work", "1m"):
        assert stored_bytes(FRAMES["films/a.mp4"], (640, 480)) > 1 << 20
        events: list[Event] = []
        with pytest.raises(DiskFullError, match=r"has 0\.\d MB free; frames that wait .* need about 40\.\d MB"):
            nstpipe.run(night.pipeline, overrides=["jobs.films.size=640"], on_event=events.append)
        assert not any(isinstance(event, FrameDone) for event in events)


@REPEATED
def test_a_disk_that_becomes_full_keeps_what_is_done(tmp_path: Path, whole: Night, chance: random.Random, times: int) -> None:
    seen = row("full disk")
    for number in range(times):
        fill_the_disk(night_job(tmp_path / str(number)), after_frames=chance.randrange(1, 6), seen=seen, whole=whole)


def fill_the_disk(night: Night, after_frames: int, seen: Row, whole: Night) -> None:
    with small_disk(night.folder / "work", "1m"):
        ballast = night.folder / "work" / "ballast"
        done: list[FrameDone] = []

        def fill(event: Event) -> None:
            if isinstance(event, FrameDone):
                done.append(event)
                if len(done) == after_frames:
                    with ballast.open("wb", buffering=0) as file, suppress(OSError):
                        while file.write(b"x" * 1024):
                            pass

        with pytest.raises(DiskFullError, match=r"No space left.* About 0\.\d MB are needed .*, 0\.0 MB are free"):
            nstpipe.run(night.pipeline, on_event=fill)
        ballast.unlink()
        went_on(night, done, after_frames, seen, whole)


def went_on(night: Night, done: list[FrameDone], after_frames: int, seen: Row, whole: Night) -> None:
    """The next run does what was not done, and nothing else."""
    assert len(done) == after_frames
    seen.times += 1
    frames, _ = painted(night)
    seen.frames_lost += len({(Path(frame.path).name, frame.frame_index) for frame in done} & set(frames))
    seen.bytes_equal = night.results() == whole.results()
    assert (seen.frames_lost, seen.bytes_equal) == (0, True)


def test_an_output_on_a_read_only_disk_ends_the_run_before_its_work(tmp_path: Path) -> None:
    night = night_job(tmp_path)
    with small_disk(tmp_path / "out", "1m", "ro"):
        events: list[Event] = []
        with pytest.raises(OutputError, match="Read-only file system"):
            nstpipe.run(night.pipeline, on_event=events.append)
        assert not any(isinstance(event, FrameDone) for event in events)


@REPEATED
def test_an_output_disk_that_becomes_read_only_keeps_what_is_done(
    tmp_path: Path, whole: Night, chance: random.Random, times: int
) -> None:
    seen = row("output read-only during the run")
    for number in range(times):
        close_the_disk(night_job(tmp_path / str(number)), after_frames=chance.randrange(1, 6), seen=seen, whole=whole)


def close_the_disk(night: Night, after_frames: int, seen: Row, whole: Night) -> None:
    with small_disk(night.folder / "out", "1m"):
        done: list[FrameDone] = []

        def close(event: Event) -> None:
            if isinstance(event, FrameDone):
                done.append(event)
                if len(done) == after_frames:
                    subprocess.run(["mount", "-o", "remount,ro", str(night.folder / "out")], check=True)

        failed: list[str] = []
        try:
            result = nstpipe.run(night.pipeline, on_event=close)
            assert result.exit_code == 2
            failed = [failure.reason for failure in result.failures]
        except OutputError as error:  # nothing was made before
            failed = [error.problem]
        assert failed
        assert all("Read-only file system" in reason for reason in failed), failed
        subprocess.run(["mount", "-o", "remount,rw", str(night.folder / "out")], check=True)
        went_on(night, done, len(done), seen, whole)


class FailingDisk:
    """A disk in a file; without the file's end, what lies there cannot be read: the system says EIO."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self._content = b""

    @property
    def has_failed(self) -> bool:
        return bool(self._content)

    def fail(self) -> None:
        subprocess.run(["sync"], check=True)
        self._content = self._image.read_bytes()
        os.truncate(self._image, 1 << 20)
        # What was read before would still be known.
        Path("/proc/sys/vm/drop_caches").write_text("3")

    def recover(self) -> None:
        with self._image.open("r+b") as file:
            file.write(self._content)


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[FailingDisk]:
    """A disk for ``in`` whose files lie behind its first megabyte; skips where that cannot be had."""
    image, folder = tmp_path / "disk.img", tmp_path / "in"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(4 << 20)
    commands = [
        ["mkfs.ext4", "-q", "-O", "^has_journal", str(image)],
        ["mount", "-o", "loop", str(image), str(folder)],
    ]
    for command in commands:
        if shutil.which(command[0]) is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no disk can be made to fail here: it takes Linux, mkfs.ext4, loop devices and a superuser")
    try:
        (folder / "filler").write_bytes(bytes(2 << 20))
        yield FailingDisk(image)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fails_for_a_moment_costs_nothing(tmp_path: Path, whole: Night, failing_disk: FailingDisk) -> None:
    seen = row("input/output errors of the input's disk")
    night = night_job(tmp_path)
    tried: list[TriedAgain] = []

    def watch(event: Event) -> None:
        # The second film may be painted while the first one is encoded. Of the picture nothing has been read since the plan.
        if isinstance(event, OutputDone) and not failing_disk.has_failed:
            failing_disk.fail()
        if isinstance(event, TriedAgain):
            tried.append(event)
            failing_disk.recover()

    result = nstpipe.run(night.pipeline, on_event=watch)
    assert (result.exit_code, result.failures) == (0, ())
    # Usually one. Before the disk is well again, others may read from it, and on a busy machine the same one once more.
    for event in tried:
        assert "Input/output error" in event.reason
        assert Path(event.path).name in ("b.mp4", "picture.png")
        assert event.wait_seconds == RETRY_WAITS_SECONDS[event.attempt - 1]
    assert tried[0].attempt == 1
    seen.times = 1
    seen.bytes_equal = night.results() == whole.results()
    assert seen.bytes_equal


def test_a_disk_that_fails_while_the_inputs_are_looked_into(tmp_path: Path, failing_disk: FailingDisk) -> None:
    night = night_job(tmp_path)
    failing_disk.fail()
    threading.Timer(0.5, failing_disk.recover).start()
    planned = nstpipe.api.plan(night.pipeline)
    assert ([output.path.name for output in planned.outputs], planned.failures) == (["a.mp4", "b.mp4", "picture.png"], ())


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system cannot limit another process's memory")
def test_memory_that_does_not_suffice_is_tried_again_with_smaller_tiles(tmp_path: Path) -> None:
    seen = row("no memory for the worker")
    make_picture(tmp_path / "picture.png", size=(256, 192))
    job = {"input": "picture.png", "optimizer": {"first": 2, "next": 2}, **ALL_LAYERS}
    small = {**job, "name": "small", "output": "out/small.png", "size": 48}
    pipeline = write_pipeline(tmp_path, small, {**job, "name": "large", "output": "out/large.png", "size": 256})
    tried: list[TriedAgain] = []

    def watch(event: Event) -> None:
        if isinstance(event, TriedAgain):
            tried.append(event)
            allow(-1)
        elif isinstance(event, OutputDone) and event.job == "small":
            # The worker waits for its next task. Less than it has: it does not get the hundreds of megabytes it needs.
            allow(worker().memory_info().vms // 2)

    def worker() -> psutil.Process:
        [found] = children_named(os.getpid(), "nstpipe.running.worker")
        return found

    def allow(size_bytes: int) -> None:
        resource.prlimit(worker().pid, resource.RLIMIT_AS, (size_bytes, -1))

    result = nstpipe.run(pipeline, on_event=watch, isolated=True)
    assert (result.exit_code, result.failures) == (0, ())
    assert [(event.job, event.attempt, event.wait_seconds) for event in tried] == [("large", 1, 1.0)]
    assert "the memory did not suffice. It is worked on in tiles of " in tried[0].reason
    seen.times = 1
    # In tiles the last digits differ, so that there are no bytes to be compared.
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["large.png", "small.png"]


@pytest.mark.faults
def test_an_output_folder_that_is_removed_during_the_run_is_made_again(night: Night, whole: Night) -> None:
    seen = row("output folder removed during the run")
    removed: list[Path] = []

    def remove(event: Event) -> None:
        if isinstance(event, OutputDone) and not removed:
            removed.append(Path(event.output))
            shutil.rmtree(night.folder / "out")

    assert nstpipe.run(night.pipeline, on_event=remove).exit_code == 0
    again = nstpipe.run(night.pipeline)
    assert [output.output for output in again.outputs] == [str(path) for path in removed]
    seen.times = 1
    seen.bytes_equal = night.results() == whole.results()
    assert seen.bytes_equal


@pytest.mark.parametrize("fault", [pytest.param("removed", marks=pytest.mark.faults), "changed"])
def test_an_input_that_goes_or_changes_during_the_run_fails_and_nothing_wrong_is_made(night: Night, fault: str) -> None:
    source = night.folder / "in" / "a.mp4"
    original = source.read_bytes()

    def disturb(event: Event) -> None:
        if isinstance(event, FrameDone) and event.path == str(source) and event.frame_index == 2:
            if fault == "removed":
                source.unlink()
            else:
                shutil.copy(night.folder / "in" / "b.mp4", source)

    result = nstpipe.run(night.pipeline, on_event=disturb)
    assert result.exit_code == 2
    [failure] = result.failures
    assert f"a.mp4 {'went away' if fault == 'removed' else 'was changed'} while it was worked on" in failure.reason
    assert set(night.results()) == {"films/b.mp4", "picture.png"}
    source.write_bytes(original)
    frames, _ = ([], []) if fault == "removed" else painted(night)
    assert ("a.mp4", 1) not in frames


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def frames_of(night: Night) -> list[Path]:
    return sorted((night.folder / "work" / "clips").glob("*/frame_*.npy"))


def states_of(night: Night) -> list[Path]:
    return sorted((night.folder / "work" / "clips").glob("*/state_*.npy"))


@pytest.mark.parametrize(
    ("name", "damage", "redone"),
    [
        ("stored frame, a byte flipped", lambda night, chance: flip_a_byte(frames_of(night)[1], 200), {1}),
        ("state, a byte flipped", lambda night, chance: flip_a_byte(states_of(night)[-1], chance.randrange(20000)), {3}),
        pytest.param(
            "stored frame cut short",
            lambda night, chance: frames_of(night)[2].write_bytes(b"NUM"),
            {2},
            marks=pytest.mark.faults,
        ),
        pytest.param("state cut short", lambda night, chance: cut(states_of(night)[-1]), {3}, marks=pytest.mark.faults),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_work_is_found_and_only_it_is_made_again(
    night: Night,
    whole: Night,
    chance: random.Random,
    name: str,
    damage: Callable[[Night, random.Random], object],
    redone: set[int],
) -> None:
    seen = row(name)
    broken_off(night, after_frames=4)
    damage(night, chance)
    frames, _ = painted(night)
    seen.times = 1
    seen.bytes_equal = night.results() == whole.results()
    again = [frame_index for film, frame_index in frames if film == "a.mp4" and frame_index < 4]
    # To make a frame again, those since the last whole state are gone through again; here that is the clip's beginning.
    assert set(again) >= redone
    assert max(again) == max(redone)
    assert len([film for film, _ in frames if film == "b.mp4"]) == FRAMES["films/b.mp4"]
    assert seen.bytes_equal


@pytest.mark.parametrize(
    "how", ["cut short", *(pytest.param(how, marks=pytest.mark.faults) for how in ("a byte flipped", "removed"))]
)
def test_a_damaged_journal_costs_nothing_that_is_made(night: Night, whole: Night, chance: random.Random, how: str) -> None:
    seen = row(f"journal {how}")
    nstpipe.run(night.pipeline)
    journal = night.folder / "work" / "journal.sqlite"
    for _ in range(1 if how != "a byte flipped" else 5):
        if how == "cut short":
            journal.write_bytes(journal.read_bytes()[: chance.randrange(1, journal.stat().st_size)])
        elif how == "a byte flipped":
            flip_a_byte(journal, chance.randrange(journal.stat().st_size))
        else:
            journal.unlink()
        frames, _ = painted(night)
        # Whatever the byte was: a damaged row costs its own output at most.
        assert len({film for film, _ in frames}) <= (1 if how == "a byte flipped" else 0)
        seen.times += 1
        seen.bytes_equal = night.results() == whole.results()
        assert seen.bytes_equal


def test_a_failure_is_remembered_until_something_changes_or_it_is_asked_for(tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "in" / "cut.png")
    make_picture(tmp_path / "in" / "whole.png")
    pipeline = write_pipeline(tmp_path, {"name": "folder", "input": "in", "output": "out"})
    whole_file = picture.read_bytes()
    picture.write_bytes(whole_file[: len(whole_file) // 2])
    assert nstpipe.run(pipeline).failures[0].attempts == 1
    events: list[Event] = []
    result = nstpipe.run(pipeline, on_event=events.append)
    assert result.exit_code == 2
    [failure] = [event for event in events if isinstance(event, ItemFailed)]
    assert (failure.tried_now, failure.attempts) == (False, 1)
    assert "--retry-failed" in failure.next_step
    assert not any(isinstance(event, ClipStarted) for event in events)
    [todo] = [output for output in nstpipe.api.plan(pipeline).outputs if not output.is_done]
    assert todo.reason.startswith("failed before (1 try): ")
    assert nstpipe.run(pipeline, retry_failed=True).failures[0].attempts == 2
    picture.write_bytes(whole_file)
    assert nstpipe.run(pipeline).exit_code == 0
