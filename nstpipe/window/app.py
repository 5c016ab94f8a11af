"""Joins the pages to one application."""

from __future__ import annotations

import asyncio
import importlib
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from nstpipe.errors import NstpipeError
from nstpipe.version import __version__
from nstpipe.window import studio
from nstpipe.window.guard import BodyTooLongError, Guard
from nstpipe.window.pages import Window, form_of, page, window_of
from nstpipe.window.pictures import SmallPictures
from nstpipe.window.texts import COOKIE, LANGUAGES

STATIC = Path(__file__).parent / "static"

YEAR_SECONDS = 365 * 24 * 3600

PAGES = {
    "/jobs": "jobs.page.show",
    "/jobs/edit": "jobs.page.edit",
    "/jobs/save": "jobs.page.save",
    "/jobs/new": "jobs.new_job.new",
    "/jobs/mask": "jobs.masks.mask",
    "/jobs/plan": "jobs.checks.plan",
    "/jobs/check": "jobs.checks.inputs",
    "/jobs/proof": "jobs.proof.proof",
    "/night": "runs.page.show",
    "/night/progress": "runs.page.progress",
    "/night/events": "runs.page.events",
    "/night/start": "runs.page.start",
    "/night/stop": "runs.page.stop",
    "/night/schedule": "runs.page.schedule",
    "/night/frame/{number:int}": "runs.newest_frames.newest_frame",
    "/results": "results.show",
    "/results/one": "results.one",
    "/results/open": "results.open_folder",
    "/reports/{name}": "results.report",
    "/media": "results.media",
}
"""The pages after the first: the module and function of each. They are imported when they are asked for, so that the first page
does not wait for the models of pipeline.yaml and the journal."""

POSTED = frozenset(path for path in PAGES if path.startswith(("/jobs/", "/night/st", "/night/sch", "/results/open")))
"""Those that change something, or take long."""


def _later(place: str) -> Callable[[Request], Awaitable[Response]]:
    module, _, name = place.rpartition(".")

    async def answer(request: Request) -> Response:
        found = await asyncio.to_thread(importlib.import_module, f"nstpipe.window.{module}")
        response: Response = await getattr(found, name)(request)
        return response

    return answer


async def enter(request: Request) -> Response:
    """Let a browser in that has the token of the printed address. A token is good once."""
    window = window_of(request)
    session = window.entrance.redeem(request.query_params.get("token", ""))
    if session is None:
        return page(request, "refused.html", status=403, has_password=window.entrance.has_password)
    # The page leads on by itself: a redirect would belong to the site with the link, from which the new cookie is not sent.
    answer = page(request, "entered.html")
    window.entrance.give_cookie(answer, session)
    return answer


async def login(request: Request) -> Response:
    """Let a browser in whose user knows the password."""
    window = window_of(request)
    if not window.entrance.has_password:
        return page(request, "refused.html", status=403, has_password=False)
    if request.method == "GET":
        return page(request, "login.html", is_wrong=False)
    session = await window.entrance.log_in((await form_of(request)).get("password", ""))
    if session is None:
        return page(request, "login.html", status=403, is_wrong=True)
    answer = RedirectResponse("/", 303)
    window.entrance.give_cookie(answer, session)
    return answer


async def choose_language(request: Request) -> Response:
    """Keep the language that the reader has chosen."""
    fields = await form_of(request)
    back = fields.get("back", "/")
    answer = RedirectResponse(back if back in ("/", "/jobs", "/night", "/results") else "/", 303)
    if fields.get("language") in LANGUAGES:
        answer.set_cookie(COOKIE, fields["language"], max_age=YEAR_SECONDS, samesite="strict", httponly=True)
    return answer


async def _too_long(_: Request, __: Exception) -> Response:
    return PlainTextResponse("The body is too long.\n", 413, headers={"Connection": "close"})


async def _wrong(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 400)


async def _bug(_: Request, error: Exception) -> Response:
    """Show a bug where the window was started; the page only learns that there is one."""
    traceback.print_exception(error)
    return PlainTextResponse(f"nstpipe {__version__}: this is a bug. The terminal has the details.\n", 500)


def application(window: Window, hosts: Sequence[str], started: Callable[[], None] = lambda: None) -> ASGIApp:
    """Return the application of a window.

    Args:
        window: Its state.
        hosts: The names under which the server is reached, each with its port.
        started: Called when the server is ready.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        started()
        # The browser takes a second to open, in which torch can be loaded.
        starting = asyncio.get_running_loop().call_later(
            studio.PAUSE_SECONDS, lambda: asyncio.ensure_future(window.previews.warm_up())
        )
        yield
        starting.cancel()
        await window.previews.close()

    pages = Starlette(
        routes=[
            Route("/enter", enter),
            Route("/login", login, methods=["GET", "POST"]),
            Route("/language", choose_language, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
            *studio.ROUTES,
            *(Route(path, _later(place), methods=["POST" if path in POSTED else "GET"]) for path, place in PAGES.items()),
        ],
        lifespan=lifespan,
        exception_handlers={BodyTooLongError: _too_long, NstpipeError: _wrong, Exception: _bug},
    )
    pages.state.window = window
    pages.state.pictures = SmallPictures()

    def refused(scope: Scope) -> Response:
        request = Request({**scope, "app": pages})
        if window.entrance.has_password and scope["method"] == "GET" and scope["path"] == "/":
            return RedirectResponse("/login", 303)
        return page(request, "refused.html", status=403, has_password=window.entrance.has_password)

    return Guard(
        pages,
        entrance=window.entrance,
        hosts=hosts,
        most_upload_bytes=window.most_upload_bytes,
        upload_path=studio.UPLOAD_PATH,
        refused=refused,
    )
