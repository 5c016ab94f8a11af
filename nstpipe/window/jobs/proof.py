"""Proof sheets: the first frame of a job in small, once for each value of one or two keys."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from nstpipe.commands import PREVIEW_ITERATIONS
from nstpipe.errors import NstpipeError, UsageError
from nstpipe.window.jobs.pipeline_file import checked, text_of
from nstpipe.window.jobs.yaml_text import Draft
from nstpipe.window.pages import form_of, number_of, said, window_of

LONGEST_SIDE = 256
"""The size of each picture of a sheet, in pixels, unless the job's own is smaller."""


async def proof(request: Request) -> Response:
    """Begin a proof sheet of the saved job: one or two keys, each with several values."""
    window = window_of(request)
    fields = await form_of(request)
    axes = [
        f"{key}={fields.get(f'{direction}-values', '').strip()}"
        for direction in ("across", "down")
        if (key := fields.get(direction, "").strip())
    ]
    try:
        text = await asyncio.to_thread(text_of, window)
        loaded = checked(window, text)
        if loaded.pipeline is None or loaded.problems:
            raise UsageError("pipeline.yaml has problems.", "Mend them first; they stand below the text.")
        names = [job.name for job in loaded.pipeline.jobs]
        index, written = number_of(fields.get("job"), 0), Draft(text).names
        if index >= len(written):
            raise UsageError("There is no such job any more.", "Load the page again.")
        # A job with a matrix is several by other names; the first one that is left stands for them.
        name = written[index] if written[index] in names else next(one for one in (*names[index:], names[-1]))
        if not axes:
            raise UsageError("No key is given.", "Choose one, with two or more values, such as 0.5, 1, 2.")
        small = tuple(
            job.model_copy(update={"size": min(job.size, LONGEST_SIDE) if isinstance(job.size, int) else LONGEST_SIDE})
            for job in loaded.pipeline.jobs
        )
        number = await window.previews.request(loaded.pipeline.with_jobs(small), name, 0, PREVIEW_ITERATIONS, axes)
    except NstpipeError as error:
        return JSONResponse(said(error, window), 422)
    return JSONResponse({"number": number}, 202)
