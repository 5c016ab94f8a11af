"""A run for every night: the words of each scheduler, held against the scheduler itself where this machine has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nstpipe.cli import exit_code
from nstpipe.commands.schedule import Night, cron_line, night, systemd_units, windows_task, with_cron_line
from nstpipe.errors import UsageError
from tests.making import make_picture, write_pipeline

ODD = Path('/films of 100% "mine"/it\'s $HOME.yaml')
SAY = (sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))")
"""A program that tells what it was called with."""


def a_night(path: Path = ODD, program: tuple[str, ...] = SAY) -> Night:
    return Night(program, path, (22, 0), (6, 30))


def test_the_command_is_this_machines_own_and_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = night(Path("pipeline.yaml"), "22:00", "6:30")
    assert wanted.command[-5:] == ("run", str(tmp_path / "pipeline.yaml"), "--until", "06:30", "--quiet")
    said = subprocess.run([*wanted.program, "--version"], capture_output=True, text=True, check=True, cwd="/").stdout
    assert said.startswith("nstpipe ")


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        ("24:00", "06:30", "--from: '24:00' is not a time"),
        ("22:00", "6", "--until: '6' is not a time"),
        ("7:00", "07:00", "leaves no time"),
    ],
)
def test_times_that_are_none(begins: str, ends: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        night(Path("pipeline.yaml"), begins, ends)


def test_systemd_escapes_what_means_something_to_it() -> None:
    service, timer = systemd_units(a_night(program=("/usr/bin/nstpipe",))).values()
    path = r'"/films of 100%% \"mine\"/it' + "'" + r's $$HOME.yaml"'
    assert f"ExecStart=/usr/bin/nstpipe run {path} --until 06:30 --quiet\n" in service
    assert "SuccessExitStatus=75\n" in service
    assert "OnCalendar=*-*-* 22:00:00\n" in timer


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "units"
    folder.mkdir()
    for name, text in systemd_units(a_night()).items():
        (folder / name).write_text(text)

    def verified() -> subprocess.CompletedProcess[str]:
        verify = ["systemd-analyze", "verify", "--user", *map(str, sorted(folder.iterdir()))]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
        return subprocess.run(verify, capture_output=True, text=True, env=environment, check=False)

    said = verified()
    assert (said.returncode, [line for line in said.stderr.splitlines() if "nstpipe" in line]) == (0, [])
    timer = next(folder.glob("*.timer"))
    timer.write_text(timer.read_text().replace("22:00:00", "25:00:00"))
    assert "25:00:00" in verified().stderr, "or the check above could not fail"


@pytest.mark.skipif(os.name == "nt", reason="there is no sh")
@pytest.mark.parametrize("name", [str(ODD), "/plain.yaml", "/-dash/海辺.yaml", "/back\\slash/%d%%.yaml", "/a;b|c&d`e`.yaml"])
def test_the_shell_of_cron_understands_the_line(name: str) -> None:
    mark, line = cron_line(a_night(Path(name))).splitlines()
    assert mark.startswith("# nstpipe: ")
    minute, hour, *days, command = line.split(" ", 5)
    assert (minute, hour, days) == ("0", "22", ["*", "*", "*"])
    # cron takes the backslash before a % away, and everything behind a bare one.
    assert "%" not in command.replace(r"\%", "")
    said = subprocess.run(["sh", "-c", command.replace(r"\%", "%")], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == ["run", name, "--until", "06:30", "--quiet"]


def test_a_line_replaces_its_predecessor_only() -> None:
    others = "MAILTO=me\n5 4 * * * backup\n"
    first = with_cron_line(others, a_night())
    moved = Night(SAY, ODD, (23, 15), (5, 0))
    assert with_cron_line(first, moved) == others + cron_line(moved)
    assert with_cron_line(first, a_night(Path("/b.yaml"))).count("# nstpipe: ") == 2


def test_a_windows_task_can_be_read_again() -> None:
    task = ElementTree.fromstring(windows_task(a_night(Path("C:/my films/a & b <1>.yaml"), ("C:/Python/Scripts/nstpipe.exe",))))
    space = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    assert task.findtext(".//t:Command", namespaces=space) == "C:/Python/Scripts/nstpipe.exe"
    arguments = task.findtext(".//t:Arguments", namespaces=space)
    assert arguments == 'run "C:/my films/a & b <1>.yaml" --until 06:30 --quiet'
    assert str(task.findtext(".//t:StartBoundary", namespaces=space)).endswith("T22:00:00")
    with pytest.raises(UsageError, match="for a variable"):
        windows_task(a_night(Path("C:/%TEMP%/a.yaml")))


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    make_picture(tmp_path / "in" / "picture.jpg")
    return write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out"})


def test_the_command_prints_and_installs_nothing(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for kind, word in (("systemd", "OnCalendar="), ("cron", "0 22 * * *"), ("windows", "<StartBoundary>")):
        assert exit_code(["schedule", str(pipeline), "--from", "22:00", "--until", "06:30", "--kind", kind]) == 0
        said = capsys.readouterr()
        assert word in said.out
        assert "only printed" in said.err
    assert not (tmp_path / "config").exists()
    pipeline.write_text("version: 2\n")
    assert exit_code(["schedule", str(pipeline), "--from", "22:00", "--until", "06:30"]) == 78


@pytest.mark.skipif(os.name == "nt", reason="needs a shell script")
def test_installing_into_a_crontab(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands for crontab(1), which keeps its tables where a test must not write.
    table, programs = tmp_path / "table", tmp_path / "programs"
    programs.mkdir()
    crontab = programs / "crontab"
    crontab.write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then cat {table} 2>&1; else cat > {table}; fi\n')
    crontab.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    table.write_text("5 4 * * * backup\n")
    arguments = ["schedule", str(pipeline), "--from", "22:00", "--until", "06:30", "--kind", "cron", "--install"]
    assert [exit_code(arguments), exit_code(arguments)] == [0, 0]
    assert "crontab -e" in capsys.readouterr().out
    assert table.read_text() == "5 4 * * * backup\n" + cron_line(night(pipeline, "22:00", "06:30"))
    for said, code in (("you may not use it", 69), ("no crontab for somebody", 0)):
        table.write_text("4 3 * * * kept\n")
        crontab.write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then echo {said} >&2; exit 1; else cat > {table}; fi\n')
        assert exit_code(arguments) == code
        assert ("kept" in table.read_text()) == (code != 0)


def test_a_scheduler_that_is_not_there(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for kind, program in (("cron", "crontab"), ("systemd", "systemctl"), ("windows", "schtasks")):
        arguments = ["schedule", str(pipeline), "--from", "22:00", "--until", "06:30", "--kind", kind, "--install"]
        assert exit_code(arguments) == 69
        assert f"{program} is not on this machine" in capsys.readouterr().err
