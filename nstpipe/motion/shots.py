"""Where a video is cut."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nstpipe.media.frame import Pixels, resized, working_size

DETECTOR_VERSION = 1
"""Part of the key under which found cuts are kept: raised when the same video gives other cuts."""

DETECTION_LONGEST_SIDE = 320
"""Pixels; a cut changes the whole picture, and small ones are compared faster."""

SHORTEST_SHOT_FRAMES = 2
"""The detector's own limit; flashes are sorted out afterwards."""

LONGEST_FLASH_FRAMES = 4
"""If what was there before comes back within so many frames, it was a flash and no cut."""

COMES_BACK_SHARE = 0.5
"""It has come back when the difference is below this share of the cut's own."""

THUMBNAIL_SIZE = (16, 9)
"""Width and height of the pictures that are compared for flashes, in pixels."""

FRAMES_KEPT = 64
"""Thumbnails kept; the detector reports a cut a few frames late."""


def shot_starts(frames: Iterable[Pixels], average_rate: Fraction) -> tuple[int, ...]:
    """Indices of the frames that begin a shot; the first is 0.

    A cut is a frame whose content differs from the one before it far more than the frames around differ from each
    other (PySceneDetect's adaptive detector), so that a fast pan is none; and what was there before must not come back
    at once, so that a flash is none.

    Args:
        frames: all frames of the video, in order.
        average_rate: frames a second.
    """
    from scenedetect import AdaptiveDetector, FrameTimecode  # takes half a second; known cuts need none of it

    detector = AdaptiveDetector(min_scene_len=SHORTEST_SHOT_FRAMES)
    thumbnails: dict[int, NDArray[np.float32]] = {}
    pending: list[int] = []
    starts = [0]
    timecode = FrameTimecode(0, float(average_rate))
    for frame_index, pixels in enumerate(frames):
        height, width, _ = pixels.shape
        small = resized(pixels, working_size((width, height), min(DETECTION_LONGEST_SIDE, max(width, height))))
        thumbnails[frame_index] = resized(small, THUMBNAIL_SIZE).astype(np.float32)
        thumbnails.pop(frame_index - FRAMES_KEPT, None)
        timecode = FrameTimecode(frame_index, float(average_rate))
        # PySceneDetect works on OpenCV's order, blue first.
        found = detector.process_frame(timecode, np.ascontiguousarray(small[:, :, ::-1]))
        pending += [cut.frame_num for cut in found]
        ripe = [cut for cut in pending if frame_index >= cut + LONGEST_FLASH_FRAMES]
        starts += [cut for cut in ripe if not _is_flash(cut, thumbnails)]
        pending = [cut for cut in pending if cut not in ripe]
    pending += [cut.frame_num for cut in detector.post_process(timecode)]
    starts += [cut for cut in pending if not _is_flash(cut, thumbnails)]
    return tuple(sorted(set(starts)))


def _is_flash(cut: int, thumbnails: dict[int, NDArray[np.float32]]) -> bool:
    """Whether a frame shortly before the cut looks like one shortly after it."""

    def apart(one: int, other: int) -> float:
        return float(np.abs(thumbnails[one] - thumbnails[other]).mean())

    before = [index for index in range(cut - 1 - LONGEST_FLASH_FRAMES, cut) if index in thumbnails]
    after = [index for index in range(cut, cut + 1 + LONGEST_FLASH_FRAMES) if index in thumbnails]
    return min(apart(one, other) for one in before for other in after) < COMES_BACK_SHARE * apart(cut - 1, cut)
