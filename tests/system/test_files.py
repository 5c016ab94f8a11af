"""A file is whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from nstpipe.errors import BusyError, DiskFullError, OutputError
from nstpipe.system.files import atomic_write, complete, ensure_folder, ensure_writable, free_bytes, partial_path, sha256_of
from nstpipe.system.lock import Holder, holder_of, locked


def below_a_file(folder: Path) -> Path:
    """A place that nobody can write to, not even a superuser."""
    (folder / "file").write_text("in the way")
    return folder / "file" / "below"


def test_the_result_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "result.txt"
    with atomic_write(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "result.txt"
    with pytest.raises(error), atomic_write(path) as partial:
        partial.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(ValueError), atomic_write(path) as partial:
        partial.write_text("new")
        raise ValueError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_success_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")
    with atomic_write(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_what_a_killed_run_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    partial_path(path).write_text("left behind, and longer than the new content")
    with atomic_write(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"result\.txt cannot be written: No such file"),
        atomic_write(tmp_path / "result.txt"),
    ):
        pass


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "result.txt").mkdir()
    with pytest.raises(OutputError, match=r"result\.txt cannot be written"), atomic_write(tmp_path / "result.txt") as partial:
        partial.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["result.txt"]


def test_an_error_of_the_disk_while_writing_is_an_output_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"result\.txt cannot be written: Is a directory"),
        atomic_write(tmp_path / "result.txt") as partial,
    ):
        partial.mkdir()
        partial.write_text("not into a folder")


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("this system has no device that is always full")
    with (
        pytest.raises(DiskFullError, match=r"result\.txt cannot be written: No space left"),
        atomic_write(tmp_path / "result.txt") as partial,
    ):
        partial.symlink_to("/dev/full")
        partial.write_text("more than fits")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("use", [ensure_folder, ensure_writable])
def test_a_place_below_a_file_is_refused(tmp_path: Path, use: object) -> None:
    assert callable(use)
    place = below_a_file(tmp_path)
    with pytest.raises(OutputError) as caught:
        use(place)
    assert str(place) in caught.value.problem
    assert "Not a directory" in caught.value.problem
    assert caught.value.next_step


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    below_a_file(tmp_path)
    with pytest.raises(OutputError, match="file cannot be made: File exists"):
        ensure_folder(tmp_path / "file")


def test_completed_refuses_a_place_below_a_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be made"), atomic_write(below_a_file(tmp_path) / "result.txt"):
        pytest.fail("the block must not begin")


def test_a_folder_that_takes_no_files_is_refused() -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system has no folder in which nobody can make a file")
    with pytest.raises(OutputError, match="/proc/self/fd cannot be written to"):
        ensure_writable(Path("/proc/self/fd"))


def test_ensure_writable_makes_the_folder_and_leaves_it_empty(tmp_path: Path) -> None:
    ensure_writable(tmp_path / "new" / "folder")
    ensure_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_complete_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"result\.txt cannot be written"):
        complete(tmp_path / "absent", tmp_path / "result.txt")


@pytest.mark.parametrize(
    ("name", "partial"),
    [
        ("result.mp4", ".result.partial.mp4"),
        ("archive.tar.gz", ".archive.tar.partial.gz"),
        ("bare", ".bare.partial"),
        ("with space ü.png", ".with space ü.partial.png"),
    ],
)
def test_a_partial_file_is_hidden_beside_its_place_with_its_suffix(name: str, partial: str) -> None:
    assert partial_path(Path("folder") / name) == Path("folder") / partial


@pytest.mark.parametrize("letter", ["a", "ü", "街"])
def test_the_longest_name_can_be_written(tmp_path: Path, letter: str) -> None:
    name = letter * ((255 - len(".txt")) // len(letter.encode())) + ".txt"
    with atomic_write(tmp_path / name) as partial:
        partial.write_text("whole")
        assert partial.name.startswith(".")
        assert partial.name.endswith(".partial.txt")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    other = tmp_path / f"{name[1:-4]}x.txt"
    assert partial_path(other) != partial_path(tmp_path / name)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_sha256_of_a_file(tmp_path: Path, size: int) -> None:
    content = b"x" * size
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def written_by(folder: Path, **fields: object) -> Holder:
    """A lock file as another run left it."""
    folder.mkdir(exist_ok=True)
    holder = Holder(**{"host": socket.gethostname(), "process": 1, "process_started": 1.0, "since": 1.7e9, **fields})  # type: ignore[arg-type]
    (folder / "lock").write_text(json.dumps(asdict(holder)))
    return holder


def test_who_holds_a_folder_is_known_while_it_does(tmp_path: Path) -> None:
    assert holder_of(tmp_path) is None
    with locked(tmp_path / "work"):
        holder = holder_of(tmp_path / "work")
        assert holder is not None
        assert (holder.host, holder.process) == (socket.gethostname(), os.getpid())
        assert holder.process_started == psutil.Process().create_time()
        assert time.time() - holder.since < 60
    assert holder_of(tmp_path / "work") is None


HOLD = """
import sys, time
from pathlib import Path
from nstpipe.system.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_and_told_by_whom_until_the_first_is_killed(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=f"process {other.pid} on {socket.gethostname()}, since 20") as caught, locked(tmp_path):
        pytest.fail("two hold it")
    assert caught.value.exit_code == 75
    assert "--wait" in caught.value.next_step
    other.kill()
    other.communicate()
    assert holder_of(tmp_path) is None
    with locked(tmp_path):
        pass


def test_a_lock_of_another_host_is_never_taken_over(tmp_path: Path) -> None:
    written_by(tmp_path, host="another-host")
    assert holder_of(tmp_path) is not None
    with pytest.raises(BusyError, match=r"process 1 on another-host, since 20.*\n.*remove .*lock"), locked(tmp_path):
        pytest.fail("it was taken over")


def test_a_lock_of_a_process_that_is_no_more_is_taken_over(tmp_path: Path) -> None:
    # The number has been given to another process since, this one, which began at another time.
    written_by(tmp_path, process=os.getpid())
    assert holder_of(tmp_path) is None
    with locked(tmp_path):
        assert holder_of(tmp_path) is not None


def test_a_living_holder_is_respected_where_the_system_has_no_locks(tmp_path: Path) -> None:
    written_by(tmp_path, process=os.getppid(), process_started=psutil.Process(os.getppid()).create_time())
    with pytest.raises(BusyError, match=f"process {os.getppid()} on"), locked(tmp_path):
        pytest.fail("two hold it")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}'])
def test_a_damaged_lock_file_is_no_lock(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert holder_of(tmp_path) is None
    with locked(tmp_path):
        pass


def test_free_bytes_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert abs(free_bytes(tmp_path / "new" / "folder") - free) < 1 << 30


def test_a_lock_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()  # as unwritable as another user's file, also for root
    with pytest.raises(OutputError, match=r"lock cannot be written: Is a directory"), locked(tmp_path):
        pass
