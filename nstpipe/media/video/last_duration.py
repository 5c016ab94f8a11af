"""Sets how long the last frame of an animation is shown: ffmpeg's encoders repeat the time of the frame before it."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from nstpipe.media.gif import GRAPHIC_CONTROL, gif_blocks
from nstpipe.media.video.containers import Container


def set_duration(path: Path, container: Container, seconds: Fraction) -> None:
    """Set the duration of an animation by that of its last frame. A picture of one frame that has no duration stays as it is.

    Args:
        path: A GIF or an animated WebP.
        container: Its row, which has the unit and the longest duration of a frame.
        seconds: How long it is shown once.

    Raises:
        OSError: The file cannot be written.
    """
    if container.frame_unit is None:
        return
    size = container.frame_duration_bytes
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        places = list(_PLACES[container.suffix](content))
        if not places:
            return
        before = sum(int.from_bytes(content[place : place + size], "little") for place in places[:-1])
        left = round(seconds / container.frame_unit) - before
        shown = min(max(left, 1), (1 << 8 * size) - 1)
        content[places[-1] : places[-1] + size] = shown.to_bytes(size, "little")


def _delays_of_gif(gif: mmap.mmap) -> Iterator[int]:
    """Where the delay of each frame stands in a GIF: behind the flags of its graphic control extension."""
    return (block.begin + 2 for block in gif_blocks(gif) if block.label == GRAPHIC_CONTROL)


def _durations_of_webp(webp: mmap.mmap) -> Iterator[int]:
    """Where the duration of each frame stands in an animated WebP: behind its place and size, in its chunk ANMF."""
    place = 12
    while place + 8 <= len(webp):
        length = int.from_bytes(webp[place + 4 : place + 8], "little")
        if webp[place : place + 4] == b"ANMF":
            yield place + 8 + 12
        place += 8 + length + length % 2


_PLACES = {".gif": _delays_of_gif, ".webp": _durations_of_webp}
"""Where the duration of each frame stands, by the suffix of the container."""
