"""Which ffmpeg is used: the pipeline's, else the environment's, else the bundled one; and what is said if it cannot be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import imageio_ffmpeg
import pytest

import nstpipe
from nstpipe import api
from nstpipe.cli import exit_code
from nstpipe.config import load_pipeline
from nstpipe.errors import MachineError
from nstpipe.media.video import ffmpeg_program
from nstpipe.media.video.ffmpeg_program import ENVIRONMENT_VARIABLE, executable, program, using
from nstpipe.motion.frames_with_flow import prefetch
from nstpipe.painting.task import RunSettings
from tests.making import make_picture, make_video, write_pipeline

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")

COUNTING = """#!/bin/sh
echo "$@" >> "$0.calls"
exec "{real}" "$@"
"""

LACKING = """#!/bin/sh
case "$*" in
*-encoders* | *-filters*) "{real}" "$@" | grep -v "libsvtav1\\|zscale" ;;
*) exec "{real}" "$@" ;;
esac
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("{real}", imageio_ffmpeg.get_ffmpeg_exe()))
    path.chmod(0o755)
    return path


def test_the_pipeline_wins_over_the_environment_which_wins_over_the_bundled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, other = script(tmp_path / "named", COUNTING), script(tmp_path / "bin" / "ffmpeg", COUNTING)
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", f"{other.parent}{os.pathsep}{os.environ['PATH']}")
    bundled = imageio_ffmpeg.get_ffmpeg_exe()
    assert program() == ffmpeg_program.FfmpegProgram(bundled, "bundled with imageio-ffmpeg, the default")
    with using("system", "p.yaml:2: ffmpeg"):
        assert program() == ffmpeg_program.FfmpegProgram(str(other), "the system's, named by p.yaml:2: ffmpeg")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(named))
    assert program().reason == "named by the environment variable NSTPIPE_FFMPEG"
    assert executable() == str(named)
    with using(None):
        assert executable() == str(named)
        with using(other):
            assert executable() == str(other)
            assert list(prefetch(executable() for _ in range(2))) == [str(other)] * 2, "in the thread that reads ahead too"
        assert executable() == str(named)
    with using("bundled"):
        assert executable() == bundled
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "system")
    assert executable() == str(other)


def test_a_run_uses_the_ffmpeg_of_its_pipeline_everywhere_and_leaves_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwanted = script(tmp_path / "unwanted", COUNTING)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(unwanted))
    named = script(tmp_path / "tools" / "my ffmpeg", COUNTING)
    make_video(tmp_path / "in.mp4", frames=2)
    job = {"name": "film", "input": "in.mp4", "output": "out.mp4"}
    pipeline = write_pipeline(tmp_path, job, ffmpeg="tools/my ffmpeg")
    monkeypatch.chdir("/")
    assert RunSettings.of(load_pipeline(pipeline)).ffmpeg == named
    assert api.validate(pipeline).usable == 1
    assert nstpipe.run(pipeline, isolated=True).exit_code == 0, "painted by a worker process"
    calls = Path(f"{named}.calls").read_text()
    assert "rawvideo" in calls, "what is painted is read by it"
    assert "libx264" in calls, "and the result is encoded by it"
    assert not Path(f"{unwanted}.calls").exists()
    assert executable() == str(unwanted)


WRONG = {
    "missing": ("ffmpeg: nowhere/ffmpeg", "nowhere/ffmpeg does not exist."),
    "a folder": ("ffmpeg: tools", "tools is a folder."),
    "no program": ("ffmpeg: style.png", "style.png cannot be executed."),
    "another program": (
        "ffmpeg: tools/other",
        "tools/other is not ffmpeg: asked for its version, it said 'ffprobe",
    ),
    "a failing program": ("ffmpeg: tools/broken", "tools/broken is not a usable ffmpeg: `-version` failed: missing libfoo.so"),
    "too old": ("ffmpeg: tools/old", "tools/old is ffmpeg 3.4.8-0ubuntu0.2; nstpipe needs 4.2 or newer."),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_program_that_cannot_be_used_is_named_with_its_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key, said = WRONG[name]
    script(tmp_path / "tools" / "other", "#!/bin/sh\necho ffprobe version 9\n")
    script(tmp_path / "tools" / "old", "#!/bin/sh\necho ffmpeg version 3.4.8-0ubuntu0.2\n")
    script(tmp_path / "tools" / "broken", "#!/bin/sh\necho missing libfoo.so >&2\nexit 127\n")
    make_picture(tmp_path / "a.png")
    pipeline = write_pipeline(tmp_path, {"name": "one", "input": "a.png", "output": "b.png"})
    pipeline.write_text(pipeline.read_text().replace("device: cpu\n", f"device: cpu\n{key}\n"))
    monkeypatch.setenv("COLUMNS", "1000")
    for command in ("run", "plan", "validate", "preview", "doctor"):
        assert exit_code([command, str(pipeline)]) == 69, command
        found = "".join(capsys.readouterr())
        assert f"{pipeline}:3: ffmpeg: " in found, command
        assert said in found, command
    assert not (tmp_path / "b.png").exists()


def test_a_missing_bundled_program_gives_way_to_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(ffmpeg_program, "_bundled", lambda: None)
    other = script(tmp_path / "ffmpeg", COUNTING)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program().path == str(other)
    assert program().reason == "the system's: imageio-ffmpeg has no program here, the default"
    monkeypatch.setenv("PATH", "")
    assert shutil.which("ffmpeg") is None
    with pytest.raises(MachineError, match="neither in the package imageio-ffmpeg nor on the PATH"):
        program()
    with using("system", "p.yaml:2: ffmpeg"), pytest.raises(MachineError, match=r"p\.yaml:2: ffmpeg: found system, but"):
        program()


def test_the_doctor_says_which_ffmpeg_why_and_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = script(tmp_path / "lacking", LACKING)
    make_picture(tmp_path / "a.png")
    write_pipeline(tmp_path, {"name": "one", "input": "a.png", "output": "b.png"}, ffmpeg="lacking")
    monkeypatch.chdir(tmp_path)
    assert exit_code(["doctor"]) == 0
    found = capsys.readouterr().out
    assert f"at {named} (named by pipeline.yaml:" in found
    assert "missing libsvtav1" in found
    assert "libsvtav1 is needed for .webm" in found
    assert "zscale is needed for HDR videos. Use the ffmpeg that nstpipe is tested with: `ffmpeg: bundled`" in found
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "bundled")
    monkeypatch.chdir("/")
    assert exit_code(["doctor"]) == 0
    assert "(bundled with imageio-ffmpeg, named by the environment variable NSTPIPE_FFMPEG)" in capsys.readouterr().out
