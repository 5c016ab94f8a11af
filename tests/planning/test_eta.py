"""Time left, by arithmetic."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nstpipe.events import FrameDone, FrameProgressed, JobPlanned
from nstpipe.planning.eta import Forecast, as_duration, as_range


def planned(frames: int = 11, work: int = 200) -> JobPlanned:
    return JobPlanned(job="job", outputs=1, outputs_done=0, frames=frames, frames_left=frames, work_left=work)


def done(seconds: float, most: int) -> FrameDone:
    return FrameDone(
        job="job",
        path="in",
        first_frame_index=0,
        frame_index=0,
        seconds=seconds,
        optimising_seconds=seconds,
        evaluations=most // 2,
        most_evaluations=most,
        pixels=1,
        loss=1,
        content_loss=1,
        style_loss=1,
    )


def test_a_slow_first_frame_does_not_make_the_rest_look_slow() -> None:
    forecast = Forecast.of(planned(frames=11, work=100 + 10 * 10))
    assert forecast.seconds_left() is None
    forecast.advance(done(seconds=50, most=100))
    # Half of the work is done in 50 seconds, so the other half takes 50.
    assert forecast.seconds_left() == pytest.approx(50)
    for _ in range(10):
        forecast.advance(done(seconds=5, most=10))
    assert forecast.seconds_left() == 0


def test_another_jobs_pace_serves_until_there_is_an_own_one() -> None:
    forecast = Forecast.of(planned(work=200))
    assert forecast.seconds_left(seconds_per_work=0.5) == pytest.approx(100)


def test_two_workers_take_half_the_time() -> None:
    forecast = Forecast.of(replace(planned(work=200), workers=2))
    forecast.advance(done(seconds=50, most=100))
    assert forecast.seconds_left() == pytest.approx(25)


def under_way(evaluations: int, most: int, seconds: float, pixels: int = 1) -> FrameProgressed:
    return FrameProgressed(
        job="job",
        path="in",
        frame_index=0,
        evaluations=evaluations,
        most_evaluations=most,
        loss=1,
        pixels=pixels,
        seconds=seconds,
    )


def test_the_first_frame_has_a_time_left_by_its_iterations() -> None:
    """Of 200 iterations half are likely. 25 of the first frame's 100 took 50 s, so 75 likely ones are left at 2 s each."""
    forecast = Forecast.of(replace(planned(work=200), likely_share=0.5))
    forecast.progress(under_way(evaluations=25, most=100, seconds=50))
    assert forecast.seconds_left() == pytest.approx(75 * 2)
    assert forecast.frames_under_way == pytest.approx(0.25)
    forecast.progress(under_way(evaluations=99, most=100, seconds=198))
    assert forecast.seconds_left() == pytest.approx(50 * 2), "any iteration may be its last"
    forecast.forget("in")
    assert forecast.seconds_left() is None
    forecast.progress(under_way(evaluations=25, most=100, seconds=0, pixels=0))
    assert forecast.seconds_left() is None, "an older version does not say how large the frame is"
    forecast.advance(done(seconds=50, most=100))
    assert (forecast.frames_under_way, forecast.seconds_left()) == (0, pytest.approx(50))


def test_before_the_first_iteration_earlier_runs_tell_the_time() -> None:
    forecast = Forecast.of(replace(planned(work=200), seconds_likely=80, workers=2))
    assert forecast.seconds_left() == pytest.approx(80)
    forecast.progress(under_way(evaluations=25, most=100, seconds=50))
    assert forecast.seconds_left() == pytest.approx(175 * 2 / 2), "then its own iterations"


def test_a_range_is_said_only_if_it_is_one() -> None:
    assert as_range(7800, 14400) == "2 h 10 min, at most 4 h 00 min"
    assert (as_range(8, 8.3), as_range(8, None), as_range(None, None)) == ("8 s", "8 s", "–")


def test_nothing_left_takes_no_time() -> None:
    assert Forecast.of(planned(frames=0, work=0)).seconds_left() == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (21900, "6 h 05 min")],
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert as_duration(seconds) == text


@given(st.floats(0, 1e7))
def test_durations_never_show_sixty_minutes_or_seconds(seconds: float) -> None:
    assert not re.search(r"\b60 (min|s)\b", as_duration(seconds))
