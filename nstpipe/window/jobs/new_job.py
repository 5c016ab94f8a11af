"""Makes a job of what was tuned on the first page."""

from __future__ import annotations

import asyncio
import re
import shutil
import unicodedata
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nstpipe.errors import NstpipeError
from nstpipe.system.files import atomic_write
from nstpipe.window.jobs.pipeline_file import outside, text_of, write
from nstpipe.window.jobs.yaml_text import Draft
from nstpipe.window.pages import Window, form_of, page, window_of
from nstpipe.window.roots import PAINTINGS
from nstpipe.window.studio import look_of

LONGEST_PART = 40
"""The most characters of a picture's name, and of a painting's, in the name of a job."""

EMPTY_PIPELINE = "# nstpipe run pipeline.yaml does all that is not done yet.\nversion: 1\njobs: []\n"


async def new(request: Request) -> Response:
    """Make a job of what was tuned on the first page, and lead to it."""
    window = window_of(request)
    try:
        fields = await form_of(request)
        index = await asyncio.to_thread(_new_job, window, fields)
    except NstpipeError as error:
        return page(request, "jobs.html", status=422, text=None, error=error)
    return RedirectResponse(f"/jobs?job={index}", 303)


def _new_job(window: Window, fields: dict[str, str]) -> int:
    from nstpipe.commands.scaffold import default_output, look_at

    source = window.roots.existing(fields.get("input", ""))
    fields.pop("size", None)  # that of the preview
    settings = look_of(fields, window)
    style = settings.pop("style")
    if "collection" in style:
        painting = style["collection"] = window.written_path(style["collection"])
    else:
        [painting] = style["images"] = [window.written_path(_own_painting(window, Path(style["images"][0])))]
    text = text_of(window) or EMPTY_PIPELINE
    draft = Draft(text)
    seen = look_at(source)
    name = free_name(_job_name(source.stem, Path(painting).stem), set(draft.names))
    folder = default_output([source], window.pipeline)
    output = folder / (name if seen.is_folder else f"{name}{source.suffix.lower()}")
    plain = {"strength": 1.0, "scale": 1.0, "distance": "gram"}
    short = {key: _rounded(value) for key, value in style.items() if plain.get(key) != value}
    job = {
        "name": name,
        "input": window.written_path(source),
        "output": window.written_path(output),
        "style": painting if list(short) == ["images"] else short,
        **{key: value for key, value in settings.items() if (key, value) != ("color", "style")},
    }
    index = draft.add(job)
    changed = draft.text
    problem = outside(window, changed)
    if problem is not None:
        raise problem
    write(window, changed)
    return index


def _job_name(*parts: str) -> str:
    """Return a name of the letters and digits of these, without their accents."""
    text = unicodedata.normalize("NFKD", "-".join(part[:LONGEST_PART] for part in parts)).encode("ascii", "ignore").decode()
    return re.sub("[^A-Za-z0-9]+", "-", text).strip("-") or "job"


def _own_painting(window: Window, painting: Path) -> Path:
    """Return a painting's place. One that comes with nstpipe is copied, so that the pipeline stays whole elsewhere."""
    if not painting.is_relative_to(PAINTINGS):
        return painting
    copy = window.folder / "paintings" / painting.name
    if not copy.exists():
        with atomic_write(copy) as partial:
            shutil.copyfile(painting, partial)
    return copy


def _rounded(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


def free_name(name: str, taken: set[str]) -> str:
    """Return the name, or the first one with a number that is not taken."""
    return next(one for one in (name, *(f"{name}-{number}" for number in range(2, 100_000))) if one not in taken)
