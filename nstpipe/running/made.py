"""The outputs that a run has made, packed, since there may be a million."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict

from nstpipe.events import OutputDone
from nstpipe.planning.lazy_sequence import LazySequence

PACKED_TOGETHER = 500
"""How many outputs are packed at once."""


class Made(LazySequence[OutputDone]):
    """The events of finished outputs, in order. Each iteration unpacks them again."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self._latest: list[OutputDone] = []
        self._withdrawn: set[str] = set()

    def add(self, done: OutputDone) -> None:
        """Add an output that is finished."""
        self._latest.append(done)
        if len(self._latest) == PACKED_TOGETHER:
            text = json.dumps([asdict(one) for one in self._latest], separators=(",", ":"))
            self._packed.append(zlib.compress(text.encode(), level=1))
            self._latest = []

    def withdraw(self, done: OutputDone) -> None:
        """Take an output back."""
        self._withdrawn.add(done.output)

    def __len__(self) -> int:
        """Return the number of outputs."""
        return len(self._packed) * PACKED_TOGETHER + len(self._latest) - len(self._withdrawn)

    def __iter__(self) -> Iterator[OutputDone]:
        """Return an iterator over all of them."""
        return (done for done in self._all() if done.output not in self._withdrawn)

    def _all(self) -> Iterator[OutputDone]:
        for packed in self._packed:
            yield from (OutputDone(**one) for one in json.loads(zlib.decompress(packed)))
        yield from self._latest
