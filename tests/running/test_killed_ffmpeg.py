"""Each ffmpeg of a run is killed once, before it has said a word or in the middle of one, and the results are the same."""

from __future__ import annotations

import os
from pathlib import Path

import imageio_ffmpeg
import pytest

import nstpipe
from nstpipe.media.video import ffmpeg_program
from tests.making import make_with_ffmpeg, write_pipeline

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script, and Windows has no SIGKILL"),
    pytest.mark.timeout(180),
]

STAND_IN = """#!/bin/sh
case "$*" in *pipe:0*) ;; */out/.*) exec "{real}" "$@" ;; esac
kind="$PPID $(echo "$*" | cksum)"
mkdir "{folder}/$kind" 2> /dev/null || exec "{real}" "$@"
{words}
kill -KILL $$
"""
"""Each process of the run has each of its commands killed once, but for those that look at a result. The trial of the encoding
has the same ones, and does not wait 16 seconds for its third attempt."""

GLASS = "received signal 15.mov"
"""What ffmpeg says of a file begins with its name, which must not be taken for its own words."""

SILENT = ""
IN_THE_MIDDLE_OF_A_LINE = """case "$*" in
    *pipe:0*) head -c 1000 > /dev/null ;;
    *) "{real}" "$@" 2> "{folder}/said" | head -c 100; head -c 100 "{folder}/said" >&2 ;;
esac"""


def make_films(folder: Path) -> Path:
    """A pipeline with a film whose second shot begins in an open group of pictures, and with a transparent one."""
    shots = "testsrc2=size=64x48:rate=25:duration=1.12,negate=enable='gte(n,18)'"
    sound = ["-f", "lavfi", "-i", "sine=duration=1.12", "-c:a", "aac"]
    open_groups = ["-c:v", "libx264", "-x264-params", "keyint=8:open-gop=1", "-pix_fmt", "yuv420p"]
    make_with_ffmpeg("-f", "lavfi", "-i", shots, *sound, *open_groups, result=folder / "shots.mp4")
    glass = "testsrc2=size=64x48:rate=25:duration=0.08,format=argb,colorchannelmixer=aa=0.5"
    make_with_ffmpeg("-f", "lavfi", "-i", glass, "-c:v", "qtrle", result=folder / GLASS)
    optimizer = {"first": 2, "next": 1}
    jobs = [
        {"name": "shots", "input": "shots.mp4", "output": "out/shots.mp4", "optimizer": optimizer},
        {
            "name": "glass",
            "input": GLASS,
            "output": "out/glass.mov",
            "encode": {"codec": "qtrle"},
            "optimizer": optimizer,
        },
    ]
    return write_pipeline(folder, *jobs, workers=1)


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    assert nstpipe.run(make_films(folder)).exit_code == 0
    return results(folder)


@pytest.mark.parametrize("words", [SILENT, IN_THE_MIDDLE_OF_A_LINE], ids=["silent", "in the middle of a line"])
def test_each_ffmpeg_may_be_killed(
    words: str, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, stand_in, real = tmp_path / "killed", tmp_path / "stand_in", imageio_ffmpeg.get_ffmpeg_exe()
    killed.mkdir()
    words = words.format(real=real, folder=tmp_path)
    stand_in.write_text(STAND_IN.format(real=real, folder=killed, words=words))
    stand_in.chmod(0o755)
    monkeypatch.setenv(ffmpeg_program.ENVIRONMENT_VARIABLE, str(stand_in))
    result = nstpipe.run(make_films(tmp_path))
    assert (result.exit_code, result.failures) == (0, ())
    # Of either film: its streams, its frames, its shots, a trial and the result; and what the program is and can do.
    assert len(list(killed.iterdir())) >= 12
    assert results(tmp_path) == whole
