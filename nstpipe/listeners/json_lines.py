"""Events for machines: one JSON object a line."""

from __future__ import annotations

import json
from typing import TextIO

from nstpipe.events import Event


class JsonLines:
    """A listener that writes each event to a stream at once.

    Args:
        stream: The stream, such as standard output. It is left open.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Write one line.

        Raises:
            OSError: The stream cannot be written to.
        """
        self._stream.write(json.dumps(event.as_json()) + "\n")
        self._stream.flush()

    def finish(self, error: BaseException | None) -> None:
        """Do nothing: every line is written already."""
