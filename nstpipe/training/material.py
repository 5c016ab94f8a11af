"""The frames that a network learns a job's look from: spread over all shots of its videos and all of its pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nstpipe.errors import ItemError
from nstpipe.media.frame import Source, in_eight_bits, resized
from nstpipe.media.pictures.masks import Mask, read_masks
from nstpipe.motion.flow.method import FlowMethod, for_flow
from nstpipe.motion.motion import Motion, motion_between
from nstpipe.system.retry import in_spite_of_kills
from nstpipe.system.stop import Stop, Stopped

MOST_FRAMES = 128
"""The most frames that are learned from."""

MATERIAL_BYTES = 1 << 29
"""The most bytes that they take. Large frames are fewer."""


@dataclass(frozen=True, eq=False)
class Shot:
    """Frames that follow each other, or a single picture.

    Attributes:
        source: reads them.
        first_frame_index: the first of them.
        end_frame_index: the index after the last.
        size: width and height at which they are painted, in pixels.
        masks: the masks of the job's regions.
    """

    source: Source
    first_frame_index: int
    end_frame_index: int
    size: tuple[int, int]
    masks: tuple[Mask, ...] = ()

    @property
    def frame_count(self) -> int:
        """The number of frames."""
        return self.end_frame_index - self.first_frame_index


@dataclass(frozen=True, eq=False)
class TrainingFrame:
    """A frame that is learned from, at the size at which it is painted.

    Attributes:
        pixels: height x width x 3, uint8.
        masks: regions x height x width, float32, 0 to 1; None if there are no regions.
        first: the first frame of its shot, whose colors count; None if they do not.
        before: the frame before it, height x width x 3, uint8; None if there is none.
        motion: the motion back to it; None if there is none.
    """

    pixels: NDArray[np.uint8]
    masks: NDArray[np.float32] | None = None
    first: NDArray[np.uint8] | None = None
    before: NDArray[np.uint8] | None = None
    motion: Motion | None = None


def spread(counts: Sequence[int], wanted: int) -> list[tuple[int, int]]:
    """Choose frames that are spread evenly: each shot has at least one, as long as there are enough to choose.

    Args:
        counts: the number of frames of each shot.
        wanted: how many are to be chosen.

    Returns:
        For each chosen frame the index of its shot and its index within it, in order, each frame at most once.
    """
    if len(counts) >= wanted:
        shots = [(2 * number + 1) * len(counts) // (2 * wanted) for number in range(wanted)]
        return [(shot, counts[shot] // 2) for shot in shots]
    left, frames = wanted - len(counts), sum(counts)
    chosen: list[tuple[int, int]] = []
    for shot, count in enumerate(counts):
        share = min(count, 1 + left * count // frames)
        chosen += [(shot, (2 * number + 1) * count // (2 * share)) for number in range(share)]
    return chosen


def gathered(
    shots: Sequence[Shot], *, flow: FlowMethod | None, needs_first: bool, stop: Stop, tell: Callable[[str], None]
) -> list[TrainingFrame]:
    """Read the frames that are learned from.

    Args:
        shots: the material.
        flow: finds the motion between neighboring frames; None if none is wanted.
        needs_first: whether the colors of a shot's first frame count.
        stop: asked before each frame.
        tell: called with a sentence about a frame that cannot be read; it is left out.

    Raises:
        ItemError: none of them can be read.
        Stopped: it was asked to stop.
    """
    largest = max(3 * shot.size[0] * shot.size[1] for shot in shots)
    wanted = max(2, min(MOST_FRAMES, MATERIAL_BYTES // (largest * (8 if flow is not None else 2))))
    frames: list[TrainingFrame] = []
    firsts: dict[int, NDArray[np.uint8]] = {}
    error: ItemError | None = None
    for number, index in spread([shot.frame_count for shot in shots], wanted):
        if stop.should_stop():
            raise Stopped
        shot = shots[number]
        try:
            if needs_first and number not in firsts:
                firsts[number] = in_spite_of_kills(partial(_read, shot, 0, 1))[0]
            frames.append(in_spite_of_kills(partial(_training_frame, shot, index, firsts.get(number), flow)))
        except ItemError as problem:
            error = problem
            tell(f"left out of the training: {problem.problem}")
    if not frames:
        raise error or ItemError("there are no frames to learn from.")
    return frames


def _training_frame(shot: Shot, index: int, first: NDArray[np.uint8] | None, flow: FlowMethod | None) -> TrainingFrame:
    masks = read_masks(shot.masks, shot.first_frame_index + index, shot.size)
    if flow is None or shot.frame_count < 2:
        return TrainingFrame(_read(shot, index, index + 1)[0], masks, first)
    index = max(1, index)
    frames = list(shot.source.read(shot.first_frame_index + index - 1, shot.first_frame_index + index + 1))
    before, pixels = (in_eight_bits(resized(frame.pixels, shot.size)) for frame in frames)
    earlier, later = (for_flow(frame.pixels, shot.size) for frame in frames)
    motion = motion_between(earlier, later, flow, shot.size)
    return TrainingFrame(pixels, masks, first, before, motion)


def _read(shot: Shot, index: int, end: int) -> list[NDArray[np.uint8]]:
    first = shot.first_frame_index
    return [in_eight_bits(resized(frame.pixels, shot.size)) for frame in shot.source.read(first + index, first + end)]
