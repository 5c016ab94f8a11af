"""Predicts how many iterations frames will take, from those that earlier frames took."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from nstpipe.config.models import Optimizer
from nstpipe.journal.records import FrameKind, FrameTime
from nstpipe.planning.outputs import FrameGroup

PRIOR_TOLERANCE = 0.001

PRIOR_ITERATIONS: dict[FrameKind, float] = {"picture": 95.0, "first": 95.0, "linked": 19.0, "later": 19.0}
"""Iterations at which frames stop with `PRIOR_TOLERANCE`, where no earlier frame is known. Three of the sample streets at 160
pixels took 96 on average. For later frames, see docs/decisions/2026-11-24-later-frames-stop-sooner.md."""

PRIOR_EXPONENT: dict[FrameKind, float] = {"picture": 0.6, "first": 0.6, "linked": 0.4, "later": 0.4}
"""The iterations grow with this power of one over the tolerance. For later frames the same record tells it; for first ones it
is an assumption."""

PRIOR_WEIGHT = 1
"""Where frames are known, the prior counts as much as so many of them."""


def prior(kind: FrameKind, tolerance: float) -> float:
    """Return the iterations at which an average frame stops by itself; infinity if it never does.

    Args:
        kind: what the frame starts from.
        tolerance: the job's `optimizer.tolerance`.
    """
    if not tolerance:
        return float("inf")
    return float(PRIOR_ITERATIONS[kind] * (PRIOR_TOLERANCE / tolerance) ** PRIOR_EXPONENT[kind])


def likely_iterations(group: FrameGroup, optimizer: Optimizer, known: Iterable[FrameTime]) -> float:
    """Return how many iterations a frame of a group will take on average.

    Args:
        group: the frames.
        optimizer: their settings.
        known: finished frames.
    """
    most = float(group.max_iterations)
    if most <= 1:
        return most
    expected = prior(group.kind, optimizer.tolerance if optimizer.name == "lbfgs" else 0.0)
    counts = [
        _carried_over(frame, most, expected, optimizer)
        for frame in known
        if frame.kind == group.kind and frame.iterations and frame.optimizer == optimizer.name
    ]
    return fmean([*counts, *[min(most, expected)] * PRIOR_WEIGHT])


def _carried_over(frame: FrameTime, most: float, expected: float, optimizer: Optimizer) -> float:
    """Return the iterations that a finished frame would have taken with other settings."""
    if frame.tolerance == optimizer.tolerance:
        factor = 1.0
    elif frame.tolerance and optimizer.tolerance:
        factor = prior(frame.kind, optimizer.tolerance) / prior(frame.kind, frame.tolerance)
    else:
        return min(most, expected)  # one of both never stops by itself
    if frame.iterations < frame.max_iterations:
        return min(most, frame.iterations * factor)
    # It was cut off, so it is only known that it would have taken more.
    return min(most, max(frame.iterations * factor, expected))
