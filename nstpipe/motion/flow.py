"""Optical flow between two frames, where it can be trusted, and pictures moved along it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nstpipe.media.frame import Pixels

Floats = NDArray[np.float32]

Flow = Callable[[Pixels, Pixels], Floats]
"""From one picture to another, both height x width x 3, uint8, RGB: for each pixel of the first, how far right and down
the same thing is in the second, in pixels; height x width x 2, float32."""

FLOW_METHODS = ("dis", "farneback", "raft")

DIS_FINEST_SCALE, DIS_REFINEMENTS = 0, 10
"""The medium preset stops at half the size, after 5 steps of refinement. On sequences whose flow is known, 128 to 1024 pixels
wide, going on to full size, of a picture enlarged twice, made the mean error where it is trusted 1.2 to 6 times smaller."""

LARGEST_ENLARGED_SIDE_PIXELS = 2048
"""Beyond, flow is found at the size itself: enlarged, it would take gigabytes."""

FARNEBACK_PYRAMID_SCALE, FARNEBACK_LEVELS, FARNEBACK_WINDOW_PIXELS, FARNEBACK_ITERATIONS = 0.5, 6, 15, 3
FARNEBACK_NEIGHBOURHOOD_PIXELS, FARNEBACK_SIGMA = 7, 1.5
"""Farnebäck's parameters: those of OpenCV's documentation, with more levels for larger motions."""

CONSISTENCY_SHARE, CONSISTENCY_FLOOR = 0.01, 0.5
"""Forward and backward flow may differ by this share of their squared lengths, plus this many squared pixels."""

EDGE_SHARE, EDGE_FLOOR = 0.01, 0.002
"""A flow that changes faster than this between neighbours is the edge of something that moves by itself."""

MASK_BLUR_SIGMA = 0.8
"""Pixels; softens the reliability's edge."""

ALIKE_LEVELS, ALIKE_BLUR_SIGMA = 6.0, 2.0
"""Levels of 255 by which pictures may differ and still look alike, over a neighbourhood of so many pixels."""


@dataclass(frozen=True, eq=False)
class Motion:
    """How to get from a frame back to the one before.

    Attributes:
        backward: height x width x 2, float32: for each pixel of the frame, how far right and down in the previous frame
            the same thing is, in pixels.
        reliability: height x width, float32: from 0, not to be trusted (uncovered, out of the frame, an edge), to 1.
    """

    backward: Floats
    reliability: Floats


def dis_flow(picture: Pixels, other: Pixels) -> Floats:
    """Dense inverse search (Kroeger et al. 2016), the medium preset with finer ends; a `Flow`."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(DIS_FINEST_SCALE)
    search.setVariationalRefinementIterations(DIS_REFINEMENTS)
    height, width, _ = picture.shape
    times = 2 if max(height, width) <= LARGEST_ENLARGED_SIDE_PIXELS else 1
    one, two = (
        cv2.resize(_grey(pixels), (times * width, times * height), interpolation=cv2.INTER_CUBIC) for pixels in (picture, other)
    )
    # No buffer is handed in for the result: its content would be taken for a first guess.
    flow = search.calc(one, two, None)  # type: ignore[call-overload]
    smaller: Floats = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / times
    return smaller


def farneback_flow(picture: Pixels, other: Pixels) -> Floats:
    """Polynomial expansion (Farnebäck 2003); a `Flow`. Calls much of a grainy still picture moving."""
    flow: Floats = cv2.calcOpticalFlowFarneback(
        _grey(picture),
        _grey(other),
        None,  # type: ignore[call-overload]
        pyr_scale=FARNEBACK_PYRAMID_SCALE,
        levels=FARNEBACK_LEVELS,
        winsize=FARNEBACK_WINDOW_PIXELS,
        iterations=FARNEBACK_ITERATIONS,
        poly_n=FARNEBACK_NEIGHBOURHOOD_PIXELS,
        poly_sigma=FARNEBACK_SIGMA,
        flags=0,
    )
    return flow


def flow_method(name: str | Path, device: str = "cpu") -> Flow:
    """The optical flow of a name.

    Args:
        name: dis, farneback, raft, or the path of a RAFT state dict.
        device: that RAFT runs on: auto, cpu, cuda or cuda:N.

    Raises:
        MachineError: RAFT's weights are not to be had.
    """
    if name == "dis":
        return dis_flow
    if name == "farneback":
        return farneback_flow
    # torchvision is imported only when RAFT is asked for.
    from nstpipe.motion.raft import raft_flow

    return raft_flow(None if name == "raft" else Path(name), device)


def motion_between(previous: Pixels, frame: Pixels, flow: Flow = dis_flow) -> Motion:
    """Flow from `frame` back to `previous`, and where it is reliable.

    The reliability is that of Ruder, Dosovitskiy and Brox 2016, section 4.1 (after Sundaram, Brox and Keutzer 2010).

    Args:
        previous: height x width x 3, uint8, RGB.
        frame: of the same shape.
        flow: how it is found, in both directions.
    """
    backward = flow(frame, previous)
    return Motion(backward, reliability(backward, flow(previous, frame)))


def reliability(backward: Floats, forward: Floats) -> Floats:
    """Where the backward flow can be trusted, on the grid of the frame it starts from.

    Args:
        backward: height x width x 2, from the frame to the previous one, in pixels.
        forward: height x width x 2, from the previous frame to the frame.

    Returns:
        height x width, float32, 0 to 1.
    """
    height, width, _ = backward.shape
    x, y = _positions(backward)
    there_and_back = backward + warp(forward, backward)
    squared_length = (backward**2).sum(axis=2)
    forward_there = warp(forward, backward)
    consistent = (there_and_back**2).sum(axis=2) < CONSISTENCY_SHARE * (
        squared_length + (forward_there**2).sum(axis=2)
    ) + CONSISTENCY_FLOOR
    gradients = sum(
        (np.gradient(backward[:, :, channel], axis=axis) ** 2 for channel in (0, 1) for axis in (0, 1)),
        start=np.zeros((height, width), np.float32),
    )
    smooth = gradients <= EDGE_SHARE * squared_length + EDGE_FLOOR
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    mask = (consistent & smooth & inside).astype(np.float32)
    softened: Floats = cv2.GaussianBlur(mask, (0, 0), MASK_BLUR_SIGMA)
    return softened.clip(0, 1)


def resemblance(one: Pixels | Floats, other: Pixels) -> Floats:
    """How far two pictures look alike around each pixel, whatever their flow says.

    Where nothing has texture, a clear or a dark sky, flow means nothing, yet nothing has been uncovered either.

    Args:
        one: height x width x 3, RGB, 0 to 255.
        other: of the same shape.

    Returns:
        height x width, float32: 1 where they are the same, 0.6 where they differ by `ALIKE_LEVELS`, 0 far beyond.
    """
    squared = ((one.astype(np.float32) - other.astype(np.float32)) ** 2).mean(axis=2)
    around = cv2.GaussianBlur(squared, (0, 0), ALIKE_BLUR_SIGMA)
    alike: Floats = np.exp(-around / np.float32(2 * ALIKE_LEVELS**2))
    return alike


def warp(picture: Floats, backward: Floats) -> Floats:
    """Move a picture of the previous frame to where its parts are in the frame.

    Sampled bicubically: each bilinear step between pixels halves the fine detail, and a clip has hundreds of them.

    Args:
        picture: height x width x channels, float32.
        backward: height x width x 2, from the frame to the previous one, in pixels.

    Returns:
        Of the picture's shape, and within its range; beyond the edge its last pixel is repeated.
    """
    x, y = _positions(backward)
    moved = cv2.remap(picture, x, y, interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    # Bicubic sampling overshoots at edges; frame upon frame that would grow.
    return moved.clip(picture.min(), picture.max())


def _grey(picture: Pixels) -> NDArray[np.uint8]:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]


def _positions(backward: Floats) -> tuple[Floats, Floats]:
    height, width, _ = backward.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x + backward[:, :, 0], y + backward[:, :, 1]
