"""The page itself: starts a run, asks it to stop, and shows how far it is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nstpipe.config import Pipeline, load_pipeline
from nstpipe.errors import EXIT_DONE, EXIT_SOME_FAILED, EXIT_STOPPED, NstpipeError, UsageError
from nstpipe.planning.eta import as_duration
from nstpipe.system.files import MOST_NAMED
from nstpipe.system.lock import holder_of
from nstpipe.window.jobs.pipeline_file import checked, text_of
from nstpipe.window.pages import Window, form_of, page, texts_for, window_of
from nstpipe.window.runs.process import ask_to_stop, start_run
from nstpipe.window.runs.progress import LOOK_SECONDS, Training, View, looks_of
from nstpipe.window.studio import event_stream


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


def _state(view: View) -> str:
    """Return the state of the runs, by the end of the name of its text."""
    holder, asked, code = view.holder, view.asked, view.exit_code
    if holder is not None:
        return "stopping" if asked is not None and asked.is_of(holder) else "running"
    if view.lost is not None:
        return "lost"
    if code is None:
        if not view.last_run:
            return "never"
        was_asked = asked is not None and asked.at_once and asked.run == view.last_run
        return "stopped_at_once" if was_asked else "killed"
    if code == EXIT_DONE:
        return "more" if any(job.left or job.running for job in view.jobs) else "finished"
    return {EXIT_SOME_FAILED: "some_failed", EXIT_STOPPED: "stopped"}.get(code, "stopped")


def _words(view: View, request: Request) -> dict[str, Any]:
    _, t = texts_for(request)
    state = _state(view)
    return {
        "state": state,
        "said": t[f"run_{state}"],
        "start": t["start" if state == "never" else "run_again" if state == "finished" else "go_on_run"],
        "time_left": as_duration(view.seconds_left) if view.seconds_left is not None else "",
        "percent": round(100 * view.share),
        "loss_points": _points(view.losses),
        "flicker_points": _points(view.flickers),
        "trainings": [_training_words(training, t) for training in view.trainings],
        "durations": [as_duration(job.seconds_left) if job.seconds_left is not None else "–" for job in view.jobs],
    }


def _training_words(training: Training, t: Mapping[str, str]) -> dict[str, str]:
    """Return what is said of a training, and the curve of its loss, whose logarithm is drawn."""
    jobs, progress = ", ".join(training.jobs[:MOST_NAMED]), training.progress
    if (more := len(training.jobs) - MOST_NAMED) > 0:
        jobs += f" (+{more})"
    if progress is None:
        return {"said": t["training_begins"].format(jobs=jobs), "points": "", "loss": ""}
    seconds = progress.seconds if training.state == "done" else progress.seconds_left
    said = t[f"training_{training.state}"].format(jobs=jobs, step=f"{progress.step:,}", time=as_duration(seconds))
    losses = tuple(math.log(max(loss, 1e-12)) for _, loss in progress.curve)
    return {"said": said, "points": _points(losses), "loss": f"{progress.loss:.3g}" if progress.loss is not None else "–"}


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
                now: object = (
                    view.counts,
                    view.holder,
                    view.exit_code,
                    view.newest,
                    view.frames,
                    view.asked,
                    view.trainings,
                    view.lost,
                )
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
        await asyncio.to_thread(_start, window, fields)
    except NstpipeError as error:
        complaint = str(error)
    looks_of(request).forget()
    return await _answer(request, "progress.html", complaint)


def _runnable(window: Window) -> Pipeline:
    """Return the pipeline.

    Raises:
        UsageError: It has a problem, or leads out of the window's folders.
    """
    loaded = checked(window, text_of(window))
    if loaded.problems or loaded.pipeline is None:
        first = loaded.problems[0]
        raise UsageError(f"{window.pipeline.name}: {first.key}: {first.message}", "Mend it on the page of the jobs.")
    return loaded.pipeline


def _start(window: Window, fields: dict[str, str]) -> None:
    from nstpipe.commands.schedule import time_of_day

    pipeline = _runnable(window)
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
    start_run(window.pipeline, pipeline.work, arguments)


async def stop(request: Request) -> Response:
    """Ask the run to stop: after the frame in hand, or at once."""
    window = window_of(request)
    complaint = ""
    try:
        fields = await form_of(request)
        view = await looks_of(request).now()
        pipeline = await asyncio.to_thread(load_pipeline, window.pipeline)
        await asyncio.to_thread(ask_to_stop, pipeline.work, view.last_run, at_once=bool(fields.get("at_once")))
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
        await asyncio.to_thread(_runnable, window)
        wanted = room.night(window.pipeline, fields.get("begins", ""), fields.get("ends", ""))
        if fields.get("install"):
            done = await asyncio.to_thread(room.install, wanted, room.usual_kind())
        else:
            text = room.shown(wanted, room.usual_kind())
    except NstpipeError as error:
        problem = str(error)
    return page(request, "schedule.html", text=text, done=done, problem=problem)
