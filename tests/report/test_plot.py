"""Curves, whose points can be reckoned."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nstpipe.report.plot import BOTTOM, HEIGHT, LEFT, MOST_POINTS, RIGHT, TOP, WIDTH, Series, nice_steps, plot

FLOOR = HEIGHT - BOTTOM


def points(piece: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (point.split(",") for point in piece.split())]


def test_the_first_value_stands_left_the_last_right_and_zero_below() -> None:
    drawn = plot("Loss", "frame", [Series("total", (0.0, 1.0, 2.0))])
    assert drawn is not None
    [line] = drawn.lines
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert points(line.pieces[0]) == [(LEFT, FLOOR), (middle, (TOP + FLOOR) / 2), (WIDTH - RIGHT, TOP)]
    assert [tick.label for tick in drawn.x_ticks] == ["1", "2", "3"]
    assert [tick.label for tick in drawn.y_ticks] == ["0", "0.5", "1", "1.5", "2"]
    assert drawn.described == "total: from 0.000 to 2.000, median 1.000; highest at frame 3."


def test_what_is_not_known_is_a_gap_and_no_number_is_drawn() -> None:
    drawn = plot("Flicker", "frame", [Series("flicker", (None, 1.0, 1.0, None, math.nan, 1.0))], marks=(0, 3))
    assert drawn is not None
    assert [len(points(piece)) for piece in drawn.lines[0].pieces] == [2, 1]
    # A cut is between two frames; where the film begins there is none.
    assert drawn.marks == (pytest.approx(LEFT + (WIDTH - LEFT - RIGHT) / 2),)
    assert plot("Flicker", "frame", [Series("flicker", (None, math.inf))]) is None


def test_a_long_film_is_thinned_but_keeps_its_peaks() -> None:
    values = [1.0] * 100_000
    values[61_803] = 7.0
    drawn = plot("Loss", "frame", [Series("total", tuple(values))])
    assert drawn is not None
    [piece] = drawn.lines[0].pieces
    assert len(points(piece)) <= MOST_POINTS
    top = nice_steps(7.0)[-1]
    assert min(y for _, y in points(piece)) == pytest.approx(TOP + (FLOOR - TOP) * (1 - 7 / top), abs=0.06)
    assert "highest at frame 61,804" in drawn.described


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_steps_are_even_start_at_zero_and_cover_the_highest(highest: float) -> None:
    steps = nice_steps(highest)
    assert steps[0] == 0
    assert 3 <= len(steps) <= 6
    assert steps[-1] >= highest * 0.999999
    assert steps[-2] < highest
    assert steps[2] == pytest.approx(2 * steps[1])


def test_a_curve_of_zeros_has_an_axis_too() -> None:
    drawn = plot("Flicker", "frame", [Series("flicker", (0.0, 0.0))])
    assert drawn is not None
    assert {y for _, y in points(drawn.lines[0].pieces[0])} == {FLOOR}
