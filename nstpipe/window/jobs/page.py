"""The page itself: the form and the text of pipeline.yaml, two views of one file."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nstpipe.errors import NstpipeError, UsageError
from nstpipe.window.jobs.forms import advanced_fields, field_of, first_fields, proof_fields
from nstpipe.window.jobs.pipeline_file import checked_while_edited, outside, stamp, text_of, write
from nstpipe.window.jobs.yaml_text import Draft
from nstpipe.window.pages import Window, form_of, number_of, page, texts_for, window_of


async def show(request: Request) -> Response:
    """The page."""
    window = window_of(request)
    try:
        text = await asyncio.to_thread(text_of, window)
    except UsageError as error:
        return page(request, "jobs.html", text=None, error=error)
    if not text:
        return page(request, "jobs.html", text="", error=None)
    paintings = sorted((window.folder / "paintings").glob("*.jpg"))
    index = number_of(request.query_params.get("job"), 0)
    values = await asyncio.to_thread(_editor, window, text, index)
    return page(
        request,
        "jobs.html",
        text=text,
        error=None,
        complaint=None,
        stamp=stamp(text),
        is_saved=True,
        paintings=paintings,
        **values,
    )


def _editor(window: Window, text: str, index: int) -> dict[str, Any]:
    """Return what the form and the list of problems show of a text."""
    loaded = checked_while_edited(window, text)
    problems = sorted(loaded.problems, key=lambda problem: problem.line or 0)
    try:
        draft = Draft(text)
        names = draft.names
        index = min(index, max(0, len(names) - 1))
        values, inherited = (draft.values(index) if names else {}), draft.defaults()
    except UsageError as error:
        return {"problems": problems, "draft_error": error, "names": [], "index": 0, "values": {}, "inherited": {}, **_FIELDS}
    return {
        "problems": problems,
        "draft_error": None,
        "names": names,
        "index": index,
        "values": values,
        "inherited": inherited,
        **_FIELDS,
    }


_FIELDS = {"first": first_fields(), "advanced": advanced_fields(), "proofs": proof_fields()}


async def edit(request: Request) -> Response:
    """Take a change of the text or of a field, and return form, text and problems as they then are."""
    window = window_of(request)
    fields = await form_of(request)
    text, index = fields.get("text", ""), number_of(fields.get("job"), 0)
    key, complaint = fields.get("key", ""), None
    if key:
        field = field_of(key)
        if field is None:
            return Response("There is no such key.\n", 400)
        try:
            draft = Draft(text)
            draft.set(index, field, fields.get(f"value:{key}", "").strip())
            text = draft.text
        except UsageError as error:
            complaint = error
    elif fields.get("remove"):
        try:
            draft = Draft(text)
            draft.remove(index)
            text = draft.text
        except UsageError as error:
            complaint = error
    values = await asyncio.to_thread(_editor, window, text, index)
    return page(
        request,
        "editor.html",
        text=text,
        complaint=complaint,
        stamp=fields.get("stamp", ""),
        is_saved=stamp(text) == fields.get("stamp"),
        **values,
    )


async def save(request: Request) -> Response:
    """Write the text to the file, unless somebody else has changed it meanwhile, or it is wrong."""
    window = window_of(request)
    fields = await form_of(request)
    text = fields.get("text", "")
    _, t = texts_for(request)
    try:
        known = await asyncio.to_thread(text_of, window)
        if stamp(known) != fields.get("stamp") and known and not fields.get("anyway"):
            return page(request, "saved.html", problem=t["changed_elsewhere"], can_replace=True, stamp=fields.get("stamp", ""))
        problem = outside(window, text)
        if problem is not None:
            raise problem
        await asyncio.to_thread(write, window, text)
    except NstpipeError as error:
        return page(request, "saved.html", problem=str(error), can_replace=False, stamp=fields.get("stamp", ""))
    return page(request, "saved.html", problem="", can_replace=False, stamp=stamp(text))
