"""The page of the run: starts it, asks it to stop, and shows how far it is.

The run is a process of its own. The page reads what it records (journal, lock and log), as `nstpipe status` does, and so shows
the same thing whoever has started the run, and after the server was closed in between.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nstpipe.config import Pipeline, load_pipeline
from nstpipe.errors import EXIT_DONE, EXIT_SOME_FAILED, EXIT_STOPPED, ItemError, NstpipeError, UsageError
from nstpipe.events import Event, FrameDone, ItemFailed, Noticed, OutputDone, RunFinished, TriedAgain
from nstpipe.journal.database import JOURNAL
from nstpipe.journal.journal import Journal
from nstpipe.journal.log import log_path, logged_events
from nstpipe.planning.eta import as_duration
from nstpipe.planning.status import Status, pipeline_status
from nstpipe.system.files import Stamp, ensure_folder, stamp_of
from nstpipe.system.lock import Holder, holder_of
from nstpipe.window.jobs import checked, text_of
from nstpipe.window.pages import Window, form_of, page, texts_for, window_of
from nstpipe.window.studio import event_stream

LOOK_SECONDS = 1.0
"""Shortest time between two looks at the journal. All open pages share one look."""

LONGEST_SHARE = 0.2
"""A look that takes long, because there are many files, is repeated so rarely that it takes this share of the time at most."""

START_SECONDS = 8.0
"""How long a run that was started may take until it holds the lock. If it ends before, it says why."""

MOST_POINTS = 300
"""The most frames in the curves of loss and flicker; the newest ones."""

MOST_FAILURES = 100
"""The most failures that are listed."""

MOST_SOUGHT = 2_000
"""A frame is taken from a finished video of at most so many frames; to find it in a longer one would take too long."""

LOG_BYTES = 400_000
"""So much of the end of a log is read."""

OUTPUT_NAME = "window-run.log"
"""The file in the work folder that takes what a run prints that was started here."""


@dataclass(frozen=True)
class View:
    """How far the runs of a pipeline are, as the page shows it.

    Attributes:
        status: What `nstpipe status` says.
        is_ours: Whether the run can be asked to stop from here: it is on this machine.
        failures: The failed outputs: job, path, reason and next step.
        more_failures: The number of further failures.
        newest: The newest events, newest first: time and sentence.
        losses: The losses of the newest frames, oldest first.
        flickers: Their flicker in levels of 255, where it was measured.
        frames: The newest finished frames, newest first: what stands below and its number in the log.
        last_run: The name of the latest run; empty if there was none.
    """

    status: Status
    is_ours: bool
    failures: tuple[tuple[str, str, str, str], ...]
    more_failures: int
    newest: tuple[tuple[str, str], ...]
    losses: tuple[float, ...]
    flickers: tuple[float, ...]
    frames: tuple[FrameDone, ...]
    last_run: str

    @property
    def share(self) -> float:
        """The finished share of all frames, 0 to 1."""
        frames = sum(job.frames for job in self.status.jobs)
        return sum(job.frames_done for job in self.status.jobs) / frames if frames else 0.0

    @property
    def seconds_left(self) -> float | None:
        """The longest time that a job has left; None if that of an unfinished job is not known."""
        seconds = [job.seconds_left for job in self.status.jobs if job.left or job.running]
        return max((one for one in seconds if one is not None), default=None) if None not in seconds else None


def view_of(pipeline: Pipeline) -> View:
    """Look at the journal, the lock and the log."""
    status = pipeline_status(pipeline)
    failures: list[tuple[str, str, str, str]] = []
    name = ""
    if (pipeline.work / JOURNAL).exists():
        with closing(Journal(pipeline.work, pipeline=pipeline.file, read_only=True)) as journal:
            failures += [
                (record.job, record.input, record.reason, record.next_step)
                for record in journal.records()
                if record.state == "failed"
            ]
            latest = journal.latest_run()
            name = latest.name if latest is not None else ""
    events = list(_last_events(log_path(pipeline.work, name))) if name else []
    frames = [event for event in events if isinstance(event, FrameDone) and event.is_final][-MOST_POINTS:]
    folder = pipeline.file.parent if pipeline.file is not None else Path()
    said = [line for event in events if (line := _sentence(event, folder))]
    return View(
        status=status,
        is_ours=status.holder is not None and _is_here(status.holder),
        failures=tuple(failures[:MOST_FAILURES]),
        more_failures=max(0, len(failures) - MOST_FAILURES),
        newest=tuple(reversed(said[-12:])),
        losses=tuple(frame.loss for frame in frames if frame.loss is not None),
        flickers=tuple(255 * frame.warping_error**0.5 for frame in frames if frame.warping_error is not None),
        frames=tuple(reversed(frames[-4:])),
        last_run=name,
    )


def _is_here(holder: Holder) -> bool:
    return holder.host == socket.gethostname()


def _last_events(path: Path) -> Iterator[Event]:
    """Yield the events at the end of a log."""
    try:
        if path.stat().st_size <= LOG_BYTES:
            yield from logged_events(path)
            return
    except OSError:
        return
    with tempfile.TemporaryDirectory() as folder, path.open("rb") as file:
        file.seek(-LOG_BYTES, os.SEEK_END)
        end = Path(folder) / path.name
        end.write_bytes(file.read().partition(b"\n")[2])
        yield from logged_events(end)


def _below(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def _sentence(event: Event, folder: Path) -> tuple[str, str] | None:
    at = time.strftime("%H:%M:%S", time.localtime(event.at))
    if isinstance(event, OutputDone):
        return at, f"✓ {_below(Path(event.output), folder)}"
    if isinstance(event, FrameDone) and event.is_final:
        return at, f"{Path(event.path).name} · {event.frame_index + 1} · {event.seconds:.1f} s"
    if isinstance(event, ItemFailed):
        return at, f"✗ {Path(event.path).name}: {event.reason}"
    if isinstance(event, TriedAgain):
        return at, f"↻ {Path(event.path).name}: {event.reason}"
    if isinstance(event, Noticed):
        return at, event.message
    if isinstance(event, RunFinished):
        return at, f"■ {event.outputs_made} ✓, {event.items_failed} ✗, {event.outputs_left} …"
    return None


class Looks:
    """Looks at a pipeline for all open pages: one look serves them all."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._looked_at = 0.0
        self._wait = 0.0
        self._view: View | None = None
        self._error: NstpipeError | None = None
        self._one_at_a_time = asyncio.Lock()
        self._pipeline: Pipeline | None = None
        self._stamp: Stamp | None = None
        self.asked: Holder | None = None
        """The run that was asked to stop after the frame in hand."""

    async def now(self) -> View:
        """Return a view that is not older than a moment.

        Raises:
            NstpipeError: The pipeline or its journal cannot be read.
        """
        async with self._one_at_a_time:
            began = time.monotonic()
            if began - self._looked_at >= self._wait:
                try:
                    self._view, self._error = await asyncio.to_thread(self._look), None
                except NstpipeError as error:
                    self._view, self._error = None, error
                self._looked_at = time.monotonic()
                self._wait = max(LOOK_SECONDS, (self._looked_at - began) / LONGEST_SHARE)
        if self._view is None:
            assert self._error is not None
            raise self._error
        return self._view

    def forget(self) -> None:
        """Look again at once."""
        self._wait = 0.0

    def _look(self) -> View:
        stamp = stamp_of(self._window.pipeline)
        if self._pipeline is None or stamp != self._stamp:
            self._pipeline, self._stamp = load_pipeline(self._window.pipeline), stamp
        return view_of(self._pipeline)


def looks_of(request: Request) -> Looks:
    """Return what looks at the window's pipeline."""
    if not hasattr(request.app.state, "looks"):
        request.app.state.looks = Looks(window_of(request))
    looks: Looks = request.app.state.looks
    return looks


async def show(request: Request) -> Response:
    """The page."""
    return await _answer(request, "night.html")


async def _answer(request: Request, template: str, complaint: str = "") -> Response:
    window = window_of(request)
    if not window.pipeline.exists():
        return page(request, template, view=None, error=None, complaint=complaint, words=None)
    try:
        view = await looks_of(request).now()
    except NstpipeError as error:
        return page(request, template, view=None, error=error, complaint=complaint, words=None)
    return page(request, template, view=view, error=None, complaint=complaint, words=_words(view, request))


def _words(view: View, request: Request) -> dict[str, Any]:
    _, t = texts_for(request)
    if view.status.holder is not None:
        state = "stopping" if view.status.holder == looks_of(request).asked else "running"
    elif view.status.exit_code is None:
        state = "never" if not view.last_run else "killed"
    else:
        state = {EXIT_DONE: "finished", EXIT_SOME_FAILED: "some_failed", EXIT_STOPPED: "stopped"}.get(
            view.status.exit_code, "stopped"
        )
    left = sum(job.left + job.running for job in view.status.jobs)
    if state == "finished" and left:
        state = "more"
    return {
        "state": state,
        "said": t[f"run_{state}"],
        "time_left": as_duration(view.seconds_left) if view.seconds_left is not None else "",
        "percent": round(100 * view.share),
        "loss_points": _points(view.losses),
        "flicker_points": _points(view.flickers),
        "durations": [as_duration(job.seconds_left) if job.seconds_left is not None else "–" for job in view.status.jobs],
    }


def _points(values: tuple[float, ...]) -> str:
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    width = len(values) - 1
    return " ".join(
        f"{300 * index / width:.1f},{54 - 48 * (value - low) / ((high - low) or 1):.1f}" for index, value in enumerate(values)
    )


async def events(request: Request) -> Response:
    """Tells when something has changed, as server-sent events. The page then asks for what it shows."""
    looks = looks_of(request)

    async def changes() -> AsyncIterator[dict[str, Any]]:
        seen: object = None
        while True:
            try:
                view = await looks.now()
                now: object = (view.status, view.newest, view.frames, looks.asked)
            except NstpipeError as error:
                now = str(error)
            if now != seen:
                seen = now
                yield {"changed": True}
            await asyncio.sleep(LOOK_SECONDS)

    return event_stream(window_of(request), changes())


async def progress(request: Request) -> Response:
    """The part of the page that changes."""
    return await _answer(request, "progress.html")


async def start(request: Request) -> Response:
    """Start a run, as a process of its own that outlives this server."""
    window = window_of(request)
    complaint = ""
    try:
        fields = await form_of(request)
        await _start(window, fields)
    except NstpipeError as error:
        complaint = str(error)
    looks_of(request).forget()
    return await _answer(request, "progress.html", complaint)


async def _start(window: Window, fields: dict[str, str]) -> None:
    from nstpipe.commands.schedule import time_of_day

    loaded = await asyncio.to_thread(lambda: checked(window, text_of(window)))
    if loaded.problems or loaded.pipeline is None:
        first = loaded.problems[0]
        raise UsageError(f"{window.pipeline.name}: {first.key}: {first.message}", "Mend it on the page of the jobs.")
    pipeline = loaded.pipeline
    arguments = ["--quiet"]
    if fields.get("until"):
        arguments += ["--until", "{:02d}:{:02d}".format(*time_of_day("until", fields["until"]))]
    if fields.get("job"):
        if fields["job"] not in [job.name for job in pipeline.jobs]:
            raise UsageError("There is no such job any more.", "Load the page again.")
        arguments += ["--job", fields["job"]]
    if fields.get("retry"):
        arguments.append("--retry-failed")
    if holder_of(pipeline.work) is not None:
        raise UsageError("A run is under way already.", "Wait for it, or pause it first.")
    await asyncio.to_thread(_launch, window, pipeline, arguments)


def _launch(window: Window, pipeline: Pipeline, arguments: list[str]) -> None:
    """Start the process, and wait until it holds the lock or has ended."""
    ensure_folder(pipeline.work)
    output = pipeline.work / OUTPUT_NAME
    command = [sys.executable, "-m", "nstpipe", "run", str(window.pipeline), *arguments]
    own_group: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=window.folder, **own_group
        )
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            if process.returncode in (EXIT_DONE, EXIT_SOME_FAILED, EXIT_STOPPED):
                return
            with suppress(OSError):
                raise UsageError(
                    output.read_text(encoding="utf-8", errors="replace").strip()[-2000:] or "The run did not start."
                )
        if holder_of(pipeline.work) is not None:
            break
        time.sleep(0.1)
    _reap(process)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Take note of the end of a run that this server has started, so that it does not stay a zombie."""
    threading.Thread(target=process.wait, daemon=True).start()


async def stop(request: Request) -> Response:
    """Ask the run to stop: after the frame in hand, or at once."""
    window = window_of(request)
    complaint = ""
    try:
        fields = await form_of(request)
        pipeline = await asyncio.to_thread(load_pipeline, window.pipeline)
        holder = holder_of(pipeline.work)
        if holder is None:
            raise UsageError("No run is under way.", "It has ended by itself.")
        if not _is_here(holder):
            raise UsageError(f"The run is on {holder.host}.", "Stop it there.")
        looks = looks_of(request)
        asked = 1 if looks.asked == holder else 0  # a second signal stops at once: Pause pressed twice is still one
        looks.asked = holder
        for _ in range(asked, 2 if fields.get("at_once") else 1):
            os.kill(holder.process, signal.SIGTERM)
            await asyncio.sleep(0.3)
            if holder_of(pipeline.work) is None:
                break
    except ProcessLookupError:
        pass
    except NstpipeError as error:
        complaint = str(error)
    looks_of(request).forget()
    return await _answer(request, "progress.html", complaint)


async def schedule(request: Request) -> Response:
    """Show what would be given to the scheduler for a run every night, or give it."""
    from nstpipe.commands import schedule as room

    window = window_of(request)
    text, done, problem = "", "", ""
    try:
        fields = await form_of(request)
        load_pipeline(window.pipeline)
        wanted = room.night(window.pipeline, fields.get("begins", ""), fields.get("ends", ""))
        if fields.get("install"):
            done = await asyncio.to_thread(room.install, wanted, room.usual_kind())
        else:
            text = room.shown(wanted, room.usual_kind())
    except NstpipeError as error:
        problem = str(error)
    return page(request, "schedule.html", text=text, done=done, problem=problem)


async def newest_frame(request: Request) -> Response:
    """One of the newest frames, as a picture."""
    from nstpipe.window.pictures import as_webp

    window = window_of(request)
    try:
        view = await looks_of(request).now()
        frame = view.frames[request.path_params["number"]]
        pixels = await asyncio.to_thread(_pixels_of, load_pipeline(window.pipeline), frame)
    except (NstpipeError, IndexError):
        return Response(status_code=404)
    if pixels is None:
        return Response(status_code=404)
    return Response(await asyncio.to_thread(as_webp, pixels, 480), media_type="image/webp")


def _pixels_of(pipeline: Pipeline, frame: FrameDone) -> Any:
    """Return a finished frame: from the store of its clip, or from the finished output; None if neither has it any more."""
    from nstpipe.journal.frames import DamagedFramesError, frame_store
    from nstpipe.media.pictures.files import read_picture
    from nstpipe.media.video.decode import VideoSource
    from nstpipe.media.video.probe import probe
    from nstpipe.planning.fingerprints import clip_fingerprints

    with closing(Journal(pipeline.work, pipeline=pipeline.file, read_only=True)) as journal:
        found = [
            record for record in journal.records() if record.job == frame.job and record.input == journal.spelled(frame.path)
        ]
    for record in found:
        bounds = record.fingerprint_inputs.get("clips", ())
        for (first, end), fingerprint in zip(bounds, clip_fingerprints(record.fingerprint_inputs), strict=True):
            store = frame_store(pipeline.work, fingerprint)
            if first <= frame.frame_index < end and store.count(frame.frame_index, frame.frame_index + 1):
                with suppress(DamagedFramesError):
                    return next(iter(store.frames(frame.frame_index, frame.frame_index + 1)))
        if record.state == "done" and record.frames == 1:
            return read_picture(Path(record.path))[0]
        if record.state == "done" and record.frames <= MOST_SOUGHT:
            with suppress(ItemError, StopIteration):
                source = VideoSource(probe(Path(record.path)))
                return next(source.read(frame.frame_index, frame.frame_index + 1)).pixels
    return None
