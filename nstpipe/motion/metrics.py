"""Measures how steady a stylized sequence is: its warping error, its luminance and its detail over time.

docs/motion.md defines each measure and its constants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from nstpipe.media.frame import LUMA, Pixels, resized
from nstpipe.motion.motion import Motion
from nstpipe.motion.warp import warp

SMALLEST_COVERAGE = 0.1
"""Share of the frame. A pair with less reliable area, as at a cut, does not show flicker and is left out."""

MotionBetween = Callable[[int, int, Pixels, Pixels, tuple[int, int]], Motion]
"""From the indices and pixels of an earlier and a later original frame to the motion from the later one back, of the width
and height given."""


@dataclass(frozen=True)
class WarpingError:
    """The difference between a frame and an earlier one that was warped along the flow.

    Attributes:
        frame_index: of the later frame, from 0.
        lag: frames between the two.
        coverage: share of the frame where the flow is reliable, 0 to 1.
        original: mean squared difference there, of the originals, for values from 0 to 1.
        stylized: the same of the stylized frames.
    """

    frame_index: int
    lag: int
    coverage: float
    original: float
    stylized: float


@dataclass(frozen=True)
class Tone:
    """The measures that drift in long clips.

    Attributes:
        frame_index: from 0.
        luminance: mean, 0 to 255.
        detail: variance of the luminance's Laplacian, in squared levels of 255.
    """

    frame_index: int
    luminance: float
    detail: float


@dataclass(frozen=True)
class Range:
    """The warping errors of one lag together.

    Attributes:
        lag: frames between the two of each pair.
        pairs: Pairs that were compared.
        pairs_left_out: Pairs with too little reliable area.
        coverage: mean over the pairs compared, 0 to 1.
        original: squared differences over the masks' sum, of all pairs together.
        stylized: The same of the stylized frames.
        ratio: stylized over original; None where the original's is 0 or nothing was compared.
    """

    lag: int
    pairs: int
    pairs_left_out: int
    coverage: float
    original: float
    stylized: float
    ratio: float | None


@dataclass(frozen=True)
class Coherence:
    """What was measured of a sequence.

    Attributes:
        errors: by frame, and by lag within it; pairs that are left out of the ranges are here too.
        originals: tone of each original frame.
        stylized: tone of each stylized frame.
        lags: that were asked for.
    """

    errors: tuple[WarpingError, ...]
    originals: tuple[Tone, ...]
    stylized: tuple[Tone, ...]
    lags: tuple[int, ...]

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The warping errors, put together for each lag."""
        return tuple(self._range(lag) for lag in self.lags)

    def _range(self, lag: int) -> Range:
        of_lag = [error for error in self.errors if error.lag == lag]
        compared = [error for error in of_lag if error.coverage >= SMALLEST_COVERAGE]
        left_out = len(of_lag) - len(compared)
        if not compared:
            return Range(lag, 0, left_out, 0.0, 0.0, 0.0, None)
        # Coverage is the mask's sum over the frame's size: a pair counts as much as can be seen of it.
        covered = sum(error.coverage for error in compared)
        original = sum(error.coverage * error.original for error in compared) / covered
        stylized = sum(error.coverage * error.stylized for error in compared) / covered
        ratio = stylized / original if original else None
        return Range(lag, len(compared), left_out, covered / len(compared), original, stylized, ratio)


def coherence(pairs: Iterable[tuple[Pixels, Pixels]], lags: Sequence[int], motion_between: MotionBetween) -> Coherence:
    """Measure a stylized sequence against its original.

    Args:
        pairs: each original frame with the stylized one, height x width x 3, uint8, RGB; compared at the stylized one's
            size, with the motion of the original as it is given. Where that size changes from one frame to the next, the
            two are not compared.
        lags: how many frames apart the two of a pair are.
        motion_between: the motion of the originals.
    """
    errors: list[WarpingError] = []
    tones: list[tuple[Tone, Tone]] = []
    kept: deque[tuple[Pixels, Pixels, Pixels]] = deque(maxlen=max(lags))
    for index, (original, result) in enumerate(pairs):
        if kept and kept[-1][-1].shape != result.shape:
            kept.clear()
        size = result.shape[1], result.shape[0]
        at_size = resized(original, size)
        for lag in lags:
            if lag > len(kept):
                continue
            original_before, before_at_size, result_before = kept[-lag]
            motion = motion_between(index - lag, index, original_before, original, size)
            errors.append(
                WarpingError(
                    frame_index=index,
                    lag=lag,
                    coverage=float(motion.reliability.mean()),
                    original=warping_error(before_at_size, at_size, motion),
                    stylized=warping_error(result_before, result, motion),
                )
            )
        tones.append((tone(index, at_size), tone(index, result)))
        kept.append((original, at_size, result))
    return Coherence(tuple(errors), tuple(one for one, _ in tones), tuple(other for _, other in tones), tuple(lags))


def warping_error(before: Pixels, now: Pixels, motion: Motion) -> float:
    """Σ c |x − W(y)|² / (3 Σ c): y moved along the flow by W, c the reliability, values from 0 to 1; 0 without any c.

    Args:
        before: height x width x 3, uint8: y.
        now: of the same shape: x.
        motion: from `now` back to `before`.
    """
    moved = warp(before.astype(np.float32) / np.float32(255), motion.backward)
    squared = ((now.astype(np.float32) / np.float32(255) - moved) ** 2).mean(axis=2)
    total = float(motion.reliability.sum(dtype=np.float64))
    return float((motion.reliability * squared).sum(dtype=np.float64)) / total if total else 0.0


def tone(frame_index: int, pixels: Pixels) -> Tone:
    """Mean luminance (BT.709's shares, on the gamma-corrected values) and the variance of its 3 x 3 Laplacian."""
    luminance = pixels.astype(np.float32) @ np.array(LUMA, np.float32)
    # Reflected at the edge, so that the frame's border is no detail.
    laplacian = cv2.Laplacian(luminance, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REFLECT_101)
    return Tone(frame_index, float(luminance.mean(dtype=np.float64)), float(laplacian.var(dtype=np.float64)))
