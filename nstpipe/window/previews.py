"""Asks the process of the previews for pictures, and passes on what it tells while it paints."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nstpipe.config import Pipeline

IDLE_SECONDS = 900.0
"""The process ends after so long without a request, and gives its memory back. The next request starts another one."""

MOST_MESSAGE_BYTES = 64 * 1024 * 1024
"""The longest message: an uncompressed proof sheet."""

ENDED = ("done", "failed", "superseded")


@dataclass
class Shown:
    """A preview as far as it is painted.

    Attributes:
        number: Its number; later ones are higher.
        state: waiting, painting, done, failed or superseded.
        pictures: The number of pictures so far.
        picture: The newest one, as JPEG, or as PNG when it is done.
        before: The frame as it was, as JPEG.
        losses: The iterations and the loss of each step.
        facts: What the process told last.
    """

    number: int
    state: str = "waiting"
    pictures: int = 0
    picture: bytes = b""
    before: bytes = b""
    losses: list[tuple[int, float]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Previews:
    """Paints one preview at a time. A newer one takes the place of the one under way."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._is_warm = False
        self._number = 0
        self._shown = Shown(0, "superseded")
        self._changed = asyncio.Condition()
        self._idle: asyncio.TimerHandle | None = None
        self._start_lock = asyncio.Lock()

    @property
    def is_warm(self) -> bool:
        """Whether the process has loaded torch and the network."""
        return self._is_warm

    async def warm_up(self) -> None:
        """Start the process if it does not run."""
        async with self._start_lock:
            if self._process is None or self._process.returncode is not None:
                self._is_warm = False
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "nstpipe.window.preview_process"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    limit=MOST_MESSAGE_BYTES,
                )
                self._reader = asyncio.create_task(self._read(self._process))
        self._put_off_end()

    def _put_off_end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end)

    def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    async def close(self) -> None:
        """End the process."""
        if self._idle is not None:
            self._idle.cancel()
        self._end()
        if self._process is not None:
            await self._process.wait()
        if self._reader is not None:
            await self._reader

    async def request(
        self, pipeline: Pipeline, job: str, frame_index: int, iterations: int | None, axes: Sequence[str] = ()
    ) -> int:
        """Ask for a preview, or for a proof sheet if there are axes, and return its number."""
        from nstpipe.config.dump import as_yaml

        await self.warm_up()
        assert self._process is not None and self._process.stdin is not None
        self._number += 1
        chosen = pipeline.with_jobs(tuple(one for one in pipeline.jobs if one.name == job))
        wanted = {
            "number": self._number,
            "pipeline": as_yaml(chosen),
            "job": job,
            "frame": frame_index,
            "iterations": iterations,
            "axes": list(axes),
        }
        async with self._changed:
            if self._shown.state not in ENDED:
                self._shown.state = "superseded"
            self._shown = Shown(self._number)
            self._changed.notify_all()
        self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
        with suppress(ConnectionError):  # its end is told by the reader
            await self._process.stdin.drain()
        return self._number

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while line := await process.stdout.readline():
                message = json.loads(line)
                picture = await process.stdout.readexactly(message.pop("bytes"))
                await self._take(message, picture)
        await process.wait()
        self._is_warm = False
        async with self._changed:
            if self._shown.state not in ENDED:
                self._shown.state = "failed"
                self._shown.facts = {
                    "problem": "The process that paints previews has ended; the system may have been short of memory.",
                    "next_step": "Try a smaller size.",
                }
            self._changed.notify_all()

    async def _take(self, message: dict[str, Any], picture: bytes) -> None:
        number, state = message.pop("number"), message.pop("state")
        self._put_off_end()
        async with self._changed:
            shown = self._shown
            if state == "ready":
                self._is_warm = True
            elif number == shown.number and shown.state not in ENDED:
                if state == "before":
                    shown.before = picture
                else:
                    shown.state = state
                    shown.facts = message
                    if message.get("loss") is not None:
                        shown.losses.append((message["iterations"], message["loss"]))
                    if picture:
                        shown.picture, shown.pictures = picture, shown.pictures + 1
            self._changed.notify_all()

    def shown(self, number: int) -> Shown | None:
        """Return a preview; None if it was superseded."""
        return self._shown if self._shown.number == number else None

    def _progress_of(self, shown: Shown) -> tuple[object, ...]:
        return shown.pictures, len(shown.losses), shown.state, len(shown.before), self._is_warm

    async def follow(self, number: int) -> AsyncIterator[dict[str, Any]]:
        """Yield how far a preview is, first at once and then after each change, until it has ended.

        Each value has only those losses that were not told before.
        """
        told = 0
        while True:
            shown = self.shown(number)
            if shown is None:
                yield {"state": "superseded", "picture": 0, "before": False, "losses": []}
                return
            # What changes while this value is on its way is told with the next one.
            seen, has_ended = self._progress_of(shown), shown.state in ENDED
            losses, told = shown.losses[told:], len(shown.losses)
            state = shown.state if self._is_warm or shown.state != "waiting" else "loading"
            yield {"state": state, "picture": shown.pictures, "before": bool(shown.before), "losses": losses, **shown.facts}
            if has_ended:
                return
            async with self._changed:
                while self._shown is shown and self._progress_of(shown) == seen:
                    await self._changed.wait()
