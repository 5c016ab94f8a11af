"""The page of the results: pictures with a slider, videos side by side, and the reports of the runs."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from nstpipe.config import Pipeline, load_pipeline
from nstpipe.errors import NstpipeError, UsageError
from nstpipe.journal.database import JOURNAL
from nstpipe.journal.journal import Journal
from nstpipe.media.detect import is_moving
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES
from nstpipe.window.pages import Window, form_of, page, window_of

ON_A_PAGE = 24

VIDEO_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
}
"""What a browser is told that a video is. Others are given as bytes, and downloaded."""

REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
"""A report is one file with its own script. The sandbox gives it an origin of its own, from which it reaches nothing."""


@dataclass(frozen=True)
class Made:
    """A finished result.

    Attributes:
        job: The name of its job.
        path: Its path.
        original: The path of its input.
        is_video: Whether it moves.
        made_at: When, in seconds since 1970.
    """

    job: str
    path: str
    original: str
    is_video: bool
    made_at: float

    @property
    def name(self) -> str:
        """The name of the file."""
        return Path(self.path).name

    @property
    def when(self) -> str:
        """When it was made, for people."""
        return datetime.fromtimestamp(self.made_at).strftime("%Y-%m-%d %H:%M")


def results_of(pipeline: Pipeline) -> list[Made]:
    """Return the finished results, newest first."""
    if not (pipeline.work / JOURNAL).exists():
        return []
    with closing(Journal(pipeline.work, pipeline=pipeline.file, read_only=True)) as journal:
        done = [record for record in journal.records() if record.state == "done"]
    done.sort(key=lambda record: record.changed_at, reverse=True)
    return [
        Made(record.job, record.path, record.input, Path(record.path).suffix.lower() not in PICTURE_SUFFIXES, record.changed_at)
        for record in done
    ]


def _can_be_shown(made: Made, window: Window) -> bool:
    return window.roots.holds(Path(os.path.realpath(made.path)))


def reports_of(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Return the names of the reports, newest first, each with the time of its run."""
    from nstpipe.report.page import REPORTS

    folder = pipeline.work / REPORTS
    names = sorted((path.stem for path in folder.glob("*.html")), reverse=True) if folder.is_dir() else []
    found = []
    for name in names:
        match = re.match(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)", name)
        found.append((name, "{}-{}-{} {}:{}:{}".format(*match.groups()) if match else name))
    return found


async def show(request: Request) -> Response:
    """The page."""
    window = window_of(request)
    wanted = request.query_params.get("page", "1")
    number = int(wanted) if re.fullmatch("[1-9][0-9]{0,5}", wanted) else 1
    empty: dict[str, Any] = {"made": (), "reports": (), "number": 1, "pages": 1, "opens": False}
    if not window.pipeline.exists():
        return page(request, "results.html", error=None, **empty)
    try:
        pipeline = await asyncio.to_thread(load_pipeline, window.pipeline)
        made = await asyncio.to_thread(results_of, pipeline)
    except NstpipeError as error:
        return page(request, "results.html", error=error, **empty)
    pages = max(1, -(-len(made) // ON_A_PAGE))
    number = min(number, pages)
    shown = [one for one in made[(number - 1) * ON_A_PAGE : number * ON_A_PAGE] if _can_be_shown(one, window)]
    return page(
        request,
        "results.html",
        error=None,
        made=shown,
        reports=reports_of(pipeline)[:50],
        number=number,
        pages=pages,
        opens=window.is_local and _opener() is not None,
    )


async def one(request: Request) -> Response:
    """A result beside its original."""
    window = window_of(request)
    try:
        pipeline = await asyncio.to_thread(load_pipeline, window.pipeline)
        made = await asyncio.to_thread(results_of, pipeline)
        found = next((result for result in made if result.path == request.query_params.get("path")), None)
        if found is None:
            raise UsageError("There is no such result any more.", "Load the page again.")
        window.roots.existing(found.path)
    except NstpipeError as error:
        return page(request, "result.html", result=None, error=error, plays=False)
    plays = Path(found.path).suffix.lower() in VIDEO_TYPES
    return page(request, "result.html", result=found, error=None, plays=plays)


async def media(request: Request) -> Response:
    """A picture or a video as it is, to be played or downloaded. Any other file is refused, whatever its name."""
    window = window_of(request)
    try:
        path = window.roots.existing(request.query_params.get("path", ""))
        if not path.is_file() or await asyncio.to_thread(is_moving, path) is None:
            raise UsageError("This is no picture or video.", "Choose another file.")
    except NstpipeError as error:
        return Response(str(error), 404, media_type="text/plain")
    suffix = path.suffix.lower()
    if "download" in request.query_params or suffix not in VIDEO_TYPES:
        disposition = f"attachment; filename*=UTF-8''{quote(path.name)}"
        return FileResponse(path, media_type="application/octet-stream", headers={"Content-Disposition": disposition})
    return FileResponse(path, media_type=VIDEO_TYPES[suffix])


async def report(request: Request) -> Response:
    """The report of a run."""
    from nstpipe.report.page import REPORTS

    window = window_of(request)
    name = request.path_params["name"]
    try:
        pipeline = await asyncio.to_thread(load_pipeline, window.pipeline)
        path = window.roots.existing(pipeline.work / REPORTS / f"{name}.html")
        if not re.fullmatch(r"[\w-]+", name):
            raise UsageError("There is no such report.")
    except NstpipeError as error:
        return Response(str(error), 404, media_type="text/plain")
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def _opener() -> list[str] | None:
    """Return the program that opens a folder on this machine's screen; None if there is no screen or no such program."""
    if sys.platform == "darwin":
        return ["open"]
    if os.name == "nt":
        return ["explorer"]
    program = shutil.which("xdg-open")
    return [program] if program and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) else None


def _run_quietly(command: list[str]) -> None:
    nowhere = subprocess.DEVNULL
    subprocess.run(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, check=False)


async def open_folder(request: Request) -> Response:
    """Open the folder of a result in the file manager."""
    window = window_of(request)
    opener = _opener()
    if not window.is_local or opener is None:
        return Response("There is no file manager here.\n", 404)
    try:
        folder = window.roots.existing((await form_of(request)).get("path", "")).parent
    except UsageError as error:
        return Response(str(error), 404, media_type="text/plain")
    await asyncio.to_thread(_run_quietly, [*opener, str(folder)])
    return Response(status_code=204)
