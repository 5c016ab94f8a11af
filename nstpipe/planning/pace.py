"""The pace of a machine: seconds from pixels and passes, fitted to frames that were timed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nstpipe.journal.records import FrameKind, FrameTime

SETUP_PASSES = 0.7
"""What a frame costs an engine that iterates before its first iteration, in passes: a forward pass for its content, and the
construction of the loss."""

FIXED_PIXELS = 7000
"""Fixed cost of a pass, in pixels, where frames of only one size are known; see the table of costs in docs/performance.md."""

ALIKE_PIXELS = 6.0
"""Frames tell the pace of others that have at most this many times more or fewer pixels, if only their size is known."""

SPREAD_SIZES = 4.0
"""Sizes that differ by this factor in pixels tell the fixed cost of a pass from that of its pixels."""

BINS_AN_OCTAVE = 2
"""Frames whose number of pixels differs less count as of one size."""

TILE_FACTOR = 1.15
"""How much longer a pass takes in tiles; see the table of costs in docs/performance.md."""

QUIET_QUANTILE, BUSY_QUANTILE, SLOW_QUANTILE = 0.25, 0.5, 0.9
"""Of several samples, the lower quartile counts, so that what others computed for a moment is not taken for the machine's pace.
On a busy machine others go on computing, and the median counts. The last one is for the upper end of an estimate."""

MARGIN = 1.2
"""The upper end of an estimate is at least so many times the likely pace."""


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


SURROUNDINGS: Mapping[FrameKind, Linear] = {
    "picture": Linear(0.06, 0.1e-6),
    "linked": Linear(0.08, 0.4e-6),
    "first": Linear(0.03, 0.1e-6),
    "later": Linear(0.015, 0.3e-6),
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
        around: seconds that a frame takes beside its passes, by its kind.
        setup_passes: passes that a frame costs before its first one.
        slow: factor of the seconds at the upper end.
    """

    a_pass: Linear
    around: Mapping[FrameKind, Linear] = field(default_factory=lambda: SURROUNDINGS)
    setup_passes: float = SETUP_PASSES
    slow: float = MARGIN

    def seconds(self, kind: FrameKind, pixels: float, passes: float) -> float:
        """Return the seconds that a frame will likely take.

        Args:
            kind: what it starts from.
            pixels: its width times its height.
            passes: iterations, or 1 for an engine that does not iterate.
        """
        return (passes + self.setup_passes) * self.a_pass(pixels) + self.around.get(kind, SURROUNDINGS[kind])(pixels)

    def in_tiles(self) -> Pace:
        """Return the pace for a picture that does not fit into memory, which is painted in tiles."""
        return replace(self, a_pass=Linear(self.a_pass.fixed, self.a_pass.per_pixel * TILE_FACTOR))

    def times(self, factor: float) -> Pace:
        """Return the pace of a machine that is so many times slower."""
        around = {kind: Linear(line.fixed * factor, line.per_pixel * factor) for kind, line in self.around.items()}
        a_pass = Linear(self.a_pass.fixed * factor, self.a_pass.per_pixel * factor)
        return replace(self, a_pass=a_pass, around=around)


def pace_of(frames: Sequence[FrameTime], *, is_busy: bool) -> Pace | None:
    """Return the pace at which frames were painted with the same settings on the same machine.

    Seconds of a pass are a + b · pixels. If the frames have only one size, a is as `FIXED_PIXELS` says.

    Args:
        frames: what was timed.
        is_busy: whether other programs were computing at the same time, and are again.

    Returns:
        None if no frame tells how long the engine took.
    """
    timed = [(frame, frame.optimizing_seconds) for frame in frames if frame.optimizing_seconds]
    if not timed:
        return None
    quantile = BUSY_QUANTILE if is_busy else QUIET_QUANTILE
    setup = SETUP_PASSES if any(frame.iterations for frame, _ in timed) else 0.0
    passes = [(frame.pixels, seconds / (frame.passes + setup)) for frame, seconds in timed]
    a_pass = _fitted(passes, quantile)
    around: dict[FrameKind, Linear] = dict(SURROUNDINGS)
    for kind in SURROUNDINGS:
        rest = [(frame.pixels, max(0.0, frame.seconds - seconds)) for frame, seconds in timed if frame.kind == kind]
        if rest:
            around[kind] = _fitted(rest, BUSY_QUANTILE, fixed_pixels=SURROUNDINGS[kind].fixed / SURROUNDINGS[kind].per_pixel)
    slower = [seconds / max(a_pass(pixels), 1e-9) for pixels, seconds in passes]
    return Pace(a_pass, around, setup, max(MARGIN, _quantile(slower, SLOW_QUANTILE)))


def tells(frames: Iterable[FrameTime], pixels: float) -> bool:
    """Return whether frames tell the pace of others with so many pixels: they are about as large, or of two sizes."""
    sizes = [frame.pixels for frame in frames if frame.optimizing_seconds]
    if not sizes:
        return False
    small, large = min(sizes), max(sizes)
    if large / small >= SPREAD_SIZES:
        return small / ALIKE_PIXELS <= pixels
    return small / ALIKE_PIXELS <= pixels <= large * ALIKE_PIXELS


def _fitted(points: Sequence[tuple[float, float]], quantile: float, fixed_pixels: float = FIXED_PIXELS) -> Linear:
    """Fit a line through seconds, by pixels, so that relative errors are smallest. Neither part is negative."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for pixels, seconds in points:
        bins.setdefault(round(BINS_AN_OCTAVE * math.log2(pixels)), []).append((pixels, seconds))
    sizes = [statistics.fmean(pixels for pixels, _ in each) for each in bins.values()]
    # Within a bin, the quantile is that of the time for a pixel.
    seconds = [
        size * _quantile([one / pixels for pixels, one in each], quantile)
        for size, each in zip(sizes, bins.values(), strict=True)
    ]
    alone = Linear(*(_scaled(fixed_pixels, sizes, seconds)))
    if max(sizes) / min(sizes) < SPREAD_SIZES:
        return alone
    weights = [1 / max(one, 1e-9) ** 2 for one in seconds]
    total = sum(weights)
    mean_size = sum(weight * size for weight, size in zip(weights, sizes, strict=True)) / total
    mean_seconds = sum(weight * one for weight, one in zip(weights, seconds, strict=True)) / total
    spread = sum(weight * (size - mean_size) ** 2 for weight, size in zip(weights, sizes, strict=True))
    together = sum(
        weight * (size - mean_size) * (one - mean_seconds) for weight, size, one in zip(weights, sizes, seconds, strict=True)
    )
    per_pixel = together / spread
    fixed = mean_seconds - per_pixel * mean_size
    if per_pixel <= 0:
        return Linear(statistics.fmean(seconds), 0.0)
    return Linear(fixed, per_pixel) if fixed >= 0 else Linear(*_scaled(0.0, sizes, seconds))


def _scaled(fixed_pixels: float, sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Return a line whose fixed part is that of so many pixels."""
    per_pixel = statistics.fmean(one / (size + fixed_pixels) for size, one in zip(sizes, seconds, strict=True))
    return fixed_pixels * per_pixel, per_pixel


def _quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which so large a share of values lies, by linear interpolation."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
