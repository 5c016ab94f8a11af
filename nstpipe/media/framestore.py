"""Finished frames of a clip on disk, and the state from which the next one starts."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nstpipe.errors import ItemError
from nstpipe.files import completed, ensure_folder
from nstpipe.media.deep import deep_pixels, encoded_png, is_deep
from nstpipe.media.frame import Pixels, in_sixteen_bits
from nstpipe.media.pictures import PILLOW_ERRORS

PNG_COMPRESSION = 1
"""Brush strokes hardly compress; more effort costs time and gains a few percent."""

_STATES = f"state_{'[0-9]' * 8}.npy"


class FrameStore:
    """A folder with one PNG a finished frame, and one float32 state.

    The state is the last finished frame before rounding: from the 8-bit picture a long clip would darken.

    Args:
        folder: the clip's own; made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _frame(self, frame_index: int) -> Path:
        return self.folder / f"frame_{frame_index:08d}.png"

    def _state(self, frame_index: int) -> Path:
        return self.folder / f"state_{frame_index:08d}.npy"

    def last(self) -> tuple[int, NDArray[np.float32]] | None:
        """Index and state of the last finished frame; None before the first.

        A state that cannot be read counts as not there, and so do the frames it stands for.
        """
        for path in sorted(self.folder.glob(_STATES), reverse=True):
            frame_index = int(path.stem.removeprefix("state_"))
            try:
                state = np.load(path, allow_pickle=False)
            except (OSError, ValueError, EOFError):
                continue
            if state.dtype == np.float32 and self._frame(frame_index).is_file():
                return frame_index, state
        return None

    def save(self, frame_index: int, pixels: Pixels, state: NDArray[np.float32]) -> None:
        """Keep a finished frame, then the state that says so; older states are removed."""
        ensure_folder(self.folder)
        with completed(self._frame(frame_index)) as partial:
            # Pillow has no RGB of 16 bits.
            if pixels.itemsize > 1:
                partial.write_bytes(encoded_png(in_sixteen_bits(pixels), PNG_COMPRESSION))
            else:
                Image.fromarray(pixels).save(partial, format="PNG", compress_level=PNG_COMPRESSION)
        content = io.BytesIO()
        np.save(content, state, allow_pickle=False)
        with completed(self._state(frame_index)) as partial:
            partial.write_bytes(content.getvalue())
        for old in self.folder.glob(_STATES):
            if old != self._state(frame_index):
                old.unlink(missing_ok=True)

    def frames(self, first_frame_index: int, end_frame_index: int) -> Iterator[Pixels]:
        """The finished frames from the first one up to, not including, the end.

        Raises:
            ItemError: one of them is missing or damaged; all of them are removed, so that the next run makes them anew.
        """
        for frame_index in range(first_frame_index, end_frame_index):
            try:
                path = self._frame(frame_index)
                with Image.open(path) as image:
                    pixels: Pixels = deep_pixels(path)[0] if is_deep(path, image) else np.asarray(image.convert("RGB"))
            except PILLOW_ERRORS as error:
                self.remove()
                raise ItemError(
                    f"{self._frame(frame_index)}, a finished frame that waited to be encoded, cannot be read: {error}.",
                    "Run again: the frames of this clip are then made anew.",
                ) from error
            yield pixels

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
