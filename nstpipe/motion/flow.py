"""Optical flow between two frames, where it can be trusted, and pictures moved along it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nstpipe.media.frame import Pixels, in_eight_bits, resized

Floats = NDArray[np.float32]

Flow = Callable[[Pixels, Pixels, tuple[int, int]], Floats]
"""From one picture to another, both height x width x 3, uint8, RGB: for each pixel of the first, how far right and down
the same thing is in the second, in pixels; height x width x 2, float32. Width and height are those to look at it in, at least,
where a method is better at that."""

DETAIL = 2
"""Flow is found in pictures so many times larger than the motion that is wanted, where the original is that large. On ten
sequences whose flow is known, that halves the visible pixels whose flow is wrong by 0.1, 0.3 or 1 pixels."""

LONGEST_SIDE_PIXELS = 2048
"""Of the pictures between which flow is found, unless the motion itself is wanted larger. It takes 0.6 GB at this side, and
2 GB at twice it."""

PROPAGATION_PIXELS = (16, 8, 4, 2)
"""From how far up, down, left and right a pixel may take over a flow, one after the other. What moves before something else
drags a seam of it along in DIS' flow; these take away seven of eight of the visible pixels whose flow is wrong by a pixel."""

MATCH_WINDOW_PIXELS, MATCH_VARIANCE = 5, 1e-4
"""Window and regularisation of the guided filter that adds up differences around a pixel without crossing edges."""

LARGEST_MATCH_LEVELS, LEAST_GAIN_LEVELS = 20, 0.1
"""Of 255. Differences beyond the first count as the first, so that a highlight does not outweigh all around it; a flow is taken
over only where it matches better by more than the second."""

MEDIAN_PIXELS, REFINEMENT_ROUNDS = 5, 10
"""Window of the median that single wrong flows fall to (Sun, Roth and Black 2010), and rounds of variational refinement."""

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


def dis_flow(picture: Pixels, other: Pixels, at_least: tuple[int, int]) -> Floats:
    """Dense inverse search (Kroeger et al. 2016), the medium preset, sharpened at edges; a `Flow`."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width, _ = picture.shape
    wide, high = max(width, at_least[0]), max(height, at_least[1])
    one, two = (resized(_grey(pixels), (wide, high)) for pixels in (picture, other))
    # No buffer is handed in for the result: its content would be taken for a first guess.
    flow = search.calc(one, two, None)  # type: ignore[call-overload]
    own = resized(flow, (width, height)) * np.array([width / wide, height / high], np.float32)
    # Where a picture was enlarged, its edges are no finer.
    return _sharpened(own, picture, other)


def _sharpened(flow: Floats, picture: Pixels, other: Pixels) -> Floats:
    """Bring a flow's edges to where the picture's are: each pixel takes over the flow of a neighbour if it matches better.

    `flow` itself is changed. Propagation as in PatchMatch (Barnes et al. 2009), by differences that are added up with a guided
    filter (He, Sun and Tang 2010; for flow, Hosni et al. 2013); then a median, and refinement below the pixel.
    """
    height, width, _ = flow.shape
    one, two = _grey(picture), _grey(other)
    x, y = _positions(np.zeros_like(flow))
    window = (MATCH_WINDOW_PIXELS, MATCH_WINDOW_PIXELS)
    guide = one.astype(np.float32) / 255
    guide_mean = cv2.blur(guide, window)
    guide_variance = cv2.blur(guide * guide, window) - guide_mean**2 + MATCH_VARIANCE

    def mismatch(candidate: Floats) -> Floats:
        there_x, there_y = x + candidate[:, :, 0], y + candidate[:, :, 1]
        there = cv2.remap(other, there_x, there_y, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        apart = cv2.transform(cv2.absdiff(picture, there), np.full((1, 3), 1 / 3))
        levels = np.minimum(apart, np.uint8(LARGEST_MATCH_LEVELS)).astype(np.float32)
        # Outside there is nothing to compare with: neither a good match nor the worst.
        levels[(there_x < 0) | (there_x > width - 1) | (there_y < 0) | (there_y > height - 1)] = LARGEST_MATCH_LEVELS / 2
        mean = cv2.blur(levels, window)
        slope = (cv2.blur(guide * levels, window) - guide_mean * mean) / guide_variance
        around: Floats = cv2.blur(slope, window) * guide + cv2.blur(mean - slope * guide_mean, window)
        return around

    best = mismatch(flow)
    for distance in PROPAGATION_PIXELS:
        for right, down in ((distance, 0), (-distance, 0), (0, distance), (0, -distance)):
            shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
            neighbours = cv2.warpAffine(
                flow, shift, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
            ).astype(np.float32, copy=False)
            found = mismatch(neighbours)
            better = found < best - LEAST_GAIN_LEVELS
            np.copyto(flow, neighbours, where=better[..., None])
            np.copyto(best, found, where=better)
    smooth = cv2.merge([cv2.medianBlur(part, MEDIAN_PIXELS) for part in cv2.split(flow)])
    refinement = cv2.VariationalRefinement.create()
    refinement.setFixedPointIterations(REFINEMENT_ROUNDS)
    return refinement.calc(one, two, smooth).astype(np.float32, copy=False)


def farneback_flow(picture: Pixels, other: Pixels, _at_least: tuple[int, int]) -> Floats:
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


def flow_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height in which flow is best looked at, for motion of a width and height."""
    times = max(1.0, min(DETAIL, LONGEST_SIDE_PIXELS / max(size)))
    return round(times * size[0]), round(times * size[1])


def for_flow(pixels: NDArray[Any], size: tuple[int, int]) -> Pixels:
    """As much of a picture as flow looks at, uint8.

    Args:
        pixels: height x width x 3, uint8 or uint16, RGB.
        size: width and height of the motion wanted.
    """
    height, width, _ = pixels.shape
    largest = flow_size(size)
    if width >= largest[0] and height >= largest[1]:
        return in_eight_bits(resized(pixels, largest))
    return in_eight_bits(pixels if width >= size[0] and height >= size[1] else resized(pixels, size))


def motion_between(previous: Pixels, frame: Pixels, flow: Flow = dis_flow, size: tuple[int, int] | None = None) -> Motion:
    """Flow from `frame` back to `previous`, and where it is reliable.

    The reliability is that of Ruder, Dosovitskiy and Brox 2016, section 4.1 (after Sundaram, Brox and Keutzer 2010).

    Args:
        previous: height x width x 3, uint8, RGB; as `for_flow` gives it.
        frame: likewise.
        flow: how it is found, in both directions.
        size: width and height of the motion; the pictures' own if None.
    """
    size = size or (frame.shape[1], frame.shape[0])
    if previous.shape != frame.shape:  # as small pictures of one folder may be
        previous, frame = resized(previous, size), resized(frame, size)
    height, width, _ = frame.shape
    at_least = flow_size(size)
    backward, forward = flow(frame, previous, at_least), flow(previous, frame, at_least)
    shorter = np.array([size[0] / width, size[1] / height], np.float32)
    return Motion(resized(backward, size) * shorter, reliability(backward, forward, size))


def reliability(backward: Floats, forward: Floats, size: tuple[int, int] | None = None) -> Floats:
    """Where the backward flow can be trusted, on the grid of the frame it starts from.

    Args:
        backward: height x width x 2, from the frame to the previous one, in pixels.
        forward: height x width x 2, from the previous frame to the frame.
        size: width and height of the motion that is made of it, whose pixels the published limits are in; the flow's own if
            None. Edges are as thin as the flow shows them.

    Returns:
        Of that height and width, float32, 0 to 1.
    """
    height, width, _ = backward.shape
    size = size or (width, height)
    x, y = _positions(backward)
    there, forward_there = backward * (size[0] / width), warp(forward, backward) * (size[0] / width)
    squared_length = (there**2).sum(axis=2)
    consistent = ((there + forward_there) ** 2).sum(axis=2) < CONSISTENCY_SHARE * (
        squared_length + (forward_there**2).sum(axis=2)
    ) + CONSISTENCY_FLOOR
    gradients = sum(
        (np.gradient(backward[:, :, channel], axis=axis) ** 2 for channel in (0, 1) for axis in (0, 1)),
        start=np.zeros((height, width), np.float32),
    )
    smooth = gradients <= EDGE_SHARE * squared_length + EDGE_FLOOR
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    mask: Floats = resized((consistent & smooth & inside).astype(np.float32), size)
    softened = cv2.GaussianBlur(mask, (0, 0), MASK_BLUR_SIGMA)
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


def came_from_inside(backward: Floats) -> Floats:
    """Which pixels were within the previous frame; what a pan brings in was not.

    Unlike `reliability` it does not ask whether the flow is right; unlike `resemblance` it tells a clear sky within the frame
    from the same sky beyond its edge.

    Args:
        backward: height x width x 2, from the frame to the previous one, in pixels.

    Returns:
        height x width, float32: 1 up to the frame's edge, which is half a pixel outside the middles of its last pixels; 0
        half a pixel and more beyond it.
    """
    height, width, _ = backward.shape
    x, y = _positions(backward)
    beyond = np.maximum.reduce([-x, x - (width - 1), -y, y - (height - 1)])
    inside: Floats = (2 - 2 * beyond).clip(0, 1)
    return inside


def warp(picture: Floats, backward: Floats) -> Floats:
    """Move a picture of the previous frame to where its parts are in the frame.

    Sampled bicubically: each bilinear step between pixels halves the fine detail, and a clip has hundreds of them.

    Args:
        picture: height x width, or height x width x channels, float32.
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
