"""The process that paints the previews of the page: it loads torch once, and drops a preview when a newer one is wanted.

It reads requests from standard input, one JSON object a line, and writes messages to standard output: a JSON object a line,
followed by as many bytes of a picture as its `bytes` says. `nstpipe.window.previews` is the other end.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any

from nstpipe.errors import NstpipeError
from nstpipe.system.raw_messages import separate_raw_messages

PICTURE_INTERVAL_SECONDS = 0.15
"""Shortest time between two pictures of a preview that is being painted."""

WARM_SIZE = 64
"""Size in pixels of the picture that is painted to load the network, and to let torch prepare its kernels."""


class Superseded(Exception):  # noqa: N818 - nothing went wrong
    """A newer preview is wanted."""


class Requests:
    """Reads the requests, and knows the newest one. When the page's process ends, so does this one.

    A request that comes while a preview is painted raises `Superseded` there: a thread reads it and raises a signal, whose
    handler Python calls in the main thread, between two operations of torch. An iteration takes up to a second.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._newest: dict[str, Any] | None = None
        self._changed = threading.Condition()
        self._painted: int | None = None
        signal.signal(signal.SIGINT, self._interrupt)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._stream:
            with self._changed:
                self._newest = json.loads(line)
                self._changed.notify()
            signal.raise_signal(signal.SIGINT)
        os._exit(0)

    def _interrupt(self, _: int, frame: FrameType | None) -> None:
        # A module whose import is broken off cannot always be imported again.
        if self._painted is not None and self.has_newer(self._painted) and not _is_importing(frame):
            self._painted = None
            raise Superseded

    @contextmanager
    def painting(self, number: int) -> Iterator[None]:
        """Mark a block that may be broken off when a newer request comes.

        Raises:
            Superseded: One has come.
        """
        self._painted = number
        try:
            yield
        finally:
            self._painted = None

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Mark a part of such a block that must not be broken off."""
        number, self._painted = self._painted, None
        yield
        self._painted = number

    def after(self, number: int) -> dict[str, Any]:
        """Wait for a request that is newer than this one, and return the newest."""
        with self._changed:
            while self._newest is None or self._newest["number"] <= number:
                self._changed.wait()
            return self._newest

    def has_newer(self, number: int) -> bool:
        """Return whether a newer request has come."""
        return self._newest is not None and self._newest["number"] > number


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if "importlib._bootstrap" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


class Messages:
    """Writes the messages."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def send(self, number: int, state: str, picture: bytes = b"", **values: Any) -> None:
        """Write one message."""
        head = {"number": number, "state": state, **values, "bytes": len(picture)}
        self._stream.write(json.dumps(head).encode() + b"\n" + picture)
        self._stream.flush()


def main() -> None:
    """Serve until standard input ends."""
    separate_raw_messages()
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the messages
    messages, requests = Messages(own), Requests(sys.stdin.buffer)
    _warm_up(requests)
    messages.send(0, "ready")
    number = 0
    while True:
        request = requests.after(number)
        number = request["number"]
        _serve(request, requests, messages)


def _warm_up(requests: Requests) -> None:
    import nstpipe.commands.preview  # noqa: F401 - what a preview needs is loaded before the first one

    if requests.has_newer(0):
        return  # whoever waits for a preview is served better by it than by a rehearsal
    from PIL import Image

    from nstpipe.api import stylize

    plain = Image.new("RGB", (WARM_SIZE, WARM_SIZE), (120, 130, 140))
    try:
        stylize(plain, plain, size=WARM_SIZE, iterations=1)
    except NstpipeError:
        pass  # the first preview says what this machine lacks


def _serve(request: dict[str, Any], requests: Requests, messages: Messages) -> None:
    number: int = request["number"]
    try:
        with requests.painting(number):
            if request["axes"]:
                _proof_sheet(request, requests, messages)
            else:
                _preview(request, requests, messages)
    except Superseded:
        messages.send(number, "superseded")
    except NstpipeError as error:
        messages.send(number, "failed", problem=error.problem, next_step=error.next_step)
    except Exception as error:  # the process serves the next request all the same
        messages.send(
            number, "failed", problem=f"{type(error).__name__}: {error}", next_step="This is a bug; please report it."
        )


def _preview(request: dict[str, Any], requests: Requests, messages: Messages) -> None:
    from nstpipe.commands.preview import Preview
    from nstpipe.painting.frames import Glimpse

    number, began = request["number"], time.monotonic()
    shown_at = -PICTURE_INTERVAL_SECONDS
    is_first = True

    def watch(glimpse: Glimpse) -> None:
        if requests.has_newer(number):
            raise Superseded
        with requests.undisturbed():
            tell(glimpse)

    def tell(glimpse: Glimpse) -> None:
        nonlocal shown_at, is_first
        if is_first:
            is_first = False
            messages.send(number, "before", _as_jpeg(glimpse.before))
        now = time.monotonic()
        picture = b""
        if now - shown_at >= PICTURE_INTERVAL_SECONDS:
            picture, shown_at = _as_jpeg(glimpse.shown()), now
        progress = {"iterations": glimpse.iterations, "most": glimpse.max_iterations, "loss": glimpse.loss}
        messages.send(number, "painting", picture, seconds=now - began, **progress)

    with tempfile.TemporaryDirectory() as folder:
        painted = Preview(_written(request, folder), request["job"], request["frame"], (), request["iterations"]).painted(
            lambda _: None, watch
        )
    height, width = painted.after.shape[:2]
    size = {"width": width, "height": height, "iterations": painted.iterations, "most": painted.max_iterations}
    with requests.undisturbed():
        messages.send(number, "done", _as_png(painted.after), seconds=time.monotonic() - began, **size)


def _proof_sheet(request: dict[str, Any], requests: Requests, messages: Messages) -> None:
    from nstpipe.commands.preview import Preview, axis, combinations, proof_sheet
    from nstpipe.events import Event, FrameDone

    number, began, done = request["number"], time.monotonic(), 0
    axes = [axis(text) for text in request["axes"]]
    cells = len(combinations(axes))

    def emit(event: Event) -> None:
        nonlocal done
        if isinstance(event, FrameDone):
            done += 1
            with requests.undisturbed():
                messages.send(number, "painting", iterations=done, most=cells, loss=None, seconds=time.monotonic() - began)

    with tempfile.TemporaryDirectory() as folder:
        preview = Preview(_written(request, folder), request["job"], request["frame"], (), request["iterations"])
        sheet = proof_sheet(preview, axes, emit)
    file = io.BytesIO()
    sheet.image.save(file, "PNG")
    with requests.undisturbed():
        messages.send(number, "done", file.getvalue(), seconds=time.monotonic() - began, iterations=cells, most=cells)


def _written(request: dict[str, Any], folder: str) -> Path:
    """Write the pipeline of a request to a file. All of its paths are absolute."""
    path = Path(folder) / "pipeline.yaml"
    path.write_text(request["pipeline"], encoding="utf-8")
    return path


def _as_jpeg(pixels: Any) -> bytes:
    from PIL import Image

    from nstpipe.media.frame import in_eight_bits

    file = io.BytesIO()
    Image.fromarray(in_eight_bits(pixels)).save(file, "JPEG", quality=85)
    return file.getvalue()


def _as_png(pixels: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


if __name__ == "__main__":
    main()
