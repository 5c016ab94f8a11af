"""Finished frames of a clip on disk, and the states from which the next ones start."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nstpipe.errors import TransientError
from nstpipe.media.frame import Pixels
from nstpipe.system.files import atomic_writes

STATE_BYTES_A_PIXEL = 16
"""Four float32: three colors, and how new what they show is."""

FILE_BYTES = 256
"""NumPy's head and the checksum, beside the values."""

STATE_INTERVAL = 32
"""Every so many frames a state is kept, so that a damaged frame costs no more than that to make again."""

STATE_INTERVAL_HISTORIES = 4
"""Where a frame needs several states, the interval is at least so many times their number."""

STATES_SPARE = 1
"""The newest states are kept too, and one more: should the last one be damaged, that costs one frame."""

_PAINTED_ON = "painted_on.txt"

_DIGEST_BYTES = hashlib.sha256().digest_size


def stored_bytes(frames: int, size: tuple[int, int], bits: int = 8, history: int = 1) -> int:
    """Return about how many bytes the frames and states of a clip take on disk.

    Args:
        frames: of the clip.
        size: width and height in pixels.
        bits: of a value; what has more than 8 takes two bytes.
        history: states that a frame needs of those before it.
    """
    if not frames:
        return 0
    states = history + STATES_SPARE + 1 + frames * history // _interval(history)
    bytes_a_pixel = frames * (3 if bits <= 8 else 6) + states * STATE_BYTES_A_PIXEL
    return size[0] * size[1] * bytes_a_pixel + (frames + states) * FILE_BYTES


def _interval(history: int) -> int:
    return max(STATE_INTERVAL, STATE_INTERVAL_HISTORIES * history)


class DamagedFramesError(TransientError):
    """Stored frames are missing or damaged, and must be made again."""


@dataclass(frozen=True, eq=False)
class Gap:
    """A run of frames that are missing.

    Attributes:
        first_frame_index: the first one that is missing.
        end_frame_index: the first one after it that is there, or the clip's end.
        next_frame_index: where to begin so that the missing ones come out right: the frame after the last state.
        states: the finished frames before that one, float32, the newest last; as many as a frame needs, or all there are.
    """

    first_frame_index: int
    end_frame_index: int
    next_frame_index: int
    states: tuple[NDArray[np.float32], ...] = ()


class FrameStore:
    """A folder with one file for each finished frame, and a few float32 states. Each file ends with a checksum.

    A state is a finished frame before rounding: from the 8-bit picture a long clip would darken. Frames are not
    compressed: PNG makes a painted frame a quarter smaller, and takes ten times as long as writing it as it is.

    Args:
        folder: the clip's own; made when first written to.
        history: states that a frame needs of those before it.
    """

    def __init__(self, folder: Path, history: int = 1) -> None:
        self.folder = folder
        self.history = history

    def _frame(self, frame_index: int) -> Path:
        return self.folder / f"frame_{frame_index:08d}.npy"

    def _state(self, frame_index: int) -> Path:
        return self.folder / f"state_{frame_index:08d}.npy"

    def _indices(self, kind: str) -> set[int]:
        pattern = re.compile(rf"{kind}_([0-9]{{8}})\.npy")
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return set()
        return {int(match[1]) for name in names if (match := pattern.fullmatch(name))}

    def count(self, first_frame_index: int, end_frame_index: int) -> int:
        """How many frames from the first one up to, not including, the end are there."""
        return sum(first_frame_index <= index < end_frame_index for index in self._indices("frame"))

    def gap(self, first_frame_index: int, end_frame_index: int) -> Gap | None:
        """The first frames missing from the first one up to, not including, the end; None if all are there."""
        there = self._indices("frame")
        missing = next((index for index in range(first_frame_index, end_frame_index) if index not in there), None)
        if missing is None:
            return None
        end = next((index for index in range(missing, end_frame_index) if index in there), end_frame_index)
        kept = self._indices("state")
        for index in sorted(kept, reverse=True):
            wanted = range(max(first_frame_index, index + 1 - self.history), index + 1)
            if not first_frame_index <= index < missing or not kept.issuperset(wanted):
                continue
            states = [state for one in wanted if (state := self._read_state(one)) is not None]
            if len(states) == len(wanted):
                return Gap(missing, end, index + 1, tuple(states))
        return Gap(missing, end, first_frame_index)

    def _read_state(self, frame_index: int) -> NDArray[np.float32] | None:
        """A state; None if it is damaged."""
        state = _read(self._state(frame_index))
        return state if state is not None and state.dtype == np.float32 else None

    def save(self, frame_index: int, pixels: Pixels, state: NDArray[np.float32]) -> None:
        """Store a finished frame and its state, and delete states that are no longer needed.

        The frame gets its name first. A state without its frame would not be used.

        Raises:
            OutputError: they cannot be written; a DiskFullError if there is no room.
        """
        with atomic_writes(self._frame(frame_index), self._state(frame_index)) as [frame_partial, state_partial]:
            _write(frame_partial, pixels)
            _write(state_partial, state)
        old, interval = frame_index - self.history - STATES_SPARE, _interval(self.history)
        if old % interval < interval - self.history:
            self._state(old).unlink(missing_ok=True)

    def frames(self, first_frame_index: int, end_frame_index: int) -> Iterator[Pixels]:
        """Yield the finished frames from the first index up to, but not including, the end.

        Raises:
            DamagedFramesError: one of them is missing or damaged; what is damaged is removed, so that it is made again.
        """
        for frame_index in range(first_frame_index, end_frame_index):
            pixels = self._read_frame(frame_index)
            if pixels is None:
                damaged = [index for index in range(frame_index, end_frame_index) if self._read_frame(index) is None]
                for index in damaged:
                    self._frame(index).unlink(missing_ok=True)
                raise DamagedFramesError(
                    f"{self._frame(frame_index)}, a finished frame that waited to be encoded, is missing or damaged, "
                    f"and so are {len(damaged) - 1} after it.",
                    "Run again: what is damaged is then made anew.",
                )
            yield pixels

    def _read_frame(self, frame_index: int) -> Pixels | None:
        """A frame; None if it is missing or damaged."""
        pixels = _read(self._frame(frame_index))
        return pixels if pixels is not None and pixels.dtype in (np.uint8, np.uint16) else None

    def painted_on(self) -> str:
        """What the frames were painted on last; empty if that is not known."""
        try:
            return (self.folder / _PAINTED_ON).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return ""

    def note_painted_on(self, hardware: str) -> None:
        """Keep what the next frames are painted on. Where that cannot be written, frames cannot either, and say so."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / _PAINTED_ON).write_text(hardware, encoding="utf-8")

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _write(path: Path, values: NDArray[Any]) -> None:
    """NumPy's own format, and behind it the checksum of all that."""
    values = np.ascontiguousarray(values)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(values))
    digest = hashlib.sha256(head.getvalue())
    digest.update(values.data)
    with path.open("wb") as file:
        file.write(head.getvalue())
        file.write(values.data)
        file.write(digest.digest())


def _read(path: Path) -> NDArray[Any] | None:
    """What `_write` wrote; None if it is missing or damaged."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(memoryview(content)[:-_DIGEST_BYTES]).digest() != content[-_DIGEST_BYTES:]:
            return None
        values: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return values


def frames_folder(work: Path, fingerprint: str) -> Path:
    """Return the folder of the frames of clips with this fingerprint; with an empty one, the parent of all these folders."""
    return work / "clips" / fingerprint[:20]


def frame_store(work: Path, fingerprint: str, history: int = 1) -> FrameStore:
    """Return the store of the finished frames of a clip with this fingerprint."""
    return FrameStore(frames_folder(work, fingerprint), history)


def pass_store(work: Path, fingerprint: str, history: int, number: int) -> FrameStore:
    """Return the store of a pass that is not the last one. It is deleted with the store of the clip."""
    return FrameStore(frames_folder(work, fingerprint) / f"pass_{number}", history)
