"""The first page: a picture, a painting, and a preview that grows while it is painted."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import math
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from nstpipe.commands import PREVIEW_ITERATIONS
from nstpipe.errors import NstpipeError, UsageError
from nstpipe.window.pages import Window, form_of, page, said, texts_for, window_of
from nstpipe.window.pictures import LARGE, SMALL, SmallPictures
from nstpipe.window.roots import PAINTINGS, Entry

if TYPE_CHECKING:
    from nstpipe.commands.scaffold import Seen
    from nstpipe.config import Pipeline

UPLOAD_PATH = "/upload"

MOST_SUGGESTED = 6
"""The most pictures of the folder that the page suggests."""

LONGEST_SEARCH = 40
"""The most folders that are looked into for them."""

PREVIEW_JOB = "first-picture"
"""The name of the job of a preview."""

FINER = 60
"""The most iterations of a preview that is asked to be finer."""

PAUSE_SECONDS = 0.3
"""So long after the server is ready, the process of the previews is started. So long after the first page was sent, the rest is
loaded: the browser asks for its pictures first."""

CONTINUED_SECONDS = 15.0
"""A stream says something at least so often, so that a connection that is lost is noticed."""


async def show(request: Request) -> Response:
    """The page."""
    window = window_of(request)
    paintings = [Entry(_title(path), str(path), "picture") for path in sorted(PAINTINGS.glob("*.jpg"))]
    suggested = await asyncio.to_thread(_suggested, window)
    answer = page(request, "studio.html", paintings=paintings, suggested=suggested, finer=FINER)
    if not window.previews.is_warm:
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, lambda: asyncio.ensure_future(_prepare(window)))
    return answer


async def _prepare(window: Window) -> None:
    """Load what the next steps need, while the user looks at the page."""
    await window.previews.warm_up()
    await asyncio.to_thread(importlib.import_module, "nstpipe.window.jobs.page")


def _title(path: Path) -> str:
    return path.stem.replace("van_gogh_", "").replace("_", " ").capitalize()


def _suggested(window: Window) -> list[Entry]:
    """Return the first videos and pictures of the folder, and folders of pictures."""
    return list(itertools.islice(_media_below(str(window.folder), window, ("out", "styles", "paintings")), MOST_SUGGESTED))


def _media_below(folder: str, window: Window, ignored: tuple[str, ...] = ()) -> Iterator[Entry]:
    """Yield the first two videos or pictures of a folder and of those in it."""
    waiting, looked = [folder], 0
    while waiting and looked < LONGEST_SEARCH:
        looked += 1
        try:
            entries = window.roots.listing(waiting.pop(0)).entries
        except UsageError:
            continue
        yield from [entry for entry in entries if entry.kind in ("picture", "video")][:2]
        waiting += [entry.path for entry in entries if entry.kind == "folder" and entry.name not in ignored]


CHOSEN_KINDS = {"input": ("picture", "video"), "painting": ("picture",), "folder": (), "weights": ("weights",)}
"""The kinds of files that the dialog offers, by what is to be chosen. Folders can always be opened."""


async def browse(request: Request) -> Response:
    """A folder's entries, for the dialog that chooses a file."""
    window = window_of(request)
    wants = request.query_params.get("for", "input")
    kinds = CHOSEN_KINDS.get(wants, ())
    try:
        listing = await asyncio.to_thread(window.roots.listing, request.query_params.get("path", ""))
    except UsageError as error:
        return page(request, "browse.html", listing=None, error=error, wants=wants, kinds=kinds)
    return page(request, "browse.html", listing=listing, error=None, wants=wants, kinds=kinds)


async def small_picture(request: Request) -> Response:
    """A small picture of a file, or the first frame of a video."""
    window = window_of(request)
    pictures: SmallPictures = request.app.state.pictures
    longest = LARGE if "large" in request.query_params else SMALL
    try:
        path = window.roots.existing(request.query_params.get("path", ""))
        content = await pictures.of(_first_file(path, window) if path.is_dir() else path, longest)
    except UsageError as error:
        return Response(str(error), 404, media_type="text/plain")
    return Response(content, media_type="image/webp", headers={"Cache-Control": "private, max-age=60"})


def _first_file(folder: Path, window: Window) -> Path:
    """Return the first picture or video of a folder, or of one in it.

    Raises:
        UsageError: It has none.
    """
    found = next(_media_below(str(folder), window), None)
    if found is None:
        raise UsageError(f"{folder} holds no picture and no video.", "Choose a folder that holds one.")
    return Path(found.path)


async def describe(request: Request) -> Response:
    """What a chosen input holds."""
    from nstpipe.commands.scaffold import look_at

    window = window_of(request)
    try:
        path = window.roots.existing(request.query_params.get("path", ""))
        await asyncio.to_thread(window.roots.check_links, path)
        seen = await asyncio.to_thread(look_at, path)
    except NstpipeError as error:
        return JSONResponse(said(error, window), 422)
    return JSONResponse(
        {
            "path": str(path),
            "name": window.shown_path(path),
            "described": _described(seen, texts_for(request)[1]),
            "several": seen.is_folder or seen.is_moving,
        }
    )


def _described(seen: Seen, texts: Mapping[str, str]) -> str:
    """Return what an input holds, in the language of the reader."""
    span = seen.span
    size = span[0] if len(span) == 1 else texts["seen_span"].format(smallest=span[0], largest=span[1])
    if seen.is_folder:
        key = "seen_one_picture" if seen.pictures == 1 else "seen_pictures"
        parts = [texts[key].format(count=seen.pictures, size=size)]
        parts += [texts["seen_unreadable"].format(count=seen.unreadable)] if seen.unreadable else []
        parts += [texts["seen_panoramas"]] if seen.has_panoramas else []
    elif seen.is_moving:
        seconds = f"{seen.seconds:.1f}"
        parts = [texts["seen_video"].format(size=size, frames=seen.frames, rate=seen.rate, seconds=seconds)]
        sound = "seen_sounds" if seen.audio_streams > 1 else "seen_sound"
        parts += [texts[sound].format(count=seen.audio_streams)] if seen.audio_streams else []
        parts += [texts["seen_sphere"]] if seen.has_panoramas else []
    else:
        parts = [texts["seen_panorama" if seen.has_panoramas else "seen_picture"].format(size=size)]
    return ", ".join(parts)


async def upload(request: Request) -> Response:
    """Store a file that was dropped. Its body is the file itself."""
    from nstpipe.system.files import as_megabytes
    from nstpipe.window.guard import BodyTooLongError
    from nstpipe.window.uploads import UPLOADS, receive_upload, safe_folder

    window = window_of(request)
    name = unquote(request.headers.get("x-file-name", ""))
    folder = window.folder / UPLOADS
    into = safe_folder(unquote(request.headers.get("x-file-folder", "")))
    try:
        place = window.roots.resolved(folder / into if into else folder)
        length = int(request.headers.get("content-length", "0"))
        path = await receive_upload(request.stream(), length, name, place)
    except BodyTooLongError:
        text = texts_for(request)[1]["upload_too_large"]
        problem = text.format(name=name, most=as_megabytes(window.most_upload_bytes), folder=window.folder)
        return JSONResponse({"problem": problem, "next_step": ""}, 413)
    except NstpipeError as error:
        return JSONResponse(said(error, window), 422)
    return JSONResponse({"path": str(path), "folder": str(path.parent)}, 201)


def look_of(fields: dict[str, str], window: Window) -> dict[str, Any]:
    """Return the settings of a job that the page's controls stand for. A folder of paintings is a collection.

    Raises:
        OutsideError: The painting lies outside of the window's folders.
        UsageError: It does not exist, or one of the settings is not a number.
    """
    painting = window.roots.existing(fields.get("painting", ""))
    style: dict[str, Any] = {"collection": str(painting)} if painting.is_dir() else {"images": [str(painting)]}
    job: dict[str, Any] = {"style": style}
    for key, name in (("strength", "strength"), ("scale", "scale")):
        if key in fields:
            style[name] = _number(key, fields[key])
    if "distance" in fields:
        style["distance"] = fields["distance"]
    if "color" in fields:
        job["color"] = fields["color"]
    if "size" in fields:
        job["size"] = int(_number("size", fields["size"]))
    return job


def _number(key: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{key}: found {text!r}; should be a number.")
    return number


def pipeline_of_look(fields: dict[str, str], window: Window) -> Pipeline:
    """Return a pipeline with one job that has the page's settings.

    Raises:
        UsageError: A setting has a value that it may not have, or a path lies outside of the window's folders.
    """
    from nstpipe.config.document import Located
    from nstpipe.config.load import validated

    if not fields.get("input"):
        raise UsageError("No picture is chosen yet.", "Choose or drop one.")
    if not fields.get("painting"):
        raise UsageError("No painting is chosen yet.", "Choose or drop one.")
    source = window.roots.existing(fields["input"])
    output = window.folder / ".preview" / (f"out{source.suffix.lower()}" if source.is_file() else "out")
    job = {"name": PREVIEW_JOB, "input": str(source), "output": str(output), **look_of(fields, window)}
    pipeline, problems = validated(Located.of({"version": 1, "jobs": [job]}), {"folder": window.folder})
    if problems or pipeline is None:
        raise UsageError("; ".join(f"{problem.key.rpartition('.')[2]}: {problem.message}" for problem in problems) + ".")
    window.roots.check(pipeline)
    return pipeline


async def preview(request: Request) -> Response:
    """Begin a preview."""
    window = window_of(request)
    try:
        fields = await form_of(request)
        pipeline = await asyncio.to_thread(pipeline_of_look, fields, window)
        frame = int(_number("frame", fields.get("frame") or "1"))
        iterations = int(_number("iterations", fields.get("iterations") or str(PREVIEW_ITERATIONS)))
        if frame < 1 or not 1 <= iterations <= 1000:
            raise UsageError("frame and iterations: should be whole numbers from 1 on, and at most 1000 iterations.")
    except NstpipeError as error:
        return JSONResponse(said(error, window), 422)
    number = await window.previews.request(pipeline, PREVIEW_JOB, frame - 1, iterations)
    return JSONResponse({"number": number}, 202)


async def preview_events(request: Request) -> Response:
    """How a preview goes on, as server-sent events."""
    window = window_of(request)

    async def told() -> AsyncIterator[dict[str, Any]]:
        async for value in window.previews.follow(request.path_params["number"]):
            if "problem" in value:
                # There is one picture and one painting, so nobody needs to be told the key that names them.
                problem = re.sub(rf"^({PREVIEW_JOB}: )?((input|style\.images\[0\]): )?", "", value["problem"])
                value |= {"problem": window.shown_text(problem), "next_step": window.shown_text(value["next_step"])}
            yield value

    return event_stream(window, told())


def event_stream(window: Window, values: AsyncIterator[Any]) -> Response:
    """Return an answer that sends each value as an event. At the end it says so, or the browser would ask again."""
    if not window.streams.enter():
        return Response("Too many pages are open.\n", 503, headers={"Retry-After": "5"})

    async def lines() -> AsyncIterator[str]:
        following = aiter(values)
        waiting: asyncio.Task[Any] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(anext(following))
                done, _ = await asyncio.wait({waiting}, timeout=CONTINUED_SECONDS)
                if not done:
                    yield ": still here\n\n"
                    continue
                try:
                    value = waiting.result()
                except StopAsyncIteration:
                    break
                finally:
                    waiting = None
                yield f"data: {json.dumps(value)}\n\n"
            yield "event: end\ndata: {}\n\n"
        finally:
            if waiting is not None:
                waiting.cancel()
            window.streams.leave()

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def preview_picture(request: Request) -> Response:
    """The newest picture of a preview."""
    shown = window_of(request).previews.shown(request.path_params["number"])
    if shown is None or not shown.picture:
        return Response(status_code=404)
    kind = "png" if shown.state == "done" else "jpeg"
    headers = {"Content-Disposition": f'attachment; filename="preview.{kind}"'} if "download" in request.query_params else {}
    return Response(shown.picture, media_type=f"image/{kind}", headers=headers)


async def preview_before(request: Request) -> Response:
    """The frame of a preview as it was."""
    shown = window_of(request).previews.shown(request.path_params["number"])
    if shown is None or not shown.before:
        return Response(status_code=404)
    return Response(shown.before, media_type="image/jpeg")


ROUTES = [
    Route("/", show),
    Route("/browse", browse),
    Route("/small", small_picture),
    Route("/describe", describe),
    Route(UPLOAD_PATH, upload, methods=["POST"]),
    Route("/preview", preview, methods=["POST"]),
    Route("/preview/{number:int}/events", preview_events),
    Route("/preview/{number:int}/picture", preview_picture),
    Route("/preview/{number:int}/before", preview_before),
]
