"""Stores the masks of regions that are painted with a brush on the page."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path
from urllib.parse import unquote

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from nstpipe.errors import NstpipeError, UsageError
from nstpipe.media.pictures.pillow import PILLOW_ERRORS
from nstpipe.system.files import atomic_write, ensure_folder
from nstpipe.window.jobs.new_job import free_name
from nstpipe.window.pages import Window, said, window_of

MASKS = "masks"
"""The folder for masks that are painted here, in the folder of the pipeline."""

MOST_MASK_PIXELS = 4096
"""The longest side of such a mask."""


async def mask(request: Request) -> Response:
    """Store the mask of a region that was painted on the page. The body is a PNG, white where the region is."""
    window = window_of(request)
    name = re.sub(r"[^\w-]+", "-", unquote(request.headers.get("x-mask-name", ""))).strip("-")[:60] or "region"
    body = await request.body()
    try:
        path = await asyncio.to_thread(_store_mask, window, name, body)
    except NstpipeError as error:
        return JSONResponse(said(error, window), 422)
    return JSONResponse({"path": window.written_path(path)}, 201)


def _store_mask(window: Window, name: str, content: bytes) -> Path:
    folder = window.roots.resolved(window.folder / MASKS)
    ensure_folder(folder)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if max(image.size) > MOST_MASK_PIXELS:
                raise UsageError(f"The mask has {image.width}x{image.height} pixels.", f"At most {MOST_MASK_PIXELS} a side.")
            gray = image.convert("L")
    except PILLOW_ERRORS as error:
        raise UsageError("This is no mask: it is no PNG.", "Paint it on the page.") from error
    if not gray.getextrema()[1]:
        raise UsageError("Nothing is painted yet, so the region would be empty.", "Paint where it is.")
    taken = {path.stem for path in folder.iterdir()}
    path = folder / f"{free_name(name, taken)}.png"
    with atomic_write(path) as partial:
        gray.save(partial)
    return path
