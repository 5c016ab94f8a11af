"""An ffmpeg that stops answering costs a moment, and not the night."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import imageio_ffmpeg
import psutil
import pytest

from nstpipe.cli import exit_code
from nstpipe.config.models import Encode
from nstpipe.errors import ItemError, MachineError
from nstpipe.media.video import ffmpeg, ffmpeg_program
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.decode_check import decode_check
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.probe import probe
from nstpipe.media.video.trial import try_encode
from nstpipe.system import programs
from nstpipe.system.stop import Stop, Stopped, StopReason
from tests.making import make_video, write_pipeline

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts"),
    pytest.mark.timeout(120),
]

STAND_IN = """#!/bin/sh
real() {{ exec "{real}" "$@"; }}
case "$*" in *-version*|*-encoders*|*-decoders*|*-filters*|*"whitelist file -i "*) {asked} ;; esac
echo "these are the last words" >&2
{then}
"""

HANGS = {
    "sleeps": "sleep 600",
    "ignores the request to end": "trap '' TERM; while :; do sleep 600; done",
    "never ends after its input": "cat > /dev/null; sleep 600",
    "waits for another program": "sleep 600 & wait",
    "stops in the middle": '"{real}" "$@" 2> /dev/null | head -c 1000; sleep 600',
}


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Puts a script in the place of ffmpeg; at the end nothing that it started is left."""
    before = set(psutil.Process().children(recursive=True))
    monkeypatch.setattr(programs, "GRACE_SECONDS", 0.3)
    monkeypatch.setattr(ffmpeg, "GRACE_SECONDS", 0.3)
    monkeypatch.setenv(ffmpeg.TIMEOUT_VARIABLE, "0.5")

    def make(then: str, asked: str = 'real "$@"') -> Path:
        path, real = tmp_path / "stand_in", imageio_ffmpeg.get_ffmpeg_exe()
        path.write_text(STAND_IN.format(real=real, asked=asked, then=then.replace("{real}", real)))
        path.chmod(0o755)
        monkeypatch.setenv(ffmpeg_program.ENVIRONMENT_VARIABLE, str(path))
        return path

    yield make
    assert not [child for child in psutil.Process().children(recursive=True) if child not in before]


@pytest.fixture
def film(tmp_path: Path) -> VideoInfo:
    return probe(make_video(tmp_path / "film.mp4"))


SAID = r"ffmpeg did nothing for 0\.5 s, so nstpipe ended it\. It said: (.*\n)*these are the last words\."


def encoded(film: VideoInfo, folder: Path) -> None:
    try_encode(folder, ".mp4", film, (64, 48), Encode(), copy_audio=True, keep_metadata=True)


@pytest.mark.parametrize("then", HANGS.values(), ids=HANGS)
def test_reading_and_writing_end_with_the_last_words(
    then: str, stand_in: Callable[..., Path], film: VideoInfo, tmp_path: Path
) -> None:
    stand_in(then)
    with pytest.raises(ItemError, match=SAID) as caught:
        list(VideoSource(film).read(0, len(film.ticks)))
    assert "`ffmpeg: bundled`" in caught.value.next_step
    with pytest.raises(ItemError, match=SAID):
        decode_check(film)
    with pytest.raises(ItemError, match=SAID):
        encoded(film, tmp_path / "trials")
    assert not list((tmp_path / "trials").rglob("*"))


def test_an_ffmpeg_that_computes_without_end_is_ended_too(
    stand_in: Callable[..., Path], film: VideoInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg, "BUSY_SECONDS", 3.0)
    stand_in("while :; do :; done")
    with pytest.raises(ItemError, match=r"ffmpeg computed for 3 s without any result, so nstpipe ended it\."):
        list(VideoSource(film).read(0, 1))


def test_a_slow_ffmpeg_that_computes_is_waited_for(stand_in: Callable[..., Path], film: VideoInfo) -> None:
    stand_in('i=0; end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do i=$((i + 1)); done; real "$@"')
    assert len(list(VideoSource(film).read(0, len(film.ticks)))) == len(film.ticks)


@pytest.mark.parametrize("question", ["the time is up", "a signal has come"])
def test_a_run_that_is_to_end_does_not_wait_for_ffmpeg(
    question: str, stand_in: Callable[..., Path], film: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ffmpeg.TIMEOUT_VARIABLE, "600")
    monkeypatch.setattr(ffmpeg, "STOP_SECONDS", 0.5)
    stand_in("cat > /dev/null; sleep 600")
    works: list[Callable[[], object]] = [
        lambda: list(VideoSource(film).read(0, 1)),
        lambda: encoded(film, tmp_path / "trials"),
    ]
    for work in works:
        stop = Stop(deadline=time.time() + 1 if question == "the time is up" else None)
        if question == "a signal has come":
            stop.ask(StopReason.TERMINATED)
        began = time.monotonic()
        with stop.in_force(), pytest.raises(Stopped):
            work()
        assert time.monotonic() - began < 30
        assert stop.reason is (StopReason.TIME if question == "the time is up" else StopReason.TERMINATED)


def test_an_ffmpeg_that_does_not_even_tell_its_version(stand_in: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg_program, "ANSWER_SECONDS", 0.5)
    path = stand_in("", asked="echo hm >&2; sleep 600")
    with pytest.raises(MachineError) as caught:
        ffmpeg_program.check()
    assert f"`{path} -version` did not end within 0.5 s, so nstpipe ended it. It said: hm." in caught.value.problem
    assert "the environment variable NSTPIPE_FFMPEG: " in caught.value.problem


COMMANDS = {
    "plan": (("plan", "pipeline.yaml"), 65),
    "validate": (("validate", "pipeline.yaml"), 65),
    "run": (("run", "pipeline.yaml"), 65),
    "preview": (("preview", "pipeline.yaml"), 65),
    "metrics": (("metrics", "film.mp4", "film.mp4"), 65),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_ends_and_says_why(
    name: str,
    stand_in: Callable[..., Path],
    film: VideoInfo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, code = COMMANDS[name]
    write_pipeline(tmp_path, {"name": "film", "input": "film.mp4", "output": "out/film.mp4"}, workers=1)
    stand_in("sleep 600")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    assert exit_code(arguments) == code
    said = "".join(capsys.readouterr())
    assert "ffmpeg did nothing for 0.5 s, so nstpipe ended it. It said: these are the last words." in said
    assert "Traceback" not in said
