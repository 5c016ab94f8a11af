"""The ffmpeg program can neither hang nor fail unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ffmpeg as graphs
import psutil
import pytest

from nstpipe.errors import ItemError
from nstpipe.media.video import ffmpeg
from nstpipe.media.video.ffmpeg import Process
from nstpipe.system.programs import TAIL_CHARACTERS

PIPE_BYTES = 65_536
"""What a pipe holds on Linux; who writes more to one that nobody reads, hangs."""


def talkative(frames: int) -> Any:
    """ffmpeg's signalstats say some 700 bytes about each frame, here on the standard error."""
    picture = graphs.input(f"testsrc=size=32x32:rate=25:duration={frames / 25}", f="lavfi")
    said = picture.filter("signalstats").filter("metadata", mode="print", file="pipe:2")
    return graphs.output(said, "pipe:1", format="rawvideo", pix_fmt="gray")


def endless() -> Any:
    return graphs.output(graphs.input("testsrc=size=32x32", f="lavfi"), "pipe:1", format="rawvideo", pix_fmt="rgb24")


@pytest.mark.timeout(30)
def test_a_talkative_process_does_not_hang() -> None:
    frames = 200
    with Process(talkative(frames), Path("input"), stdout=True) as process:
        assert len(process.stdout.read()) == frames * 32 * 32
        process.finish()
        assert process._messages.seek(0, 2) > 2 * PIPE_BYTES, "or this test shows nothing"


def test_only_the_end_of_what_was_said_is_repeated() -> None:
    with Process(talkative(200), Path("input"), stdout=True) as process:
        process.stdout.read()
        process.finish()
        said = process.messages()
    assert TAIL_CHARACTERS / 2 < len(said) <= TAIL_CHARACTERS
    assert "frame:0 " not in said
    assert said.startswith("lavfi.signalstats."), "a whole line"


def test_a_failure_carries_the_last_words(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("not a video")
    graph = graphs.output(graphs.input(ffmpeg.local(path)), "pipe:1", format="rawvideo")
    with Process(graph, path, stdout=True) as process, pytest.raises(ItemError) as caught:
        process.stdout.read()
        process.finish()
    assert str(path) in caught.value.problem
    assert "exit code" in caught.value.problem
    assert "Invalid data found" in caught.value.problem
    with Process(graph, path, stdout=True) as process:
        process.stdout.read()
        failure = process.failure("a surprise")
    assert "a surprise" in failure.problem


def children() -> set[psutil.Process]:
    return {child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}


@pytest.mark.timeout(30)
def test_leaving_the_block_ends_the_process() -> None:
    before = children()
    with Process(endless(), Path("input"), stdout=True) as process:
        assert process.stdout.read(10)
        (child,) = children() - before
        assert child.is_running()
    assert not child.is_running()


@pytest.mark.timeout(30)
def test_an_error_in_the_block_ends_the_process() -> None:
    before = children()
    with pytest.raises(KeyboardInterrupt), Process(endless(), Path("input"), stdout=True) as process:
        process.stdout.read(10)
        raise KeyboardInterrupt
    assert children() == before


def test_a_process_that_ended_unread_input_is_reported() -> None:
    graph = graphs.output(graphs.input("pipe:0", format="nut"), "pipe:1", format="rawvideo")
    with Process(graph, Path("input"), stdin=True, stdout=True) as process:
        try:
            process.stdin.write(b"no container at all" * 100_000)
        except BrokenPipeError:
            pass
        with pytest.raises(ItemError, match="exit code"):
            process.finish()


def test_the_program_is_found_and_knows_itself() -> None:
    assert Path(ffmpeg.executable()).is_file()
    assert ffmpeg.version()
    assert "rawvideo" in ffmpeg.encoders()
    assert "libnosuch" not in ffmpeg.encoders()


@pytest.mark.parametrize("name", ["-i", "a b", "http://host/x", "%d"])
def test_a_local_path_is_never_an_option_or_another_protocol(name: str) -> None:
    assert ffmpeg.local(Path(name)) == f"file:{Path.cwd() / name}"
