"""The command line as people and machines meet it: exit codes, messages, and never a traceback."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from nstpipe import __version__, api
from nstpipe.cli import exit_code
from nstpipe.config import load_pipeline
from nstpipe.journal.journal import Journal
from nstpipe.report.data import gather
from nstpipe.system.stop import STOP_SIGNALS
from tests.made_once import make_with_ffmpeg
from tests.making import ALL_LAYERS, make_picture, make_video, write_pipeline


@dataclass(frozen=True)
class Said:
    """What a command gave back."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def real_command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command as `nstpipe` would: what is painted, a process of its own paints."""

    def call(*arguments: object) -> Said:
        code = exit_code([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Said(code, captured.out, captured.err)

    return call


@pytest.fixture
def command(real_command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command, and paints in this process, which has imported torch already."""
    run = api.run
    monkeypatch.setattr(api, "run", lambda *given, **options: run(*given, **{**options, "isolated": False}))
    return real_command


def a_picture(folder: Path, **job: object) -> Path:
    make_picture(folder / "in" / "picture.jpg")
    return write_pipeline(folder, {"name": "one", "input": "in", "output": "out", **job})


def test_run_says_what_it_made(tmp_path: Path, real_command: Command) -> None:
    said = real_command("run", a_picture(tmp_path))
    assert said.code == 0
    assert "one: 1 of 1 frames to do, 0 of 1 outputs done" in said.out
    assert "1 made, 0 done before, 0 failed" in said.out
    assert "\x1b" not in said.out, "control characters belong on terminals only"
    again = real_command("run", tmp_path / "pipeline.yaml")
    assert (again.code, "Nothing to do: the output is already done." in again.out) == (0, True)


def test_run_as_json_gives_one_event_a_line(tmp_path: Path, real_command: Command) -> None:
    said = real_command("run", a_picture(tmp_path), "--json")
    events = [event for line in said.out.splitlines() if (event := json.loads(line))["event"] != "FrameProgressed"]
    assert [event["event"] for event in events] == ["JobPlanned", "ClipStarted", "FrameDone", "OutputDone", "RunFinished"]
    assert all(event["at"] > 1.7e9 for event in events)
    assert events[2]["evaluations"] == 3
    assert events[-1]["exit_code"] == 0
    assert "1 made" in said.err


def test_quiet_run_says_nothing_but_failures(tmp_path: Path, command: Command) -> None:
    pipeline = a_picture(tmp_path)
    assert command("run", pipeline, "--quiet").out == ""
    (tmp_path / "in" / "empty.jpg").touch()
    said = command("run", pipeline, "--quiet")
    assert said.code == 2
    assert said.out.count("\n") == 1
    assert "empty.jpg is empty (0 bytes). Copy the picture again." in said.out


def test_summary_names_what_failed(tmp_path: Path, command: Command) -> None:
    pipeline = a_picture(tmp_path)
    (tmp_path / "in" / "text.jpg").write_text("no picture")
    said = command("run", pipeline)
    assert said.code == 2
    assert "one: failed: " in said.out
    assert "text.jpg is not a picture" in said.out
    assert "1 made, 0 done before, 1 failed" in said.out


@dataclass(frozen=True)
class Bad:
    """A wrong input, and what a user must find in the message."""

    name: str
    job: dict[str, object]
    code: int
    words: tuple[str, ...]


BAD_INPUTS = [
    Bad("no such file", {"input": "nowhere.mp4", "output": "out.mp4"}, 65, ("nowhere.mp4 does not exist", "text.mp4")),
    Bad("text named mp4", {"input": "text.mp4", "output": "out.mp4"}, 65, ("text.mp4 is not a readable video",)),
    Bad("no video stream", {"input": "sound.mp4", "output": "out.mp4"}, 65, ("sound.mp4 has no video stream",)),
    Bad("unreadable style", {"input": "in", "output": "out", "style": "text.mp4"}, 65, ("style.images[0]", "is not a picture")),
    Bad("missing style", {"input": "in", "output": "out", "style": "gone.jpg"}, 65, ("gone.jpg does not exist",)),
    Bad(
        "unknown layer",
        {"input": "in", "output": "out", "style": {"images": ["style.png"], "layers": {"relu3_9": 1}}},
        78,
        ("pipeline.yaml:", "relu3_9", "not a layer of VGG19", "relu3_"),
    ),
    Bad(
        "unknown codec",
        {"input": "film.mp4", "output": "out.mp4", "encode": {"codec": "x264"}},
        78,
        ("encode.codec", "'x264'", "Did you mean libx264?"),
    ),
    Bad("output folder that is a file", {"input": "in", "output": "text.mp4/out"}, 73, ("text.mp4/out cannot be made",)),
    Bad("video into a folder", {"input": "film.mp4", "output": "out"}, 65, ("should be a video",)),
    Bad(
        "too small",
        {"input": "in", "output": "out", "size": 32, "include": ["wide.jpg"], **ALL_LAYERS},
        65,
        ("wide.jpg", "need 16"),
    ),
]


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_bad_input_gets_a_clear_error(tmp_path: Path, command: Command, bad: Bad) -> None:
    make_picture(tmp_path / "in" / "picture.jpg")
    make_picture(tmp_path / "in" / "wide.jpg", size=(400, 40))
    (tmp_path / "text.mp4").write_text("this is no video")
    film = make_video(tmp_path / "film.mp4", frames=2)
    make_with_ffmpeg("-i", film, "-vn", "-c", "copy", result=tmp_path / "sound.mp4")
    pipeline = write_pipeline(tmp_path, {"name": "bad", **bad.job})
    said = command("run", pipeline)
    assert said.code == bad.code
    for word in bad.words:
        assert word in said.out + said.err
    assert "Traceback" not in said.out + said.err


BAD_YAML = {
    "a tab": ("version: 1\njobs:\n\t- name: a\n", (":3:", "found a tab")),
    "a duplicate key": ("version: 1\nseed: 1\nseed: 2\njobs: []\n", (":3: seed:", "is given twice, first on line 2")),
    "an unknown key": ("version: 1\nsead: 1\njobs: []\n", (":2: sead:", "did you mean seed?")),
    "a wrong type": ("version: 1\nseed: many\njobs: []\n", (":2: seed:", "found the text 'many'; should be a whole number")),
    "an unknown device": ("version: 1\ndevice: gpu\njobs: []\n", (":2: device:", "auto, cpu, cuda or cuda:N")),
    "nothing": ("", ("is empty",)),
}


@pytest.mark.parametrize("name", BAD_YAML)
@pytest.mark.parametrize("verb", ["run", "validate", "plan"])
def test_bad_yaml_gets_file_line_and_key(tmp_path: Path, command: Command, verb: str, name: str) -> None:
    text, words = BAD_YAML[name]
    (tmp_path / "pipeline.yaml").write_text(text)
    said = command(verb, tmp_path / "pipeline.yaml")
    assert said.code == 78
    if verb == "validate":  # a table, with the place in a column of its own
        assert said.err == ""
        assert all(word.rstrip(":") in said.out for word in ("pipeline.yaml", *words))
    else:
        assert said.out == ""
        assert all(word in said.err for word in ("pipeline.yaml", *words))


def test_a_device_that_this_machine_lacks(tmp_path: Path, command: Command) -> None:
    said = command("run", a_picture(tmp_path), "--device", "cuda:9")
    assert said.code == 69
    assert "found cuda:9" in said.err


def test_the_pipeline_of_the_current_folder(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run", "plan", "status", "validate", "clean", "report", "preview"):
        said = command(name)
        assert (said.code, "nstpipe init" in said.err + said.out) == (78, True), name
    a_picture(tmp_path).rename("pipeline.yml")
    assert "A run would make 1 output" in command("status").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "film.mp4"], "`nstpipe init film.mp4 --style PAINTING.jpg`"),
        (["plan", "folder"], "`nstpipe init folder --style PAINTING.jpg`"),
        (["status", "with"], "give with/pipeline.yaml"),
        (["validate", "photo"], "`nstpipe init photo --style PAINTING.jpg`"),
        (["rnu"], "Did you mean 'run'?"),
        (["p.yaml"], "Try `nstpipe run p.yaml`."),
        (["film.mp4"], "Try `nstpipe init film.mp4 --style PAINTING.jpg`"),
    ],
    ids=str,
)
def test_what_is_given_in_place_of_a_pipeline(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0")
    (tmp_path / "photo").write_bytes(b"\xff\xd8\xff\xe0")
    for folder in ("folder", "with"):
        (tmp_path / folder).mkdir()
    (tmp_path / "with" / "pipeline.yaml").touch()
    said = command(*arguments)
    assert words in " ".join((said.err + said.out).split())
    assert said.code in (64, 78)


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "latin-1"])
def test_a_terminal_that_cannot_show_a_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    path = a_picture(tmp_path)
    path.write_text(path.read_text().replace("one", "one").replace("output: out", "output: \u00e4\u2083\u6f22"))
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr("sys.stdout", streams[0])
    monkeypatch.setattr("sys.stderr", streams[1])
    for name in ("status", "validate", "run", "status"):
        assert exit_code([name, str(path)]) == 0, name
    streams[0].flush()
    assert b"1 made" in streams[0].buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "a.yaml", "--fast"],
        ["paint"],
        ["run", "a.yaml", "--workers", "none"],
        ["run", "a.yaml", "--workers", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage(command: Command, arguments: list[str]) -> None:
    said = command(*arguments)
    assert said.code == 64
    assert "Try `nstpipe --help`" in said.err


def test_an_unknown_job_is_wrong_usage(tmp_path: Path, command: Command) -> None:
    said = command("run", a_picture(tmp_path), "--job", "two")
    assert (said.code, "the file has one" in said.err) == (64, True)


def test_set_overrides_the_file(tmp_path: Path, command: Command) -> None:
    from PIL import Image

    assert command("run", a_picture(tmp_path), "--set", "jobs.one.size=32").code == 0
    with Image.open(tmp_path / "out" / "picture.jpg") as image:
        assert image.size == (32, 24)


def test_validate_opens_every_input(tmp_path: Path, command: Command) -> None:
    pipeline = a_picture(tmp_path)
    said = command("validate", pipeline)
    assert (said.code, "is valid, and all of its 1 inputs can be opened" in said.out) == (0, True)
    whole = (tmp_path / "in" / "picture.jpg").read_bytes()
    (tmp_path / "in" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    said = command("validate", pipeline)
    assert said.code == 2
    assert "cut.jpg cannot be read" in said.out
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".nstpipe").exists()


def test_plan_gives_reasons_and_does_nothing(tmp_path: Path, command: Command) -> None:
    pipeline = a_picture(tmp_path)
    said = command("plan", pipeline, "--no-calibrate")
    assert said.code == 0
    assert "to do: new" in said.out
    assert not (tmp_path / "out").exists()
    [planned] = [json.loads(line) for line in command("plan", pipeline, "--json", "--no-calibrate").out.splitlines()]
    assert (planned["job"], planned["frames"], planned["done"], planned["reason"]) == ("one", 1, False, "new")
    command("run", pipeline)
    assert "done" in command("plan", pipeline, "--no-calibrate").out


def test_plan_says_what_to_do_about_what_cannot_be_used(tmp_path: Path, command: Command) -> None:
    pipeline = a_picture(tmp_path)
    (tmp_path / "in" / "text.jpg").write_text("no picture")
    planned = command("plan", pipeline, "--no-calibrate").out
    [failure] = [line for line in command("validate", pipeline, "--json").out.splitlines() if "text.jpg" in line]
    next_step = json.loads(failure)["next_step"]
    assert next_step
    assert next_step in " ".join(planned.split())
    # Machines hear of it, too, in the same words.
    _, write_or_discard = command("plan", pipeline, "--no-calibrate", "--json").out.splitlines()
    assert json.loads(write_or_discard) == json.loads(failure)


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_a_device_that_was_mistyped_is_a_wrong_command_and_no_fault_of_the_file(
    tmp_path: Path, command: Command, verb: str
) -> None:
    said = command(verb, a_picture(tmp_path), "--device", "gpu")
    assert said.code == 64
    assert "--device: found gpu; should be auto, cpu, cuda or cuda:N." in said.err


@pytest.mark.parametrize("verb", ["run", "plan"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--workers", "5000"], "nstpipe: --workers: found 5000; should be 1 to 1024."),
        (["--set", "nonsense"], "nstpipe: --set nonsense: should be key.path=value"),
        (["--set", "seed=x"], "nstpipe: --set seed: found the text 'x'; should be a whole number"),
    ],
)
def test_a_wrong_option_is_a_wrong_command_and_no_fault_of_the_file(
    tmp_path: Path, command: Command, verb: str, options: list[str], words: str
) -> None:
    said = command(verb, a_picture(tmp_path), *options)
    assert (said.code, words in said.err) == (64, True)
    # With a fault of the file's own beside it, the file is wrong, too.
    said = command(verb, a_picture(tmp_path, sise=3), "--set", "seed=x")
    assert (said.code, "--set seed:" in said.err, "pipeline.yaml:" in said.err) == (78, True, True)


def test_doctor_and_status_cut_nothing_that_somebody_may_copy(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nstpipe.commands import doctor

    path, name = "/a/" + "long-folder/" * 12 + "ffmpeg", "job-" + "x" * 100
    finding = doctor.Finding("ffmpeg", f"7.1 at {path}", f"Remove {path}.")
    monkeypatch.setattr(doctor, "examine", lambda *_: (finding, doctor.Finding("disk", "full")))
    monkeypatch.setenv("COLUMNS", "40")
    assert command("doctor").out.splitlines() == [f"ffmpeg  7.1 at {path}", f"        Remove {path}.", "disk    full"]
    assert name in command("status", a_picture(tmp_path, name=name)).out


def test_what_is_named_to_no_effect_is_said(tmp_path: Path, command: Command) -> None:
    pipeline = a_picture(tmp_path, input="in/picture.jpg", output="out.jpg", exclude=["*.jpg"])
    words = "picture.jpg is a single file"
    assert words in command("validate", pipeline).out
    assert words in command("plan", pipeline, "--no-calibrate").out
    assert words in command("run", pipeline).out


def test_schema_is_the_one_in_the_repository(command: Command) -> None:
    repository = Path(__file__).parent.parent
    said = command("schema")
    assert said.code == 0
    assert said.out == (repository / "docs" / "pipeline.schema.json").read_text(encoding="utf-8")


def test_doctor_looks_at_this_machine(command: Command) -> None:
    said = command("doctor", "--json")
    found = {line["topic"]: line for line in map(json.loads, said.out.splitlines())}
    assert said.code == 0
    assert {"python", "torch", "cpu", "ffmpeg", "encoders", "weights", "disk", "device: auto"} <= found.keys()
    assert "bundled, checked" in found["weights"]["found"]


def test_version_and_help(command: Command) -> None:
    assert command("--version").out == f"nstpipe {__version__}\n"
    assert "Example: nstpipe run pipeline.yaml" in command("run", "--help").out
    assert command("--help").code == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("number", "code"),
    [(number, 130 if number is signal.SIGINT else 143) for number in STOP_SIGNALS if number is not signal.SIGTERM],
)
def test_signals_end_a_run_without_losing_finished_frames(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """SIGTERM, and how the next run goes on, are tried in tests/faults."""
    make_video(tmp_path / "in.mp4", frames=25)
    job = {"name": "film", "input": "in.mp4", "output": "out/film.mp4", "optimizer": {"first": 5, "next": 5}}
    pipeline = write_pipeline(tmp_path, job)
    run = [sys.executable, "-m", "nstpipe", "run", str(pipeline), "--json"]
    process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    frames = 0
    for line in process.stdout:
        frames += json.loads(line)["event"] == "FrameDone"
        if frames == 2:
            process.send_signal(number)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "finishing the current frame" in err
    assert "finished work is kept" in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("out/*"))
    stored = list((tmp_path / ".nstpipe" / "clips").glob("*/frame_*.npy"))
    assert len(stored) >= 2


def test_status_before_during_and_after_a_run(tmp_path: Path, command: Command) -> None:
    pipeline = a_picture(tmp_path)
    said = command("status", pipeline)
    assert (said.code, "No run has begun yet" in said.out) == (0, True)
    assert not (tmp_path / ".nstpipe").exists()
    (tmp_path / "in" / "text.jpg").write_text("no picture")
    assert command("run", pipeline).code == 2
    said = command("status", pipeline, "--json")
    [found] = map(json.loads, said.out.splitlines())
    [job] = found["jobs"]
    assert {key: job[key] for key in ("done", "running", "failed", "left", "frames", "frames_done")} == {
        "done": 1, "running": 0, "failed": 1, "left": 0, "frames": 1, "frames_done": 1,
    }  # fmt: skip
    assert (found["holder"], found["exit_code"]) == (None, 2)
    [(path, reason)] = found["failures"].items()
    assert path.endswith("text.jpg")
    place = reason.rpartition("(")[2].rstrip(")")
    log, _, line = place.partition(":")
    logged = json.loads((tmp_path / ".nstpipe" / log).read_text().splitlines()[int(line) - 1])
    assert (logged["event"], logged["run"], logged["job"]) == ("ItemFailed", Path(log).stem, "one")


def test_status_and_report_follow_the_file_where_it_has_changed(tmp_path: Path, command: Command) -> None:
    """Another name of the job, a picture gone, another one new, another folder for the results."""

    def counted(path: Path) -> tuple[int, int, int, int, int]:
        [job] = api.status(path).jobs
        assert command("report", path, "-o", tmp_path / "report.html").code == 0
        with closing(Journal(tmp_path / ".nstpipe", read_only=True)) as journal:
            [said] = gather(load_pipeline(path), journal).jobs
        assert (said.made + said.before, said.failed, said.left) == (job.done, job.failed, job.left)
        assert (said.frames, said.frames_done) == (job.frames, job.frames_done)
        return job.done, job.failed, job.left, job.frames, job.frames_done

    for number in range(3):
        make_picture(tmp_path / "in" / f"{number}.jpg", seed=number)
    broken = tmp_path / "in" / "broken.jpg"
    broken.write_text("no picture")
    pipeline = write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out", "link": "none"})
    assert command("run", pipeline).code == 2
    assert counted(pipeline) == (3, 1, 0, 3, 3)
    pipeline.write_text(pipeline.read_text().replace("name: one", "name: other"))
    assert counted(pipeline) == (3, 1, 0, 3, 3)
    (tmp_path / "in" / "1.jpg").unlink()
    broken.unlink()
    assert counted(pipeline) == (2, 0, 0, 2, 2)
    make_picture(tmp_path / "in" / "new.jpg")
    assert counted(pipeline) == (2, 0, 1, 3, 2)
    assert [output.is_done for output in api.plan(pipeline).outputs] == [True, True, False]
    pipeline.write_text(pipeline.read_text().replace("output: out", "output: elsewhere"))
    assert counted(pipeline) == (0, 0, 3, 3, 0)


def test_what_one_job_has_made_is_not_done_by_the_next_one_that_reads_it(tmp_path: Path) -> None:

    make_picture(tmp_path / "in.png")
    pipeline = write_pipeline(
        tmp_path,
        {"name": "first", "input": "in.png", "output": "out/first.png"},
        {"name": "second", "input": "out/first.png", "output": "out/second.png"},
    )
    api.run(pipeline, jobs=["first"])
    assert [(job.done, job.left) for job in api.status(pipeline).jobs] == [(1, 0), (0, 1)]


def test_a_mended_painting_is_no_failure_any_more(tmp_path: Path, command: Command) -> None:
    pipeline = a_picture(tmp_path)
    style = tmp_path / "style.png"
    whole = style.read_bytes()
    style.write_text("no picture")
    assert command("run", pipeline).code == 65
    assert f"failed: {tmp_path / 'in'}: style.images[0]: {style}" in command("status", pipeline).out
    style.write_bytes(whole)
    assert command("run", pipeline).code == 0

    found = api.status(pipeline)
    assert (found.failures, found.jobs[0].failed, found.jobs[0].done) == ({}, 0, 1)


def test_status_while_a_run_goes_on(tmp_path: Path, command: Command) -> None:
    make_video(tmp_path / "in.mp4", frames=5)
    pipeline = write_pipeline(tmp_path, {"name": "film", "input": "in.mp4", "output": "out/film.mp4"})
    from nstpipe.events import Event, FrameDone

    seen: list[api.Status] = []

    def look(event: Event) -> None:
        if isinstance(event, FrameDone) and event.frame_index == 2:
            seen.append(api.status(pipeline))

    api.run(pipeline, on_event=look)
    [during] = seen
    [job] = during.jobs
    assert during.holder is not None
    assert during.holder.process == os.getpid()
    assert (job.done, job.running, job.frames, job.frames_done) == (0, 1, 5, 3)
    assert job.seconds_left is not None
    assert job.seconds_left > 0
    log = [json.loads(line) for path in (tmp_path / ".nstpipe" / "logs").iterdir() for line in path.read_text().splitlines()]
    frames = [(line["job"], line["clip"], line["frame"]) for line in log if line["event"] == "FrameDone"]
    assert frames == [("film", 0, frame_index) for frame_index in range(5)]


def test_fail_fast_stops_at_the_first_failure(tmp_path: Path, real_command: Command) -> None:
    pipeline = a_picture(tmp_path)
    whole = (tmp_path / "in" / "picture.jpg").read_bytes()
    (tmp_path / "in" / "a_cut.jpg").write_bytes(whole[: len(whole) // 2])
    said = real_command("run", pipeline, "--fail-fast")
    assert said.code == 2
    assert "--fail-fast" in said.out
    assert not (tmp_path / "out" / "picture.jpg").exists()
    assert real_command("run", pipeline).code == 2
    assert (tmp_path / "out" / "picture.jpg").exists()


@pytest.mark.parametrize(
    "options", [["--until", "24:00"], ["--until", "6"], ["--max-runtime", "6"], ["--max-runtime", ""]], ids=" ".join
)
def test_a_time_that_is_none_is_wrong_usage(tmp_path: Path, command: Command, options: list[str]) -> None:
    said = command("run", a_picture(tmp_path), *options)
    assert said.code == 64
    assert "such as" in said.err


def test_deadlines() -> None:
    from nstpipe.cli.options import deadline_of

    noon = datetime(2030, 5, 4, 12, 0).timestamp()
    assert deadline_of(None, None, noon) is None
    assert deadline_of("18:30", None, noon) == datetime(2030, 5, 4, 18, 30).timestamp()
    assert deadline_of("06:30", None, noon) == datetime(2030, 5, 5, 6, 30).timestamp()
    assert deadline_of(None, "1h30m5s", noon) == noon + 5405
    assert deadline_of("18:30", "10h", noon) == datetime(2030, 5, 4, 18, 30).timestamp()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system cannot be told another time zone")
def test_deadlines_when_clocks_are_put_forward_or_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from nstpipe.cli.options import deadline_of

    def hours(began: str, until: str) -> float:
        deadline, now = deadline_of(until, None, at(began)), at(began)
        assert deadline is not None
        return (deadline - now) / 3600

    def at(utc: str) -> float:
        return datetime.fromisoformat(f"{utc}+00:00").timestamp()

    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        # 23:00 on the evening before: nights of 6.5 hours, of 7.5 and of 8.5.
        assert hours("2026-03-28T22:00:00", "06:30") == 6.5
        assert hours("2026-05-04T21:00:00", "06:30") == 7.5
        assert hours("2026-10-24T21:00:00", "06:30") == 8.5
        # 02:30 comes twice in October: the first one, and within the hour between them the second one.
        assert hours("2026-10-24T21:00:00", "02:30") == 3.5
        assert hours("2026-10-25T00:45:00", "02:30") == 0.75
        # It is left out in March: rather early than late.
        assert hours("2026-03-28T22:00:00", "02:30") == 2.5
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_run_without_time_stops_at_once(tmp_path: Path, command: Command) -> None:
    said = command("run", a_picture(tmp_path), "--max-runtime", "0s")
    assert said.code == 75
    assert "The time is up: the inputs were not all inspected. Run it again to continue." in said.out
    assert not (tmp_path / "out" / "picture.jpg").exists()


def test_help_is_quick(tmp_path: Path) -> None:
    code = "import sys, nstpipe.cli; nstpipe.cli.exit_code(['--help']); print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert said.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    "verb", ["doctor", "init", "plan", "preview", "run", "schedule", "schema", "status", "validate"]
)  # fmt: skip
def test_every_command_helps_with_an_example(command: Command, verb: str) -> None:
    said = command(verb, "-h")
    assert (said.code, f"Example: nstpipe {verb}" in said.out) == (0, True)
    assert command(verb, "--help").out == said.out


def completed(folder: Path, *words: str) -> list[str]:
    """What a shell is told that the last word may become."""
    asked = {"_NSTPIPE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    said = subprocess.run(
        [sys.executable, "-m", "nstpipe"], cwd=folder, env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert said.stderr == ""
    return said.stdout.split()


def test_the_shell_completes_commands_options_and_jobs(tmp_path: Path) -> None:
    a_picture(tmp_path)
    assert sorted(completed(tmp_path, "nstpipe", "sche")) == ["schedule", "schema"]
    assert "--retry-failed" in completed(tmp_path, "nstpipe", "run", "pipeline.yaml", "--re")
    assert completed(tmp_path, "nstpipe", "run", "pipeline.yaml", "--job", "o") == ["one"]
    assert completed(tmp_path, "nstpipe", "preview", "gone.yaml", "--job", "") == []
    show = [sys.executable, "-m", "nstpipe", "--show-completion", "bash"]
    shown = subprocess.run(show, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "_NSTPIPE_COMPLETE" in shown.stdout


IN_ONE_PROCESS = (
    sys.executable,
    "-c",
    "from nstpipe import api, cli; run = api.run\n"
    "api.run = lambda *given, **options: run(*given, **{**options, 'isolated': False})\n"
    "cli.main()",
)
"""The command as a process of its own, which paints what there is to paint."""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["schema"], ["status", "pipeline.yaml"]], ids=str)
def test_a_full_standard_output_is_said_and_a_closed_one_is_nobodys(tmp_path: Path, arguments: list[str]) -> None:
    make_picture(tmp_path / "in.png")
    write_pipeline(tmp_path, {"name": "one", "input": "in.png", "output": "out.png"})
    for redirection, code in ((">/dev/full", 73), (">&-", 0), (">&- 2>&- <&-", 0)):
        said = subprocess.run(
            f"{shlex.join([sys.executable, '-m', 'nstpipe', *arguments])} {redirection}",
            shell=True,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert said.returncode == code, said.stderr
        full = "nstpipe: standard output cannot be written: No space left on device."
        assert said.stderr.splitlines() == ([full, "  Free some space there, or write elsewhere."] if code else [])


def test_closed_streams_are_opened_so_that_no_file_gets_their_numbers() -> None:
    code = (
        "import os, sys; os.close(1); sys.stdout = None; "
        "from nstpipe.cli.options import open_closed_streams; open_closed_streams(); "
        "print('nobody hears this', flush=True); sys.exit(os.open(os.devnull, os.O_RDONLY))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode > 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_a_night_does_not_end_because_its_log_is_full(tmp_path: Path, options: list[str]) -> None:
    command = [*IN_ONE_PROCESS, "run", str(a_picture(tmp_path)), *options]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=full, check=False)
    assert done.returncode == 0
    assert (tmp_path / "out" / "picture.jpg").exists()


@pytest.mark.parametrize("verb", [["run", "--json"], ["plan", "--no-calibrate"]], ids=["run", "plan"])
def test_a_reader_that_has_gone_is_no_bug(tmp_path: Path, verb: list[str]) -> None:
    command = [*IN_ONE_PROCESS, verb[0], str(a_picture(tmp_path)), *verb[1:]]
    gone, end = os.pipe()
    os.close(gone)
    done = subprocess.run(command, stdout=end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(end)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
