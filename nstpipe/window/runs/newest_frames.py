"""The newest frames of a run, as pictures."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nstpipe.config import Pipeline, load_pipeline
from nstpipe.errors import ItemError, NstpipeError
from nstpipe.events import FrameDone
from nstpipe.journal.journal import Journal
from nstpipe.window.pages import window_of
from nstpipe.window.runs.progress import looks_of

MOST_SOUGHT = 2_000
"""A frame is taken from a finished video of at most so many frames; to find it in a longer one would take too long."""

LONGEST_SIDE = 480
"""In pixels."""


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
    return Response(await asyncio.to_thread(as_webp, pixels, LONGEST_SIDE), media_type="image/webp")


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
