"""The log of a run: one JSON object a line, in the work folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import IO

from nstpipe import events
from nstpipe.events import Event, FrameProgressed, InputsProgressed
from nstpipe.system.files import ensure_folder

LOGS_KEPT = 100
"""Number of logs that are kept. Older ones are deleted when a run begins."""


def log_path(work: Path, run: str) -> Path:
    """Return the path of a run's log."""
    return work / "logs" / f"{run}.jsonl"


def logged_events(path: Path) -> Iterator[Event]:
    """Yield the events of a log that this version of nstpipe knows; none if there is no log."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            values = json.loads(line)
            kind = getattr(events, values["event"])
            known = {field.name for field in fields(kind)}
            event = kind(**{name: value for name, value in values.items() if name in known})
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # a line that a power cut left half written, or another version's
        if isinstance(event, Event):
            yield event


class RunLog:
    """A listener that writes each event with its time, run, job, clip and frame, except events of progress.

    Args:
        work: The work folder. The log is in its folder `logs`.
        run: The name of the run.
        keep_all: Whether to delete no older logs, because other shards may still write theirs.

    Raises:
        OutputError: The folder cannot be created.
    """

    def __init__(self, work: Path, run: str, *, keep_all: bool = False) -> None:
        folder = (path := log_path(work, run)).parent
        ensure_folder(folder)
        for old in () if keep_all else sorted(folder.glob("*.jsonl"))[: -LOGS_KEPT + 1]:
            with suppress(OSError):
                old.unlink()
        self.path = path
        self._run = run
        self._lines = 0
        self._file: IO[str] | None = None

    def __call__(self, event: Event) -> None:
        """Write one event."""
        if isinstance(event, (FrameProgressed, InputsProgressed)):
            return
        fields = event.as_json()
        known = {"clip": fields.get("first_frame_index"), "frame": fields.get("frame_index")}
        time = datetime.fromtimestamp(event.at).astimezone().isoformat(timespec="milliseconds")
        line = {"time": time, "run": self._run, **fields, **{name: value for name, value in known.items() if value is not None}}
        with suppress(OSError):  # a full disk must not end a run that could otherwise end well
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8")
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            self._lines += 1

    @property
    def place(self) -> str:
        """The place of the latest line, relative to the work folder, such as ``logs/NAME.jsonl:12``."""
        return f"logs/{self.path.name}:{self._lines}"

    def finish(self, error: BaseException | None) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
