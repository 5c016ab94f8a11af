"""Where a video is cut."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from scenedetect import AdaptiveDetector, FrameTimecode

from nstpipe.media.frame import Pixels, resized, working_size

DETECTOR_VERSION = 1
"""Part of the key under which found cuts are kept: raised when the same video gives other cuts."""

DETECTION_LONGEST_SIDE = 320
"""Pixels; a cut changes the whole picture, and small ones are compared faster."""

SHORTEST_SHOT_FRAMES = 2
"""A single odd frame is a flash, not a shot."""


def shot_starts(frames: Iterable[Pixels], average_rate: Fraction) -> tuple[int, ...]:
    """Indices of the frames that begin a shot; the first is 0.

    A cut is a frame whose content differs from the one before it far more than the frames around differ from each
    other, so that neither a fast pan nor a flash counts (PySceneDetect's adaptive detector).

    Args:
        frames: all frames of the video, in order.
        average_rate: frames a second.
    """
    detector = AdaptiveDetector(min_scene_len=SHORTEST_SHOT_FRAMES)
    cuts: list[FrameTimecode] = []
    timecode = FrameTimecode(0, float(average_rate))
    for frame_index, pixels in enumerate(frames):
        height, width, _ = pixels.shape
        small = resized(pixels, working_size((width, height), min(DETECTION_LONGEST_SIDE, max(width, height))))
        timecode = FrameTimecode(frame_index, float(average_rate))
        # PySceneDetect works on OpenCV's order, blue first.
        cuts += detector.process_frame(timecode, np.ascontiguousarray(small[:, :, ::-1]))
    cuts += detector.post_process(timecode)
    return (0, *sorted({cut.frame_num for cut in cuts} - {0}))
