"""Draws curves as small SVG plots for the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 380, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 34
"""The margins of a plot, in its own units."""

MOST_POINTS = 400
"""The most points of a curve. A screen shows no more."""


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        label: The name of the curve, for people.
        values: The value at each position; None where there is none.
    """

    label: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: its place and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """A curve as SVG draws it: the `points` of one ``<polyline>`` for each piece without a gap."""

    label: str
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Plot:
    """A plot, with coordinates from its upper left corner.

    Attributes:
        title: What is shown.
        described: The same in words, for people who cannot see it.
        x_label: What the positions are.
        lines: The curves.
        x_ticks: The ticks of the horizontal axis.
        y_ticks: The ticks of the vertical axis.
        marks: The places of vertical lines, such as the beginnings of shots.
        as_dots: Whether the first curve is drawn as dots, because neighboring values are unrelated.
    """

    title: str
    described: str
    x_label: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[float, ...] = ()
    as_dots: bool = False

    @property
    def dots(self) -> Iterator[tuple[float, float]]:
        """The points of the first curve."""
        for piece in self.lines[0].pieces:
            for point in piece.split():
                x, y = point.split(",")
                yield float(x), float(y)


def plot(
    title: str,
    x_label: str,
    series: Sequence[Series],
    *,
    first_position: int = 1,
    marks: Sequence[int] = (),
    as_dots: bool = False,
    digits: int = 3,
) -> Plot | None:
    """Draw curves over whole-numbered positions, with a vertical axis from zero.

    Args:
        title: What is shown.
        x_label: What the positions are, in the singular.
        series: One or more curves of equal length.
        first_position: The number of the first position.
        marks: The indices of values with a vertical line, such as the beginnings of shots.
        as_dots: Draw the points of the first curve instead of a line.
        digits: The decimal digits of values in the description.

    Returns:
        The plot; None if there is no value to draw.
    """
    known = [value for curve in series for value in curve.values if value is not None and math.isfinite(value)]
    if not known:
        return None
    count = len(series[0].values)
    steps = nice_steps(max(known))
    top = steps[-1]

    def x_of(index: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (index / (count - 1) if count > 1 else 0.5)

    def y_of(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)

    lines = tuple(
        Line(
            curve.label,
            tuple(" ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in piece) for piece in _pieces(curve.values)),
        )
        for curve in series
    )
    indices = sorted({0, (count - 1) // 2, count - 1})
    return Plot(
        title=title,
        described=" ".join(_in_words(curve, x_label, first_position, digits) for curve in series),
        x_label=x_label,
        lines=lines,
        x_ticks=tuple(Tick(x_of(index), f"{first_position + index:,}") for index in indices),
        y_ticks=tuple(Tick(y_of(step), f"{step:g}") for step in steps),
        marks=tuple(x_of(mark - 0.5) for mark in marks if 0 < mark < count),
        as_dots=as_dots,
    )


def nice_steps(highest: float) -> tuple[float, ...]:
    """Return three to six round numbers from 0 to at least `highest`."""
    if highest <= 0:
        return (0.0, 0.5, 1.0)
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return tuple(float(f"{step * number:.6g}") for number in range(math.ceil(highest / step - 1e-9) + 1))


def _pieces(values: Sequence[float | None]) -> Iterator[list[tuple[float, float]]]:
    """Yield the pieces of a curve between gaps, thinned so that their peaks stay."""
    piece: list[tuple[float, float]] = []
    for index, value in enumerate((*values, None)):
        if value is not None and math.isfinite(value):
            piece.append((index, value))
        elif piece:
            yield list(_thinned(piece, max(2, MOST_POINTS * len(piece) // max(1, len(values)))))
            piece = []


def _thinned(points: Sequence[tuple[float, float]], most: int) -> Iterator[tuple[float, float]]:
    if len(points) <= most:
        yield from points
        return
    buckets = max(1, most // 2)
    bounds = [len(points) * number // buckets for number in range(buckets + 1)]
    for first, end in pairwise(bounds):
        bucket = points[first:end]
        if bucket:
            yield from sorted({min(bucket, key=lambda point: point[1]), max(bucket, key=lambda point: point[1])})


def _in_words(curve: Series, x_label: str, first_position: int, digits: int) -> str:
    known = [(value, index) for index, value in enumerate(curve.values) if value is not None and math.isfinite(value)]
    if not known:
        return f"{curve.label}: not known."
    values = sorted(value for value, _ in known)
    lowest, median, (highest, index) = values[0], values[len(values) // 2], max(known)
    if len(known) == 1:
        return f"{curve.label}: {highest:.{digits}f}."
    return (
        f"{curve.label}: from {lowest:.{digits}f} to {highest:.{digits}f}, median {median:.{digits}f}; "
        f"highest at {x_label} {first_position + index:,}."
    )
