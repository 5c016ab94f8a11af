"""The pace of a machine: seconds from pixels and passes, fitted to frames that were timed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nstpipe.journal.records import FrameKind, FrameTime

SETUP_PASSES = 0.7
"""What a frame costs an engine that iterates before its first iteration, in passes: a forward pass for its content, and the
construction of the loss. It is used as far as the frames do not tell."""

FIXED_PIXELS = 7000
"""Fixed cost of a pass, in pixels, as far as the frames do not tell; see the table of costs in docs/performance.md."""

WARM_UP_PASSES = 1.5
"""What the first frame of a size costs a process beside, in passes: the painting is measured at this size, and each shape is
prepared."""

PRIOR_SHARE = 0.003
"""How much the shares above count. To be wrong by all of one is as bad as to miss a time by this share of it."""

ALIKE_PIXELS = 6.0
"""Frames tell the pace of others that have at most this many times more or fewer pixels, if only their size is known."""

SPREAD_SIZES = 4.0
"""Sizes that differ by this factor in pixels tell the fixed cost of a pass from that of its pixels."""

BINS_AN_OCTAVE = 2
"""Frames whose number of pixels, and whose number of passes, differ less are samples of the same time."""

TILE_FACTOR = 1.15
"""How much longer a pass takes in tiles; see the table of costs in docs/performance.md."""

QUIET_QUANTILE, BUSY_QUANTILE, SLOW_QUANTILE = 0.25, 0.5, 0.9
"""Of several samples, the lower quartile counts, so that what others computed for a moment is not taken for the machine's pace.
On a busy machine others go on computing, and the median counts. The last one is for the upper end of an estimate."""

LEAST_MARGIN, LARGEST_MARGIN = 1.25, 2.0
"""The upper end of an estimate is at least, and at most, so many times the likely pace."""

PIXELS_UNIT = 65536.0
"""The fit counts pixels in this unit, so that all of its numbers are about equally large."""


@dataclass(frozen=True)
class Linear:
    """Seconds that grow with the number of pixels.

    Attributes:
        fixed: seconds without any pixel.
        per_pixel: seconds of a pixel.
    """

    fixed: float = 0.0
    per_pixel: float = 0.0

    def __call__(self, pixels: float) -> float:
        """Return the seconds for so many pixels."""
        return self.fixed + self.per_pixel * pixels

    def times(self, factor: float) -> Linear:
        """Return so many times the seconds."""
        return Linear(self.fixed * factor, self.per_pixel * factor)


SURROUNDINGS: Mapping[FrameKind, Linear] = {
    "picture": Linear(0.02, 0.4e-6),
    "linked": Linear(0.04, 0.9e-6),
    "first": Linear(0.05, 0.4e-6),
    "later": Linear(0.02, 0.5e-6),
}
"""What reading, flow, warping and storing add to a frame, where no such frame was timed. See docs/performance.md."""


@dataclass(frozen=True)
class Timed:
    """Frames that were timed under one load.

    Attributes:
        frames: what they took.
        start_seconds: from the start of a worker process until it began with its first frame.
        load_share: share of the cores that other programs used meanwhile.
    """

    frames: tuple[FrameTime, ...]
    start_seconds: float
    load_share: float


@dataclass(frozen=True)
class Pace:
    """The pace of a machine with certain settings.

    Attributes:
        a_pass: seconds of one pass of the engine over a frame, such as an iteration.
        setup: seconds of the engine for a frame, beside its passes.
        around: seconds that a frame takes beside the engine, by its kind.
        warm_up: seconds that the first frame of a size takes beside.
        slow: factor of the seconds at the upper end.
    """

    a_pass: Linear
    setup: Linear = Linear()
    around: Mapping[FrameKind, Linear] = field(default_factory=lambda: SURROUNDINGS)
    warm_up: Linear = Linear()
    slow: float = LEAST_MARGIN

    def seconds(self, kind: FrameKind, pixels: float, passes: float) -> float:
        """Return the seconds that a frame will likely take.

        Args:
            kind: what it starts from.
            pixels: its width times its height.
            passes: iterations, or 1 for an engine that does not iterate.
        """
        return passes * self.a_pass(pixels) + self.setup(pixels) + self.around.get(kind, SURROUNDINGS[kind])(pixels)

    def in_tiles(self) -> Pace:
        """Return the pace for a picture that does not fit into memory, which is painted in tiles."""
        return replace(self, a_pass=Linear(self.a_pass.fixed, self.a_pass.per_pixel * TILE_FACTOR))

    def times(self, factor: float) -> Pace:
        """Return the pace of a machine that is so many times slower."""
        around = {kind: line.times(factor) for kind, line in self.around.items()}
        return Pace(self.a_pass.times(factor), self.setup.times(factor), around, self.warm_up.times(factor), self.slow)


def pace_of(frames: Sequence[FrameTime], *, is_busy: bool) -> Pace | None:
    """Return the pace at which frames were painted with the same settings on the same machine.

    The engine takes s + t · pixels + passes · (a + b · pixels) seconds for a frame. Relative errors are smallest, and no
    number is negative. What the frames do not tell, because they are of one size or have equally many passes, is as
    `FIXED_PIXELS` and `SETUP_PASSES` say.

    Args:
        frames: what was timed, in the order of painting if they are those of a trial.
        is_busy: whether other programs were computing at the same time, and are again.

    Returns:
        None if no frame tells how long the engine took.
    """
    timed = [(frame, frame.optimizing_seconds) for frame in frames if frame.optimizing_seconds]
    if not timed:
        return None
    quantile = BUSY_QUANTILE if is_busy else QUIET_QUANTILE
    setup_passes = SETUP_PASSES if any(frame.iterations for frame, _ in timed) else 0.0
    points = [(float(frame.pixels), float(frame.passes), seconds) for frame, seconds in timed]
    setup, a_pass = _engine_lines(_samples(points, setup_passes, quantile), setup_passes)
    around: dict[FrameKind, Linear] = dict(SURROUNDINGS)
    for kind, usual in SURROUNDINGS.items():
        rest = [(float(frame.pixels), 0.0, max(1e-4, frame.seconds - one)) for frame, one in timed if frame.kind == kind]
        if rest:
            fixed_pixels = usual.fixed / usual.per_pixel
            around[kind] = _line(
                [(size, 1.0, one) for size, _, one in _samples(rest, 1.0, quantile, fixed_pixels)], fixed_pixels
            )
    slower = [seconds / (setup(pixels) + passes * a_pass(pixels)) for pixels, passes, seconds in points]
    slow = min(LARGEST_MARGIN, max(LEAST_MARGIN, _quantile(slower, SLOW_QUANTILE)))
    warm_up = a_pass.times(WARM_UP_PASSES if setup_passes else 0.0)
    return Pace(a_pass, setup, around, warm_up, slow)


def tells(frames: Iterable[FrameTime], pixels: float) -> bool:
    """Return whether frames tell the pace of others with so many pixels: they are about as large, or of two sizes."""
    sizes = [frame.pixels for frame in frames if frame.optimizing_seconds]
    if not sizes:
        return False
    small, large = min(sizes), max(sizes)
    return large / small >= SPREAD_SIZES or small / ALIKE_PIXELS <= pixels <= large * ALIKE_PIXELS


_Sample = tuple[float, float, float]
"""Pixels, passes and seconds."""


def _samples(
    points: Sequence[_Sample], setup_passes: float, quantile: float, fixed_pixels: float = FIXED_PIXELS
) -> list[_Sample]:
    """Return one point for all that have about as many pixels and passes: their mean, with the quantile of their seconds."""
    bins: dict[tuple[int, int], list[_Sample]] = {}
    for pixels, passes, seconds in points:
        place = round(BINS_AN_OCTAVE * math.log2(pixels)), round(BINS_AN_OCTAVE * math.log2(passes + 1))
        bins.setdefault(place, []).append((pixels, passes, seconds))
    found = []
    for each in bins.values():
        pixels, passes = (sum(values) / len(each) for values in list(zip(*each, strict=True))[:2])
        # Points of a bin differ a little, so the quantile is that of the time for a unit of work.
        a_unit = [one / ((size + fixed_pixels) * (count + setup_passes)) for size, count, one in each]
        found.append((pixels, passes, (pixels + fixed_pixels) * (passes + setup_passes) * _quantile(a_unit, quantile)))
    return found


def _engine_lines(samples: Sequence[_Sample], setup_passes: float) -> tuple[Linear, Linear]:
    """Return what the set-up of a frame takes, and what a pass takes."""
    if not setup_passes:
        return Linear(), _line(samples, FIXED_PIXELS)
    fixed = FIXED_PIXELS / PIXELS_UNIT
    rows = [
        [1 / seconds, size / seconds, passes / seconds, passes * size / seconds]
        for size, passes, seconds in ((pixels / PIXELS_UNIT, passes, seconds) for pixels, passes, seconds in samples)
    ]
    usual = _usual([(pixels, passes + setup_passes, seconds) for pixels, passes, seconds in samples], FIXED_PIXELS)
    prior = PRIOR_SHARE / usual
    rows += [
        [0, 0, prior / fixed, -prior],  # the fixed part of a pass is as large as that of so many pixels
        [prior / fixed, 0, -prior * setup_passes / fixed, 0],  # the set-up is as large as so many passes
        [0, prior, 0, -prior * setup_passes],
    ]
    s, t, a, b = _nonnegative(np.array(rows), np.array([1.0] * len(samples) + [0.0] * 3))
    return Linear(s, t / PIXELS_UNIT), Linear(a, b / PIXELS_UNIT)


def _line(samples: Sequence[_Sample], fixed_pixels: float) -> Linear:
    """Return the line through seconds by pixels. Where there is only one size, its fixed part is that of so many pixels."""
    fixed = fixed_pixels / PIXELS_UNIT
    prior = PRIOR_SHARE / _usual(samples, fixed_pixels)
    rows = [[1 / seconds, pixels / PIXELS_UNIT / seconds] for pixels, _, seconds in samples] + [[prior / fixed, -prior]]
    a, b = _nonnegative(np.array(rows), np.array([1.0] * len(samples) + [0.0]))
    return Linear(a, b / PIXELS_UNIT)


def _usual(samples: Sequence[_Sample], fixed_pixels: float) -> float:
    """Return about how many seconds a pass takes for `PIXELS_UNIT`, beside its fixed part."""
    each = [seconds / passes / (pixels + fixed_pixels) * PIXELS_UNIT for pixels, passes, seconds in samples]
    return max(1e-12, _quantile(each, 0.5))


def _nonnegative(rows: NDArray[np.float64], wanted: NDArray[np.float64]) -> list[float]:
    """Solve least squares with no negative unknown: the best of the solutions in which some unknowns are zero.

    There are so few unknowns that all choices are tried (Lawson and Hanson 1974, "Solving Least Squares Problems", chapter 23,
    has a way for many).
    """
    best, least = [0.0] * rows.shape[1], math.inf
    for count in range(1, rows.shape[1] + 1):
        for chosen in itertools.combinations(range(rows.shape[1]), count):
            some = np.linalg.lstsq(rows[:, chosen], wanted, rcond=None)[0]
            if (some < 0).any():
                continue
            error = float(((rows[:, chosen] @ some - wanted) ** 2).sum())
            if error < least:
                least, best = error, [0.0] * rows.shape[1]
                for place, value in zip(chosen, some.tolist(), strict=True):
                    best[place] = value
    return best


def _quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which so large a share of the values lies, by linear interpolation."""
    return float(np.quantile(values, share))
