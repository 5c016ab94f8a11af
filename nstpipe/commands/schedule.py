"""A run for every night, in the words of systemd, cron or the Windows Task Scheduler."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from nstpipe.errors import EXIT_STOPPED, MachineError, UsageError
from nstpipe.system.files import atomic_write
from nstpipe.system.programs import run_program

Kind = Literal["systemd", "cron", "windows"]
KINDS: tuple[Kind, ...] = ("systemd", "cron", "windows")

STOP_SECONDS = 900
"""How long systemd waits after it has asked a run to end: the frame in hand is finished first."""


ANSWER_SECONDS = 60.0
"""How long a scheduler may take to answer."""


@dataclass(frozen=True)
class Night:
    """A run that begins at a time of every day and ends before another.

    Attributes:
        program: how nstpipe is called here.
        pipeline: absolute path of the pipeline.yaml.
        begins: hour and minute.
        ends: hour and minute; a time before `begins` is on the next day.
    """

    program: tuple[str, ...]
    pipeline: Path
    begins: tuple[int, int]
    ends: tuple[int, int]

    @property
    def command(self) -> tuple[str, ...]:
        """Program and arguments."""
        return (*self.program, "run", str(self.pipeline), "--until", "{:02d}:{:02d}".format(*self.ends), "--quiet")

    @property
    def name(self) -> str:
        """Of the unit or task: readable, and another one for another file."""
        readable = re.sub("[^A-Za-z0-9]+", "-", f"{self.pipeline.parent.name}-{self.pipeline.stem}").strip("-")
        return f"nstpipe-{readable}-{hashlib.sha256(os.fsencode(self.pipeline)).hexdigest()[:6]}"


def time_of_day(option: str, text: str) -> tuple[int, int]:
    """Hour and minute of a text such as 06:30.

    Raises:
        UsageError: it is no such text.
    """
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text)
    if match is None:
        raise UsageError(f"{option}: {text!r} is not a time; write HH:MM, such as 22:00.")
    return int(match[1]), int(match[2])


def night(pipeline: Path, begins: str, ends: str) -> Night:
    """A night of this machine's own nstpipe.

    Raises:
        UsageError: one of the times is none, or both are the same, or a path cannot be written down.
    """
    hours = time_of_day("--from", begins), time_of_day("--until", ends)
    if hours[0] == hours[1]:
        raise UsageError(f"--from and --until: both are {begins}, which leaves no time between them.")
    path = pipeline.absolute()
    if not str(path).isprintable():
        raise UsageError(f"{str(path)!r} has characters that no schedule can hold.", "Rename it first.")
    # The script beside the interpreter finds the right packages wherever it is started; `-m` would look around first.
    script = Path(sys.executable).with_name("nstpipe.exe" if os.name == "nt" else "nstpipe")
    program = (str(script),) if script.exists() else (sys.executable, "-m", "nstpipe")
    return Night(program, path, *hours)


def usual_kind() -> Kind:
    """What this machine most likely has."""
    if os.name == "nt":
        return "windows"
    return "systemd" if Path("/run/systemd/system").is_dir() else "cron"


def systemd_units(wanted: Night) -> dict[str, str]:
    """A service and its timer, by file name; see systemd.service(5) and systemd.timer(5)."""
    command = " ".join(_systemd_word(word) for word in wanted.command)
    about = str(wanted.pipeline).replace("%", "%%")
    service = f"""\
[Unit]
Description=nstpipe run {about}

[Service]
Type=oneshot
ExecStart={command}
# {EXIT_STOPPED}: the time was up, or another run is at work; neither is a failure.
SuccessExitStatus={EXIT_STOPPED}
# A run that is asked to end finishes the frame in hand; only nstpipe itself is asked, not its ffmpeg.
KillMode=mixed
TimeoutStopSec={STOP_SECONDS}
Nice=10
"""
    timer = f"""\
[Unit]
Description=every night: nstpipe run {about}

[Timer]
OnCalendar=*-*-* {wanted.begins[0]:02d}:{wanted.begins[1]:02d}:00
AccuracySec=1min
# A night that was missed is not made up for: the run would go on through the day, until the next morning.
Persistent=false

[Install]
WantedBy=timers.target
"""
    return {f"{wanted.name}.service": service, f"{wanted.name}.timer": timer}


def _systemd_word(word: str) -> str:
    """A word of ExecStart: % begins a specifier there, $ a variable, and quotes and backslashes are C's."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[A-Za-z0-9_./:=-]+", word) else f'"{escaped}"'


def cron_line(wanted: Night) -> str:
    """A line for crontab, with a comment that tells it from others; see crontab(5)."""
    # cron makes a new line of a % unless it stands behind a backslash, in quotes too.
    command = shlex.join(wanted.command).replace("%", r"\%")
    hour, minute = wanted.begins
    return f"{_cron_mark(wanted)}\n{minute} {hour} * * * {command}\n"


def _cron_mark(wanted: Night) -> str:
    return f"# nstpipe: {wanted.name}"


_TASKS = "http://schemas.microsoft.com/windows/2004/02/mit/task"


def windows_task(wanted: Night) -> str:
    """A task for `schtasks /Create /XML`.

    Raises:
        UsageError: the path cannot be written down there.
    """
    task = ElementTree.Element("Task", {"version": "1.2", "xmlns": _TASKS})

    def add(place: ElementTree.Element, **texts: str) -> ElementTree.Element:
        for name, text in texts.items():
            ElementTree.SubElement(place, name).text = text
        return place

    add(ElementTree.SubElement(task, "RegistrationInfo"), Description=f"nstpipe run {wanted.pipeline}")
    trigger = ElementTree.SubElement(ElementTree.SubElement(task, "Triggers"), "CalendarTrigger")
    # The date is only where counting begins.
    add(trigger, StartBoundary="2025-01-01T{:02d}:{:02d}:00".format(*wanted.begins), Enabled="true")
    add(ElementTree.SubElement(trigger, "ScheduleByDay"), DaysInterval="1")
    add(
        ElementTree.SubElement(task, "Settings"),
        MultipleInstancesPolicy="IgnoreNew",
        DisallowStartIfOnBatteries="true",
        StopIfGoingOnBatteries="false",
        StartWhenAvailable="false",
        WakeToRun="true",
        ExecutionTimeLimit="PT0S",
        Priority="8",
    )
    if str(wanted.pipeline).count("%") > 1:
        raise UsageError(f"{wanted.pipeline}: Windows takes what stands between two % for a variable.", "Rename it first.")
    program, *arguments = wanted.command
    run = ElementTree.SubElement(ElementTree.SubElement(task, "Actions"), "Exec")
    add(run, Command=program, Arguments=subprocess.list2cmdline(arguments))
    ElementTree.indent(task)
    return ElementTree.tostring(task, encoding="unicode") + "\n"


def shown(wanted: Night, kind: Kind) -> str:
    """What would be installed."""
    if kind == "cron":
        return cron_line(wanted)
    if kind == "windows":
        return windows_task(wanted)
    return "\n".join(f"# {_units_folder() / name}\n{text}" for name, text in systemd_units(wanted).items())


def install(wanted: Night, kind: Kind) -> str:
    """Hand it to this machine's scheduler; again replaces what was there for the same file.

    Returns:
        What was done, and how to undo it.

    Raises:
        MachineError: the scheduler is not there, or refuses.
        OutputError: a unit cannot be written.
    """
    if kind == "systemd":
        return _install_units(wanted)
    return _install_cron_line(wanted) if kind == "cron" else _install_task(wanted)


def _units_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _install_units(wanted: Night) -> str:
    systemctl = _program("systemctl")
    for name, text in systemd_units(wanted).items():
        with atomic_write(_units_folder() / name) as partial:
            partial.write_text(text, encoding="utf-8")
    _asked([systemctl, "--user", "daemon-reload"])
    _asked([systemctl, "--user", "enable", "--now", f"{wanted.name}.timer"])
    return (
        f"{wanted.name}.timer is enabled. Look at it with `systemctl --user list-timers`; end it with "
        f"`systemctl --user disable --now {wanted.name}.timer`.\n"
        "So that it also starts while you are logged out: `loginctl enable-linger`."
    )


NO_CRONTAB = ("no crontab for", "No such file or directory")
"""What `crontab -l` says if the user has no table: the usual cron, and BusyBox."""


def _install_cron_line(wanted: Night) -> str:
    crontab = _program("crontab")
    known = run_program([crontab, "-l"], limit_seconds=ANSWER_SECONDS)
    # Without a table `crontab -l` fails, which is no fault. After any other failure, a new table could replace the user's.
    if known.exit_code != 0 and not any(words in known.stderr for words in NO_CRONTAB):
        raise MachineError(f"{crontab} -l failed: {known.last_words}.", "Without --install the line is only printed.")
    _asked([crontab, "-"], with_cron_line(known.stdout, wanted))
    return "The line is in your crontab. Look at it with `crontab -l`; end it with `crontab -e`."


def with_cron_line(table: str, wanted: Night) -> str:
    """A crontab with this night's line, in place of an earlier one for the same file."""
    kept: list[str] = []
    lines = iter(table.splitlines())
    for line in lines:
        if line == _cron_mark(wanted):
            next(lines, None)
        else:
            kept.append(line)
    return "".join(f"{line}\n" for line in kept) + cron_line(wanted)


def _install_task(wanted: Night) -> str:
    schtasks = _program("schtasks")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "task.xml"
        file.write_text(f'<?xml version="1.0" encoding="UTF-16"?>\n{windows_task(wanted)}', encoding="utf-16")
        _asked([schtasks, "/Create", "/TN", wanted.name, "/XML", str(file), "/F"])
    return f"The task {wanted.name} is there. End it with `schtasks /Delete /TN {wanted.name}`."


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MachineError(f"{name} is not on this machine.", f"Give another --kind: {', '.join(KINDS)}.")
    return found


def _asked(command: Sequence[str], text: str | None = None) -> None:
    done = run_program(command, limit_seconds=ANSWER_SECONDS, content=text or "")
    if done.exit_code != 0:
        raise MachineError(f"{' '.join(command)} failed: {done.last_words}.", "Without --install it is only printed.")
