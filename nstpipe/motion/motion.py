"""The motion between two frames."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from nstpipe.media.frame import Pixels, resized
from nstpipe.motion.camera import follow_camera
from nstpipe.motion.flow.dis import dis_flow
from nstpipe.motion.flow.method import Floats, FlowMethod, flow_size
from nstpipe.motion.reliability import reliability


@dataclass(frozen=True, eq=False)
class Motion:
    """The motion from a frame back to the previous one.

    Attributes:
        backward: height x width x 2, float32: for each pixel of the frame, how far to the right and down the same thing is
            in the previous frame, in pixels.
        reliability: height x width, float32: from 0, unreliable (uncovered, out of the frame, an edge), to 1.
    """

    backward: Floats
    reliability: Floats


def motion_between(
    previous: Pixels,
    frame: Pixels,
    flow: FlowMethod = dis_flow,
    size: tuple[int, int] | None = None,
    *,
    with_camera: bool = True,
) -> Motion:
    """FlowMethod from `frame` back to `previous`, and where it is reliable.

    The reliability is that of Ruder, Dosovitskiy and Brox 2016, section 4.1 (after Sundaram, Brox and Keutzer 2010).

    Args:
        previous: height x width x 3, uint8, RGB; as `for_flow` gives it.
        frame: height x width x 3, uint8, RGB; as `for_flow` gives it.
        flow: The method that computes it, in both directions.
        size: Width and height of the motion; those of the pictures if None.
        with_camera: Whether what shows no motion of its own follows the camera; see `nstpipe.motion.camera`.
    """
    size = size or (frame.shape[1], frame.shape[0])
    if previous.shape != frame.shape:  # as small pictures of one folder may be
        previous, frame = resized(previous, size), resized(frame, size)
    height, width, _ = frame.shape
    at_least = flow_size(size)

    def directed(picture: Pixels, other: Pixels) -> Floats:
        found = flow(picture, other, at_least)
        return follow_camera(found, picture, other) if with_camera else found

    if flow is dis_flow:  # most of it runs in one thread; a network fills its device, and takes twice the memory for two
        with ThreadPoolExecutor(1, "flow") as other_direction:
            coming = other_direction.submit(directed, previous, frame)
            backward = directed(frame, previous)
            forward = coming.result()
    else:
        backward, forward = directed(frame, previous), directed(previous, frame)
    shorter = np.array([size[0] / width, size[1] / height], np.float32)
    return Motion(resized(backward, size) * shorter, reliability(backward, forward, size))
