"""What all pages share: the window's state, templates, forms and answers."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from nstpipe.errors import NstpipeError, UsageError
from nstpipe.version import __version__
from nstpipe.window.guard import Entrance, Streams
from nstpipe.window.previews import Previews
from nstpipe.window.roots import Roots
from nstpipe.window.texts import COOKIE, LANGUAGES, language_of, texts_in

if TYPE_CHECKING:
    from nstpipe.config import Job


@dataclass(frozen=True, eq=False)
class Window:
    """What an open window works with.

    Attributes:
        pipeline: The pipeline.yaml, which need not exist yet.
        roots: The folders that may be used.
        entrance: Knows who has come in.
        is_local: Whether only this machine reaches the server.
        most_upload_bytes: The longest upload.
        previews: Paints the previews.
        streams: Counts the event streams.
        jobs_inside: The jobs of the text that was edited last, by name, if all of its paths lie in the folders.
    """

    pipeline: Path
    roots: Roots
    entrance: Entrance
    is_local: bool
    most_upload_bytes: int
    previews: Previews = field(default_factory=Previews)
    streams: Streams = field(default_factory=Streams)
    jobs_inside: dict[str, Job] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the pipeline."""
        return self.pipeline.parent

    @cached_property
    def templates(self) -> Environment:
        """The templates, in which everything is escaped."""
        loader = PackageLoader("nstpipe.window")
        return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)

    def shown_path(self, path: str | Path) -> str:
        """Return a path as people read it: from the window's folder, if it lies there."""
        place = Path(path)
        is_below = place != self.folder and place.is_relative_to(self.folder)
        return str(place.relative_to(self.folder)) if is_below else str(place)

    def written_path(self, place: str | Path) -> str:
        """Return a path as it is written into the pipeline.yaml."""
        path = Path(place)
        written = path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else str(path)
        return written.replace("$", "$$")  # ${NAME} would be filled in

    def shown_text(self, text: str) -> str:
        """Return a message with its paths as people read them: from the window's folder."""
        return text.replace(f"{self.folder}{os.sep}", "")


def window_of(request: Request) -> Window:
    """Return the window that a request belongs to."""
    window: Window = request.app.state.window
    return window


def texts_for(request: Request) -> tuple[str, Mapping[str, str]]:
    """Return the language of the reader, and its texts."""
    language = language_of(request.cookies.get(COOKIE), request.headers.get("accept-language", ""))
    return language, texts_in(language)


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page, or a part of one, in the language of the reader."""
    window = window_of(request)
    language, texts = texts_for(request)
    known = {
        "t": _Texts(texts),
        "language": language,
        "languages": LANGUAGES,
        "version": __version__,
        "folder": window.folder,
        "pipeline_name": window.pipeline.name,
        "shown_path": window.shown_path,
        "shown_text": window.shown_text,
        "written_path": window.written_path,
        "is_local": window.is_local,
        "path": request.url.path,
    }
    html = window.templates.get_template(template).render(**known, **values)
    return HTMLResponse(html, status)


class _Texts:
    """The texts by key. A missing one is an error, as it would be a gap in the page."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def __getattr__(self, key: str) -> str:
        try:
            return self._texts[key]
        except KeyError as error:
            raise AttributeError(key) from error

    def __call__(self, key: str, **values: object) -> str:
        return Markup(self._texts[key]).format(**values) if values else self._texts[key]


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; of a field that comes several times, the last.

    Raises:
        UsageError: The body is no form.
    """
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=2000, errors="strict")
    except ValueError as error:
        raise UsageError("The form cannot be read.", "Load the page again.") from error
    return {name: value.replace("\r\n", "\n") for name, value in pairs}


def number_of(text: str | None, otherwise: int) -> int:
    """Return the whole number that a field or a query holds, of at most six digits; the other one if it holds none."""
    return int(text) if text is not None and re.fullmatch("[0-9]{1,6}", text) else otherwise


Handler = Callable[[Request], Awaitable[Response]]


def said(error: NstpipeError, window: Window) -> dict[str, str]:
    """Return an error as the page shows it."""
    return {"problem": window.shown_text(error.problem), "next_step": window.shown_text(error.next_step)}
