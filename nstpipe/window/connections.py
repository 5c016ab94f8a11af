"""Closes connections that say nothing: each takes one of the files that the server may have open."""

from __future__ import annotations

from asyncio import Transport

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""Seconds in which the head of the first request must have come. uvicorn itself bounds the time between two requests only."""


class HeadInTime(H11Protocol):
    """A connection that is closed if its first request does not begin in time."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.loop.call_later(HEAD_SECONDS, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None:  # no head has come to its end
            self.transport.close()
